//! Failures of servers: down, locked, busy, stuck, full, or not Redis servers at all.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use redis_client_exporter::failure::{Failure, Reason};
use redis_client_exporter::link::{Credentials, Node, NodeAddress, Password, Subscription, TlsOptions, parse_address};

use crate::support::exporter::{Exporter, run};
use crate::support::http::{get, request};
use crate::support::peer::Peer;
use crate::support::scrape::Scrape;
use crate::support::server::{Server, any_binary, binaries};
use crate::support::{PATIENCE, eventually, pause, share};

const ERRORS: &str = "redis_clients_sample_errors_total";

fn up(scrape: &Scrape) -> Option<f64> {
    scrape.value("redis_clients_up", &[])
}

fn errors(scrape: &Scrape, reason: &str) -> f64 {
    scrape.value(ERRORS, &[("reason", reason)]).expect("every reason is exported from the start")
}

/// The gauges about clients. They must disappear when their sample is no longer valid.
fn client_gauges(scrape: &Scrape) -> Vec<&str> {
    // They are about the node, or about the settings of the exporter.
    const OTHERS: [&str; 3] = ["redis_clients_up", "redis_clients_node_info", "redis_clients_group_limit"];
    let of_clients =
        |name: &&str| !name.ends_with("_total") && name.starts_with("redis_clients_") && !OTHERS.contains(name);
    scrape.series.iter().map(|series| series.name.as_str()).filter(of_clients).collect()
}

fn log_lines(exporter: &Exporter, text: &str) -> Vec<String> {
    exporter.log().into_iter().filter(|line| line.contains(text)).collect()
}

/// Waits for a failure with this reason, and returns the logged sentence. No clients may be exported.
fn fails_with(exporter: &mut Exporter, reason: &str) -> String {
    let scrape = exporter.scrape_until(reason, |scrape| errors(scrape, reason) >= 2.0);
    assert_eq!(up(&scrape), Some(0.0));
    assert_eq!(client_gauges(&scrape), Vec::<&str>::new());
    assert_eq!(get(&exporter.address, "/-/ready").status, 200, "the exporter stays ready if a server fails");
    assert!(exporter.is_running());
    let lines = log_lines(exporter, &format!("reason={reason}"));
    assert_eq!(lines.len(), 1, "one line per change of state, not per failure: {lines:?}");
    lines[0].clone()
}

#[test]
fn a_server_that_dies_and_returns() {
    let Some(binary) = any_binary() else { return };
    let mut server = Server::start(&binary);
    // It is retried long before the next sample is due.
    let exporter = Exporter::start(&[&server.address()], &["--client-announce-frequency=1h"], &[]);
    exporter.scrape_until("up", |scrape| up(scrape) == Some(1.0));
    let received = exporter.scrape().value("redis_clients_connections_received_total", &[]);
    for round in 1..=2 {
        server.kill();
        let scrape = exporter.scrape_until("down", |scrape| up(scrape) == Some(0.0));
        assert_eq!(client_gauges(&scrape), Vec::<&str>::new());
        assert!(scrape.value("redis_clients_connections_received_total", &[]) >= received, "counters are kept");
        pause(Duration::from_millis(500));
        server.restart();
        exporter.scrape_until("up again", |scrape| up(scrape) == Some(1.0) && !client_gauges(scrape).is_empty());
        assert_eq!(log_lines(&exporter, "reason=connect").len(), round, "{:?}", exporter.log());
        assert_eq!(log_lines(&exporter, "watching again").len(), round, "{:?}", exporter.log());
    }
}

#[test]
fn a_server_that_is_down_at_start() {
    let Some(binary) = any_binary() else { return };
    let mut server = Server::start(&binary);
    server.kill();
    let mut exporter = Exporter::watching(&[&server.address()]);
    let line = fails_with(&mut exporter, "connect");
    assert!(line.contains(&server.address()) && line.contains("is the server running"), "{line}");
    server.restart();
    exporter.scrape_until("up", |scrape| up(scrape) == Some(1.0));
}

