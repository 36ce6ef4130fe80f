// At the default frequency, 10 s, the page keeps up by itself: who comes is there within two seconds, who goes is gone within one
// frequency, and the document is never loaded anew.

import assert from "node:assert/strict";
import { look, pause } from "./browser.mjs";
import { Client } from "./redis.mjs";

const COMES_WITHIN = 2000;
const GOES_WITHIN = 10_000;
const ROUNDS = 5;

// Drawing, and telling us, take a moment of a busy machine.
const MARGIN = 500;

const row = (page, id) => page.getByRole("row").filter({ has: page.getByRole("link", { name: id, exact: true }) });

/** Milliseconds until a client that connects is on the page. */
async function comes(page, clients) {
  const began = Date.now();
  const client = await Client.connect(`newcomer-${clients.length}`);
  clients.push(client);
  await row(page, await client.id()).waitFor();
  return Date.now() - began;
}

/** Milliseconds until a client that leaves is on the page no more. */
async function goes(page, client) {
  const id = await client.id();
  const began = Date.now();
  client.leave();
  await row(page, id).waitFor({ state: "detached" });
  return Date.now() - began;
}

/** Comings and goings of others until the end, so that there is news at every look. */
function bustle(reader) {
  let other = Promise.resolve();
  const timer = setInterval(() => {
    other = other.then((last) => (last?.leave(), Client.connect("other")));
  }, 650);
  reader.endings.push(async () => {
    clearInterval(timer);
    await other;
  });
}

/** Whether the document is still the one that was loaded. */
async function isSame(page) {
  return page.evaluate(() => window.mark === "loaded once" && performance.getEntriesByType("navigation").length === 1);
}

/** A marked page of clients that is live. */
async function livePage(reader) {
  const page = await reader.open("/clients?limit=1000&sort=-id");
  await page.getByText("live", { exact: true }).waitFor();
  await page.evaluate(() => {
    window.mark = "loaded once";
  });
  return page;
}

/** Most of these are within the bound: one may meet a pause of the machine's. */
function mostlyWithin(times, bound, what) {
  const late = times.filter((time) => time > bound).length;
  assert(late <= 1, `${what}: ${times.join(", ")} ms`);
  console.log(`# ${what}: ${times.join(", ")} ms`);
}

for (const [crowd, stir] of [["quiet", () => {}], ["busy", bustle]]) {
  look(`who comes to a ${crowd} server is there within 2 s, and who goes is gone within one frequency`, {}, async (reader) => {
    const page = await livePage(reader);
    stir(reader);
    const [clients, times] = [[], []];
    for (let round = 0; round < ROUNDS; round += 1) {
      times.push(await comes(page, clients));
      // Not in step with anything.
      await pause(Math.random() * 1000);
    }
    mostlyWithin(times, COMES_WITHIN, `${crowd}: came`);
    const gone = await Promise.all(clients.map((client) => goes(page, client)));
    mostlyWithin(gone, GOES_WITHIN + MARGIN, `${crowd}: went`);
    assert(await isSame(page), "the page was never loaded anew");
  });
}
