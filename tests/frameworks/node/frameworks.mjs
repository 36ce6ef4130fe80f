// Node frameworks, each connected to Redis as its documentation shows.
//
// frameworks.mjs                    prints the frameworks, one a line
// frameworks.mjs FRAMEWORK          connects as it does by default
// frameworks.mjs FRAMEWORK named    connects with the client name "billing"
//
// Prints the version and the line that sets the name as JSON, then "ready": once it is connected or, if it is a worker,
// once it has run a job. Keeps the connections until it is killed or its standard input ends. REDIS_URL names the
// server. Packages come from node_modules beside the program.
//
// Each member of `frameworks` is one framework. The statement after its `if (NAMED)` is the one that docs/frameworks.md
// shows.

import { readFileSync } from 'node:fs';

const REDIS_URL = process.env.REDIS_URL ?? 'redis://127.0.0.1:6379';
const { hostname: host, port: portText } = new URL(REDIS_URL);
const port = Number(portText);
const NAMED = process.argv[3] === 'named';

// Sends a job and closes the sender, so that its connections are not taken for the worker's.
const send = async (queue, add) => {
  await add(queue);
  await queue.close();
};

// Resolves once something has emitted an event.
const emitted = (emitter, event) => new Promise((resolve) => emitter.once(event, resolve));

