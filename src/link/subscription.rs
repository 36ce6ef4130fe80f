//! A subscription to one channel, with at most one message in memory.
//!
//! The redis crate reads ahead into an unbounded queue. Here the next message is read only on request, so a flood waits
//! in the server, whose `client-output-buffer-limit pubsub` finally closes the connection. It uses RESP2, in which a
//! subscribed connection receives only messages.

use std::sync::Arc;
use std::time::Duration;

use redis::RedisError;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
#[cfg(any(test, fuzzing))]
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use super::{
    ByteStream, Command, LinkPurpose, Node, OwnConnection, Request, auth_command, connected, failure, is_node_wide,
    open,
};
use crate::failure::{Failure, Reason};

/// Maximum length of a protocol line: a number, or the text of an error.
const MAX_LINE: u64 = 4096;

/// The time-out for the rest of a message after its first byte.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(30);

/// Maximum number of elements in one reply: a message has three.
const MAX_ELEMENTS: u64 = 8;

/// A message received from a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// A message.
    Message(Vec<u8>),
    /// A message that was skipped because of its size, in bytes.
    Oversize(u64),
}

/// A subscription to one channel of a node. After an error it must be dropped.
pub struct Subscription {
    node: Arc<str>,
    own: OwnConnection,
    stream: BufReader<Box<dyn ByteStream>>,
    /// Maximum size of a message in bytes. Larger ones are skipped.
    max_message: u64,
}

/// A part of a reply.
#[derive(Debug, PartialEq, Eq)]
enum Element {
    Text(Vec<u8>),
    Skipped(u64),
    Number(i64),
}

impl Subscription {
    /// Connects, logs in and subscribes, within the node's time-out. Messages of more than `max_message` bytes are
    /// skipped.
    ///
    /// # Errors
    /// The failure.
    pub async fn open(node: &Node, channel: &str, max_message: usize) -> Result<Self, Failure> {
        let attempt = Self::open_inner(node, channel, max_message);
        connected(node, LinkPurpose::Channel, "could not connect and subscribe", attempt).await
    }

