// A peer that tries to keep others from being served: `node attacker.mjs ATTACK SOURCE PORT`. It opens a thousand
// connections, replaces those that are closed, ten every ten milliseconds, and ends when its parent closes its input.
// It prints a line once all were opened.

import net from "node:net";

const SOCKETS = 1000;
const REPLACED = 10;

const get = (path) => `GET ${path} HTTP/1.1\r\nhost: localhost\r\n\r\n`;
/** What is sent at first and then again and again, and whether answers are read. */
const ATTACKS = {
  idle: {},
  "slow heads": { first: "GET /metrics HTTP/1.1\r\nhost: localhost\r\nx: ", next: "y" },
  handshakes: { first: Buffer.from([22, 3, 1, 2, 0]) },
  "between requests": { first: get("/-/healthy") },
  "unread answers": { first: get("/metrics"), isUnread: true },
  "event streams": { first: get("/api/v1/events") },
  "refused requests": { first: get("/api/v1/events").replace("localhost", "example.org") },
};

const [name, localAddress, port] = process.argv.slice(2);
const { first, next, isUnread } = ATTACKS[name];
const sockets = new Array(SOCKETS);

function open(place) {
  const socket = net.connect({ host: "127.0.0.1", port: Number(port), localAddress });
  sockets[place] = socket;
  socket.on("error", () => {}).on("close", () => sockets[place] === socket && (sockets[place] = undefined));
  // A paused socket does not notice that it was closed, so it is replaced when its turn comes.
  if (isUnread) socket.pause();
  else socket.resume();
  if (first) socket.write(first);
}

process.stdin.resume().on("end", () => process.exit());
for (let place = 0; place < SOCKETS; place += 1) {
  open(place);
  if (place % 50 === 0) await new Promise(setImmediate);
}
console.log("opened");
let turn = 0;
setInterval(() => {
  for (let replaced = 0, seen = 0; replaced < REPLACED && seen < SOCKETS; seen += 1, turn = (turn + 1) % SOCKETS) {
    if (sockets[turn] && !isUnread) continue;
    sockets[turn]?.destroy();
    open(turn);
    replaced += 1;
  }
  if (next) for (const socket of sockets) if (socket?.writable) socket.write(next);
}, 10);
