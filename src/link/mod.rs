//! A link: one persistent connection to a node, authenticated and named. Knows how to connect and which commands exist;
//! does not know the meaning of the replies.

mod address;
mod admission;
mod command;
mod dials;
mod failure;
mod node;
mod origin;
mod password;
mod password_command;
#[cfg(any(test, fuzzing))]
mod reply_check;
mod reply_reader;
mod reply_tree;
mod subscription;
mod tls;

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use secrecy::ExposeSecret;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

pub use address::{
    Credentials, Endpoint, NodeAddress, ParsedAddress, Password, TlsOptions, parse_address, parse_address_with_port,
    requires_tls,
};
pub use admission::{Admission, LinkPurpose, OpenLinks};
pub use command::{Command, Request, ServerKind};
pub use dials::Dials;
pub use node::Node;
pub use origin::Origin;
pub use password::{Login, check_password_file};
pub use password_command::PasswordCommand;
#[cfg(any(test, fuzzing))]
pub(crate) use reply_check::check as check_reply;
pub use reply_tree::{HeldTree, ReplyTree};
pub use subscription::{Delivery, Subscription};
pub use tls::config as tls_config;
pub use tls::is_server_name;

use crate::failure::{Failure, Reason};
use crate::memory::HeldText;
#[cfg(test)]
use crate::memory::MemoryLimit;
use dials::OwnConnection;
use reply_reader::{Bounds, RawReply, ReadFault, ReplyReader};

/// Maximum size of all replies to one batch of commands, in bytes: 300,000 clients of 400 bytes.
const MAX_REPLY: u64 = 128 * 1024 * 1024;

/// The reply to a command.
#[derive(Debug)]
pub enum Reply {
    /// Text of any length.
    Text(HeldText),
    /// A number.
    Number(i64),
}

impl Reply {
    /// The text; empty for a number.
    pub fn into_text(self) -> Vec<u8> {
        self.into_held_text().into_text()
    }

    /// The text with the memory that is reserved for it; empty for a number.
    pub fn into_held_text(self) -> HeldText {
        match self {
            Reply::Text(text) => text,
            Reply::Number(_) => HeldText::default(),
        }
    }
}

