// A minimal RESP client of the server under test.

import net from "node:net";
import { once } from "node:events";

const connected = new Set();

/** Closes all connected clients, at the end of a test. */
export const leaveAll = () => connected.forEach((client) => client.leave());

export class Client {
  #socket;
  #read = Buffer.alloc(0);
  #waiting = [];

  constructor(socket) {
    this.#socket = socket;
    socket.on("data", (bytes) => this.#receive(bytes));
    // Tests close connections on purpose, so an error is expected.
    socket.on("error", () => {});
    const closed = () => new Error("the server closed the connection");
    socket.on("close", () => this.#waiting.splice(0).forEach(({ fail }) => fail(closed())));
  }

  /** Connects, and sets a name if one is given. */
  static async connect(name) {
    const [host, port] = (process.env.REDIS_ADDRESS ?? "127.0.0.1:6379").split(":");
    const socket = net.connect({ host, port: Number(port) });
    await once(socket, "connect");
    const client = new Client(socket);
    connected.add(client);
    if (name !== undefined) await client.ask("CLIENT", "SETNAME", name);
    return client;
  }

  /** Sends a command. Returns its reply, or throws the error that the server sends. */
  ask(...args) {
    const parts = args.map((arg) => `$${Buffer.byteLength(arg)}\r\n${arg}\r\n`);
    this.#socket.write(`*${args.length}\r\n${parts.join("")}`);
    return new Promise((give, fail) => this.#waiting.push({ give, fail }));
  }

  /** Returns the id that the server gave it, as text. */
  async id() {
    return String(await this.ask("CLIENT", "ID"));
  }

  leave() {
    connected.delete(this);
    this.#socket.destroy();
  }

  #receive(bytes) {
    this.#read = Buffer.concat([this.#read, bytes]);
    for (let found = answer(this.#read, 0); found; found = answer(this.#read, 0)) {
      this.#read = this.#read.subarray(found.end);
      const waiting = this.#waiting.shift();
      if (found.value instanceof Error) waiting?.fail(found.value);
      else waiting?.give(found.value);
    }
  }
}

/** Parses the reply at this position. Returns its value and its end, or undefined if it is incomplete. */
function answer(bytes, at) {
  const end = bytes.indexOf("\r\n", at);
  if (end < 0) return undefined;
  const line = bytes.toString("utf8", at + 1, end);
  switch (String.fromCharCode(bytes[at])) {
    case "+":
      return { value: line, end: end + 2 };
    case "-":
      return { value: new Error(line), end: end + 2 };
    case ":":
      return { value: Number(line), end: end + 2 };
    case "$":
      return bulk(bytes, end + 2, Number(line));
    case "*":
      return array(bytes, end + 2, Number(line));
    default:
      throw new Error(`a reply cannot start with ${bytes[at]}`);
  }
}

function bulk(bytes, at, length) {
  if (length < 0) return { value: null, end: at };
  if (bytes.length < at + length + 2) return undefined;
  return { value: bytes.toString("utf8", at, at + length), end: at + length + 2 };
}

function array(bytes, at, length) {
  const value = [];
  for (let part = 0; part < length; part += 1) {
    const found = answer(bytes, at);
    if (!found) return undefined;
    value.push(found.value);
    at = found.end;
  }
  return { value, end: at };
}

/** Returns the reply of `CLIENT LIST`, a map of fields per client. Values may contain `=`, and socket paths spaces. */
export async function clientList(client) {
  const lines = (await client.ask("CLIENT", "LIST")).split("\n").filter((line) => line !== "");
  return lines.map((line) => {
    const fields = line.matchAll(/(?:^| )([a-z-]+)=(.*?)(?= [a-z-]+=|$)/g);
    return Object.fromEntries([...fields].map(([, key, value]) => [key, value]));
  });
}
