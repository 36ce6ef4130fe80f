// Prints the number of connected and online clients of each node, and the last interaction of each client.
// Needs Node's redis: npm install redis. In a cluster, one node sends the statuses of all.
import { createClient } from 'redis';

const client = createClient({ url: process.env.REDIS_URL ?? 'redis://127.0.0.1:6379' });
client.on('error', (error) => console.error(error.message));
await client.connect();
await client.subscribe('__redis__:cli', (message) => {
  const status = JSON.parse(message);
  if (status.kind !== 'status') return;
  console.log(`connections ${status.connections} online ${status.online} on ${status.redis}`);
  for (const one of status.clients.filter((one) => one.last_interaction)) {
    console.log(one.id, JSON.stringify(one.name ?? ''), one.address ?? '', one.last_interaction);
  }
});
