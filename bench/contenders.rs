//! Measures what monitoring of clients costs the server. One run compares: no exporter, a full `CLIENT LIST` every
//! interval, redis_exporter with `--export-client-list` if it is on PATH, and this exporter.
//!
//! Run `make bench-contenders`. Environment variables:
//! - BENCH_SERVER: path of a server; options may follow, separated by spaces
//! - BENCH_CLIENTS: number of clients (19000)
//! - BENCH_SECONDS: duration for each contender (20)
//! - BENCH_INTERVAL: seconds between samples and scrapes (5)
//! - BENCH_FLAGS: further flags of this exporter, such as `--sample.max-load 0.1%`
//!
//! It uses only the loopback interface and ends by itself.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

fn main() {
    // `cargo bench` passes its own flags to every bench, and `cargo test` runs them too.
    if !std::env::args().any(|arg| arg == "--bench") || std::env::var_os("BENCH_CONTENDERS").is_none() {
        return;
    }
    let bench = Bench::start();
    println!("{} clients, {} s each, one sample and scrape every {} s", bench.clients, bench.seconds, bench.interval);
    let nothing = bench.measure("no exporter", &Contender::Nothing);
    let mut rows = vec![nothing, bench.measure("full listing", &Contender::FullListing)];
    if let Some(name) = ["redis_exporter", "prometheus-redis-exporter"].into_iter().find(|name| is_on_path(name)) {
        rows.push(bench.measure("redis_exporter", &Contender::Program(bench.redis_exporter(name))));
    }
    rows.push(bench.measure("redis-client-exporter", &Contender::Program(bench.redis_client_exporter())));
    print_table(&rows);
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn is_on_path(name: &str) -> bool {
    Command::new(name).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

fn pause(time: Duration) {
    #[expect(clippy::disallowed_methods, reason = "a thread of its own")]
    std::thread::sleep(time);
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port()
}

/// A process that is killed on drop.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A connection that sends a command and waits for the reply.
struct Peer(BufReader<TcpStream>);

impl Peer {
    fn connect(port: u16) -> Option<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(30))).ok()?;
        Some(Self(BufReader::new(stream)))
    }

    fn ask(&mut self, args: &[&str]) -> String {
        let count = args.len();
        let args: String = args.iter().map(|arg| format!("${}\r\n{arg}\r\n", arg.len())).collect();
        self.0.get_mut().write_all(format!("*{count}\r\n{args}").as_bytes()).expect("the server reads");
        self.answer()
    }

    fn answer(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("the server answers");
        let size = |line: &str| line[1..].trim().parse::<usize>().unwrap_or(0);
        match line.as_bytes()[0] {
            b'$' if line.starts_with("$-") => String::new(),
            b'$' => {
                let mut bulk = vec![0; size(&line) + 2];
                self.0.read_exact(&mut bulk).expect("the server answers");
                String::from_utf8_lossy(&bulk).into_owned()
            }
            b'*' => (0..size(&line)).map(|_| self.answer() + "\n").collect(),
            _ => line,
        }
    }

    /// The calls and microseconds of a command, including its subcommands.
    fn command_time(&mut self, command: &str) -> (u64, u64) {
        let text = self.ask(&["INFO", "commandstats"]);
        let line = text.lines().find(|line| line.starts_with(&format!("cmdstat_{command}:"))).unwrap_or_default();
        let part = |name: &str| {
            let value = line.split([':', ',']).find_map(|part| part.strip_prefix(name));
            value.and_then(|value| value.parse().ok()).unwrap_or(0)
        };
        (part("calls="), part("usec="))
    }
}