#[test]
fn a_host_that_does_not_resolve() {
    let line = fails_with(&mut Exporter::watching(&["redis://no-such-host.invalid"]), "resolve");
    assert!(line.contains("no-such-host.invalid:6379"), "{line}");
}

#[test]
fn a_password_that_is_wrong_missing_or_not_wanted() {
    let Some(binary) = any_binary() else { return };
    let locked = Server::start_with(&binary, &["--requirepass", "right"]);
    let line = fails_with(&mut Exporter::start(&[&locked.address()], &["--redis.password=wrong"], &[]), "auth");
    assert!(line.contains("--redis.password") && !line.contains("wrong"), "{line}");
    let line = fails_with(&mut Exporter::watching(&[&locked.address()]), "auth");
    assert!(line.contains("requires a password"), "{line}");
    let open = Server::start(&binary);
    let line = fails_with(&mut Exporter::start(&[&open.address()], &["--redis.password=any"], &[]), "auth");
    assert!(line.contains("leave the password out"), "{line}");
}

#[test]
fn a_user_that_may_not_list_clients_still_gets_the_metrics_of_info() {
    let Some(binary) = any_binary() else { return };
    let server = Server::start(&binary);
    server.peer().must(&["ACL", "SETUSER", "half", "on", ">secret", "-@all", "+info", "+client|id"]);
    let user = ["--redis.user=half", "--redis.password=secret"];
    let exporter = Exporter::start(&[&server.address()], &user, &[]);
    let scrape = exporter.scrape_until("partial samples", |scrape| errors(scrape, "noperm") >= 3.0);
    assert_eq!(up(&scrape), Some(1.0));
    assert!(scrape.value("redis_clients_reported_connections", &[]).is_some());
    assert_eq!(scrape.value("redis_clients_online", &[]), None, "unknown is not 0");
    assert_eq!(scrape.value("redis_clients_sample_complete", &[]), Some(0.0));
    let lines = log_lines(&exporter, "reason=noperm");
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("+client|list"), "{lines:?}");

    let checked = run(&[["check", "--redis.addr", &server.address()].as_slice(), &user].concat());
    assert_eq!(checked.status.code(), Some(4));
    server.peer().must(&["ACL", "SETUSER", "half", "+client|list", "-info"]);
    let scrape = exporter.scrape_until("the other half", |scrape| scrape.value("redis_clients_online", &[]).is_some());
    assert_eq!(scrape.value("redis_clients_reported_connections", &[]), None);
    let lines = log_lines(&exporter, "reason=noperm");
    assert!(lines.len() == 2 && lines[1].contains("+info"), "the new refusal is logged: {lines:?}");
    let checked = run(&[["check", "--redis.addr", &server.address()].as_slice(), &user].concat());
    assert_eq!(checked.status.code(), Some(3));
    server.peer().must(&["ACL", "SETUSER", "half", "-client|list"]);
    exporter.scrape_until("no command is allowed", |scrape| up(scrape) == Some(0.0));
}

#[test]
fn a_server_blocked_by_a_script() {
    let Some(binary) = any_binary() else { return };
    let server = Server::start_with(&binary, &["--lua-time-limit", "50"]);
    let mut exporter = Exporter::watching(&[&server.address()]);
    exporter.scrape_until("up", |scrape| up(scrape) == Some(1.0));
    let mut script = server.peer();
    script.send(&["EVAL", "while true do end", "0"]);
    let line = fails_with(&mut exporter, "busy");
    assert!(line.contains("SCRIPT KILL"), "{line}");
    server.peer().must(&["SCRIPT", "KILL"]);
    exporter.scrape_until("up again", |scrape| up(scrape) == Some(1.0));
}

#[test]
fn a_server_without_a_free_connection() {
    let Some(binary) = any_binary() else { return };
    let server = Server::start_with(&binary, &["--maxclients", "2"]);
    let _taken = fill(&server);
    let line = fails_with(&mut Exporter::watching(&[&server.address()]), "maxclients");
    assert!(line.contains("raise maxclients"), "{line}");
}

