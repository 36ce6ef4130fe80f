//! Clients that misbehave: they leak connections, churn, hoard connections or do not read.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::pause;
use super::peer::Peer;
use super::server::Server;

/// An activity that continues until it is dropped.
pub(crate) struct Ongoing {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Ongoing {
    fn start(pace: Duration, mut step: impl FnMut() + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                step();
                pause(pace);
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Ongoing {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(Err(panic)) = self.thread.take().map(JoinHandle::join)
            && !std::thread::panicking()
        {
            std::panic::resume_unwind(panic);
        }
    }
}

/// Connects a client of an application that has sent a command.
pub(crate) fn member(address: &str, app: &str, number: usize) -> Peer {
    let mut peer = Peer::connect(address);
    peer.must(&["CLIENT", "SETNAME", &format!("{app}-{number}")]);
    peer
}

/// An application that opens a connection at each step, and never uses or closes it.
pub(crate) fn leak(server: &Server, app: &'static str, pace: Duration) -> Ongoing {
    let (address, mut kept) = (server.address(), Vec::new());
    Ongoing::start(pace, move || kept.push(member(&address, app, kept.len())))
}

/// An application that opens a connection for each request.
pub(crate) fn churn(server: &Server, app: &'static str, pace: Duration) -> Ongoing {
    let (address, mut number) = (server.address(), 0);
    Ongoing::start(pace, move || {
        member(&address, app, number);
        number += 1;
    })
}

/// An application that replaces the oldest of its connections at each step.
pub(crate) fn rotate(server: &Server, app: &'static str, size: usize, pace: Duration) -> Ongoing {
    let (address, mut peers) = (server.address(), VecDeque::from(hoard(server, app, size)));
    Ongoing::start(pace, move || {
        peers.pop_front();
        peers.push_back(member(&address, app, size));
    })
}

/// An application that keeps its connections busy.
pub(crate) fn work(server: &Server, app: &str, size: usize, pace: Duration) -> Ongoing {
    let mut peers: Vec<Peer> = (0..size).map(|number| member(&server.address(), app, number)).collect();
    Ongoing::start(pace, move || {
        for peer in &mut peers {
            peer.must(&["INCR", "visits"]);
        }
    })
}

/// Connections that sent one command and are kept open.
pub(crate) fn hoard(server: &Server, app: &str, size: usize) -> Vec<Peer> {
    (0..size).map(|number| member(&server.address(), app, number)).collect()
}

/// A subscriber that never reads its messages, which are more than fit into socket buffers.
pub(crate) fn never_reads(server: &Server, app: &str) -> Peer {
    let mut slow = member(&server.address(), app, 0);
    slow.send(&["SUBSCRIBE", "flood"]);
    let (mut publisher, message) = (server.peer(), "x".repeat(1 << 20));
    while publisher.ask(&["PUBLISH", "flood", &message]) != ":1" {}
    (0..12).for_each(|_| {
        publisher.ask(&["PUBLISH", "flood", &message]);
    });
    slow
}