/// Starts the program `crowd`, which simulates active, idle, blocked, subscribed and churning clients, and waits until
/// all of them are connected.
fn start_crowd(port: u16, clients: usize) -> Process {
    let child = Command::new(env!("CARGO_BIN_EXE_crowd"))
        .args([format!("redis://127.0.0.1:{port}"), clients.to_string()])
        .stdout(Stdio::piped())
        .spawn();
    let mut crowd = Process(child.expect("the crowd starts"));
    let mut ready = String::new();
    let out = crowd.0.stdout.take().expect("it is piped");
    BufReader::new(out).read_line(&mut ready).expect("the crowd prints a line");
    assert_eq!(ready.trim(), "ready", "the crowd could not connect");
    crowd
}

/// The server, its clients, and the duration and interval of the measurement.
struct Bench {
    port: u16,
    clients: usize,
    seconds: u64,
    interval: u64,
    _server: Process,
    _crowd: Process,
}

enum Contender {
    Nothing,
    FullListing,
    /// An exporter process, and the port of its metrics.
    Program((Process, u16)),
}

/// The results of a contender.
struct Row {
    name: &'static str,
    /// The longest command of the contender, and the median of those that list clients, in microseconds.
    longest_us: u64,
    median_us: u64,
    server_us: f64,
    /// The share of the server's main-thread time that the contender's commands took.
    load: f64,
    ping_p999_us: u64,
    ping_max_us: u64,
    throughput: f64,
    cpu_ms: Option<f64>,
    rss_mb: Option<f64>,
    scrape: Option<(usize, usize, Duration)>,
}

impl Bench {
    fn start() -> Self {
        let (port, clients) = (free_port(), number("BENCH_CLIENTS", 19_000) as usize);
        let command = std::env::var("BENCH_SERVER").unwrap_or_else(|_| "redis-server".into());
        let mut args = command.split(' ');
        let server = Command::new(args.next().expect("a path"))
            .args(["--port", &port.to_string(), "--save", "", "--maxclients", &(clients + 500).to_string()])
            .args(["--tcp-backlog", "4096", "--bind", "127.0.0.1"])
            .args(args)
            .stdout(Stdio::null())
            .spawn()
            .expect("the server starts");
        let server = Process(server);
        while Peer::connect(port).is_none() {
            pause(Duration::from_millis(50));
        }
        let crowd = start_crowd(port, clients);
        let mut control = Peer::connect(port).expect("a connection");
        println!("{}", control.ask(&["INFO", "server"]).lines().take(4).collect::<Vec<_>>().join(" "));
        control.ask(&["CONFIG", "SET", "slowlog-log-slower-than", "50"]);
        control.ask(&["CONFIG", "SET", "slowlog-max-len", "20000"]);
        Self {
            port,
            clients,
            seconds: number("BENCH_SECONDS", 20),
            interval: number("BENCH_INTERVAL", 5),
            _server: server,
            _crowd: crowd,
        }
    }

    fn redis_client_exporter(&self) -> (Process, u16) {
        let web = free_port();
        let child = Command::new(env!("CARGO_BIN_EXE_redis-client-exporter"))
            .args(["--redis.addr", &format!("127.0.0.1:{}", self.port)])
            .args(["--client-announce-frequency", &format!("{}s", self.interval)])
            .args(["--web.listen-address", &format!("127.0.0.1:{web}")])
            .args(std::env::var("BENCH_FLAGS").unwrap_or_default().split_whitespace())
            .stderr(Stdio::null())
            .spawn();
        (Process(child.expect("the exporter starts")), web)
    }

    fn redis_exporter(&self, program: &str) -> (Process, u16) {
        let web = free_port();
        let child = Command::new(program)
            .arg(format!("-redis.addr=redis://127.0.0.1:{}", self.port))
            .args(["-export-client-list", &format!("-web.listen-address=127.0.0.1:{web}")])
            .stderr(Stdio::null())
            .spawn();
        (Process(child.expect("redis_exporter starts")), web)
    }

