// A publisher that floods the status channel with forged statuses: `node publisher.mjs ANNOUNCERS PORT`. Each status
// has as many clients as fit, in as many parts as are allowed, of announcers that take turns. It prints a line at the
// first one, and ends when its parent closes its input.

import { once } from "node:events";
import net from "node:net";

const CHANNEL = "__redis__:cli";
const PART_BYTES = 65_000;
const PARTS = 100;
const FIELDS = [
  "id", "address", "name", "user", "age_seconds", "idle_seconds", "flags", "database", "subscriptions",
  "pattern_subscriptions", "shard_subscriptions", "command", "library", "reply_list_length", "reply_list_bytes",
  "memory_bytes", "commands_total", "network_receive_bytes_total", "network_transmit_bytes_total",
];

const [announcers, port] = process.argv.slice(2).map(Number);
const socket = net.connect({ host: "127.0.0.1", port }).resume();
await once(socket, "connect");
process.stdin.resume().on("end", () => process.exit());

function message(turn, part, clients) {
  const header = {
    schema: "redis-client-status/2", kind: "status", announcer: `forged-${turn % announcers}`, redis: "forged:1",
    run_id: `forged-${turn % announcers}`, seq: turn + 1, sampled_at: new Date().toISOString(), frequency: 10,
    connections: 1e6, online: 1e6, silent: 0, fields: FIELDS, truncated: 1, part, parts: PARTS,
  };
  return `${JSON.stringify(header).slice(0, -1)},"clients":[${clients}]}`;
}

function publish(text) {
  return socket.write(`*3\r\n$7\r\nPUBLISH\r\n$${CHANNEL.length}\r\n${CHANNEL}\r\n$${text.length}\r\n${text}\r\n`);
}

for (let turn = 0; ; turn += announcers) {
  for (let part = 1, id = 1; part <= PARTS; part += 1) {
    const clients = [];
    for (let bytes = 0; bytes < PART_BYTES - 1500; id += 1) {
      clients.push(`{"id":${id}}`);
      bytes += clients.at(-1).length + 1;
    }
    for (let place = 0; place < announcers; place += 1) {
      const isWritable = publish(message(turn + place, part, clients.join(",")));
      if (!isWritable) await once(socket, "drain");
      // Below the rate above which messages are not read.
      await new Promise((done) => setTimeout(done, 4));
    }
    if (turn === 0 && part === 1) console.log("published");
  }
}
