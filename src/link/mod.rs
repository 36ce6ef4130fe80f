//! A link: one persistent connection to a node, authenticated and named. Knows how to connect and which commands exist;
//! does not know the meaning of the replies.

mod address;
mod admission;
mod bounded;
mod command;
mod dials;
mod failure;
mod node;
mod password;
mod subscription;
mod tls;

use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Pipeline, RedisConnectionInfo, RedisResult, Value};
use secrecy::ExposeSecret;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::timeout;

pub use address::{
    Credentials, Endpoint, NodeAddress, ParsedAddress, Password, TlsOptions, parse_address, requires_tls,
};
pub use admission::{Admission, LinkPurpose};
pub use command::{Command, Request};
pub use dials::Dials;
pub use node::Node;
pub use password::{Login, check_password_file};
pub use subscription::{Delivery, Subscription};
pub use tls::config as tls_config;
pub use tls::is_server_name;

use crate::failure::{Failure, Reason};
use bounded::{Allowance, BoundedStream};
use dials::OwnConnection;

/// Maximum size of all replies to one batch of commands, in bytes: 300,000 clients of 400 bytes.
const MAX_REPLY: u64 = 128 * 1024 * 1024;

/// The reply to a command.
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

/// A persistent connection to a node. After an error of [`Link::send`] it must be dropped: a late reply would be taken
/// for the reply to the next command.
#[derive(Debug)]
pub struct Link {
    node: Arc<str>,
    own: OwnConnection,
    connection: MultiplexedConnection,
    _driver: Driver,
    allowance: Allowance,
    timeout: Duration,
    /// The id of our connection; `None` if the server does not report it (before 5.0, or not permitted).
    pub id: Option<u64>,
    /// The identification commands that the server refused. Nothing depends on them; `check` reports them.
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
    /// Connects for sampling, logs in and names the connection, within the node's time-out. If the server is full, the
    /// link that the announcer does not use now takes the place of a new one.
    ///
    /// # Errors
    /// The failure. A refusal of the name is not an error.
    pub async fn dial(node: &Node) -> Result<Self, Failure> {
        match Self::dial_for(node, LinkPurpose::Sampling).await {
            Err(failure) if admission::is_refusal(&failure) => node.admission.take_spare().ok_or(failure),
            result => result,
        }
    }

    /// Connects for announcing, logs in and names the connection, within the node's time-out.
    ///
    /// # Errors
    /// See [`Link::dial`].
    pub async fn dial_for_announcing(node: &Node) -> Result<Self, Failure> {
        Self::dial_for(node, LinkPurpose::Channel).await
    }

    async fn dial_for(node: &Node, purpose: LinkPurpose) -> Result<Self, Failure> {
        connected(node, purpose, "could not connect and log in", Self::dial_inner(node)).await
    }

    async fn dial_inner(node: &Node) -> Result<Self, Failure> {
        let (stream, own) = open(node).await?;
        let link = Self::over(stream, Arc::clone(&node.name), node.address.timeout).await?;
        let mut link = Self { own, ..link };
        if let Some(auth) = auth_command(node).await? {
            let reply: RedisResult<Value> = auth.query_async(&mut link.connection).await;
            reply.map_err(|error| failure::auth_refused(&link.node, &error))?;
        }
        link.identify().await?;
        Ok(link)
    }