    fn measure(&self, name: &'static str, contender: &Contender) -> Row {
        let mut control = Peer::connect(self.port).expect("a connection");
        // The cost of startup is left out.
        let mut scrapes = Vec::new();
        for _ in 0..2 {
            self.act(contender, &mut control, &mut scrapes);
            pause(Duration::from_secs(self.interval));
        }
        scrapes.clear();
        control.ask(&["SLOWLOG", "RESET"]);
        let before =
            [control.command_time("client|list"), control.command_time("client"), control.command_time("info")];
        let cpu = contender.cpu_ms();
        let pings = Pings::start(self.port);
        let began = Instant::now();
        let mut rounds = 0_u32;
        while began.elapsed() < Duration::from_secs(self.seconds) {
            self.act(contender, &mut control, &mut scrapes);
            rounds += 1;
            pause(
                Duration::from_secs(self.interval)
                    .saturating_sub(began.elapsed() - Duration::from_secs(u64::from(rounds - 1) * self.interval)),
            );
        }
        let mut pings = pings.stop();
        let after = [control.command_time("client|list"), control.command_time("client"), control.command_time("info")];
        let watched = began.elapsed();
        let server: u64 = before.iter().zip(after).map(|(before, after)| after.1 - before.1).sum();
        let cpu = contender.cpu_ms().zip(cpu).map(|(after, before)| (after - before) / f64::from(rounds));
        let slowlog = control.ask(&["SLOWLOG", "GET", "20000"]);
        let (longest_us, median_us) = longest_and_median(&slowlog);
        pings.sort_unstable();
        Row {
            name,
            longest_us,
            median_us,
            server_us: server as f64 / f64::from(rounds),
            load: server as f64 / 1e6 / watched.as_secs_f64(),
            ping_p999_us: pings[pings.len() * 999 / 1000],
            ping_max_us: *pings.last().expect("there were pings"),
            throughput: self.throughput(contender),
            cpu_ms: cpu,
            rss_mb: contender.rss_mb(),
            scrape: scrapes.into_iter().min_by_key(|(_, _, time)| *time),
        }
    }

    fn act(&self, contender: &Contender, control: &mut Peer, scrapes: &mut Vec<(usize, usize, Duration)>) {
        match contender {
            Contender::Nothing => {}
            Contender::FullListing => drop(control.ask(&["CLIENT", "LIST"])),
            Contender::Program((_, web)) => scrapes.extend(scrape(*web)),
        }
    }

    /// Requests per second of 16 connections that send requests without pauses while the contender runs.
    fn throughput(&self, contender: &Contender) -> f64 {
        let stop = Arc::new(AtomicBool::new(false));
        let began = Instant::now();
        let workers: Vec<_> = (0..16)
            .map(|_| {
                let (stop, mut peer) = (Arc::clone(&stop), Peer::connect(self.port).expect("a connection"));
                std::thread::spawn(move || {
                    let mut count = 0_u64;
                    while !stop.load(Ordering::Relaxed) {
                        peer.ask(&["GET", "key"]);
                        count += 1;
                    }
                    count
                })
            })
            .collect();
        let mut control = Peer::connect(self.port).expect("a connection");
        let until = Duration::from_secs(self.seconds.min(4 * self.interval));
        while began.elapsed() < until {
            self.act(contender, &mut control, &mut Vec::new());
            pause(Duration::from_secs(self.interval).min(until.saturating_sub(began.elapsed())));
        }
        stop.store(true, Ordering::Relaxed);
        let requests: u64 = workers.into_iter().map(|worker| worker.join().expect("a worker ends well")).sum();
        requests as f64 / began.elapsed().as_secs_f64()
    }
}

fn scrape(web: u16) -> Option<(usize, usize, Duration)> {
    let began = Instant::now();
    let mut stream = TcpStream::connect(("127.0.0.1", web)).ok()?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").ok()?;
    let mut body = Vec::new();
    stream.read_to_end(&mut body).ok()?;
    let took = began.elapsed();
    let series =
        body.split(|&byte| byte == b'\n').filter(|line| line.first().is_some_and(u8::is_ascii_lowercase)).count();
    Some((body.len(), series, took))
}

