// A minimal HTTP client, so that the client adds little to the measurement: one persistent connection, and event
// streams that are only read.

import { once } from "node:events";
import net from "node:net";

const request = (path) => `GET ${path} HTTP/1.1\r\nhost: localhost\r\n\r\n`;

/** Sends requests over one persistent connection, one after the other. */
export class Fetcher {
  #socket;
  #read = [];
  #length = 0;
  #wanted = Infinity;
  #done;

  static async connect(port) {
    const fetcher = new Fetcher();
    fetcher.#socket = net.connect({ host: "127.0.0.1", port, noDelay: true });
    fetcher.#socket.on("data", (bytes) => fetcher.#receive(bytes));
    await once(fetcher.#socket, "connect");
    return fetcher;
  }

  /** Returns the number of bytes of a response, headers and body. */
  get(path) {
    [this.#read, this.#length, this.#wanted] = [[], 0, Infinity];
    this.#socket.write(request(path));
    return new Promise((done, fail) => {
      this.#done = done;
      this.#socket.once("close", () => fail(new Error("the exporter closed the connection")));
    });
  }

  close() {
    this.#socket.removeAllListeners("close");
    this.#socket.destroy();
  }

  #receive(bytes) {
    this.#read.push(bytes);
    this.#length += bytes.length;
    if (this.#wanted === Infinity) this.#wanted = responseLength(Buffer.concat(this.#read));
    if (this.#length < this.#wanted) return;
    this.#socket.removeAllListeners("close");
    this.#done(this.#length);
  }
}

/** Returns the length of a response in bytes; Infinity until its headers are complete. */
function responseLength(bytes) {
  const end = bytes.indexOf("\r\n\r\n");
  if (end < 0) return Infinity;
  const head = bytes.toString("latin1", 0, end);
  if (!head.startsWith("HTTP/1.1 200")) throw new Error(head);
  return end + 4 + Number(/content-length: (\d+)/i.exec(head)[1]);
}

/** Opens event streams and counts the bytes that they receive. */
export async function openStreams(port, count) {
  const sockets = Array.from({ length: count }, () => net.connect({ host: "127.0.0.1", port }));
  let bytes = 0;
  for (const socket of sockets) {
    socket.write(request("/api/v1/events"));
    const [first] = await once(socket, "data");
    if (!first.toString("latin1").startsWith("HTTP/1.1 200")) throw new Error(`a stream was refused: ${first}`);
    socket.on("data", (chunk) => (bytes += chunk.length));
  }
  return { bytes: () => bytes, close: () => sockets.forEach((socket) => socket.destroy()) };
}
