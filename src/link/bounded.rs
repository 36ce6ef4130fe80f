//! A stream that fails when more bytes arrive than allowed. A reply is held in memory as a whole, and a client may set
//! a name of half a gigabyte.
//!
//! It also keeps the last line of a server that refuses a connection: it sends a line and closes, perhaps before we
//! have sent a command, to which the line is the reply.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The number of bytes that may still arrive.
#[derive(Clone, Debug)]
pub(super) struct Allowance(Arc<AtomicU64>);

impl Allowance {
    pub(super) fn new(bytes: u64) -> Self {
        Self(Arc::new(AtomicU64::new(bytes)))
    }

    /// Sets the number of bytes that may still arrive.
    pub(super) fn reset(&self, bytes: u64) {
        self.0.store(bytes, Ordering::Relaxed);
    }

    pub(super) fn is_used_up(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }

    fn take(&self, bytes: u64) {
        let left = self.0.load(Ordering::Relaxed).saturating_sub(bytes);
        self.0.store(left, Ordering::Relaxed);
    }
}

/// A stream with an allowance.
pub(super) struct BoundedStream<S> {
    stream: S,
    allowance: Allowance,
    /// True once something was written. Before that, nothing is read: it would be the reply to no command.
    has_written: bool,
    /// The reader that waits for the first write.
    reader: Option<Waker>,
}

impl<S> BoundedStream<S> {
    pub(super) fn new(stream: S, allowance: Allowance) -> Self {
        Self { stream, allowance, has_written: false, reader: None }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for BoundedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.has_written {
            self.reader = Some(context.waker().clone());
            return Poll::Pending;
        }
        if self.allowance.is_used_up() {
            return Poll::Ready(Err(io::Error::other("the reply is too large")));
        }
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.allowance.take((buffer.filled().len() - before) as u64);
        result
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for BoundedStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        if !std::mem::replace(&mut self.has_written, true)
            && let Some(reader) = self.reader.take()
        {
            reader.wake();
        }
        match written {
            // The reader gets what the server sent before it closed, and then the error.
            Poll::Ready(Err(error)) if is_closed(&error) => Poll::Ready(Ok(bytes.len())),
            written => written,
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.stream).poll_flush(context) {
            Poll::Ready(Err(error)) if is_closed(&error) => Poll::Ready(Ok(())),
            flushed => flushed,
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// True if the server has closed the connection.
fn is_closed(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn bytes_beyond_the_allowance_are_an_error() {
        let allowance = Allowance::new(8);
        let (near, mut far) = tokio::io::duplex(64);
        far.write_all(&[7; 64]).await.expect("it has room");
        let mut stream = BoundedStream::new(near, allowance.clone());
        stream.write_all(b"a command").await.expect("it has room");
        let mut buffer = [0; 4];
        assert_eq!(stream.read(&mut buffer).await.ok(), Some(4));
        assert_eq!(stream.read(&mut buffer).await.ok(), Some(4));
        assert!(stream.read(&mut buffer).await.is_err());
        allowance.reset(4);
        assert_eq!(stream.read(&mut buffer).await.ok(), Some(4));
    }

    #[tokio::test]
    async fn the_last_line_of_a_server_that_closes_is_the_reply_to_the_first_command() {
        let (near, mut far) = tokio::io::duplex(64);
        far.write_all(b"-ERR").await.expect("it has room");
        drop(far);
        let (mut reader, mut writer) = tokio::io::split(BoundedStream::new(near, Allowance::new(64)));
        let reading = tokio::spawn(async move {
            let mut text = String::new();
            reader.read_to_string(&mut text).await.map(|_| text)
        });
        tokio::task::yield_now().await;
        assert!(!reading.is_finished(), "there is no command to reply to");
        writer.write_all(b"a command").await.expect("the reader gets the error");
        assert_eq!(reading.await.expect("it ends").ok().as_deref(), Some("-ERR"));
    }
}
