// Measures the pages with many clients: the first paint in a real Chromium, the windows that pages fetch when they
// update, two hundred open streams, and the memory of a page that stays open.
//
// Run `make bench-page`. Environment variables: BENCH_SERVER (path of a server), BENCH_CLIENTS (19000), BENCH_SECONDS
// (60, for streams), BENCH_MINUTES (5, for memory). It uses only the loopback interface and ends by itself.

import { execFileSync } from "node:child_process";
import { loadavg } from "node:os";
import { launch, pause } from "../tests/browser/chromium.mjs";
import { Watched } from "./watched.mjs";
import { Fetcher, openStreams } from "./raw.mjs";

const number = (name, otherwise) => Number(process.env[name] ?? otherwise);
const CLIENTS = number("BENCH_CLIENTS", 19_000);
const SECONDS = number("BENCH_SECONDS", 60);
const MINUTES = number("BENCH_MINUTES", 5);
const STREAMS = 200;
const REFETCHES = 300;
const VISITS = 7;

// Clock ticks per second, the unit of CPU time in /proc.
const TICKS = Number(execFileSync("getconf", ["CLK_TCK"]));

function quantile(values, share) {
  const sorted = [...values].sort((one, other) => one - other);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))];
}
const ms = (value) => `${value.toFixed(1)} ms`;
const mb = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`;

const table = [];
function row(name, ...values) {
  table.push([name, ...values]);
  console.log([name, ...values].join(" | "));
}

/** Returns the milliseconds to the first contentful paint of a page in a new browser window. */
async function firstPaint(browser, url) {
  const context = await browser.newContext();
  const page = await context.newPage();
  await page.goto(url);
  const paints = () => page.evaluate(() => performance.getEntriesByName("first-contentful-paint")[0]?.startTime);
  let painted;
  while ((painted = await paints()) === undefined) await pause(20);
  await context.close();
  return painted;
}

async function paints(browser, watched) {
  for (const path of ["/", "/clients"]) {
    const times = [];
    for (let visit = 0; visit < VISITS; visit += 1) times.push(await firstPaint(browser, watched.url + path));
    row(`first contentful paint of ${path}`, `median ${ms(quantile(times, 0.5))}`, `worst ${ms(Math.max(...times))}`);
  }
}

/** Returns a query that was not used before, in all typical forms. */
function query(turn) {
  const sorts = ["-idle", "id", "addr", "-age", "name", "-omem", "app", "cmd"];
  const kinds = [
    `offset=${turn * 40}`,
    `q=web&offset=${turn}`,
    `min_idle=1&offset=${turn}`,
    `app=checkout&offset=${turn}`,
    `filter=name~-${turn}`,
  ];
  return `sort=${sorts[turn % sorts.length]}&${kinds[turn % kinds.length]}`;
}

async function refetches(watched) {
  for (const path of ["/clients", "/api/v1/clients"]) {
    const fetcher = await Fetcher.connect(watched.port);
    const [times, sizes] = [[], []];
    for (let turn = 0; turn < REFETCHES; turn += 1) {
      const began = performance.now();
      sizes.push(await fetcher.get(`${path}?${query(turn)}`));
      times.push(performance.now() - began);
    }
    fetcher.close();
    const [p50, p99] = [0.5, 0.99].map((share) => ms(quantile(times, share)));
    const kilobytes = Math.round(quantile(sizes, 0.5) / 1000);
    row(`window of ${path}, ${REFETCHES} different queries`, `p50 ${p50}`, `p99 ${p99}`, `${kilobytes} KB`);
  }
}

/** Returns the share of a core that the exporter uses, measured over SECONDS. */
async function cpuShare(watched) {
  const before = watched.ticks();
  await pause(SECONDS * 1000);
  return (watched.ticks() - before) / TICKS / SECONDS;
}

async function streams(watched) {
  await pause(5000);
  const alone = await cpuShare(watched);
  const open = await openStreams(watched.port, STREAMS);
  await pause(2000);
  const before = open.bytes();
  const loaded = await cpuShare(watched);
  const received = Math.round((open.bytes() - before) / SECONDS / STREAMS);
  const percent = (value) => `${(value * 100).toFixed(2)} %`;
  row(
    `${STREAMS} open streams, ${SECONDS} s`,
    `${percent(loaded - alone)} of a core`,
    `${percent(loaded)} with, ${percent(alone)} without`,
    `${received} bytes per second each`,
  );
  open.close();
}

/** Returns the heap size and the DOM nodes of a page after a garbage collection. */
async function heapAndNodes(session) {
  await session.send("HeapProfiler.collectGarbage");
  const { metrics } = await session.send("Performance.getMetrics");
  const metric = (name) => metrics.find((metric) => metric.name === name).value;
  return { heap: metric("JSHeapUsedSize"), nodes: metric("Nodes") };
}

async function memory(browser, watched, path) {
  const page = await browser.newPage();
  let refreshes = 0;
  page.on("request", (request) => (refreshes += request.url() === watched.url + path ? 1 : 0));
  await page.goto(watched.url + path);
  const session = await page.context().newCDPSession(page);
  await session.send("Performance.enable");
  await pause(10_000);
  const first = await heapAndNodes(session);
  const heaps = [];
  for (let minute = 0; minute < MINUTES; minute += 1) {
    await pause(60_000);
    heaps.push((await heapAndNodes(session)).heap);
  }
  const last = await heapAndNodes(session);
  row(
    `page memory of ${path}, ${MINUTES} min, ${refreshes} refreshes`,
    `${mb(first.heap)} after 10 s`,
    `each minute ${heaps.map(mb).join(", ")}`,
    `DOM nodes ${first.nodes}, then ${last.nodes}`,
  );
  await page.close();
}

console.log(`load average before: ${loadavg().map((load) => load.toFixed(1)).join(" ")}`);
const watched = await Watched.start(CLIENTS);
const browser = await launch();
try {
  await watched.exporter("10s");
  console.log(`${watched.version}, ${CLIENTS} clients`);
  await paints(browser, watched);
  await refetches(watched);
  await streams(watched);
  await watched.exporter("1s");
  for (const path of ["/clients", "/"]) await memory(browser, watched, path);
  row("exporter's memory at the end", mb(watched.rss()));
} finally {
  await browser.close();
  watched.end();
}
console.log(`load average after: ${loadavg().map((load) => load.toFixed(1)).join(" ")}\n`);
for (const cells of table) console.log(`| ${cells.join(" | ")} |`);