const frameworks = {
  ioredis: {
    package: 'ioredis',
    async connect() {
      const { Redis } = await import('ioredis');
      let client;
      if (NAMED) client = new Redis(REDIS_URL, { connectionName: 'billing' });
      else client = new Redis(REDIS_URL);
      await client.ping();
    },
  },

  'ioredis (clientInfoTag)': {
    package: 'ioredis',
    async connect() {
      const { Redis } = await import('ioredis');
      let client;
      if (NAMED) client = new Redis(REDIS_URL, { clientInfoTag: 'billing' });
      else client = new Redis(REDIS_URL);
      await client.ping();
    },
  },

  'node-redis': {
    package: 'redis',
    async connect() {
      const { createClient } = await import('redis');
      let client;
      if (NAMED) client = createClient({ url: REDIS_URL, name: 'billing' });
      else client = createClient({ url: REDIS_URL });
      await client.connect();
    },
  },

  'node-redis (clientInfoTag)': {
    package: 'redis',
    async connect() {
      const { createClient } = await import('redis');
      let client;
      if (NAMED) client = createClient({ url: REDIS_URL, clientInfoTag: 'billing' });
      else client = createClient({ url: REDIS_URL });
      await client.connect();
    },
  },

  iovalkey: {
    package: 'iovalkey',
    async connect() {
      const { Redis } = await import('iovalkey');
      let client;
      if (NAMED) client = new Redis(REDIS_URL, { connectionName: 'billing' });
      else client = new Redis(REDIS_URL);
      await client.ping();
    },
  },

  'valkey-glide (Node)': {
    package: '@valkey/valkey-glide',
    async connect() {
      const { GlideClient } = await import('@valkey/valkey-glide');
      const addresses = [{ host, port }];
      let client;
      if (NAMED) client = await GlideClient.createClient({ addresses, clientName: 'billing' });
      else client = await GlideClient.createClient({ addresses });
      await client.ping();
    },
  },

  'BullMQ Worker': {
    package: 'bullmq',
    async connect() {
      const { Queue, Worker } = await import('bullmq');
      const job = async () => {};
      await send(new Queue('mail', { connection: { host, port } }), (queue) => queue.add('hello', {}));
      let worker;
      if (NAMED) worker = new Worker('mail', job, { connection: { host, port, connectionName: 'billing' } });
      else worker = new Worker('mail', job, { connection: { host, port } });
      await emitted(worker, 'completed');
    },
  },

  'BullMQ Worker (name)': {
    package: 'bullmq',
    async connect() {
      const { Queue, Worker } = await import('bullmq');
      const job = async () => {};
      await send(new Queue('mail', { connection: { host, port } }), (queue) => queue.add('hello', {}));
      let worker;
      if (NAMED) worker = new Worker('mail', job, { connection: { host, port }, name: 'billing' });
      else worker = new Worker('mail', job, { connection: { host, port } });
      await emitted(worker, 'completed');
    },
  },

  'BullMQ Queue': {
    package: 'bullmq',
    async connect() {
      const { Queue } = await import('bullmq');
      let queue;
      if (NAMED) queue = new Queue('mail', { connection: { host, port, connectionName: 'billing' } });
      else queue = new Queue('mail', { connection: { host, port } });
      await queue.add('hello', {});
    },
  },

  'BullMQ QueueEvents': {
    package: 'bullmq',
    async connect() {
      const { QueueEvents } = await import('bullmq');
      let events;
      if (NAMED) events = new QueueEvents('mail', { connection: { host, port, connectionName: 'billing' } });
      else events = new QueueEvents('mail', { connection: { host, port } });
      await events.waitUntilReady();
    },
  },

  Bull: {
    package: 'bull',
    async connect() {
      const { default: Queue } = await import('bull');
      await send(new Queue('mail', REDIS_URL), (queue) => queue.add({}));
      let queue;
      if (NAMED) queue = new Queue('mail', { redis: { host, port, connectionName: 'billing' } });
      else queue = new Queue('mail', { redis: { host, port } });
      queue.process(async () => {});
      await emitted(queue, 'completed');
    },
  },

  'Bee-Queue': {
    package: 'bee-queue',
    async connect() {
      const { default: Queue } = await import('bee-queue');
      await send(new Queue('mail', { redis: { host, port }, isWorker: false }), (queue) => queue.createJob({}).save());
      let queue;
      if (NAMED) queue = new Queue('mail', { redis: { host, port, user: 'billing', password: 'secret' } });
      else queue = new Queue('mail', { redis: { host, port } });
      queue.process(async () => {});
      await emitted(queue, 'succeeded');
    },
  },

  'connect-redis': {
    package: 'connect-redis',
    async connect() {
      const { createClient } = await import('redis');
      const { RedisStore } = await import('connect-redis');
      const { default: session } = await import('express-session');
      let client;
      if (NAMED) client = createClient({ url: REDIS_URL, name: 'billing' });
      else client = createClient({ url: REDIS_URL });
      await client.connect();
      const store = new RedisStore({ client });
      session({ store, secret: 'secret', resave: false, saveUninitialized: false });
      await store.set('one', { cookie: {} });
    },
  },

  'Socket.IO Redis adapter': {
    package: '@socket.io/redis-adapter',
    async connect() {
      const { createClient } = await import('redis');
      const { createAdapter } = await import('@socket.io/redis-adapter');
      const { Server } = await import('socket.io');
      let publisher;
      if (NAMED) publisher = createClient({ url: REDIS_URL, name: 'billing' });
      else publisher = createClient({ url: REDIS_URL });
      const subscriber = publisher.duplicate();
      await Promise.all([publisher.connect(), subscriber.connect()]);
      new Server({ adapter: createAdapter(publisher, subscriber) }).emit('hello', 'world');
    },
  },

  '@keyv/redis': {
    package: '@keyv/redis',
    async connect() {
      const { default: Keyv } = await import('keyv');
      const { default: KeyvRedis } = await import('@keyv/redis');
      let store;
      if (NAMED) store = new KeyvRedis({ url: REDIS_URL, name: 'billing' });
      else store = new KeyvRedis(REDIS_URL);
      await new Keyv(store).set('key', 'value');
    },
  },

  redlock: {
    package: 'redlock',
    async connect() {
      const { Redis } = await import('ioredis');
      const { default: Redlock } = await import('redlock');
      let locks;
      if (NAMED) locks = new Redlock([new Redis(REDIS_URL, { connectionName: 'billing' })]);
      else locks = new Redlock([new Redis(REDIS_URL)]);
      await locks.lock('invoice', 60_000);
    },
  },
};

const [, , chosen] = process.argv;
if (chosen === undefined) {
  console.log(Object.keys(frameworks).join('\n'));
} else {
  const { package: name, connect } = frameworks[chosen];
  const { version } = JSON.parse(readFileSync(new URL(`node_modules/${name}/package.json`, import.meta.url)));
  const [, line] = /if \(NAMED\) (.+);/.exec(connect.toString());
  console.log(JSON.stringify({ version, named_by: line }));
  await connect();
  console.log('ready');
  process.stdin.resume().on('end', () => process.exit());
}
