// What the benches have in common: waiting, and free ports.

import { once } from "node:events";
import net from "node:net";

export const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

/** Repeats an attempt until it returns a value, for two minutes. */
export async function eventually(name, attempt) {
  for (const end = Date.now() + 120_000; Date.now() < end; await pause(50)) {
    const found = await attempt();
    if (found) return found;
  }
  throw new Error(`not within two minutes: ${name}`);
}

/** A port that is free now. */
export async function freePort() {
  const server = net.createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  return port;
}