/// A persistent connection to a node. After an error of [`Link::send`] it must be dropped: a late reply would be taken
/// for the reply to the next command.
#[derive(Debug)]
pub struct Link {
    node: Arc<str>,
    own: OwnConnection,
    reader: ReplyReader<Box<dyn ByteStream>>,
    timeout: Duration,
    /// The id of our connection; `None` if the server does not report it (before 5.0, or not permitted).
    pub id: Option<u64>,
    /// The identification commands that the server refused. Nothing depends on them; `check` reports them.
    pub refused: Vec<(Command, Failure)>,
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
        let mut link = Self {
            node: Arc::clone(&node.name),
            own,
            reader: ReplyReader::new(stream, Arc::clone(&node.memory)),
            timeout: node.address.timeout,
            id: None,
            refused: Vec::new(),
        };
        log_in(node, &mut link.reader).await?;
        link.identify().await?;
        Ok(link)
    }

    /// A link over a stream that is connected to a node, without logging in.
    #[cfg(test)]
    pub(crate) fn over<S>(stream: S, node: Arc<str>, timeout: Duration) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + Sync + 'static,
    {
        let reader = ReplyReader::new(Box::new(stream) as Box<dyn ByteStream>, MemoryLimit::of_process().share());
        Self { node, own: OwnConnection::default(), reader, timeout, id: None, refused: Vec::new() }
    }

    /// Gets our id and names the connection, as far as the server permits.
    async fn identify(&mut self) -> Result<(), Failure> {
        // A batch of one command: a server that rejects us answers one command and closes the connection.
        let replies = self.send(&[Command::ClientId.into()]).await;
        self.own.note_answer();
        match replies?.remove(0) {
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
        match timeout(self.timeout, self.exchange(requests, max_bytes.min(MAX_REPLY))).await {
            Ok(replies) => replies,
            Err(_) if self.reader.waits_for_memory => {
                Err(failure::no_memory(&self.node, self.reader.memory().limit().bytes()))
            }
            Err(_) => Err(failure::timed_out(&self.node, "did not answer", self.timeout.as_secs_f64())),
        }
    }

    /// Returns true if the last batch failed because the replies of all nodes use up the memory for them: another way
    /// to ask would fail as well.
    pub fn lacks_memory(&self) -> bool {
        self.reader.waits_for_memory
    }

    async fn exchange(
        &mut self,
        requests: &[Request<'_>],
        max_bytes: u64,
    ) -> Result<Vec<Result<Reply, Failure>>, Failure> {
        let mut packed = Vec::new();
        for request in requests {
            packed.extend_from_slice(&request.packed().get_packed_command());
        }
        let written = self.reader.write(&packed).await;
        written.map_err(|fault| self.unreadable(requests[0].command, fault))?;
        let mut left = max_bytes;
        let mut replies = Vec::with_capacity(requests.len());
        for Request { command, .. } in requests {
            let bounds = Bounds { has_rows: command.is_listing(), ..Bounds::value(command.max_reply().min(left)) };
            let reply = self.reader.read(bounds).await;
            let reply = reply.map_err(|fault| self.unreadable(*command, fault))?;
            if let RawReply::Text(text) = &reply {
                left = left.saturating_sub(text.len() as u64);
            }
            replies.push(self.answer(*command, reply));
        }
        Ok(replies)
    }

    /// Asks about topology: sends one command, whose reply may be nested. The inner error is the server's refusal.
    ///
    /// # Errors
    /// The link failed, or the time-out expired: the link must be dropped.
    pub async fn ask_tree(&mut self, request: Request<'_>) -> Result<Result<HeldTree, Failure>, Failure> {
        let command = request.command;
        let exchange = async {
            self.reader.write(&request.packed().get_packed_command()).await?;
            self.reader.read_tree(command.max_reply()).await
        };
        match timeout(self.timeout, exchange).await {
            Ok(Ok(reply)) => Ok(reply.map_err(|error| failure::refused(&self.node, command, &error))),
            Ok(Err(fault)) => Err(self.unreadable(command, fault)),
            Err(_) => Err(failure::timed_out(&self.node, "did not answer", self.timeout.as_secs_f64())),
        }
    }

    fn unreadable(&mut self, command: Command, fault: ReadFault) -> Failure {
        if let ReadFault::Closed(_) = fault {
            self.own.note_cut();
        }
        failure::unreadable(&self.node, command, fault)
    }

    fn answer(&self, command: Command, reply: RawReply) -> Result<Reply, Failure> {
        match reply {
            RawReply::Text(text) => Ok(Reply::Text(text)),
            RawReply::Number(number) => Ok(Reply::Number(number)),
            RawReply::Refused(error) => Err(failure::refused(&self.node, command, &error)),
            RawReply::Nothing | RawReply::Array(_) | RawReply::Skipped(_) => {
                Err(failure::unexpected_reply(&self.node, command))
            }
        }
    }
}

/// Maximum size of the reply to a command that only confirms, in bytes.
const MAX_CONFIRMATION: u64 = 4096;

/// Sends `AUTH`, whose args are secret.
async fn send_auth(reader: &mut ReplyReader<Box<dyn ByteStream>>, login: &Login, node: &str) -> Result<(), Failure> {
    let mut auth = redis::cmd("AUTH");
    if let Some(user) = &login.user {
        auth.arg(user);
    }
    auth.arg(login.password.expose_secret());
    let fault = |fault: ReadFault| failure::unreadable_login(node, fault);
    reader.write(&auth.get_packed_command()).await.map_err(fault)?;
    match reader.read(Bounds::value(MAX_CONFIRMATION)).await.map_err(fault)? {
        RawReply::Refused(error) => Err(failure::auth_refused(node, &error)),
        _ => Ok(()),
    }
}

/// A stream of bytes to and from a node: TCP, TLS or a unix socket.
trait ByteStream: AsyncRead + AsyncWrite + Unpin + Send + Sync {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + Sync> ByteStream for S {}

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

/// Sends `AUTH`, if there is a password for this node. If it is refused and its source has another one by now, that one
/// is tried, too.
async fn log_in(node: &Node, reader: &mut ReplyReader<Box<dyn ByteStream>>) -> Result<(), Failure> {
    let Some(credentials) = &node.address.credentials else { return Ok(()) };
    let login = credentials.login(&node.address.endpoint).await;
    let login = login.map_err(|why| failure::password_unreadable(node, &why))?;
    let Some(login) = login else { return Ok(()) };
    match send_auth(reader, &login, &node.name).await {
        Err(failure) if failure.reason == Reason::Auth => match credentials.renewed(&login).await {
            Some(renewed) => send_auth(reader, &renewed, &node.name).await,
            None => Err(failure),
        },
        result => result,
    }
}

/// Connects to the first address of a host that answers.
async fn connect(node: &Node, host: &str, port: u16) -> Result<TcpStream, Failure> {
    let found = tokio::net::lookup_host((host, port)).await.map_err(|error| failure::resolve_failed(node, &error))?;
    // A name that another machine announced could lead to a service that only we may reach.
    let is_foreign_name = node.origin.is_discovered && host.parse::<IpAddr>().is_err();
    let addresses: Vec<_> = found.filter(|found| !is_foreign_name || !is_special(found.ip())).collect();
    if is_foreign_name && addresses.is_empty() {
        return Err(failure::special_address(node, host));
    }
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

/// Returns true for addresses at which no server of a cluster can be: link-local ones and those of the metadata
/// services of clouds (169.254.169.254, `fd00:ec2::254`), multicast, broadcast and unspecified ones.
pub fn is_special(address: IpAddr) -> bool {
    const METADATA: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
    match address.to_canonical() {
        IpAddr::V4(address) => {
            address.is_link_local() || address.is_multicast() || address.is_broadcast() || address.is_unspecified()
        }
        IpAddr::V6(address) => {
            let is_link_local = address.is_unicast_link_local() || address == METADATA;
            is_link_local || address.is_multicast() || address.is_unspecified()
        }
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

    use super::password::READING;
    use super::*;

    /// The resolver reads `0` as the unspecified address, without DNS.
    #[tokio::test]
    async fn a_discovered_name_that_leads_to_a_special_address_is_not_dialed() {
        let endpoint = Endpoint::Tcp { host: "0".to_owned(), port: 1, tls: false };
        let address = NodeAddress { endpoint, credentials: None, tls: TlsOptions::default(), timeout: PATIENCE };
        let given = Node::from(address);
        let origin = Origin { is_discovered: true, ..Origin::default() };
        let discovered = Node { origin: Arc::new(origin), ..given.clone() };
        let failure = connect(&discovered, "0", 1).await.expect_err("it is not dialed");
        assert!(failure.reason == Reason::Resolve && failure.message.contains("--discovery.address-map"), "{failure}");
        let failure = connect(&given, "0", 1).await.expect_err("nothing listens");
        assert_eq!(failure.reason, Reason::Connect, "the operator named it");
    }

    const PATIENCE: Duration = Duration::from_secs(180);

    /// The bound is that of each batch, because a link is used for a long time.
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
        let mut link = Link::over(near, "node".into(), Duration::from_secs(180));
        for _ in 0..4 {
            let replies = link.send(&[Command::ClientList.into()]).await.expect("an answer");
            assert!(matches!(&replies[..], [Ok(Reply::Text(text))] if text.len() == MAX_REPLY as usize / 3));
        }
        let four = [Request::from(Command::ClientList); 4];
        assert_eq!(link.send(&four).await.err().map(|failure| failure.reason), Some(Reason::TooLarge));
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
        let read = |node: Node| {
            let (near, _far) = tokio::io::duplex(64);
            let stream = Box::new(near) as Box<dyn ByteStream>;
            let mut reader = ReplyReader::new(stream, MemoryLimit::of_process().share());
            tokio::spawn(async move { log_in(&node, &mut reader).await })
        };
        let waiting: Vec<_> = (0..16).map(|_| read(node.clone())).collect();
        while READING.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        let failure = read(node).await.expect("it ends").expect_err("one too many");
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
