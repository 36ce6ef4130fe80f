// The screenshots of the documentation, from a real run: the applications of a shop, one that leaks connections, one
// that closes all of them, and one that is expected but never online.
//
// `make screenshots` runs `screenshots.mjs FOLDER`. Variables: SCREENSHOT_MINUTES (default 3) is the time before the
// screenshots are taken (charts show the last hour); BENCH_SERVER is the path of a server.

import { mkdirSync, statSync } from "node:fs";
import path from "node:path";
import { Watched } from "../../bench/watched.mjs";
import { launch, pause } from "./chromium.mjs";
import { Client } from "./redis.mjs";

const folder = process.argv[2];
if (!folder) throw new Error("usage: screenshots.mjs FOLDER");
const MINUTES = Number(process.env.SCREENSHOT_MINUTES ?? 3);
const WIDE = { width: 1280, height: 800 };
const NARROW = { width: 380, height: 800 };

// The maximum size of a file, in bytes. A picture stays in the history of the repository forever.
const MAX_BYTES = 300_000;

const CLIENTS = 160;
const LEAKED = 60;

/** Opens connections of one application at regular intervals, and never closes them. */
async function leak(over) {
  for (let leaked = 1; leaked <= LEAKED; leaked += 1) {
    const client = await Client.connect(`basket-api-${leaked}`);
    await client.ask("GET", `basket:${leaked}`);
    await pause(over / LEAKED);
  }
}

/** An application that closes all its connections after this time. */
async function leave(after) {
  const clients = await Promise.all([1, 2, 3].map((number) => Client.connect(`nightly-import-${number}`)));
  await pause(after);
  clients.forEach((client) => client.leave());
}

// The time, in milliseconds, until charts are drawn and the page was refreshed.
const DRAWN = 2500;

// A client's page shows the observations since it was opened. This is the time to collect some, in milliseconds.
const WATCHED = 20_000;

/** The screenshots: name, URL, browser options, and the time to wait. */
function pictures(leaky) {
  return [
    ["overview", "/", {}, DRAWN],
    ["overview-dark", "/", { colorScheme: "dark" }, DRAWN],
    ["clients", "/clients?state=idle", {}, DRAWN],
    ["clients-narrow", "/clients?state=idle", { viewport: NARROW }, DRAWN],
    ["client", `/clients/${leaky}`, {}, WATCHED],
    ["apps", "/apps", {}, DRAWN],
    ["closed", "/closed", {}, DRAWN],
  ];
}

async function take(browser, watched, [name, where, options, stay]) {
  const context = await browser.newContext({ viewport: WIDE, baseURL: watched.url, ...options });
  const page = await context.newPage();
  await page.goto(where);
  await page.getByText("live", { exact: true }).waitFor();
  await pause(stay);
  const file = path.join(folder, `${name}.png`);
  await page.screenshot({ path: file });
  await context.close();
  const { size } = statSync(file);
  if (size > MAX_BYTES) throw new Error(`${file} has ${size} bytes, more than ${MAX_BYTES}`);
  console.log(`${file}: ${size} bytes`);
}

mkdirSync(folder, { recursive: true });
const watched = await Watched.start(CLIENTS);
process.env.REDIS_ADDRESS = `127.0.0.1:${watched.redis}`;
const browser = await launch();
try {
  const first = await Client.connect("basket-api-0");
  setInterval(() => first.ask("GET", "basket:0"), 4000);
  const args = ["--idle-after", "1m", "--presence.expect", "invoice-mailer=2", "--presence.expect", "checkout=5"];
  await watched.exporter("5s", ...args);
  const over = MINUTES * 60_000;
  await Promise.all([leak(over * 0.8), leave(over * 0.7), pause(over)]);
  for (const picture of pictures(await first.id())) await take(browser, watched, picture);
} finally {
  await browser.close();
  watched.end();
}
process.exit();