/// Takes the last two connections of a server. Earlier ones may take a while to close.
fn fill(server: &Server) -> [Peer; 2] {
    eventually("the server is full", || {
        let mut peers = [server.peer(), server.peer()];
        peers.iter_mut().all(|peer| peer.try_ask(&["PING"]).is_ok_and(|answer| answer == "+PONG")).then_some(peers)
    })
}

fn rejected(peer: &mut Peer) -> u64 {
    let info = peer.ask(&["INFO", "stats"]);
    let count = info.lines().find_map(|line| line.strip_prefix("rejected_connections:"));
    count.expect("every server counts them").trim().parse().expect("a number")
}

/// There were 7 rejections in the first 10 s: each link retried on its own, and some attempts were two connections.
#[test]
fn a_full_server_refuses_one_connection_an_attempt_and_three_in_ten_seconds() {
    let Some(binary) = any_binary() else { return };
    let server = Server::start_with(&binary, &["--maxclients", "2"]);
    let mut taken = fill(&server);
    let before = rejected(&mut taken[0]);
    let started = Instant::now();
    let exporter = Exporter::start(&[&server.address()], &["--announce=auto"], &[]);
    exporter.scrape_until("three attempts", |scrape| errors(scrape, "maxclients") >= 3.0);
    assert!(started.elapsed() >= Duration::from_secs(9), "the third one is 3 s and 6 s after the others");
    eventually("each attempt is one connection, of all links together", || {
        let attempts = errors(&exporter.scrape(), "maxclients");
        (rejected(&mut taken[0]) - before == attempts as u64).then_some(())
    });
    drop(taken);
    exporter.scrape_until("up", |scrape| up(scrape) == Some(1.0));
}

/// The ids of our connections, each with the last command on it.
fn own_links(peer: &mut Peer) -> Vec<(String, String)> {
    let rows = peer.ask(&["CLIENT", "LIST"]);
    let field = |row: &str, key: &str| {
        let value = row.split(' ').find_map(|token| token.strip_prefix(key)?.strip_prefix('='));
        value.expect("every row has it").to_owned()
    };
    let own = rows.lines().filter(|row| field(row, "name") == "redis-client-exporter");
    own.map(|row| (field(row, "id"), field(row, "cmd"))).collect()
}

/// The link for announcing was opened when something was announced, and found no place.
#[test]
fn all_links_are_open_before_anything_is_announced_and_the_idle_one_samples_a_full_server() {
    let Some(binary) = any_binary() else { return };
    let server = Server::start(&binary);
    let args = ["--announce=auto", "--client-announce-frequency=1h", "--sample.max-age=1h"];
    let exporter = Exporter::start(&[&server.address()], &args, &[]);
    exporter.scrape_until("up", |scrape| up(scrape) == Some(1.0));
    let mut control = server.peer();
    let three = |control: &mut Peer| Some(own_links(control)).filter(|links| links.len() == 3);
    let links = eventually("three links", || three(&mut control));
    let of = |command: &str| links.iter().find(|(_, last)| last.starts_with(command)).map(|(id, _)| id.clone());
    let (sampling, listening) = (of("info").expect("quick polls"), of("subscribe").expect("a subscription"));
    let announcing = links.iter().map(|(id, _)| id).find(|id| **id != sampling && **id != listening);
    let announcing = announcing.expect("a third link").clone();
    // No further connection is accepted, not even in place of one that is closed.
    control.must(&["CONFIG", "SET", "maxclients", "1"]);
    control.must(&["CLIENT", "KILL", "ID", &sampling]);
    eventually("the link for announcing samples", || {
        own_links(&mut control).into_iter().find(|(id, last)| *id == announcing && last.starts_with("info"))
    });
    let scrape = exporter.scrape();
    assert_eq!((up(&scrape), errors(&scrape, "maxclients")), (Some(1.0), 0.0));
    control.must(&["CONFIG", "SET", "maxclients", "1000"]);
    // The announcer tries again with each snapshot, and a new client makes one.
    let mut clients = Vec::new();
    eventually("three links again", || {
        clients.push(server.peer());
        pause(Duration::from_millis(500));
        three(&mut control)
    });
}

