//! A subscription to one channel, with at most one message in memory.
//!
//! The redis crate reads ahead into an unbounded queue. Here the next message is read only on request, so a flood waits
//! in the server, whose `client-output-buffer-limit pubsub` finally closes the connection. It uses RESP2, in which a
//! subscribed connection receives only messages.

use std::sync::Arc;
use std::time::Duration;

use redis::RedisError;
#[cfg(any(test, fuzzing))]
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use super::reply_reader::{Bounds, RawReply, ReadFault, ReplyReader};
use super::{
    ByteStream, Command, LinkPurpose, MAX_CONFIRMATION, Node, OwnConnection, Request, connected, failure, is_node_wide,
    log_in, open,
};
use crate::failure::{Failure, Reason};
use crate::memory::HeldText;
#[cfg(any(test, fuzzing))]
use crate::memory::MemoryLimit;

/// The time-out for the rest of a message after its first byte.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(30);

/// Maximum number of elements in one reply: a message has three.
const MAX_ELEMENTS: u64 = 8;

/// Maximum number of replies in a row that are no messages. A server sends one, if at all, such as when a channel is
/// unsubscribed; what sends them without end would use up a core.
const MAX_OTHERS: u32 = 100;

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
    reader: ReplyReader<Box<dyn ByteStream>>,
    /// Maximum size of a message in bytes. Larger ones are skipped.
    max_message: u64,
}

/// A part of a reply.
#[derive(Debug)]
enum Element {
    Text(HeldText),
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
    pub(crate) fn over(
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + Sync + 'static,
        max_message: usize,
    ) -> Self {
        let reader = ReplyReader::new(Box::new(stream) as Box<dyn ByteStream>, MemoryLimit::of_process().share());
        Self { node: "node".into(), own: OwnConnection::default(), reader, max_message: max_message as u64 }
    }

    async fn open_inner(node: &Node, channel: &str, max_message: usize) -> Result<Self, Failure> {
        let (stream, own) = open(node).await?;
        let reader = ReplyReader::new(stream, Arc::clone(&node.memory));
        let mut subscription = Self { reader, own, node: Arc::clone(&node.name), max_message: max_message as u64 };
        log_in(node, &mut subscription.reader).await?;
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
        let written = self.reader.write(&command.get_packed_command()).await;
        written.map_err(|fault| self.unreadable(fault))?;
        self.read().await
    }

    /// Waits for the next message. Not cancel-safe, so not usable in `select`: a partly read message would be lost.
    ///
    /// # Errors
    /// The link failed.
    pub async fn next(&mut self) -> Result<Delivery, Failure> {
        for _ in 0..MAX_OTHERS {
            let elements =
                self.read().await?.map_err(|error| failure::refused(&self.node, Command::Subscribe, &error))?;
            let mut elements = elements.into_iter();
            match (elements.next(), elements.next(), elements.next()) {
                (Some(Element::Text(kind)), Some(_), Some(content)) if *kind == *b"message" => match content {
                    Element::Text(message) => return Ok(Delivery::Message(message.into_text())),
                    Element::Skipped(bytes) => return Ok(Delivery::Oversize(bytes)),
                    Element::Number(_) => {}
                },
                _ => {}
            }
        }
        Err(self.unreadable(ReadFault::Shape))
    }

    /// Waits at most this long for the next message. Returns `None` if no message started to arrive.
    ///
    /// # Errors
    /// The link failed.
    pub async fn next_within(&mut self, wait: Duration) -> Result<Option<Delivery>, Failure> {
        // Only the wait for the first byte may be cancelled.
        match timeout(wait, self.reader.wait()).await {
            Err(_) => Ok(None),
            Ok(Err(error)) => Err(self.unreadable(ReadFault::Closed(error))),
            // Without a time-out, a peer that stops in the middle of a message would block us forever.
            Ok(Ok(())) => match timeout(MESSAGE_TIMEOUT, self.next()).await {
                Ok(delivery) => delivery.map(Some),
                Err(_) => {
                    Err(failure::timed_out(&self.node, "did not complete a message", MESSAGE_TIMEOUT.as_secs_f64()))
                }
            },
        }
    }

    async fn read(&mut self) -> Result<Result<Vec<Element>, RedisError>, Failure> {
        let bounds = Bounds { may_be_array: true, ..Bounds::value(MAX_CONFIRMATION) };
        let count = match self.read_one(bounds).await? {
            RawReply::Array(count @ ..=MAX_ELEMENTS) => count,
            RawReply::Array(_) => return Err(self.unreadable(ReadFault::Shape)),
            RawReply::Refused(error) => return Ok(Err(error)),
            other => return element(other).map(|one| Ok(vec![one])).ok_or_else(|| self.unreadable(ReadFault::Shape)),
        };
        let mut elements = Vec::new();
        for place in 0..count {
            // The content of a message; kind and channel are short.
            let bytes = if place == CONTENT { self.max_message } else { MAX_CONFIRMATION };
            let bounds = Bounds { skips_larger: place == CONTENT, ..Bounds::value(bytes) };
            let reply = self.read_one(bounds).await?;
            elements.push(element(reply).ok_or_else(|| self.unreadable(ReadFault::Shape))?);
        }
        Ok(Ok(elements))
    }

    async fn read_one(&mut self, bounds: Bounds) -> Result<RawReply, Failure> {
        let reply = self.reader.read(bounds).await;
        reply.map_err(|fault| self.unreadable(fault))
    }

    fn unreadable(&mut self, fault: ReadFault) -> Failure {
        match fault {
            ReadFault::Closed(error) => self.closed_error(&error),
            fault => failure::unreadable(&self.node, Command::Subscribe, fault),
        }
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
}

/// The place of the content in a message, after its kind and the channel.
const CONTENT: u64 = 2;

/// A part of a reply. `None` for one that no message has.
fn element(reply: RawReply) -> Option<Element> {
    match reply {
        RawReply::Text(text) => Some(Element::Text(text)),
        RawReply::Number(number) => Some(Element::Number(number)),
        RawReply::Skipped(size) => Some(Element::Skipped(size)),
        RawReply::Refused(_) | RawReply::Nothing | RawReply::Array(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

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
    async fn replies_that_are_no_messages_are_skipped_but_not_without_end() {
        let message = "*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$2\r\nhi\r\n";
        for other in ["*0\r\n", "+PONG\r\n", ":1\r\n", "*3\r\n$11\r\nunsubscribe\r\n$1\r\nc\r\n:0\r\n"] {
            let (near, mut far) = tokio::io::duplex(1 << 16);
            let bytes = other.repeat(99) + message + &other.repeat(100) + message;
            far.write_all(bytes.as_bytes()).await.expect("it has room");
            let mut subscription = Subscription::over(near, 64 << 10);
            assert_eq!(subscription.next().await.ok(), Some(Delivery::Message(b"hi".to_vec())), "{other}");
            assert_eq!(subscription.next().await.map_err(|failure| failure.reason), Err(Reason::Protocol), "{other}");
        }
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
