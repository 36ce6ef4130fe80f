// Measures an exporter of many small servers: its memory and CPU, the scrape of one node, the page, and how the first
// samples are spread.
//
// Run `make bench-fleet`. Environment variables: BENCH_SERVER (path of a server), BENCH_EXPORTER (path of another
// build), BENCH_NODES (100), BENCH_CLIENTS (100, of each node), BENCH_SECONDS (60). It uses only the loopback interface
// and ends by itself. It is for Linux.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import net from "node:net";
import { loadavg, tmpdir } from "node:os";
import path from "node:path";

import { eventually, pause } from "./tools.mjs";

const project = path.resolve(import.meta.dirname, "..");
const EXPORTER = process.env.BENCH_EXPORTER ?? path.join(project, "target/release/redis-client-exporter");
const SERVER = process.env.BENCH_SERVER || path.join(project, ".cache/servers/redis-7.0/redis-server");
const NODES = Number(process.env.BENCH_NODES ?? 100);
const CLIENTS = Number(process.env.BENCH_CLIENTS ?? 100);
const SECONDS = Number(process.env.BENCH_SECONDS ?? 60);
const FIRST_PORT = 21_000;
/** Clock ticks a second in /proc/PID/stat. */
const TICKS = 100;

const folder = mkdtempSync(path.join(tmpdir(), "fleet-"));
const processes = [];
process.once("exit", () => {
  processes.forEach((child) => child.kill("SIGKILL"));
  rmSync(folder, { recursive: true, force: true });
});

function run(program, args) {
  const child = spawn(program, args.map(String), { stdio: "ignore" });
  processes.push(child);
  return child;
}

function connected(port) {
  return new Promise((done) => {
    const socket = net.connect(port, "127.0.0.1");
    socket.once("connect", () => done(socket)).once("error", () => done(undefined));
  });
}

async function get(web, target) {
  const began = performance.now();
  const answer = await fetch(`http://127.0.0.1:${web}${target}`);
  const text = await answer.text();
  return { text, milliseconds: performance.now() - began };
}

const percentile = (values, share) => values.sort((a, b) => a - b)[Math.ceil(values.length * share) - 1];

/** Seconds of CPU that a process has used. */
function cpu(pid) {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1].split(" ");
  return (Number(fields[11]) + Number(fields[12])) / TICKS;
}

function memory(pid, field) {
  return Number(readFileSync(`/proc/${pid}/status`, "utf8").match(`${field}:\\s+(\\d+)`)[1]) / 1024;
}

const ports = Array.from({ length: NODES }, (_, place) => FIRST_PORT + place);
for (const port of ports) {
  run(SERVER, ["--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", folder]);
}
const sockets = [];
for (const port of ports) {
  const first = await eventually(`the server on ${port}`, () => connected(port));
  sockets.push(first);
  for (let place = 1; place < CLIENTS; place += 1) sockets.push(await connected(port));
  sockets.slice(-CLIENTS).forEach((socket, place) => {
    socket.on("data", () => {}).write(`CLIENT SETNAME app-${place % 10}-${place}\r\n`);
  });
}
// A third of the clients send a command every second.
const busy = sockets.filter((_, place) => place % 3 === 0);
const timer = setInterval(() => busy.forEach((socket) => socket.write("PING\r\n")), 1000);
console.log(`${NODES} servers with ${sockets.length} clients; load ${loadavg()[0]}`);

const web = FIRST_PORT - 1;
const began = Date.now();
const addresses = ports.map((port) => `127.0.0.1:${port}`);
const args = ["--redis.addr", addresses.join(","), "--redis.name", addresses.join(","), "--announce=never"];
const exporter = run(EXPORTER, [...args, "--web.listen-address", `127.0.0.1:${web}`]);
await eventually("the exporter listens", () => connected(web));
const seen = new Map();
await eventually("all nodes are sampled", async () => {
  const { text } = await get(web, "/metrics");
  for (const [, node] of text.matchAll(/^redis_clients_up\{redis="([^"]+)"\} 1$/gm)) {
    if (!seen.has(node)) seen.set(node, Date.now() - began);
  }
  return seen.size === NODES;
});
const firsts = [...seen.values()];
console.log(`first samples: from ${Math.min(...firsts)} to ${Math.max(...firsts)} ms after the start`);

const [cpuBefore, timeBefore] = [cpu(exporter.pid), Date.now()];
await pause(SECONDS * 1000);
const share = (cpu(exporter.pid) - cpuBefore) / ((Date.now() - timeBefore) / 1000);
console.log(`sampling alone: ${(share * 100).toFixed(2)} % of a core`);
const [now, peak] = ["VmRSS", "VmHWM"].map((field) => memory(exporter.pid, field).toFixed(1));
console.log(`memory: ${now} MB, peak ${peak} MB`);

const scrapes = [];
for (let round = 0; round < 5; round += 1) {
  for (const address of addresses) {
    const { milliseconds } = await get(web, `/metrics?redis=${encodeURIComponent(address)}`);
    scrapes.push(milliseconds);
  }
}
const shown = (name, values) => {
  const [median, p99] = [0.5, 0.99].map((part) => percentile(values, part).toFixed(2));
  console.log(`${name}: median ${median} ms, p99 ${p99} ms`);
};
shown("scrape of one node", scrapes);
const all = [];
let bytes = 0;
for (let round = 0; round < 20; round += 1) {
  const { text, milliseconds } = await get(web, "/metrics");
  all.push(milliseconds);
  bytes = text.length;
}
shown(`scrape of everything (${(bytes / 1024).toFixed(0)} KB)`, all);
const pages = [];
for (let round = 0; round < 20; round += 1) {
  const { text, milliseconds } = await get(web, "/");
  pages.push(milliseconds);
  bytes = text.length;
}
shown(`page / (${(bytes / 1024).toFixed(0)} KB)`, pages);
console.log(`memory after pages: peak ${memory(exporter.pid, "VmHWM").toFixed(1)} MB`);
clearInterval(timer);
exporter.kill("SIGTERM");
await once(exporter, "exit");
process.exit(0);