#[test]
fn an_open_link_samples_a_server_that_is_full() {
    let Some(binary) = any_binary() else { return };
    let server = Server::start_with(&binary, &["--maxclients", "3"]);
    let exporter = Exporter::watching(&[&server.address()]);
    exporter.scrape_until("up", |scrape| up(scrape) == Some(1.0));
    let _taken = fill(&server);
    for _ in 0..5 {
        let _ = TcpStream::connect(server.address()).map(|mut stream| stream.read(&mut [0; 64]));
    }
    let scrape = exporter.scrape_until("rejections", |scrape| {
        scrape.value("redis_clients_connections_rejected_total", &[]).is_some_and(|rejected| rejected >= 5.0)
    });
    assert_eq!((up(&scrape), scrape.sum("redis_clients_connections")), (Some(1.0), 3.0));
}

#[test]
fn a_server_that_is_stuck() {
    let Some(binary) = any_binary() else { return };
    let server = Server::start(&binary);
    let exporter = Exporter::start(&[&server.address()], &["--redis.timeout=1s"], &[]);
    exporter.scrape_until("up", |scrape| up(scrape) == Some(1.0));
    // The time-out is short for a busy machine, so that there may be a failure before.
    let before = log_lines(&exporter, "reason=timeout").len();
    signal(server.pid(), "STOP");
    exporter.scrape_until("down", |scrape| up(scrape) == Some(0.0));
    let lines = eventually("the failure is logged", || {
        Some(log_lines(&exporter, "reason=timeout")).filter(|lines| lines.len() > before)
    });
    signal(server.pid(), "CONT");
    let line = lines.last().expect("a line");
    assert!(line.contains("--redis.timeout"), "{line}");
    exporter.scrape_until("up again", |scrape| up(scrape) == Some(1.0));
}

fn signal(pid: u32, name: &str) {
    assert!(Command::new("kill").args(["-s", name, &pid.to_string()]).status().expect("kill runs").success());
}

#[test]
fn a_cut_link_is_reconnected_without_a_failure() {
    let Some(binary) = any_binary() else { return };
    let server = Server::start(&binary);
    let exporter = Exporter::watching(&[&server.address()]);
    exporter.scrape_until("up", |scrape| up(scrape) == Some(1.0));
    for _ in 0..3 {
        server.peer().must(&["CLIENT", "KILL", "TYPE", "normal"]);
        let scrape = exporter.fresh_scrape();
        assert_eq!((up(&scrape), errors(&scrape, "closed")), (Some(1.0), 0.0));
    }
}

/// Returns one address that forwards to the server at `port`, like a virtual IP or a Kubernetes service.
fn forwarder(port: Arc<AtomicU16>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(near) = stream else { return };
            let Ok(far) = TcpStream::connect(("127.0.0.1", port.load(Ordering::Relaxed))) else { continue };
            for (from, to) in [(&near, &far), (&far, &near)] {
                let (mut from, mut to) = (from.try_clone().expect("a socket"), to.try_clone().expect("a socket"));
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut to);
                    let _ = to.shutdown(std::net::Shutdown::Both);
                });
            }
        }
    });
    address
}

/// Longer than the time between two samples of a failover, in seconds.
const MIN_UPTIME: u64 = 8;

