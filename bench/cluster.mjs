// Measures what announcing costs the nodes of a cluster of three primaries and three replicas: with statuses of 64 KiB,
// as for a server alone, and with the size that the nodes share. An exporter makes the statuses of both sizes; then
// each node publishes its own again and again, in turns, while the processor time of all nodes is read.
//
// Run `make bench-cluster`. Environment variables: BENCH_SERVER (path of a server), BENCH_EXPORTER (path of another
// build), BENCH_CLIENTS (400, of each node), BENCH_MESSAGES (100, of each node, size and round), BENCH_ROUNDS (3). It
// uses only the loopback interface, ends by itself after about a minute, and is for Linux.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import net from "node:net";
import { loadavg, tmpdir } from "node:os";
import path from "node:path";

import { eventually, freePort, pause } from "./tools.mjs";

const project = path.resolve(import.meta.dirname, "..");
const EXPORTER = process.env.BENCH_EXPORTER ?? path.join(project, "target/release/redis-client-exporter");
const SERVER = process.env.BENCH_SERVER ?? path.join(project, ".cache/servers/redis-7.0/redis-server");
const CLIENTS = Number(process.env.BENCH_CLIENTS ?? 400);
const MESSAGES = Number(process.env.BENCH_MESSAGES ?? 100);
const ROUNDS = Number(process.env.BENCH_ROUNDS ?? 3);
const NODES = 6;
const SLOTS = 16384;
const CHANNEL = "__redis__:cli";
/** Between two messages, so that each one is received by itself. */
const GAP = 5;
/** The default of --client-announce-frequency, in microseconds. */
const FREQUENCY = 10_000_000;

const folder = mkdtempSync(path.join(tmpdir(), "cluster-"));
const processes = new Set();
process.once("exit", () => {
  processes.forEach((child) => child.kill("SIGKILL"));
  rmSync(folder, { recursive: true, force: true });
});
function run(program, args) {
  const child = spawn(program, args.map(String), { stdio: "ignore" });
  processes.add(child.once("exit", () => processes.delete(child)));
  return child;
}

const bulk = (arg) => `$${Buffer.byteLength(String(arg))}\r\n${arg}\r\n`;
const command = (...args) => `*${args.length}\r\n${args.map(bulk).join("")}`;

/** The first reply in a buffer, as text, with its length in bytes; undefined if it is not complete. */
function reply(bytes) {
  const end = bytes.indexOf("\r\n");
  if (end < 0) return undefined;
  const line = bytes.toString("utf8", 0, end);
  if (line[0] !== "$") return [line, end + 2];
  const length = Number(line.slice(1));
  const next = end + 4 + length;
  return bytes.length < next ? undefined : [bytes.toString("utf8", end + 2, next - 2), next];
}

/** A connection that sends one command after the other. */
class Peer {
  #socket;
  #bytes = Buffer.alloc(0);
  #done;

