// Measures what strangers can do: the time of scrapes and the memory of the exporter while a peer attacks its web
// server, and the age of the samples of a healthy server beside fifty hostile ones.
//
// Run `make bench-hostile`. Environment variables: BENCH_SERVER (path of a server), BENCH_EXPORTER (path of another
// build, to compare), BENCH_SCRAPES (300, at each attack), BENCH_SECONDS (30, the longest that they may take),
// BENCH_ATTACKS (a part of the names to run). It uses only the loopback interface and ends by itself. It is for Linux.

import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import net from "node:net";
import { loadavg, tmpdir } from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import tls from "node:tls";

import { eventually, freePort, pause } from "./tools.mjs";

const here = import.meta.dirname;
const project = path.resolve(here, "..");
const EXPORTER = process.env.BENCH_EXPORTER ?? path.join(project, "target/release/redis-client-exporter");
const SERVER = process.env.BENCH_SERVER ?? path.join(project, ".cache/servers/redis-7.0/redis-server");
const SCRAPES = Number(process.env.BENCH_SCRAPES ?? 300);
const SECONDS = Number(process.env.BENCH_SECONDS ?? 30);
const WANTED = process.env.BENCH_ATTACKS ?? "";
/** The time after which a scrape is given up. */
const GIVEN_UP = 30_000;
const HOSTILE = 50;

const PEERS = ["idle", "slow heads", "handshakes", "between requests", "unread answers", "event streams"];
const SERVERS = [
  "elements without end", "nested arrays", "maps, attributes, pushes", "a text without end", "an error without end",
  "INFO of 128 MiB", "tiny rows", "the shortest rows", "rows of 32 MiB", "rows of 60 KiB",
  "a text that is declared and never sent",
  "a text, byte by byte", "replies that are no messages", "messages without end", "all of them",
];

const folder = mkdtempSync(path.join(tmpdir(), "hostile-"));
const processes = new Set();
process.once("exit", () => {
  processes.forEach((child) => child.kill("SIGKILL"));
  rmSync(folder, { recursive: true, force: true });
});

function run(program, args, stdout = "ignore") {
  const child = spawn(program, args.map(String), { stdio: ["pipe", stdout, "ignore"] });
  processes.add(child.once("exit", () => processes.delete(child)));
  return child;
}

/** Starts a script of this folder, and returns it with the first line that it prints. */
async function script(name, ...args) {
  const child = run(process.execPath, [path.join(here, name), ...args], "pipe");
  const [line] = await once(createInterface(child.stdout), "line");
  return [child, line];
}

async function end(child) {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill("SIGKILL");
  await once(child, "exit");
}

function connected(port) {
  return new Promise((resolve) => {
    const socket = net.connect({ host: "127.0.0.1", port });
    socket.once("connect", () => (socket.destroy(), resolve(true))).once("error", () => resolve(false));
  });
}

async function exporter(addresses, ...args) {
  const port = await freePort();
  const flags = ["--redis.addr", addresses.join(","), "--web.listen-address", `127.0.0.1:${port}`, ...args];
  const child = run(EXPORTER, flags);
  await eventually("the exporter listens", () => connected(port));
  return { child, port };
}

