// The pictures of the documentation, from a real run: a shop's crowd, one application that leaks connections, one that leaves, and
// one that is expected and not there.
//
// `make screenshots`. screenshots.mjs FOLDER; variables: SCREENSHOT_MINUTES (3: how long it runs before they are taken; charts
// show the last hour), BENCH_SERVER (path of a server).

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

// A picture in a repository is kept for ever.
const LARGEST = 300_000;

const CROWD = 160;
const LEAKED = 60;

/** One more connection of an application every so often, none of which is ever closed. */
async function leak(over) {
  for (let leaked = 1; leaked <= LEAKED; leaked += 1) {
    const client = await Client.connect(`basket-api-${leaked}`);
    await client.ask("GET", `basket:${leaked}`);
    await pause(over / LEAKED);
  }
}

/** An application that is there at first, and then is not. */
async function leave(after) {
  const clients = await Promise.all([1, 2, 3].map((number) => Client.connect(`nightly-import-${number}`)));
  await pause(after);
  clients.forEach((client) => client.leave());
}

// Charts are drawn, and the page was refreshed.
const DRAWN = 2500;

// A client's page tells what became of it while it was looked at.
const WATCHED = 20_000;

/** Pictures of pages: of each its name, its address, how it is looked at, and how long. */
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
  if (size > LARGEST) throw new Error(`${file} has ${size} bytes, more than ${LARGEST}`);
  console.log(`${file}: ${size} bytes`);
}

mkdirSync(folder, { recursive: true });
const watched = await Watched.start(CROWD);
process.env.REDIS_ADDRESS = `127.0.0.1:${watched.redis}`;
const browser = await launch();
try {
  const first = await Client.connect("basket-api-0");
  setInterval(() => first.ask("GET", "basket:0"), 4000);
  const words = ["--idle-after", "1m", "--presence.expect", "invoice-mailer=2", "--presence.expect", "checkout=5"];
  await watched.exporter("5s", ...words);
  const over = MINUTES * 60_000;
  await Promise.all([leak(over * 0.8), leave(over * 0.7), pause(over)]);
  for (const picture of pictures(await first.id())) await take(browser, watched, picture);
} finally {
  await browser.close();
  watched.end();
}
process.exit();