    /// A link over a stream that is connected to a node, without logging in.
    pub(crate) async fn over<S>(stream: S, node: Arc<str>, timeout: Duration) -> Result<Self, Failure>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let allowance = Allowance::new(MAX_REPLY);
        let stream = BoundedStream::new(stream, allowance.clone());
        // We send AUTH and the identification ourselves, so that each failure is reported exactly.
        let info = RedisConnectionInfo::default().set_skip_set_lib_name();
        let config = AsyncConnectionConfig::new().set_response_timeout(None);
        let (connection, driver) = MultiplexedConnection::new_with_config(&info, stream, config)
            .await
            .map_err(|error| failure::refused(&node, Command::ClientId, &error))?;
        let driver = Driver(tokio::spawn(driver));
        let (own, refused) = (OwnConnection::default(), Vec::new());
        Ok(Self { node, own, connection, _driver: driver, allowance, timeout, id: None, refused })
    }

    /// Gets our id and names the connection, as far as the server permits.
    async fn identify(&mut self) -> Result<(), Failure> {
        // A batch of one command: a server that rejects us answers one command and closes the connection.
        let reply = self.send_one(Command::ClientId).await;
        self.own.note_answer();
        match reply {
            Ok(Reply::Number(id)) => {
                self.id = u64::try_from(id).ok();
                self.id.into_iter().for_each(|id| self.own.identify(id));
            }
            Ok(Reply::Text(_)) => {}
            Err(failure) if is_node_wide(&failure) => return Err(failure),
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

    /// Sends one command. Unlike for a batch, the error shows what was received if it was no valid reply.
    async fn send_one(&mut self, command: Command) -> Result<Reply, Failure> {
        let reply = Request::from(command).packed().query_async(&mut self.connection).await;
        read_reply(&self.node, command, reply)
    }

    /// The highest id that the server has given to this link, and to those that this process opened after it.
    pub fn highest_own_id(&self) -> Option<u64> {
        self.id.max(self.own.highest_id())
    }

    /// Makes a failure more precise: if the link was closed after it was connected and named, the cause is in the
    /// request.
    pub fn explain(node: &str, failure: Failure) -> Failure {
        if failure.reason == Reason::Closed { failure::closed_while_answering(node) } else { failure }
    }

    /// Sends commands as one batch, which the server runs without commands of others in between, and waits for all
    /// replies. The refusal of a single command is an inner error.
    ///
    /// # Errors
    /// The link failed, or the time-out expired: the link must be dropped.
    pub async fn send(&mut self, requests: &[Request<'_>]) -> Result<Vec<Result<Reply, Failure>>, Failure> {
        self.send_within(requests, MAX_REPLY).await
    }

    /// Like [`Link::send`], with a maximum of `max_bytes` for all replies together, or of 128 MiB if that is less.
    ///
    /// # Errors
    /// Also [`Reason::TooLarge`]: the replies are larger. Like after any other error, the link must be dropped.
    pub async fn send_within(
        &mut self,
        requests: &[Request<'_>],
        max_bytes: u64,
    ) -> Result<Vec<Result<Reply, Failure>>, Failure> {
        let max_bytes = max_bytes.min(MAX_REPLY);
        let mut pipeline = Pipeline::with_capacity(requests.len());
        for request in requests {
            pipeline.add_command(request.packed());
        }
        pipeline.ignore_errors();
        self.allowance.reset(max_bytes);
        let replies = timeout(self.timeout, pipeline.query_async(&mut self.connection)).await;
        let Ok(replies) = replies else {
            return Err(failure::timed_out(&self.node, "did not answer", self.timeout.as_secs_f64()));
        };
        let replies: Vec<RedisResult<Value>> = replies.map_err(|error| match self.allowance.is_used_up() {
            true => failure::too_large(&self.node, max_bytes),
            false => {
                let failure = failure::refused(&self.node, requests[0].command, &error);
                if failure.reason == Reason::Closed {
                    self.own.note_cut();
                }
                failure
            }
        })?;
        let reply = |(request, reply): (&Request<'_>, _)| read_reply(&self.node, request.command, reply);
        Ok(requests.iter().zip(replies).map(reply).collect())
    }
}

/// A stream of bytes to and from a node: TCP, TLS or a unix socket.
trait ByteStream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> ByteStream for S {}

/// Runs an attempt to connect, within the node's time-out, if the server is not known to be full. Every connection that
/// this program opens to a server is opened here.
async fn connected<T>(
    node: &Node,
    purpose: LinkPurpose,
    what: &str,
    attempt: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let permit = node.admission.begin(purpose, Instant::now())?;
    let patience = node.address.timeout;
    let result = match timeout(patience, attempt).await {
        Ok(result) => result,
        Err(_) => Err(failure::dial_timed_out(node, what, patience.as_secs_f64())),
    };
    permit.end(result.as_ref().err(), Instant::now());
    result.inspect_err(|failure| note_rejection(node, failure))
}

/// Notes that the server rejected a connection that was counted when it was opened.
fn note_rejection(node: &Node, failure: &Failure) {
    if matches!(failure.reason, Reason::MaxClients | Reason::Denied) {
        node.dials.add_rejected();
    }
}

/// Opens a stream to a node, without sending anything on it.
async fn open(node: &Node) -> Result<(Box<dyn ByteStream>, OwnConnection), Failure> {
    match &node.address.endpoint {
        Endpoint::Unix(path) => {
            let unix = UnixStream::connect(path).await.map_err(|error| failure::connect_failed(node, &error))?;
            Ok((Box::new(unix), node.dials.open(None)))
        }
        Endpoint::Tcp { host, port, tls } => {
            let tcp = connect(node, host, *port).await?;
            let address = tcp.local_addr().ok();
            let stream: Box<dyn ByteStream> = if *tls {
                let encrypted = tls::handshake(&node.address.tls, host, tcp).await;
                Box::new(encrypted.map_err(|why| failure::tls_failed(&node.name, &why))?)
            } else {
                Box::new(tcp)
            };
            Ok((stream, node.dials.open(address)))
        }
    }
}

/// Permits for reading password files. A read outlives our time-out if the file is a pipe without a writer; without a
/// limit, such reads would take all threads.
static READING: Semaphore = Semaphore::const_new(16);

/// The `AUTH` command, whose args are secret; `None` if there is no password for this node.
async fn auth_command(node: &Node) -> Result<Option<redis::Cmd>, Failure> {
    let Some(credentials) = node.address.credentials.clone() else { return Ok(None) };
    let endpoint = node.address.endpoint.clone();
    let Ok(permit) = READING.try_acquire() else {
        return Err(failure::password_unreadable(&node.name, "earlier reads of password files have not ended"));
    };
    let read = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        credentials.login(&endpoint)
    });
    let login = read.await.unwrap_or_else(|error| Err(error.to_string()));
    let login = login.map_err(|why| failure::password_unreadable(&node.name, &why))?;
    Ok(login.map(|login| {
        let mut auth = redis::cmd("AUTH");
        if let Some(user) = &login.user {
            auth.arg(user);
        }
        auth.arg(login.password.expose_secret());
        auth
    }))
}

/// Connects to the first address of a host that answers.
async fn connect(node: &Node, host: &str, port: u16) -> Result<TcpStream, Failure> {
    let found = tokio::net::lookup_host((host, port)).await.map_err(|error| failure::resolve_failed(node, &error))?;
    let addresses: Vec<_> = found.collect();
    // Each address gets a share of the time-out, so that one that drops all packets does not use up the time of the
    // others.
    let share = node.address.timeout / u32::try_from(addresses.len().max(1)).unwrap_or(u32::MAX);
    let mut last = failure::resolve_failed(node, &std::io::ErrorKind::NotFound.into());
    for address in addresses {
        last = match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // A batch is one write, so delaying it (Nagle) has no benefit. A failure only costs latency.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Ok(Err(error)) => failure::connect_failed(node, &error),
            Err(_) => failure::timed_out(&node.name, &format!("could not connect{}", node.at()), share.as_secs_f64()),
        };
    }
    Err(last)
}

fn read_reply(node: &str, command: Command, reply: RedisResult<Value>) -> Result<Reply, Failure> {
    match reply {
        Ok(Value::BulkString(text)) => Ok(Reply::Text(text)),
        Ok(Value::VerbatimString { text, .. }) => Ok(Reply::Text(text.into_bytes())),
        Ok(Value::SimpleString(text)) => Ok(Reply::Text(text.into_bytes())),
        Ok(Value::Okay) => Ok(Reply::Text(b"OK".to_vec())),
        Ok(Value::Int(number)) => Ok(Reply::Number(number)),
        Ok(_) => Err(failure::unexpected_reply(node, command)),
        Err(error) => Err(failure::refused(node, command, &error)),
    }
}

/// Returns true if a failure concerns the node as a whole, so that no other command would succeed.
fn is_node_wide(failure: &Failure) -> bool {
    use Reason::{Auth, Busy, Closed, Denied, MaxClients, Protocol};
    matches!(failure.reason, Auth | Busy | Closed | Denied | MaxClients | Protocol)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

    use super::*;

    /// The allowance is reset for each batch, because a link is used for a long time.
    #[tokio::test]
    async fn the_bound_is_for_each_batch_and_not_for_all_together() {
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
        let mut link = Link::over(near, "node".into(), Duration::from_secs(180)).await.expect("a link");
        for _ in 0..4 {
            let replies = link.send(&[Command::ClientList.into()]).await.expect("an answer");
            assert!(matches!(&replies[..], [Ok(Reply::Text(text))] if text.len() == MAX_REPLY as usize / 3));
        }
        let four = [Request::from(Command::ClientList); 4];
        assert_eq!(link.send(&four).await.map_err(|failure| failure.reason), Err(Reason::TooLarge));
    }

    /// Each read occupies a thread until the pipe has a writer, and names are resolved on the same threads.
    #[tokio::test]
    async fn password_files_that_never_end_do_not_take_all_threads() {
        let folder = tempfile::tempdir().expect("a folder");
        let pipe = folder.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo runs").success());
        let credentials = Some(Credentials { user: None, password: Password::File(pipe.clone()) });
        let (endpoint, timeout) = (Endpoint::Unix("/nowhere".into()), Duration::from_secs(1));
        let node = Node::from(NodeAddress { endpoint, credentials, tls: TlsOptions::default(), timeout });
        let read = |node: Node| tokio::spawn(async move { auth_command(&node).await.map(|auth| auth.is_some()) });
        let waiting: Vec<_> = (0..16).map(|_| read(node.clone())).collect();
        while READING.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        let failure = auth_command(&node).await.expect_err("one too many");
        assert!(failure.message.contains("have not ended") && failure.reason == Reason::Auth, "{failure}");
        // A writer for each reader: some may open the pipe after the first one has closed it.
        let writer = tokio::task::spawn_blocking(move || {
            while READING.available_permits() < 16 {
                let open = std::fs::OpenOptions::new().read(true).write(true).open(&pipe);
                drop(open.expect("the pipe"));
                std::thread::yield_now();
            }
        });
        for read in waiting {
            let read = read.await.expect("it ends");
            assert!(read.is_err_and(|failure| failure.message.contains("it is empty")));
        }
        writer.await.expect("it ends");
    }
}
