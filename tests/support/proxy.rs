//! A proxy between the exporter and a server that makes the network fail: it cuts connections and slows them down.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::pause;

/// The state of a proxy, which a test changes while it runs.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    /// Cuts a connection when a listing is requested on it.
    pub(crate) cuts_listings: AtomicBool,
    /// The maximum number of bytes a second to the exporter; 0 for no limit.
    pub(crate) bytes_per_second: AtomicU64,
    /// The number of connections accepted so far.
    pub(crate) accepted: AtomicU64,
}

/// A proxy to a server. Its threads end when their connections do.
pub(crate) struct Proxy {
    pub(crate) address: String,
    pub(crate) faults: Arc<Faults>,
}

impl Proxy {
    /// A proxy without faults.
    pub(crate) fn start(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let (faults, server) = (Arc::new(Faults::default()), server.to_owned());
        let shared = Arc::clone(&faults);
        std::thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                shared.accepted.fetch_add(1, Ordering::Relaxed);
                // The server may be down.
                if let Ok(far) = TcpStream::connect(&server) {
                    forward(near, far, &shared);
                }
            }
        });
        Self { address, faults }
    }

    /// The number of connections accepted so far.
    pub(crate) fn accepted(&self) -> u64 {
        self.faults.accepted.load(Ordering::Relaxed)
    }
}

fn forward(near: TcpStream, far: TcpStream, faults: &Arc<Faults>) {
    let clone = |stream: &TcpStream| stream.try_clone().expect("a stream can be cloned");
    let (from, to, requests) = (clone(&near), clone(&far), Arc::clone(faults));
    std::thread::spawn(move || {
        copy(from, to, |bytes| {
            let lists = bytes.windows(6).any(|part| part == b"\nLIST\r");
            !(lists && requests.cuts_listings.load(Ordering::Relaxed))
        });
    });
    let replies = Arc::clone(faults);
    std::thread::spawn(move || {
        copy(far, near, |bytes| {
            let speed = replies.bytes_per_second.load(Ordering::Relaxed);
            if speed > 0 {
                pause(Duration::from_secs_f64(bytes.len() as f64 / speed as f64));
            }
            true
        });
    });
}

/// Copies bytes until one side ends or `pass` is false, then closes both.
fn copy(mut from: TcpStream, mut to: TcpStream, mut pass: impl FnMut(&[u8]) -> bool) {
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        if !pass(&buffer[..count]) || to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    for stream in [from, to] {
        // It may be closed already.
        let _ = stream.shutdown(Shutdown::Both);
    }
}
