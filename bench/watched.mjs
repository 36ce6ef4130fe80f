// A server with simulated clients and an exporter, as release builds, for measurements and screenshots in a browser.
// All processes end with this one.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";

import { eventually, freePort } from "./tools.mjs";

const project = path.resolve(import.meta.dirname, "..");
const release = (name) => path.join(project, "target/release", name);

/** The server program: BENCH_SERVER, or Debian's from `make servers`. */
const SERVER = process.env.BENCH_SERVER ?? path.join(project, ".cache/servers/redis-7.0/redis-server");

export class Watched {
  #folder = mkdtempSync(path.join(tmpdir(), "watched-"));
  #processes = [];
  #exporter;

  /** Starts a server and this number of clients. */
  static async start(clients) {
    const watched = new Watched();
    process.once("exit", () => watched.end());
    watched.redis = await freePort();
    const network = ["--port", watched.redis, "--bind", "127.0.0.1", "--tcp-backlog", "4096"];
    watched.#run(SERVER, [...network, "--save", "", "--dir", watched.#folder, "--maxclients", clients + 500]);
    await eventually("the server listens", () => listens(watched.redis));
    const crowd = watched.#run(release("crowd"), [`redis://127.0.0.1:${watched.redis}`, clients], "pipe");
    await once(createInterface(crowd.stdout), "line");
    watched.clients = clients;
    return watched;
  }

  /** Starts an exporter in place of the previous one, and waits for its first whole sample. */
  async exporter(frequency, ...args) {
    this.#exporter?.kill();
    this.port = await freePort();
    this.url = `http://127.0.0.1:${this.port}`;
    const addresses = ["--redis.addr", `127.0.0.1:${this.redis}`, "--web.listen-address", `127.0.0.1:${this.port}`];
    const options = [...addresses, "--client-announce-frequency", frequency, ...args];
    this.#exporter = this.#run(release("redis-client-exporter"), options);
    const status = async () => (await (await fetch(`${this.url}/api/v1/status`)).json()).nodes[0];
    const seen = await eventually("the exporter sees all clients", async () => {
      const node = await status().catch(() => undefined);
      return node?.connections >= this.clients && node;
    });
    this.version = `redis ${seen.version}`;
  }

  /** The exporter's CPU time in clock ticks (proc(5): utime and stime of /proc/PID/stat). */
  ticks() {
    const fields = readFileSync(`/proc/${this.#exporter.pid}/stat`, "utf8").split(") ")[1].split(" ");
    return Number(fields[11]) + Number(fields[12]);
  }

  /** The exporter's resident memory, in bytes. */
  rss() {
    return Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${this.#exporter.pid}/status`, "utf8"))[1]) * 1024;
  }

  end() {
    this.#processes.splice(0).forEach((process) => process.kill("SIGKILL"));
    rmSync(this.#folder, { recursive: true, force: true });
  }

  #run(program, args, stdout = "ignore") {
    const child = spawn(program, args.map(String), { stdio: ["ignore", stdout, "ignore"] });
    this.#processes.push(child);
    return child;
  }
}

function listens(port) {
  return new Promise((resolve) => {
    const socket = net.connect({ host: "127.0.0.1", port });
    socket.once("connect", () => (socket.destroy(), resolve(true))).once("error", () => resolve(false));
  });
}
