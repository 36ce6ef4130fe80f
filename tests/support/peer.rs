//! A raw RESP client: it can block, subscribe, send nothing, and send malformed data.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::PATIENCE;

/// A connection.
pub(crate) struct Peer {
    reader: BufReader<Box<dyn Read + Send>>,
    writer: Box<dyn Write + Send>,
}

impl Peer {
    pub(crate) fn connect(address: &str) -> Self {
        Self::try_connect(address).expect("the server accepts connections")
    }

    pub(crate) fn try_connect(address: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let reader: Box<dyn Read + Send> = Box::new(stream.try_clone()?);
        Ok(Self { reader: BufReader::new(reader), writer: Box::new(stream) })
    }

    /// Connects and subscribes to a channel. The connection has no read timeout.
    pub(crate) fn subscribed(address: &str, channel: &str) -> Self {
        let stream = TcpStream::connect(address).expect("the server accepts connections");
        let reader: Box<dyn Read + Send> = Box::new(stream.try_clone().expect("a socket can be cloned"));
        let mut peer = Self { reader: BufReader::new(reader), writer: Box::new(stream) };
        peer.send(&["SUBSCRIBE", channel]);
        for _ in 0..4 {
            peer.answer().expect("the server confirms the subscription");
        }
        peer
    }

    /// Reads the next message of the subscription, an array of its kind, channel and content, and returns the content.
    pub(crate) fn message(&mut self) -> io::Result<Vec<u8>> {
        for _ in 0..3 {
            self.answer()?;
        }
        self.answer()
    }

    pub(crate) fn connect_unix(path: &Path) -> Self {
        let stream = UnixStream::connect(path).expect("the server has a socket");
        let reader: Box<dyn Read + Send> = Box::new(stream.try_clone().expect("a socket can be cloned"));
        Self { reader: BufReader::new(reader), writer: Box::new(stream) }
    }

    /// Sends a command without waiting for the reply, as for one that blocks, subscribes or monitors.
    pub(crate) fn send(&mut self, args: &[impl AsRef<[u8]>]) {
        self.try_send(args).expect("the server accepts commands");
    }

    fn try_send(&mut self, args: &[impl AsRef<[u8]>]) -> io::Result<()> {
        let mut bytes = format!("*{}\r\n", args.len()).into_bytes();
        for arg in args {
            let arg = arg.as_ref();
            bytes.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
            bytes.extend_from_slice(arg);
            bytes.extend_from_slice(b"\r\n");
        }
        self.writer.write_all(&bytes)
    }

    /// Sends a command and returns the text of its reply: the content of a bulk string, or else the line with its type
    /// sign.
    pub(crate) fn ask(&mut self, args: &[impl AsRef<[u8]>]) -> String {
        self.try_ask(args).expect("the server answers")
    }

    pub(crate) fn try_ask(&mut self, args: &[impl AsRef<[u8]>]) -> io::Result<String> {
        self.try_send(args)?;
        self.answer().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Sends a command and returns the bytes of its reply.
    pub(crate) fn ask_bytes(&mut self, args: &[impl AsRef<[u8]>]) -> Vec<u8> {
        self.send(args);
        self.answer().expect("the server answers")
    }

    /// Sends a command that must succeed.
    pub(crate) fn must(&mut self, args: &[impl AsRef<[u8]>]) -> &mut Self {
        let answer = self.ask(args);
        assert!(!answer.starts_with('-'), "{answer}");
        self
    }

    /// Leaves, and waits until the server has closed the connection: it then no longer lists this client.
    pub(crate) fn leave(mut self) {
        let _ = self.try_ask(&["QUIT"]);
        let _ = self.reader.read_to_end(&mut Vec::new());
    }

    /// Sends a command and returns the elements of its reply, a list of texts; none for any other reply.
    pub(crate) fn list(&mut self, args: &[impl AsRef<[u8]>]) -> Vec<String> {
        self.send(args);
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let head = self.answer().map(text).expect("the server answers");
        let count = head.strip_prefix('*').and_then(|count| count.parse().ok()).unwrap_or(0);
        (0..count).map(|_| self.answer().map(text).expect("an element")).collect()
    }

    fn answer(&mut self) -> io::Result<Vec<u8>> {
        let mut line = Vec::new();
        if self.reader.read_until(b'\n', &mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let line = line.trim_ascii_end();
        let length = line.strip_prefix(b"$").and_then(|text| std::str::from_utf8(text).ok()?.parse::<usize>().ok());
        let Some(length) = length else { return Ok(line.to_vec()) };
        let mut bulk = vec![0; length + 2];
        self.reader.read_exact(&mut bulk)?;
        bulk.truncate(length);
        Ok(bulk)
    }
}
