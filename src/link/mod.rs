//! A link: one held connection to a node, logged in and named. Knows how to reach a server and which commands there are;
//! knows nothing of what the replies mean.

mod bounded;
mod command;
mod failure;
mod subscription;
mod target;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Pipeline, RedisConnectionInfo, RedisResult, Value};
use secrecy::{ExposeSecret, SecretString};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;

pub use command::{Command, Request};
pub use subscription::{Delivery, Subscription};
pub use target::{Credentials, Endpoint, ParsedAddress, Password, Target, TlsFiles, parse_address};
pub use tls::config as tls_config;

use crate::sample::{Failure, Reason};
use bounded::{Allowance, BoundedReader};

/// The most that one batch of commands may be answered with, in bytes: 300,000 clients of 400 bytes.
const MAX_REPLY: u64 = 128 * 1024 * 1024;

/// What a command was answered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Text of any length.
    Text(Vec<u8>),
    /// A number.
    Number(i64),
}

impl Reply {
    /// The text; empty for a number.
    pub fn into_text(self) -> Vec<u8> {
        match self {
            Reply::Text(text) => text,
            Reply::Number(_) => Vec::new(),
        }
    }
}

/// A held connection to a node. After an error of [`Link::send`] it must be dropped: a late reply would be taken for
/// the next command's.
#[derive(Debug)]
pub struct Link {
    node: Arc<str>,
    connection: MultiplexedConnection,
    _driver: Driver,
    allowance: Allowance,
    timeout: Duration,
    /// Our connection's id; `None` where the server does not tell (before 5.0, or not permitted).
    pub id: Option<u64>,
    /// What the server refused of our naming ourselves. Nothing depends on it; `check` tells.
    pub refused: Vec<(Command, Failure)>,
}

