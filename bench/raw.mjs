// HTTP down to its bytes, so that what is measured is the server: one connection that is kept, and streams that are only read.

import { once } from "node:events";
import net from "node:net";

const request = (path) => `GET ${path} HTTP/1.1\r\nhost: localhost\r\n\r\n`;

/** Asks over one connection, one thing after the other. */
export class Fetcher {
  #socket;
  #read = [];
  #length = 0;
  #wanted = Infinity;
  #done;

  static async connect(port) {
    const fetcher = new Fetcher();
    fetcher.#socket = net.connect({ host: "127.0.0.1", port, noDelay: true });
    fetcher.#socket.on("data", (bytes) => fetcher.#hear(bytes));
    await once(fetcher.#socket, "connect");
    return fetcher;
  }

  /** The bytes of an answer, head and body. */
  get(path) {
    [this.#read, this.#length, this.#wanted] = [[], 0, Infinity];
    this.#socket.write(request(path));
    return new Promise((done, fail) => {
      this.#done = done;
      this.#socket.once("close", () => fail(new Error("the exporter hung up")));
    });
  }

  close() {
    this.#socket.removeAllListeners("close");
    this.#socket.destroy();
  }

  #hear(bytes) {
    this.#read.push(bytes);
    this.#length += bytes.length;
    if (this.#wanted === Infinity) this.#wanted = whole(Buffer.concat(this.#read));
    if (this.#length < this.#wanted) return;
    this.#socket.removeAllListeners("close");
    this.#done(this.#length);
  }
}

/** How long an answer is, once its head is there. */
function whole(bytes) {
  const end = bytes.indexOf("\r\n\r\n");
  if (end < 0) return Infinity;
  const head = bytes.toString("latin1", 0, end);
  if (!head.startsWith("HTTP/1.1 200")) throw new Error(head);
  return end + 4 + Number(/content-length: (\d+)/i.exec(head)[1]);
}

/** Opens so many streams of events, and counts what they tell. */
export async function openStreams(port, count) {
  const sockets = Array.from({ length: count }, () => net.connect({ host: "127.0.0.1", port }));
  let bytes = 0;
  for (const socket of sockets) {
    socket.write(request("/api/v1/events"));
    const [first] = await once(socket, "data");
    if (!first.toString("latin1").startsWith("HTTP/1.1 200")) throw new Error(`a stream was refused: ${first}`);
    socket.on("data", (told) => (bytes += told.length));
  }
  return { bytes: () => bytes, close: () => sockets.forEach((socket) => socket.destroy()) };
}