/// The longest `CLIENT` or `INFO` in the slow log, and the median of `CLIENT LIST`. An entry has its number, its time,
/// its microseconds, then the command. Commands below the log's threshold are missing, so the median is rather too
/// high.
fn longest_and_median(slowlog: &str) -> (u64, u64) {
    let lines: Vec<_> = slowlog.lines().filter(|line| !line.is_empty()).collect();
    let is = |at: usize, word: &str| lines.get(at).is_some_and(|line| line.eq_ignore_ascii_case(word));
    let micros = |at: usize| lines[at - 1].strip_prefix(':').and_then(|text| text.parse::<u64>().ok());
    let longest = (1..lines.len()).filter(|&at| is(at, "client") || is(at, "info")).filter_map(micros).max();
    let mut lists: Vec<_> =
        (1..lines.len()).filter(|&at| is(at, "client") && is(at + 1, "list")).filter_map(micros).collect();
    lists.sort_unstable();
    (longest.unwrap_or(0), lists.get(lists.len() / 2).copied().unwrap_or(0))
}

/// Sends PING in a loop and records every round trip in microseconds.
struct Pings {
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<Vec<u64>>,
}

impl Pings {
    fn start(port: u16) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let mut peer = Peer::connect(port).expect("a connection");
        let thread = std::thread::spawn(move || {
            let mut pings = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                let began = Instant::now();
                peer.ask(&["PING"]);
                pings.push(began.elapsed().as_micros() as u64);
                pause(Duration::from_micros(200));
            }
            pings
        });
        Self { stop, thread }
    }

    fn stop(self) -> Vec<u64> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("it ends well")
    }
}

impl Contender {
    fn proc(&self, file: &str) -> Option<String> {
        let Contender::Program((process, _)) = self else { return None };
        std::fs::read_to_string(format!("/proc/{}/{file}", process.0.id())).ok()
    }

    /// The user and system time so far (proc(5): fields 14 and 15, in hundredths of a second).
    fn cpu_ms(&self) -> Option<f64> {
        let stat = self.proc("stat")?;
        let fields: Vec<_> = stat.rsplit(')').next()?.split_whitespace().collect();
        let ticks: f64 = fields[11..13].iter().filter_map(|field| field.parse::<f64>().ok()).sum();
        Some(ticks * 10.0)
    }

    fn rss_mb(&self) -> Option<f64> {
        let status = self.proc("status")?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        Some(line.trim().trim_end_matches(" kB").parse::<f64>().ok()? / 1024.0)
    }
}

fn print_table(rows: &[Row]) {
    let base = rows[0].throughput;
    println!(
        "\n| | longest command | median listing | server time per sample | load | PING p99.9 | PING max \
         | throughput kept | exporter CPU per sample | RSS | scrape |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    for row in rows {
        let cpu = row.cpu_ms.map_or("–".into(), |cpu| format!("{cpu:.1} ms"));
        let rss = row.rss_mb.map_or("–".into(), |rss| format!("{rss:.0} MB"));
        let scrape = row.scrape.map_or("–".into(), |(bytes, series, took)| {
            format!("{:.0} KB, {series} series, {:.1} ms", bytes as f64 / 1e3, took.as_secs_f64() * 1e3)
        });
        println!(
            "| {} | {:.2} ms | {:.2} ms | {:.1} ms | {:.3} % | {:.2} ms | {:.1} ms \
             | {:.1} % | {cpu} | {rss} | {scrape} |",
            row.name,
            row.longest_us as f64 / 1e3,
            row.median_us as f64 / 1e3,
            row.server_us / 1e3,
            row.load * 100.0,
            row.ping_p999_us as f64 / 1e3,
            row.ping_max_us as f64 / 1e3,
            row.throughput / base * 100.0,
        );
    }
}
