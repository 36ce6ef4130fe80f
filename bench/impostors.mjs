// Servers that are no servers: `node impostors.mjs ANSWER COUNT`. Each one answers a command with a head and then a
// piece, again and again. It prints the ports, and ends when its parent closes its input.

import { once } from "node:events";
import net from "node:net";

const KIB = 1024;
const rows = (bytes) => `id=1 addr=10.0.0.1:1 name=${"x".repeat(bytes)}\n`;
/** A whole listing of as many clients as a limit of 256 MiB has room for, with different last keys. */
function distinct() {
  const lines = Array.from({ length: 900_000 }, (_, place) => (place % 2 ? `id=${place}\n` : `id=${place} a=\n`));
  return Buffer.from(bulk(lines.join("")));
}

/** The command that is answered, the head of the answer, and what follows again and again. */
const ANSWERS = {
  "elements without end": ["CLIENT ID", "*2147483647\r\n", ":1\r\n"],
  "nested arrays": ["CLIENT ID", "", "*1\r\n"],
  "maps, attributes, pushes": ["CLIENT ID", "|1000000000\r\n", "%1\r\n>1\r\n"],
  "a text without end": ["CLIENT ID", "$9000000000\r\n", "x"],
  "an error without end": ["CLIENT ID", "-ERR ", "x"],
  "INFO of 128 MiB": ["INFO server", "$134217728\r\n", "a:b\r\n"],
  "tiny rows": ["CLIENT LIST", "$134217000\r\n", "id=1\n"],
  "the shortest rows": ["CLIENT LIST", "", distinct],
  "rows of 32 MiB": ["CLIENT LIST", "$134217728\r\n", rows(32 * KIB * KIB)],
  "rows of 60 KiB": ["CLIENT LIST", "$134217728\r\n", rows(60 * KIB)],
  "a text that is declared and never sent": ["CLIENT LIST", "$134217728\r\n", ""],
  "replies that are no messages": ["SUBSCRIBE __redis__:cli", "", "*0\r\n"],
  "messages without end": ["SUBSCRIBE __redis__:cli", "", "*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$2\r\n{}\r\n"],
  "a text, byte by byte": ["CLIENT LIST", "$134217728\r\n", "slow"],
};

const REPLIES = {
  "CLIENT ID": ":7\r\n",
  "INFO clients": bulk("connected_clients:500000\r\n"),
  "INFO stats": bulk("total_connections_received:500000\r\n"),
};
const [answer, count] = process.argv.slice(2);
let whole;

function bulk(text) {
  return `$${text.length}\r\n${text}\r\n`;
}

function reply(socket, command) {
  // Like a server that cannot list by ids, so that all are listed at once.
  if (command.startsWith("CLIENT LIST ID")) return "-ERR syntax error\r\n";
  if (command === "INFO server") return bulk(`run_id:${socket.localPort}\r\nredis_version:7.2.0\r\n`);
  return REPLIES[command] ?? bulk("role:master\r\n");
}

async function serve(socket, [attacked, head, piece]) {
  let bytes = "";
  socket.on("error", () => {});
  for await (const chunk of socket) {
    bytes += chunk.toString("latin1");
    for (let command; ([command, bytes] = next(bytes)), command !== undefined; ) {
      if (command !== attacked) {
        socket.write(reply(socket, command));
        continue;
      }
      socket.write(head);
      if (typeof piece === "function") {
        whole ??= piece();
        socket.write(whole);
        continue;
      }
      while (piece === "slow" && socket.writable) {
        socket.write("x");
        await new Promise((done) => setTimeout(done, 20));
      }
      const many = Buffer.from(piece.repeat(Math.ceil((256 * KIB) / Math.max(piece.length, 1))));
      while (many.length > 0 && socket.writable) {
        if (!socket.write(many)) await Promise.race([once(socket, "drain"), once(socket, "close")]).catch(() => {});
      }
    }
  }
}

/** The first whole command of these bytes, and the rest. */
function next(bytes) {
  const parts = bytes.split("\r\n");
  const args = Number(parts[0].slice(1));
  if (!bytes || parts.length < 2 + 2 * args) return [undefined, bytes];
  const words = parts.slice(1, 1 + 2 * args).filter((_, place) => place % 2 === 1);
  return [words.join(" "), parts.slice(1 + 2 * args).join("\r\n")];
}

process.stdin.resume().on("end", () => process.exit());
const kinds = answer === "all of them" ? Object.values(ANSWERS) : [ANSWERS[answer]];
const ports = [];
for (let place = 0; place < Number(count); place += 1) {
  const server = net.createServer((socket) => serve(socket, kinds[place % kinds.length]).catch(() => {}));
  await once(server.listen(0, "127.0.0.1"), "listening");
  ports.push(server.address().port);
}
console.log(ports.join(" "));
