//! Reads replies, each within a bound, and of the few types that our commands are answered with.
//!
//! The redis crate accepts values of any type, number and depth from the server: `*2147483647` and then small elements
//! took gigabytes, as each takes far more memory than bytes on the wire. Here the first byte of a reply decides: a
//! container of values is refused there, and a text that declares too many bytes at its head.

use std::io;
use std::sync::Arc;

use memchr::memchr_iter;
use redis::RedisError;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};

use super::reply_tree::{ELEMENT_BYTES, HeldTree, MAX_ELEMENTS, ReplyTree, TreeBuilder};
use crate::memory::{HeldText, LINE_BYTES, MemoryShare, Reservation};

/// Maximum length of a protocol line: a number, a status, or the text of an error.
const MAX_LINE: u64 = 4096;

/// Memory is reserved in steps of this many bytes while a text arrives.
const STEP: usize = 256 * 1024;

/// Texts that grow above this size are moved once to memory of at least [`MIN_MAPPED`] bytes, which the allocator maps
/// apart and returns as a whole. On the heaps of several threads, what they grow out of took as much as they do.
const MAX_ON_HEAP: usize = 2 * 1024 * 1024;
const MIN_MAPPED: usize = 33 * 1024 * 1024;

/// A reply, or a part of one.
#[derive(Debug)]
pub(super) enum RawReply {
    /// Text of any length.
    Text(HeldText),
    /// A number.
    Number(i64),
    /// The server's error.
    Refused(RedisError),
    /// No value.
    Nothing,
    /// The head of an array with this many elements, which follow.
    Array(u64),
    /// A text that was skipped because of its size, in bytes.
    Skipped(u64),
}

/// The reason why a reply could not be read. The stream cannot be used any more.
#[derive(Debug)]
pub(super) enum ReadFault {
    /// The connection failed.
    Closed(io::Error),
    /// The bytes are no reply, or a reply of a type that is not expected.
    Shape,
    /// It is larger than its bound, in bytes.
    TooLarge(u64),
}

/// The bounds of a reply.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Maximum number of bytes of a text.
    pub(super) bytes: u64,
    /// True if a larger text is skipped, and not a fault.
    pub(super) skips_larger: bool,
    /// True for a listing, whose lines take memory beside its text.
    pub(super) has_rows: bool,
    /// True if the reply may be an array.
    pub(super) may_be_array: bool,
}

impl Bounds {
    /// A single value of at most this many bytes.
    pub(super) fn value(bytes: u64) -> Self {
        Self { bytes, skips_larger: false, has_rows: false, may_be_array: false }
    }
}