#[test]
fn a_failover_behind_one_address_adds_nothing_to_counters() {
    let Some(binary) = any_binary() else { return };
    let servers = [Server::start(&binary), Server::start(&binary)];
    for _ in 0..300 {
        servers[1].peer().must(&["PING"]);
    }
    // So that the second server does not look as if it had just started: it did so before the first sample.
    eventually("the servers have run for a while", || {
        let has_run = |server: &Server| {
            let info = server.peer().ask(&["INFO", "server"]);
            let uptime = info.lines().find_map(|line| line.strip_prefix("uptime_in_seconds:")?.parse::<u64>().ok());
            uptime.is_some_and(|seconds| seconds >= MIN_UPTIME)
        };
        servers.iter().all(has_run).then_some(())
    });
    let port = Arc::new(AtomicU16::new(servers[0].port));
    let exporter = Exporter::watching(&[&forwarder(Arc::clone(&port))]);
    let received = |scrape: &Scrape| scrape.value("redis_clients_connections_received_total", &[]).unwrap_or(0.0);
    let before = received(&exporter.scrape_until("up", |scrape| up(scrape) == Some(1.0)));
    for server in [1, 0, 1] {
        let other = &servers[1 - server];
        port.store(servers[server].port, Ordering::Relaxed);
        other.peer().must(&["CLIENT", "KILL", "TYPE", "normal"]);
        let after = received(&exporter.fresh_scrape());
        assert!(after >= before && after < before + 20.0, "{after} after {before}");
    }
}

#[test]
fn a_port_that_speaks_http() {
    let other = Exporter::watching(&["127.0.0.1:1"]);
    let line = fails_with(&mut Exporter::watching(&[&other.address]), "protocol");
    assert!(line.contains("does not speak the Redis protocol"), "{line}");
}

/// A fake server. It answers the command with each number as `answer` says, and closes the connection if there is no
/// answer. For replies that no current server can be made to send.
fn fake_server(answer: impl Fn(usize) -> Option<String> + Clone + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (Ok(stream), answer) = (stream, answer.clone()) else { return };
            std::thread::spawn(move || answer_commands(stream, &answer));
        }
    });
    address
}

fn answer_commands(mut stream: TcpStream, answer: &dyn Fn(usize) -> Option<String>) {
    let reader = std::io::BufReader::new(stream.try_clone().expect("a socket can be cloned"));
    let commands = std::io::BufRead::lines(reader).map_while(Result::ok).filter(|line| line.starts_with('*'));
    for (number, _) in commands.enumerate() {
        let Some(answer) = answer(number) else { break };
        // An answer without its end is the last one.
        if stream.write_all(answer.as_bytes()).is_err() || !answer.ends_with("\r\n") {
            break;
        }
    }
    let _ = stream.shutdown(std::net::Shutdown::Both);
}

#[test]
fn errors_that_only_old_servers_send() {
    // Redis 5 and earlier answer every command with an error while they load, or while a replica has lost its primary.
    let cases = [
        ("loading", "-LOADING Redis is loading the dataset in memory\r\n"),
        ("masterdown", "-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.\r\n"),
        ("denied", "-DENIED Redis is running in protected mode because protected mode is enabled\r\n"),
    ];
    for (reason, answer) in cases {
        fails_with(&mut Exporter::watching(&[&fake_server(move |_| Some(answer.to_owned()))]), reason);
    }
}

#[test]
fn a_server_that_dies_in_the_middle_of_a_reply() {
    // The connection is set up, then closed between the replies of a sample, or within its CLIENT LIST reply.
    let between = fake_server(|number| (number < 6).then(|| "$4\r\na:b\n\r\n".into()));
    fails_with(&mut Exporter::watching(&[&between]), "closed");
    let within = fake_server(|number| match number {
        0..9 => Some("$4\r\na:b\n\r\n".into()),
        9 => Some("$400\r\nid=1 addr=".into()),
        _ => None,
    });
    // Another link answers INFO, and listings are left out for some time.
    let exporter = Exporter::watching(&[&within]);
    let scrape = exporter.scrape_until("no list", |scrape| errors(scrape, "closed") >= 2.0);
    assert_eq!((up(&scrape), scrape.value("redis_clients_online", &[])), (Some(1.0), None));
    assert_eq!(log_lines(&exporter, "some metrics are missing").len(), 1, "{:?}", exporter.log());
}