/// The task that moves a connection's bytes; it ends with the link.
#[derive(Debug)]
struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Link {
    /// Connects, logs in and names the connection, within the target's time-out; a moment more if it is closed at once.
    ///
    /// # Errors
    /// Why it could not; a refusal to be named is none.
    pub async fn dial(target: &Target) -> Result<Self, Failure> {
        let node = target.node();
        let patience = target.timeout;
        let dialled = timeout(patience, Self::dial_inner(target, Arc::clone(&node))).await;
        match dialled {
            Ok(Err(failure)) if failure.reason == Reason::Closed => {
                Err(read_rejection(target, &node).await.unwrap_or(failure))
            }
            Ok(dialled) => dialled,
            Err(_) => Err(failure::late(&node, "could not connect and log in", patience.as_secs_f64())),
        }
    }

    async fn dial_inner(target: &Target, node: Arc<str>) -> Result<Self, Failure> {
        let stream = open(target, &node).await?;
        let mut link = Self::over(stream, node, target.timeout).await?;
        if let Some(credentials) = &target.credentials {
            link.authenticate(credentials).await?;
        }
        link.identify().await?;
        Ok(link)
    }

    async fn over<S>(stream: S, node: Arc<str>, timeout: Duration) -> Result<Self, Failure>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let allowance = Allowance::new(MAX_REPLY);
        let stream = BoundedReader::new(stream, allowance.clone());
        // Logging in and naming are our own commands, so that each failure is told for what it is.
        let info = RedisConnectionInfo::default().set_skip_set_lib_name();
        let config = AsyncConnectionConfig::new().set_response_timeout(None);
        let (connection, driver) = MultiplexedConnection::new_with_config(&info, stream, config)
            .await
            .map_err(|error| failure::refused(&node, Command::ClientId, &error))?;
        let driver = Driver(tokio::spawn(driver));
        Ok(Self { node, connection, _driver: driver, allowance, timeout, id: None, refused: Vec::new() })
    }

    async fn authenticate(&mut self, credentials: &Credentials) -> Result<(), Failure> {
        let auth = auth_command(credentials, &self.node).await?;
        let reply: RedisResult<Value> = auth.query_async(&mut self.connection).await;
        reply.map(|_| ()).map_err(|error| failure::unauthenticated(&self.node, &error))
    }

    /// Learns our id and names the connection, as far as the server allows.
    async fn identify(&mut self) -> Result<(), Failure> {
        // Alone and first: a server that turns us away answers one command and closes.
        match self.send_one(Command::ClientId).await {
            Ok(Reply::Number(id)) => self.id = u64::try_from(id).ok(),
            Ok(Reply::Text(_)) => {}
            Err(failure) if is_of_the_node(&failure) => return Err(failure),
            Err(failure) => self.refused.push((Command::ClientId, failure)),
        }
        let naming = [Command::ClientSetName, Command::ClientSetInfoName, Command::ClientSetInfoVersion];
        for (command, reply) in naming.into_iter().zip(self.send(&naming.map(Request::from)).await?) {
            if let Err(failure) = reply {
                self.refused.push((command, failure));
            }
        }
        Ok(())
    }

    /// Sends one command. Unlike a batch, it is told what arrived if that was no reply at all.
    async fn send_one(&mut self, command: Command) -> Result<Reply, Failure> {
        let reply = Request::from(command).packed().query_async(&mut self.connection).await;
        read_reply(&self.node, command, reply)
    }

    /// Says more of a link that was closed although it had been made and named: then it was for what was asked.
    pub fn explain(node: &str, failure: Failure) -> Failure {
        if failure.reason == Reason::Closed { failure::closed_while_answering(node) } else { failure }
    }

    /// Sends commands as one batch, which the server runs without a pause between, and waits for all replies. A command
    /// that the server refuses is an error of its own.
    ///
    /// # Errors
    /// The link broke or no answer came in time: it must be dropped.
    pub async fn send(&mut self, requests: &[Request<'_>]) -> Result<Vec<Result<Reply, Failure>>, Failure> {
        let mut pipeline = Pipeline::with_capacity(requests.len());
        for request in requests {
            pipeline.add_command(request.packed());
        }
        pipeline.ignore_errors();
        self.allowance.reset(MAX_REPLY);
        let replies = timeout(self.timeout, pipeline.query_async(&mut self.connection)).await;
        let Ok(replies) = replies else {
            return Err(failure::late(&self.node, "did not answer", self.timeout.as_secs_f64()));
        };
        let replies: Vec<RedisResult<Value>> = replies.map_err(|error| match self.allowance.is_used_up() {
            true => failure::too_large(&self.node, MAX_REPLY),
            false => failure::refused(&self.node, requests[0].command, &error),
        })?;
        let reply = |(request, reply): (&Request<'_>, _)| read_reply(&self.node, request.command, reply);
        Ok(requests.iter().zip(replies).map(reply).collect())
    }
}

/// Bytes to and from a node, over whatever leads there.
trait ByteStream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> ByteStream for S {}

/// Opens a stream to a target; nothing is said on it yet.
async fn open(target: &Target, node: &str) -> Result<Box<dyn ByteStream>, Failure> {
    Ok(match &target.endpoint {
        Endpoint::Unix(path) => {
            Box::new(UnixStream::connect(path).await.map_err(|error| failure::unconnected(node, &error))?)
        }
        Endpoint::Tcp { host, port, tls: false } => Box::new(connect(target, host, *port, node).await?),
        Endpoint::Tcp { host, port, tls: true } => {
            let tcp = connect(target, host, *port, node).await?;
            Box::new(tls::handshake(&target.tls, host, tcp).await.map_err(|why| failure::untrusted(node, &why))?)
        }
    })
}

/// The command that logs in; its words are secret.
async fn auth_command(credentials: &Credentials, node: &str) -> Result<redis::Cmd, Failure> {
    let password = credentials.password.clone();
    let read = tokio::task::spawn_blocking(move || read_password(&password)).await;
    let password = read.unwrap_or_else(|error| Err(error.to_string()));
    let password = password.map_err(|why| failure::unreadable_password(node, &why))?;
    let mut auth = redis::cmd("AUTH");
    if let Some(user) = &credentials.user {
        auth.arg(user);
    }
    auth.arg(password.expose_secret());
    Ok(auth)
}

/// Connects to the first address of a host that answers.
async fn connect(target: &Target, host: &str, port: u16, node: &str) -> Result<TcpStream, Failure> {
    let found = tokio::net::lookup_host((host, port)).await.map_err(|error| failure::unresolved(node, &error))?;
    let addresses: Vec<_> = found.collect();
    // Each gets its share, so that one that swallows everything does not keep us from the next.
    let share = target.timeout / u32::try_from(addresses.len().max(1)).unwrap_or(u32::MAX);
    let mut last = failure::unresolved(node, &std::io::ErrorKind::NotFound.into());
    for address in addresses {
        last = match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // A batch is one write; waiting to join it with the next would only delay it. Not being able to say so
                // is no harm.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Ok(Err(error)) => failure::unconnected(node, &error),
            Err(_) => failure::late(node, "could not connect", share.as_secs_f64()),
        };
    }
    Err(last)
}