/** The most memory that a process ever had, in MB (proc(5): VmHWM). */
function peak(child) {
  return Number(/VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${child.pid}/status`, "utf8"))[1]) / 1024;
}

/** Scrapes over a new connection. Returns the milliseconds, and the text if it was answered. */
function scrape(port, isTls) {
  const began = performance.now();
  return new Promise((done) => {
    const to = { host: "127.0.0.1", port };
    const socket = isTls ? tls.connect({ ...to, rejectUnauthorized: false }) : net.connect(to);
    let text = "";
    const finish = (answer) => (socket.destroy(), done({ milliseconds: performance.now() - began, text: answer }));
    socket.setTimeout(GIVEN_UP, () => finish(undefined)).on("error", () => finish(undefined));
    socket.on("data", (bytes) => (text += bytes.toString("latin1")));
    socket.on("end", () => finish(text.startsWith("HTTP/1.1 200") ? text : undefined));
    socket.write("GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
  });
}

const quantile = (values, share) => {
  const sorted = [...values].sort((one, other) => one - other);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))];
};

/** Scrapes again and again, with a pause of this many milliseconds. */
async function scrapes(port, isTls, milliseconds = 0) {
  const [results, last] = [[], Date.now() + 1000 * SECONDS];
  while (results.length < SCRAPES && Date.now() < last) {
    results.push(await scrape(port, isTls));
    await pause(milliseconds);
  }
  return results;
}

const row = (...values) => console.log(`| ${values.join(" | ")} |`);
function head(...names) {
  console.log("");
  row(...names);
  console.log(`|${"---|".repeat(names.length)}`);
}

function times(results) {
  const all = results.map((result) => result.milliseconds);
  const lost = results.filter((result) => result.text === undefined).length;
  const ms = (share) => `${quantile(all, share).toFixed(1)} ms`;
  return [`${all.length}`, ms(0.5), ms(0.99), ms(1), `${lost}`];
}

async function peers() {
  head("peer", "from", "scrapes", "median", "p99", "longest", "failed", "peak memory");
  const certificate = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"];
  const files = ["-keyout", path.join(folder, "server.key"), "-out", path.join(folder, "server.crt")];
  execFileSync("openssl", ["req", ...certificate, "-subj", "/CN=localhost", ...files], { stdio: "ignore" });
  const config = path.join(folder, "web-config.yml");
  writeFileSync(config, "tls_server_config: {cert_file: server.crt, key_file: server.key}");
  for (const attack of ["none", "none, TLS", ...PEERS].filter((name) => name.includes(WANTED))) {
    const isTls = attack === "handshakes" || attack === "none, TLS";
    for (const source of attack.startsWith("none") ? ["–"] : ["127.0.0.2", "127.0.0.1"]) {
      const args = ["--client-announce-frequency", "1h", ...(isTls ? ["--web.config.file", config] : [])];
      const { child, port } = await exporter(["127.0.0.1:1"], ...args);
      const [attacker] = source === "–" ? [] : await script("attacker.mjs", attack, source, port);
      const results = await scrapes(port, isTls);
      const from = { "–": "–", "127.0.0.1": "the same address", "127.0.0.2": "another address" }[source];
      row(attack, from, ...times(results), `${peak(child).toFixed(0)} MB`);
      if (attacker) await end(attacker);
      await end(child);
    }
  }
}

/** The value of a metric of the node at this port. */
function value(text, name, port) {
  const line = text.split("\n").find((line) => line.startsWith(`${name}{`) && line.includes(`:${port}"`));
  return line && Number(line.slice(line.lastIndexOf(" ")));
}

async function servers() {
  head(`${HOSTILE} servers`, "oldest sample of the healthy one", "up", "scrape p99", "peak memory");
  const redis = await freePort();
  const server = run(SERVER, ["--port", redis, "--bind", "127.0.0.1", "--save", "", "--dir", folder]);
  await eventually("the server listens", () => connected(redis));
  const clients = Array.from({ length: 100 }, () => net.connect({ host: "127.0.0.1", port: redis }));
  for (const answer of ["none", ...SERVERS].filter((name) => name.includes(WANTED))) {
    const [impostors, ports] = answer === "none" ? [] : await script("impostors.mjs", answer, HOSTILE);
    const hostile = (ports ?? "").split(" ").filter(Boolean).map((port) => `127.0.0.1:${port}`);
    const { child, port } = await exporter([...hostile, `127.0.0.1:${redis}`], "--client-announce-frequency", "1s");
    const at = "redis_clients_sample_timestamp_seconds";
    await eventually("a sample", async () => value((await scrape(port)).text ?? "", at, redis));
    const ages = [];
    let up = 0;
    const results = [];
    for (const last = Date.now() + 1000 * SECONDS; results.length < SCRAPES && Date.now() < last; await pause(100)) {
      const result = await scrape(port);
      results.push(result);
      const age = Date.now() / 1000 - value(result.text ?? "", at, redis);
      if (!Number.isNaN(age)) ages.push(age);
      up += value(result.text ?? "", "redis_clients_up", redis) === 1;
    }
    const oldest = `${Math.max(...ages).toFixed(1)} s`;
    const share = `${up} of ${results.length}`;
    row(answer, oldest, share, times(results)[2], `${peak(child).toFixed(0)} MB`);
    await end(child);
    if (impostors) await end(impostors);
  }
  clients.forEach((client) => client.destroy());
  await end(server);
}

/** Forged statuses, where nothing is signed, to exporters that never sample. */
async function publishers() {
  head("forged statuses to a subscriber of", "announcers", "scrape p99", "peak memory");
  for (const [nodes, announcers] of [[1, 1], [8, 1], [8, 4]]) {
    const servers = [];
    for (let place = 0; place < nodes; place += 1) {
      const port = await freePort();
      servers.push([port, run(SERVER, ["--port", port, "--bind", "127.0.0.1", "--save", "", "--dir", folder])]);
      await eventually("the server listens", () => connected(port));
    }
    const { child, port } = await exporter(servers.map(([port]) => `127.0.0.1:${port}`), "--sample", "never");
    const publishing = [];
    for (const [redis] of servers) publishing.push((await script("publisher.mjs", announcers, redis))[0]);
    const results = await scrapes(port, false, 100);
    row(`${nodes} server${nodes === 1 ? "" : "s"}`, announcers, times(results)[2], `${peak(child).toFixed(0)} MB`);
    for (const one of [child, ...publishing, ...servers.map(([, server]) => server)]) await end(one);
  }
}

console.log(execFileSync(EXPORTER, ["--version"], { encoding: "utf8" }).trim());
await peers();
await servers();
if ("forged statuses".includes(WANTED)) await publishers();
console.log(`\nload average at the end: ${loadavg().map((load) => load.toFixed(1)).join(" ")}`);
process.exit(0);