#[test]
fn an_endless_reply_is_refused() {
    let _alone = share::alone();
    // Finite, but far larger than accepted.
    let address = fake_server(|number| match number {
        0..9 => Some("$4\r\na:b\n\r\n".into()),
        9 => Some(format!("$900000000\r\n{}", "x".repeat(400_000_000))),
        _ => None,
    });
    let args = ["--client-announce-frequency=10s", "--redis.timeout=100s"];
    let exporter = Exporter::start(&[&address], &args, &[]);
    let scrape = exporter.scrape_until("too large", |scrape| errors(scrape, "too_large") >= 1.0);
    let resident = scrape.value("process_resident_memory_bytes", &[]).expect("the kernel reports it");
    assert!(resident < 100e6, "{resident} bytes");
}

#[test]
fn the_exporter_survives_running_out_of_descriptors() {
    let Some(binary) = any_binary() else { return };
    let server = Server::start(&binary);
    let mut command = Command::new("sh");
    command
        .env_clear()
        .args(["-c", "ulimit -n 24; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_redis-client-exporter")])
        .args([
            "--redis.addr",
            &server.address(),
            "--client-announce-frequency=0.1",
            "--web.listen-address=127.0.0.1:0",
        ]);
    let exporter = Exporter::spawn(&mut command);
    let address = exporter.address.clone();
    let connections: Vec<_> = (0..60).map_while(|_| TcpStream::connect(&address).ok()).collect();
    pause(Duration::from_millis(500));
    let (began, ticks) = (Instant::now(), cpu_ticks(exporter.pid()));
    pause(Duration::from_secs(1));
    let spent = (cpu_ticks(exporter.pid()) - ticks) as f64 / 100.0 / began.elapsed().as_secs_f64();
    assert!(spent < 0.3, "the accept loop spins: it takes {spent} of a core");
    drop(connections);
    eventually("it serves again", || request(&address, "GET", "/-/healthy", &[]).ok());
    let scrape = exporter.scrape();
    assert!(scrape.value("redis_client_exporter_http_accept_errors_total", &[]).is_some_and(|errors| errors > 0.0));
    assert_eq!(up(&scrape), Some(1.0));
}

/// User and system time in hundredths of a second (proc(5): fields 14 and 15 of stat).
fn cpu_ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process runs");
    let fields: Vec<_> = stat.rsplit(')').next().expect("a name in brackets").split_whitespace().collect();
    fields[11..13].iter().map(|field| field.parse::<u64>().expect("a number")).sum()
}

/// Connects and sends the beginning of a request. The exporter has read it.
fn beginning_of_a_request(exporter: &Exporter) -> TcpStream {
    let mut stream = TcpStream::connect(&exporter.address).expect("a connection");
    stream.write_all(b"GET /-/healthy HTTP/1.1\r\nhost: x\r\n").expect("the head begins");
    // proc(5): the addresses of the other side's socket and its queue of unread bytes, in hexadecimal.
    let port = |address: SocketAddr| format!("0100007F:{:04X}", address.port());
    let (near, far) = (stream.local_addr().expect("an address"), stream.peer_addr().expect("an address"));
    let other_side = format!(" {} {} 01 ", port(far), port(near));
    eventually("it is read", || {
        let sockets = std::fs::read_to_string("/proc/net/tcp").expect("the kernel reports it");
        let (_, rest) = sockets.split_once(&other_side)?;
        rest.split_whitespace().next()?.ends_with(":00000000").then_some(())
    });
    stream
}

#[test]
fn the_first_signal_drains_and_the_second_ends_at_once() {
    let mut exporter = Exporter::watching(&["127.0.0.1:1"]);
    // A request that never completes keeps the exporter from finishing.
    let _slow = beginning_of_a_request(&exporter);
    exporter.signal("TERM");
    eventually("no connection is accepted any more", || TcpStream::connect(&exporter.address).err());
    exporter.signal("TERM");
    assert!(exporter.wait().success());
    eventually("it says so", || log_lines(&exporter, "stopping immediately").pop());
}

#[test]
fn a_request_in_progress_is_answered_before_the_end() {
    let mut exporter = Exporter::watching(&["127.0.0.1:1"]);
    let mut slow = beginning_of_a_request(&exporter);
    exporter.signal("TERM");
    eventually("no connection is accepted any more", || TcpStream::connect(&exporter.address).err());
    slow.write_all(b"\r\n").expect("the head ends");
    let mut answer = String::new();
    slow.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(exporter.wait().success());
}