    /// Reads the replies of a stream that is already subscribed.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn over(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, max_message: usize) -> Self {
        let (node, own, stream) = ("node".into(), OwnConnection::default(), BufReader::new(Box::new(stream) as Box<_>));
        Self { node, own, stream, max_message: max_message as u64 }
    }

    async fn open_inner(node: &Node, channel: &str, max_message: usize) -> Result<Self, Failure> {
        let (stream, own) = open(node).await?;
        let mut subscription =
            Self { stream: BufReader::new(stream), node: Arc::clone(&node.name), own, max_message: max_message as u64 };
        if let Some(auth) = auth_command(node).await? {
            let reply = subscription.request(&auth).await?;
            reply.map_err(|error| failure::auth_refused(&subscription.node, &error))?;
        }
        // By the id our other links recognize this one. The refusal of the command alone is ignored.
        let reply = subscription.request(&Request::from(Command::ClientId).packed()).await?;
        subscription.own.note_answer();
        match reply {
            Ok(reply) => subscription.keep_id(&reply),
            Err(error) => {
                let failure = failure::refused(&subscription.node, Command::ClientId, &error);
                if is_node_wide(&failure) {
                    return Err(failure);
                }
            }
        }
        // The name identifies us to other users of the server. Nothing depends on it, so a refusal is ignored.
        let _ = subscription.request(&Request::from(Command::ClientSetName).packed()).await?;
        let mut subscribe = Request::from(Command::Subscribe).packed();
        subscribe.arg(channel);
        let reply = subscription.request(&subscribe).await?;
        reply.map_err(|error| failure::refused(&subscription.node, Command::Subscribe, &error))?;
        Ok(subscription)
    }

    fn keep_id(&mut self, reply: &[Element]) {
        if let [Element::Number(id)] = reply {
            u64::try_from(*id).into_iter().for_each(|id| self.own.identify(id));
        }
    }

    /// Sends a command and reads its reply; the inner error is the server's refusal.
    async fn request(&mut self, command: &redis::Cmd) -> Result<Result<Vec<Element>, RedisError>, Failure> {
        // A server that refuses the connection says so and closes it. The line can be read even if we can't write.
        let sent = self.stream.write_all(&command.get_packed_command()).await;
        match (self.read().await, sent) {
            (Err(_), Err(error)) => Err(self.closed_error(&error)),
            (reply, _) => reply,
        }
    }

    /// Waits for the next message. Not cancel-safe, so not usable in `select`: a partly read message would be lost.
    ///
    /// # Errors
    /// The link failed.
    pub async fn next(&mut self) -> Result<Delivery, Failure> {
        loop {
            let elements =
                self.read().await?.map_err(|error| failure::refused(&self.node, Command::Subscribe, &error))?;
            let mut elements = elements.into_iter();
            match (elements.next(), elements.next(), elements.next()) {
                (Some(Element::Text(kind)), Some(_), Some(content)) if kind == b"message" => match content {
                    Element::Text(message) => return Ok(Delivery::Message(message)),
                    Element::Skipped(bytes) => return Ok(Delivery::Oversize(bytes)),
                    Element::Number(_) => {}
                },
                _ => {}
            }
        }
    }

    /// Waits at most this long for the next message. Returns `None` if no message started to arrive.
    ///
    /// # Errors
    /// The link failed.
    pub async fn next_within(&mut self, wait: Duration) -> Result<Option<Delivery>, Failure> {
        // Only the wait for the first byte may be cancelled.
        match timeout(wait, self.stream.fill_buf()).await {
            Err(_) => Ok(None),
            Ok(Err(error)) => Err(self.closed_error(&error)),
            // Without a time-out, a peer that stops in the middle of a message would block us forever.
            Ok(Ok(_)) => match timeout(MESSAGE_TIMEOUT, self.next()).await {
                Ok(delivery) => delivery.map(Some),
                Err(_) => {
                    Err(failure::timed_out(&self.node, "did not complete a message", MESSAGE_TIMEOUT.as_secs_f64()))
                }
            },
        }
    }

    async fn read(&mut self) -> Result<Result<Vec<Element>, RedisError>, Failure> {
        let line = self.line().await?;
        let (sign, rest) = line.split_first().ok_or_else(|| self.protocol_error())?;
        match sign {
            b'*' => {
                let count = self.number(rest)?;
                let count = u64::try_from(count).ok().filter(|count| *count <= MAX_ELEMENTS);
                let mut elements = Vec::new();
                for _ in 0..count.ok_or_else(|| self.protocol_error())? {
                    elements.push(self.element().await?);
                }
                Ok(Ok(elements))
            }
            b'+' => Ok(Ok(vec![Element::Text(rest.to_vec())])),
            b':' => Ok(Ok(vec![Element::Number(self.number(rest)?)])),
            b'-' => {
                let text = String::from_utf8_lossy(rest).into_owned();
                let (code, detail) = text.split_once(' ').unwrap_or((text.as_str(), ""));
                Ok(Err(redis::make_extension_error(code.to_owned(), Some(detail.to_owned()))))
            }
            _ => Err(self.protocol_error()),
        }
    }

    async fn element(&mut self) -> Result<Element, Failure> {
        let line = self.line().await?;
        let (sign, rest) = line.split_first().ok_or_else(|| self.protocol_error())?;
        let number = self.number(rest)?;
        match sign {
            b':' => Ok(Element::Number(number)),
            b'$' => self.bulk(u64::try_from(number).unwrap_or(0)).await,
            _ => Err(self.protocol_error()),
        }
    }

    async fn bulk(&mut self, size: u64) -> Result<Element, Failure> {
        // A larger message is skipped, and only its size is reported.
        if size > self.max_message {
            let mut skipped = (&mut self.stream).take(size + 2);
            let copied = tokio::io::copy(&mut skipped, &mut tokio::io::sink()).await;
            copied.map_err(|error| self.closed_error(&error))?;
            return Ok(Element::Skipped(size));
        }
        let mut bytes = vec![0; size as usize + 2];
        self.stream.read_exact(&mut bytes).await.map_err(|error| self.closed_error(&error))?;
        bytes.truncate(size as usize);
        Ok(Element::Text(bytes))
    }

    async fn line(&mut self) -> Result<Vec<u8>, Failure> {
        let mut line = Vec::new();
        let mut bounded = (&mut self.stream).take(MAX_LINE);
        bounded.read_until(b'\n', &mut line).await.map_err(|error| self.closed_error(&error))?;
        match line.strip_suffix(b"\r\n") {
            Some(line) => Ok(line.to_vec()),
            None if line.is_empty() => Err(self.closed_error(&std::io::ErrorKind::UnexpectedEof.into())),
            None => Err(self.protocol_error()),
        }
    }

    fn number(&self, text: &[u8]) -> Result<i64, Failure> {
        std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or_else(|| self.protocol_error())
    }

    fn closed_error(&mut self, error: &std::io::Error) -> Failure {
        self.own.note_cut();
        let message = format!(
            "{}: the server closed the subscription ({error}): it stopped or restarted, the connection was killed, or \
            it exceeded client-output-buffer-limit pubsub",
            self.node
        );
        Failure { reason: Reason::Closed, message }
    }

    fn protocol_error(&self) -> Failure {
        let message =
            format!("{}: what answers on this port does not speak the Redis protocol; check the port", self.node);
        Failure { reason: Reason::Protocol, message }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_oversize_message_is_skipped_and_the_next_one_is_read() {
        let (near, mut far) = tokio::io::duplex(1 << 16);
        tokio::spawn(async move {
            let huge = vec![b'x'; 10 << 20];
            let head = format!("*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n${}\r\n", huge.len());
            let last = b"\r\n*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$2\r\nhi\r\n";
            for bytes in [head.as_bytes(), &huge, last] {
                far.write_all(bytes).await.expect("it reads");
            }
        });
        let mut subscription = Subscription::over(near, 64 << 10);
        assert_eq!(subscription.next().await.ok(), Some(Delivery::Oversize(10 << 20)));
        assert_eq!(subscription.next().await.ok(), Some(Delivery::Message(b"hi".to_vec())));
        assert_eq!(subscription.next().await.map_err(|failure| failure.reason), Err(Reason::Closed));
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_that_does_not_end_is_an_error() {
        let (near, mut far) = tokio::io::duplex(1 << 16);
        far.write_all(b"*3\r\n$7\r\nmess").await.expect("it reads");
        let result = Subscription::over(near, 64 << 10).next_within(Duration::from_secs(1)).await;
        assert_eq!(result.map_err(|failure| failure.reason), Err(Reason::Timeout));
    }

    #[tokio::test]
    async fn an_invalid_reply_is_an_error_and_never_an_endless_wait() {
        for bytes in ["HTTP/1.1 400 Bad\r\n", "*99999999\r\n", "*1\r\n$x\r\n", "\r\n", "*-1\r\n", &"x".repeat(9000)] {
            let (near, mut far) = tokio::io::duplex(1 << 16);
            far.write_all(bytes.as_bytes()).await.expect("it reads");
            let result = Subscription::over(near, 64 << 10).next().await;
            assert_eq!(result.map_err(|failure| failure.reason), Err(Reason::Protocol), "{bytes}");
        }
    }
}
