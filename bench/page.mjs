// What the pages cost with many clients: the first paint in a real Chromium, the windows that pages fetch again, two hundred open
// streams, and the memory of a page that is kept open.
//
// `make bench-page`. Variables: BENCH_SERVER (path of a server), BENCH_CLIENTS (19000), BENCH_SECONDS (60, for streams),
// BENCH_MINUTES (5, for memory). Only loopback; ends by itself.

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

// Ticks of a processor a second, as /proc counts them.
const TICKS = Number(execFileSync("getconf", ["CLK_TCK"]));

const at = (values, share) => [...values].sort((one, other) => one - other)[Math.min(values.length - 1, Math.floor(values.length * share))];
const ms = (value) => `${value.toFixed(1)} ms`;
const mb = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`;

const table = [];
function row(what, ...told) {
  table.push([what, ...told]);
  console.log([what, ...told].join(" | "));
}

/** Milliseconds to the first contentful paint of a page that a fresh browser window opens. */
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
    row(`first contentful paint of ${path}`, `median ${ms(at(times, 0.5))}`, `worst ${ms(Math.max(...times))}`);
  }
}

/** A query that nobody has asked before, of every sort that people ask. */
function query(turn) {
  const sorts = ["-idle", "id", "addr", "-age", "name", "-omem", "app", "cmd"];
  const kinds = [`offset=${turn * 40}`, `q=web&offset=${turn}`, `min_idle=1&offset=${turn}`, `app=checkout&offset=${turn}`, `filter=name~-${turn}`];
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
    row(`window of ${path}, ${REFETCHES} different ones`, `p50 ${ms(at(times, 0.5))}`, `p99 ${ms(at(times, 0.99))}`, `${Math.round(at(sizes, 0.5) / 1000)} KB`);
  }
}

/** The share of a core that the exporter takes for so many seconds. */
async function share(watched) {
  const before = watched.ticks();
  await pause(SECONDS * 1000);
  return (watched.ticks() - before) / TICKS / SECONDS;
}

async function streams(watched) {
  await pause(5000);
  const alone = await share(watched);
  const open = await openStreams(watched.port, STREAMS);
  await pause(2000);
  const before = open.bytes();
  const loaded = await share(watched);
  const told = (open.bytes() - before) / SECONDS / STREAMS;
  const percent = (value) => `${(value * 100).toFixed(2)} %`;
  row(`${STREAMS} open streams, ${SECONDS} s`, `${percent(loaded - alone)} of a core`, `${percent(loaded)} with, ${percent(alone)} without`, `${Math.round(told)} bytes a second each`);
  open.close();
}

/** What a page holds after its garbage is gone. */
async function held(session) {
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
  const first = await held(session);
  const heaps = [];
  for (let minute = 0; minute < MINUTES; minute += 1) {
    await pause(60_000);
    heaps.push((await held(session)).heap);
  }
  const last = await held(session);
  row(`page memory of ${path}, ${MINUTES} min, ${refreshes} refreshes`, `${mb(first.heap)} after 10 s`, `each minute ${heaps.map(mb).join(", ")}`, `DOM nodes ${first.nodes}, then ${last.nodes}`);
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