  static async connect(port) {
    const peer = new Peer();
    peer.#socket = net.connect({ host: "127.0.0.1", port, noDelay: true });
    peer.#socket.on("data", (bytes) => peer.#receive(bytes));
    await once(peer.#socket, "connect");
    return peer;
  }

  ask(...args) {
    this.#socket.write(command(...args));
    return new Promise((done) => (this.#done = done));
  }

  #receive(bytes) {
    this.#bytes = Buffer.concat([this.#bytes, bytes]);
    const found = reply(this.#bytes);
    if (!found) return;
    this.#bytes = this.#bytes.subarray(found[1]);
    this.#done?.(found[0]);
  }
}

/** Waits for the messages of a channel, until one is wanted of each node. */
async function statuses(port, isWanted) {
  const socket = net.connect({ host: "127.0.0.1", port });
  const found = new Map();
  let bytes = Buffer.alloc(0);
  socket.on("data", (more) => {
    bytes = Buffer.concat([bytes, more]);
    const text = bytes.toString("utf8");
    let read = 0;
    for (const match of text.matchAll(/\r\n(\{"schema":.*?\})\r\n/gs)) {
      read = match.index + match[0].length - 2;
      const status = JSON.parse(match[1]);
      if (status.kind === "status" && isWanted(match[1], status)) found.set(status.redis, match[1]);
    }
    bytes = bytes.subarray(Buffer.byteLength(text.slice(0, read)));
  });
  socket.write(command("SUBSCRIBE", CHANNEL));
  await eventually("a full status of each node", () => found.size === NODES);
  socket.destroy();
  return found;
}

/** A port that is free, as is the one of the cluster bus, 10,000 above it: most ephemeral ports are too high. */
async function busPort() {
  const port = 15_000 + Math.floor(Math.random() * 15_000);
  for (const used of [port, port + 10_000]) {
    const server = net.createServer().listen(used, "127.0.0.1");
    const isFree = await once(server, "listening").then(() => true, () => false);
    server.close();
    if (!isFree) return undefined;
  }
  return port;
}

async function startCluster() {
  const nodes = [];
  for (let place = 0; place < NODES; place += 1) {
    const port = await eventually("free ports", busPort);
    const options = ["--port", port, "--bind", "127.0.0.1", "--save", "", "--dir", folder, "--cluster-enabled", "yes"];
    const child = run(SERVER, [...options, "--cluster-config-file", `${port}.conf`, "--appendonly", "no"]);
    await eventually("a server listens", () => Peer.connect(port).then(() => true, () => false));
    nodes.push({ port, child, peer: await Peer.connect(port) });
  }
  for (const { peer } of nodes.slice(1)) await peer.ask("CLUSTER", "MEET", "127.0.0.1", nodes[0].port);
  const ask = (place, ...args) => nodes[place].peer.ask(...args);
  const knowsAll = async (place) => (await ask(place, "CLUSTER", "INFO")).includes(`cluster_known_nodes:${NODES}\r`);
  for (let place = 0; place < NODES; place += 1) await eventually("all know each other", () => knowsAll(place));
  const half = NODES / 2;
  for (let place = 0; place < half; place += 1) {
    const [first, last] = [Math.floor((place * SLOTS) / half), Math.floor(((place + 1) * SLOTS) / half) - 1];
    await ask(place, "CLUSTER", "ADDSLOTSRANGE", first, last);
    const id = await ask(place, "CLUSTER", "MYID");
    await eventually("a replica", async () => (await ask(place + half, "CLUSTER", "REPLICATE", id)) === "+OK");
  }
  const works = async (place) => (await ask(place, "CLUSTER", "INFO")).includes("cluster_state:ok");
  for (let place = 0; place < NODES; place += 1) await eventually("the cluster works", () => works(place));
  return nodes;
}

/** The processor time of a node's main thread, in microseconds. */
function cpu({ child: { pid } }) {
  const [nanoseconds] = readFileSync(`/proc/${pid}/task/${pid}/schedstat`, "utf8").split(" ");
  return Number(nanoseconds) / 1000;
}

async function published(node) {
  const text = await node.peer.ask("INFO", "commandstats");
  return Number(/cmdstat_publish:calls=\d+,usec=(\d+)/.exec(text)?.[1] ?? 0);
}

/** Publishes a node's message again and again. Returns microseconds a message: PUBLISH, the node, each other node. */
async function turn(nodes, publisher, message) {
  const before = [await published(publisher), ...nodes.map(cpu)];
  for (let count = 0; count < MESSAGES; count += 1) {
    if (message) await publisher.peer.ask("PUBLISH", CHANNEL, message);
    await pause(GAP);
  }
  await pause(50);
  const after = [...nodes.map(cpu)];
  const used = after.map((micros, place) => (micros - before[place + 1]) / MESSAGES);
  const own = nodes.indexOf(publisher);
  const others = used.filter((_, place) => place !== own);
  const usec = ((await published(publisher)) - before[0]) / MESSAGES;
  return [usec, used[own], others.reduce((sum, micros) => sum + micros, 0) / others.length];
}

const median = (numbers) => numbers.toSorted((one, other) => one - other)[Math.floor(numbers.length / 2)];

const nodes = await startCluster();
const clients = [];
for (const { port } of nodes) {
  for (let number = 0; number < CLIENTS; number += 1) {
    const client = await Peer.connect(port);
    await client.ask("CLIENT", "SETNAME", `worker-${number}`);
    clients.push(client);
  }
}
const sizes = [["64 KiB", ["--announce.max-bytes", "64KiB"], 50_000], ["shared", [], 8_000]];
for (const size of sizes) {
  const web = await freePort();
  const target = ["--redis.addr", `redis+cluster://127.0.0.1:${nodes[0].port}`];
  const page = ["--web.listen-address", `127.0.0.1:${web}`];
  const announcing = ["--announce", "always", "--client-announce-frequency", 1, ...size[1]];
  const exporter = run(EXPORTER, [...target, ...page, ...announcing]);
  const found = await statuses(nodes[5].port, (text, status) => status.truncated > 0 && text.length > size[2]);
  size.push(nodes.map(({ port }) => [...found].find(([redis]) => redis.endsWith(`:${port}`))[1]));
  exporter.kill("SIGKILL");
}
const figures = sizes.map(() => [[], [], []]);
for (let round = 0; round < ROUNDS; round += 1) {
  for (const [place, node] of nodes.entries()) {
    // What nodes do anyway, such as talking to each other.
    const idle = await turn(nodes, node, undefined);
    for (const [index, size] of sizes.entries()) {
      const used = await turn(nodes, node, size[3][place]);
      // PUBLISH is not called meanwhile.
      used.forEach((micros, figure) => figures[index][figure].push(Math.max(0, micros - idle[figure])));
    }
  }
}
const load = loadavg()[0].toFixed(1);
console.log(`${NODES} nodes, ${CLIENTS} clients each, ${ROUNDS} rounds of ${MESSAGES} messages a node; load ${load}`);
console.log("| status | bytes | PUBLISH | its node | each other node | a node in 10 s, if all are announced | share |");
console.log("|---|---|---|---|---|---|---|");
for (const [index, [name, , , messages]] of sizes.entries()) {
  const [usec, own, other] = figures[index].map(median);
  const total = own + (NODES - 1) * other;
  const bytes = median(messages.map((text) => Buffer.byteLength(text)));
  const times = [usec, own, other, total].map((micros) => `${micros.toFixed(0)} µs`);
  console.log(`| ${[name, bytes, ...times, `${((100 * total) / FREQUENCY).toFixed(4)} %`].join(" | ")} |`);
}
process.exit();