#[test]
fn one_signal_is_enough() {
    for name in ["TERM", "INT"] {
        let mut exporter = Exporter::watching(&["127.0.0.1:1"]);
        exporter.signal(name);
        assert!(exporter.wait().success(), "{name}");
    }
}

/// The sentence of a subscription that fails.
fn subscription_failure(address: &str, user: Option<&str>, timeout: Duration) -> Failure {
    let parsed = parse_address(address).expect("an address");
    let password = Password::Given("p".into());
    let credentials = user.map(|user| Credentials { user: Some(user.to_owned()), password });
    let node = Node::from(NodeAddress { endpoint: parsed.endpoint, credentials, tls: TlsOptions::default(), timeout });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(Subscription::open(&node, "__redis__:cli", 1 << 16)).err().expect("it fails")
}

#[test]
fn a_missing_right_to_the_channel_names_the_rule_that_adds_it() {
    for binary in binaries().into_iter().filter(|binary| binary.name != "redis-6.2") {
        let server = Server::start(&binary);
        server.peer().ask(&["ACL", "SETUSER", "watcher", "on", ">p", "+@all", "resetchannels"]);
        let failure = subscription_failure(&server.address(), Some("watcher"), PATIENCE);
        assert_eq!(failure.reason, Reason::NoPermission, "{failure}");
        assert!(failure.message.contains("&__redis__:cli") && !failure.message.contains("+subscribe"), "{failure}");
    }
}

/// A plain port does not answer a TLS handshake.
#[test]
fn tls_on_a_plain_port_names_the_scheme_without_tls() {
    let Some(binary) = any_binary() else { return };
    let server = Server::start(&binary);
    let address = format!("rediss://{}", server.address());
    let failure = subscription_failure(&address, None, Duration::from_secs(1));
    assert!(failure.message.contains("otherwise use redis://"), "{failure}");
}

/// With this load, the next sample is due in hours, and an early one in many minutes.
#[test]
fn a_dead_server_is_down_after_a_quick_poll_however_seldom_it_is_sampled() {
    let Some(binary) = any_binary() else { return };
    let mut server = Server::start(&binary);
    let _clients: Vec<Peer> = (0..300).map(|_| server.peer()).collect();
    let args = ["--sample.max-load=0.0001%", "--client-announce-frequency=1h", "--sample.max-age=24h"];
    let exporter = Exporter::start(&[&server.address()], &args, &[]);
    exporter.scrape_until("a sample", |scrape| up(scrape) == Some(1.0));
    server.kill();
    let scrape = exporter.scrape_until("it is down", |scrape| up(scrape) == Some(0.0));
    assert!(client_gauges(&scrape).is_empty(), "{:?}", client_gauges(&scrape));
    assert!(errors(&scrape, "connect") >= 1.0);
    server.restart();
    exporter.scrape_until("it is up again", |scrape| up(scrape) == Some(1.0));
}

/// Each drop is followed by a subscription that succeeds at first: two lines a drop would flood the log.
#[test]
fn subscriptions_that_are_dropped_again_and_again_are_logged_once() {
    let Some(binary) = any_binary() else { return };
    let server = Server::start(&binary);
    let exporter = Exporter::start(&[&server.address()], &["--announce=auto"], &[]);
    let mut admin = server.peer();
    let drops = 5;
    for _ in 0..drops {
        eventually("it has subscribed", || (admin.ask(&["CLIENT", "KILL", "TYPE", "pubsub"]) == ":1").then_some(()));
    }
    let lines = |text| log_lines(&exporter, text).len();
    eventually("the recovery is logged", || (lines("receiving statuses again") > 0).then_some(()));
    // A subscription that lasts for ten seconds counts as a recovery: on a machine that stalls there may be one.
    let (failures, recoveries) = (lines("cannot receive statuses"), lines("receiving statuses again"));
    assert!((1..drops).contains(&failures) && (1..drops).contains(&recoveries), "{failures} {recoveries}");
}