/// How long a server that turns us away may take to say why.
const FAREWELL: Duration = Duration::from_millis(200);

/// What a server says that closes a connection before anything was sent. A full server says why and closes at once; what
/// we send meanwhile makes the kernel drop its words, so here we only listen.
async fn read_rejection(target: &Target, node: &str) -> Option<Failure> {
    let mut words = [0; 512];
    let read = async {
        match &target.endpoint {
            Endpoint::Unix(path) => UnixStream::connect(path).await.ok()?.read(&mut words).await.ok(),
            Endpoint::Tcp { tls: true, .. } => None,
            Endpoint::Tcp { host, port, .. } => {
                connect(target, host, *port, node).await.ok()?.read(&mut words).await.ok()
            }
        }
    };
    let read = timeout(FAREWELL, read).await.ok()??;
    failure::of_farewell(node, &words[..read])
}

/// The password; a file is read now. The end of its line is not part of it.
///
/// # Errors
/// Why the file cannot be read, without its content.
pub fn read_password(password: &Password) -> Result<SecretString, String> {
    match password {
        Password::Given(secret) => Ok(secret.clone()),
        Password::File(path) => {
            let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
            let line = text.strip_suffix('\n').unwrap_or(&text);
            Ok(line.strip_suffix('\r').unwrap_or(line).into())
        }
    }
}

fn read_reply(node: &str, command: Command, reply: RedisResult<Value>) -> Result<Reply, Failure> {
    match reply {
        Ok(Value::BulkString(text)) => Ok(Reply::Text(text)),
        Ok(Value::VerbatimString { text, .. }) => Ok(Reply::Text(text.into_bytes())),
        Ok(Value::SimpleString(text)) => Ok(Reply::Text(text.into_bytes())),
        Ok(Value::Okay) => Ok(Reply::Text(b"OK".to_vec())),
        Ok(Value::Int(number)) => Ok(Reply::Number(number)),
        Ok(_) => Err(failure::unexpected(node, command)),
        Err(error) => Err(failure::refused(node, command, &error)),
    }
}

/// Whether a refusal is about the node as a whole, so that nothing else would be answered either.
fn is_of_the_node(failure: &Failure) -> bool {
    use Reason::{Auth, Busy, Closed, Denied, MaxClients, Protocol};
    matches!(failure.reason, Auth | Busy | Closed | Denied | MaxClients | Protocol)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

    use super::*;

    /// A held link lives for ever; what it may be sent is counted for each batch anew.
    #[tokio::test]
    async fn the_bound_is_on_each_answer_and_not_on_all_together() {
        let (near, far) = tokio::io::duplex(1 << 20);
        tokio::spawn(async move {
            let (reader, mut writer) = tokio::io::split(far);
            let mut lines = BufReader::new(reader).lines();
            let text = vec![b'x'; MAX_REPLY as usize / 3];
            while let Ok(Some(line)) = lines.next_line().await {
                if line.starts_with('*') {
                    let head = format!("${}\r\n", text.len());
                    let answer = [head.as_bytes(), &text, b"\r\n"].concat();
                    if writer.write_all(&answer).await.is_err() {
                        return;
                    }
                }
            }
        });
        let mut link = Link::over(near, "node".into(), Duration::from_secs(30)).await.expect("a link");
        for _ in 0..4 {
            let replies = link.send(&[Command::ClientList.into()]).await.expect("an answer");
            assert!(matches!(&replies[..], [Ok(Reply::Text(text))] if text.len() == MAX_REPLY as usize / 3));
        }
        let four = [Request::from(Command::ClientList); 4];
        assert_eq!(link.send(&four).await.map_err(|failure| failure.reason), Err(Reason::TooLarge));
    }
}