/// A stream of replies.
pub(super) struct ReplyReader<S> {
    stream: BufReader<S>,
    memory: Arc<MemoryShare>,
    /// True while it waits for memory.
    pub(super) waits_for_memory: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> ReplyReader<S> {
    pub(super) fn new(stream: S, memory: Arc<MemoryShare>) -> Self {
        Self { stream: BufReader::new(stream), memory, waits_for_memory: false }
    }

    /// The limit on memory that applies.
    pub(super) fn memory(&self) -> &MemoryShare {
        &self.memory
    }

    /// Sends bytes. An error is returned only if there is nothing to read either: a server that refuses the connection
    /// sends a line and closes it, perhaps before we have sent a command.
    pub(super) async fn write(&mut self, bytes: &[u8]) -> Result<(), ReadFault> {
        // It would be taken for the reply to the next command.
        if !self.stream.buffer().is_empty() {
            return Err(ReadFault::Shape);
        }
        let written = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        match written.await {
            Err(error) if is_closed(&error) => match self.stream.fill_buf().await {
                Ok([]) | Err(_) => Err(ReadFault::Closed(error)),
                Ok(_) => Ok(()),
            },
            written => written.map_err(ReadFault::Closed),
        }
    }

    /// Waits for the first byte of a reply. May be cancelled.
    pub(super) async fn wait(&mut self) -> io::Result<()> {
        self.stream.fill_buf().await.map(drop)
    }

    /// Reads one reply; of an array only its head.
    pub(super) async fn read(&mut self, bounds: Bounds) -> Result<RawReply, ReadFault> {
        let sign = self.stream.read_u8().await.map_err(ReadFault::Closed)?;
        // Before anything else of it is read.
        let is_expected = match sign {
            b'+' | b'-' | b':' | b'$' | b'=' | b'_' => true,
            b'*' => bounds.may_be_array,
            _ => false,
        };
        if !is_expected {
            return Err(ReadFault::Shape);
        }
        let line = self.line().await?;
        match sign {
            b'+' => Ok(RawReply::Text(line.into())),
            b'-' => {
                let text = String::from_utf8_lossy(&line).into_owned();
                let (code, detail) = text.split_once(' ').unwrap_or((text.as_str(), ""));
                Ok(RawReply::Refused(redis::make_extension_error(code.to_owned(), Some(detail.to_owned()))))
            }
            b':' => Ok(RawReply::Number(number(&line)?)),
            b'_' if line.is_empty() => Ok(RawReply::Nothing),
            b'$' if line == b"-1" => Ok(RawReply::Nothing),
            b'$' => self.text(length(&line)?, bounds).await,
            b'=' => match self.text(length(&line)?, bounds).await? {
                // The format of the text, such as `txt:`.
                RawReply::Text(text) => verbatim(text),
                other => Ok(other),
            },
            b'*' if line == b"-1" => Ok(RawReply::Nothing),
            b'*' => Ok(RawReply::Array(length(&line)?)),
            _ => Err(ReadFault::Shape),
        }
    }

    /// Everything that follows, until the connection is closed.
    #[cfg(any(test, fuzzing))]
    pub(super) async fn read_rest(&mut self, rest: &mut Vec<u8>) {
        self.stream.read_to_end(rest).await.expect("a stream in memory");
    }

    /// Reads one reply that may be nested; the inner error is the server's refusal.
    pub(super) async fn read_tree(&mut self, max_bytes: u64) -> Result<Result<HeldTree, RedisError>, ReadFault> {
        let mut reservation = Reservation::none(&self.memory);
        let (mut builder, mut elements, mut left) = (TreeBuilder::default(), 0, max_bytes);
        loop {
            let reply = self.read(Bounds { may_be_array: true, ..Bounds::value(left) }).await?;
            elements += 1;
            if elements > MAX_ELEMENTS {
                return Err(ReadFault::TooLarge(max_bytes));
            }
            self.reserve(&mut reservation, ELEMENT_BYTES).await;
            let complete = match reply {
                RawReply::Refused(error) if elements == 1 => return Ok(Err(error)),
                RawReply::Array(count) if count > MAX_ELEMENTS => return Err(ReadFault::TooLarge(max_bytes)),
                RawReply::Array(count) => builder.open(count).map_err(|()| ReadFault::Shape)?,
                RawReply::Text(text) => {
                    left = left.saturating_sub(text.len() as u64);
                    self.reserve(&mut reservation, text.len() as u64).await;
                    builder.add(ReplyTree::Text(text.into_text()))
                }
                RawReply::Number(number) => builder.add(ReplyTree::Number(number)),
                RawReply::Nothing => builder.add(ReplyTree::Nothing),
                RawReply::Refused(_) | RawReply::Skipped(_) => return Err(ReadFault::Shape),
            };
            if let Some(tree) = complete {
                return Ok(Ok(HeldTree { tree, _reservation: reservation }));
            }
        }
    }

    async fn text(&mut self, size: u64, bounds: Bounds) -> Result<RawReply, ReadFault> {
        if size > bounds.bytes {
            if !bounds.skips_larger {
                return Err(ReadFault::TooLarge(bounds.bytes));
            }
            let copied = tokio::io::copy(&mut (&mut self.stream).take(size), &mut tokio::io::sink()).await;
            return match copied.map_err(ReadFault::Closed)? {
                copied if copied < size => Err(ReadFault::Closed(io::ErrorKind::UnexpectedEof.into())),
                _ => self.end_of_text().await.map(|()| RawReply::Skipped(size)),
            };
        }
        let size = usize::try_from(size).map_err(|_| ReadFault::Shape)?;
        let mut text = Vec::new();
        let mut reservation = Reservation::none(&self.memory);
        while text.len() < size {
            let (start, step) = (text.len(), (size - text.len()).min(STEP));
            self.reserve(&mut reservation, step as u64).await;
            if text.capacity() - start < step {
                text.reserve_exact((size - start).min(more_capacity(start)));
            }
            let mut piece = (&mut self.stream).take(step as u64);
            while piece.limit() > 0 {
                if piece.read_buf(&mut text).await.map_err(ReadFault::Closed)? == 0 {
                    return Err(ReadFault::Closed(io::ErrorKind::UnexpectedEof.into()));
                }
            }
            // Many servers that send as much as they can would else take turns of megabytes.
            tokio::task::yield_now().await;
            if bounds.has_rows {
                let rows = memchr_iter(b'\n', &text[start..]).count() as u64;
                self.reserve(&mut reservation, rows * LINE_BYTES).await;
            }
        }
        self.end_of_text().await?;
        Ok(RawReply::Text(HeldText::new(text, reservation)))
    }

    async fn reserve(&mut self, reservation: &mut Reservation, bytes: u64) {
        self.waits_for_memory = true;
        reservation.grow(bytes).await;
        self.waits_for_memory = false;
    }

    async fn end_of_text(&mut self) -> Result<(), ReadFault> {
        let mut end = [0; 2];
        self.stream.read_exact(&mut end).await.map_err(ReadFault::Closed)?;
        if end == *b"\r\n" { Ok(()) } else { Err(ReadFault::Shape) }
    }

    /// The rest of a line, without its end.
    async fn line(&mut self) -> Result<Vec<u8>, ReadFault> {
        let mut line = Vec::new();
        let mut bounded = (&mut self.stream).take(MAX_LINE);
        let read = bounded.read_until(b'\n', &mut line).await.map_err(ReadFault::Closed)?;
        if line.ends_with(b"\r\n") {
            line.truncate(read - 2);
            // The redis crate takes it as a part of the line.
            return if line.contains(&b'\r') { Err(ReadFault::Shape) } else { Ok(line) };
        }
        match line.last() {
            Some(b'\n') => Err(ReadFault::Shape),
            _ if read as u64 == MAX_LINE => Err(ReadFault::TooLarge(MAX_LINE)),
            _ => Err(ReadFault::Closed(io::ErrorKind::UnexpectedEof.into())),
        }
    }
}

/// The bytes to allocate after so many that were received. Not as much as is declared: where address space is limited,
/// a few servers that send nothing more would use it up, and an allocation that fails ends the program.
fn more_capacity(received: usize) -> usize {
    match received {
        ..MAX_ON_HEAP => received.max(STEP),
        _ => received.max(MIN_MAPPED),
    }
}

/// A decimal number without anything around it.
fn number(line: &[u8]) -> Result<i64, ReadFault> {
    std::str::from_utf8(line).ok().and_then(|text| text.parse().ok()).ok_or(ReadFault::Shape)
}

/// The length of a text or an array: digits, and not the `?` of a text in pieces.
fn length(line: &[u8]) -> Result<u64, ReadFault> {
    u64::try_from(number(line)?).map_err(|_| ReadFault::Shape)
}

fn verbatim(text: HeldText) -> Result<RawReply, ReadFault> {
    let (mut text, reservation) = text.into_parts();
    if text.get(3) != Some(&b':') {
        return Err(ReadFault::Shape);
    }
    text.drain(..4);
    Ok(RawReply::Text(match reservation {
        Some(reservation) => HeldText::new(text, reservation),
        None => text.into(),
    }))
}

/// True if the server has closed the connection.
fn is_closed(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

impl<S> std::fmt::Debug for ReplyReader<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReplyReader").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::DuplexStream;

    use super::super::reply_check::{check, read};
    use super::*;
    use crate::memory::MemoryLimit;

    const ANY: Bounds = Bounds { bytes: 4096, skips_larger: false, has_rows: false, may_be_array: false };

    fn reader(stream: DuplexStream) -> ReplyReader<DuplexStream> {
        ReplyReader::new(stream, MemoryLimit::new(1 << 20).share())
    }

    #[test]
    fn every_reply_to_our_commands_is_read_and_every_other_one_refused() {
        for (bytes, expected) in [
            ("+OK\r\n", "text \"OK\""),
            (":12\r\n", "Number(12)"),
            ("$4\r\na\r\nb\r\n", "text \"a\\r\\nb\""),
            ("$0\r\n\r\n", "text \"\""),
            ("$-1\r\n", "Nothing"),
            ("_\r\n", "Nothing"),
            ("=7\r\ntxt:a:b\r\n", "text \"a:b\""),
            ("-NOPERM no\r\n", "refused Some(\"NOPERM\") \"no\""),
            ("$4096\r\n", "Err(Closed(Kind(UnexpectedEof)))"),
            ("$4097\r\n", "Err(TooLarge(4096))"),
            ("$9000000000\r\n", "Err(TooLarge(4096))"),
            ("$9223372036854775807\r\n", "Err(TooLarge(4096))"),
            ("$9223372036854775808\r\n", "Err(Shape)"),
            ("$-2\r\n", "Err(Shape)"),
            ("$?\r\n;1\r\na\r\n", "Err(Shape)"),
            ("$1\r\nabc", "Err(Shape)"),
            ("=1\r\na\r\n", "Err(Shape)"),
            ("=-1\r\n", "Err(Shape)"),
            ("_x\r\n", "Err(Shape)"),
            (":1 \r\n", "Err(Shape)"),
            ("+a\rb\r\n", "Err(Shape)"),
            ("+a\n", "Err(Shape)"),
            ("$4\r\nab", "Err(Closed(Kind(UnexpectedEof)))"),
            ("+OK", "Err(Closed(Kind(UnexpectedEof)))"),
            // Nothing but the first byte was received.
            ("*", "Err(Shape)"),
            ("%", "Err(Shape)"),
            ("~", "Err(Shape)"),
            ("|", "Err(Shape)"),
            (">", "Err(Shape)"),
            ("(", "Err(Shape)"),
            (",", "Err(Shape)"),
            ("#", "Err(Shape)"),
            ("!", "Err(Shape)"),
            ("H", "Err(Shape)"),
        ] {
            let (result, _) = read(bytes.as_bytes(), 64, ANY);
            assert_eq!(result, expected, "{bytes:?}");
        }
        for sign in ["+", "-", ":", "$", "=", "_"] {
            let (result, _) = read(format!("{sign}{}", "1".repeat(100_000)).as_bytes(), 1 << 17, ANY);
            assert_eq!(result, "Err(TooLarge(4096))", "{sign}");
        }
        let (array, _) = read(b"*3\r\n", 64, Bounds { may_be_array: true, ..ANY });
        assert_eq!(array, "Array(3)");
        let (skipped, rest) = read(b"$5\r\nabcde\r\n+", 64, Bounds { skips_larger: true, ..Bounds::value(4) });
        assert_eq!((skipped.as_str(), &rest[..]), ("Skipped(5)", &b"+"[..]));
    }

    #[tokio::test]
    async fn the_last_line_of_a_server_that_closes_is_the_reply_to_the_first_command() {
        let (near, mut far) = tokio::io::duplex(64);
        far.write_all(b"-ERR max number of clients reached\r\n").await.expect("it has room");
        drop(far);
        let mut reader = reader(near);
        reader.write(b"a command").await.expect("there is something to read");
        assert!(matches!(reader.read(ANY).await, Ok(RawReply::Refused(_))));
        assert!(matches!(reader.write(b"another one").await, Err(ReadFault::Closed(_))));
    }

    #[tokio::test]
    async fn a_reply_to_no_command_is_not_taken_for_that_to_the_next_one() {
        let (near, mut far) = tokio::io::duplex(64);
        far.write_all(b"+OK\r\n+MORE\r\n").await.expect("it has room");
        let mut reader = reader(near);
        assert!(matches!(reader.read(ANY).await, Ok(RawReply::Text(_))));
        assert!(matches!(reader.write(b"a command").await, Err(ReadFault::Shape)));
    }

    /// A row of five bytes takes hundreds in memory.
    #[tokio::test(start_paused = true)]
    async fn the_lines_of_a_listing_take_memory_beside_its_text() {
        let limit = MemoryLimit::new(1 << 20);
        let text = "id=1\n".repeat(20_000);
        for (has_rows, expected) in [(false, true), (true, false)] {
            let (near, mut far) = tokio::io::duplex(1 << 20);
            far.write_all(format!("${}\r\n{text}\r\n", text.len()).as_bytes()).await.expect("it has room");
            let mut reader = ReplyReader::new(near, limit.share());
            let bounds = Bounds { has_rows, ..Bounds::value(1 << 20) };
            let result = tokio::time::timeout(std::time::Duration::from_secs(5), reader.read(bounds)).await;
            assert_eq!((result.is_ok(), reader.waits_for_memory), (expected, !expected));
        }
        assert_eq!(limit.used(), 0);
    }

    /// Bytes that are nearly replies.
    fn replies() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop::sample::select(vec![
            "+OK", "-ERR a", ":", "$", "=", "_", "*", "%", "~", ">", "|", "#t", ",1.5", "(12", "!", "1", "3", "-1",
            "?", "12", "\r\n", "\r\n", "\r\n", "\n", "\r", "txt:a", "abc", " ",
        ]);
        prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat().into_bytes())
    }

    proptest! {
        #[test]
        fn each_reply_is_read_as_another_parser_reads_it(bytes in replies()) {
            check(&bytes);
        }
    }

    fn tree(bytes: &[u8]) -> Result<ReplyTree, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let (near, mut far) = tokio::io::duplex(1 << 20);
            far.write_all(bytes).await.expect("there is room");
            drop(far);
            match reader(near).read_tree(4096).await {
                Ok(Ok(held)) => Ok(held.tree),
                Ok(Err(error)) => Err(error.to_string()),
                Err(fault) => Err(format!("{fault:?}")),
            }
        })
    }

    #[test]
    fn nested_replies_are_bounded_in_depth_elements_and_bytes() {
        let shards = tree(b"*2\r\n*2\r\n$2\r\nid\r\n:7\r\n*0\r\n").expect("a tree");
        assert_eq!(shards.list()[0].get("id").and_then(ReplyTree::number), Some(7));
        assert_eq!(shards.list()[1], ReplyTree::List(Vec::new()));
        assert!(tree(b"-ERR unknown command\r\n").is_err_and(|error| error.contains("unknown command")));
        for (bytes, fault) in [
            (&b"*2147483647\r\n:1\r\n"[..], "TooLarge"),
            (&b"*1\r\n".repeat(9), "Shape"),
            (b"*2\r\n$4000\r\n", "Closed"),
            (b"*1\r\n$5000\r\n", "TooLarge"),
            (b"*1\r\n-ERR inside\r\n", "Shape"),
            (b"*1\r\n%1\r\n", "Shape"),
        ] {
            assert!(tree(bytes).is_err_and(|error| error.contains(fault)), "{}", String::from_utf8_lossy(bytes));
        }
        let half = format!("$2500\r\n{}\r\n", "x".repeat(2500));
        assert!(tree(format!("*2\r\n{half}{half}").as_bytes()).is_err_and(|error| error.contains("TooLarge")));
    }
}
