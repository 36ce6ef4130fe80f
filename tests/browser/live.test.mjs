// The next sample is due in an hour, but the page updates itself: a new client is shown, a closed one disappears, and
// the document is never reloaded.

import assert from "node:assert/strict";
import { look, pause } from "./browser.mjs";
import { Client } from "./redis.mjs";

const ROUNDS = 5;

const row = (page, id) => page.getByRole("row").filter({ has: page.getByRole("link", { name: id, exact: true }) });

/** Connects a client, and returns the milliseconds until it is on the page. */
async function opens(page, clients) {
  const began = Date.now();
  const client = await Client.connect(`new-${clients.length}`);
  clients.push(client);
  await row(page, await client.id()).waitFor();
  return Date.now() - began;
}

/** Closes a client, and returns the milliseconds until it has disappeared from the page. */
async function closes(page, client) {
  const id = await client.id();
  const began = Date.now();
  client.leave();
  await row(page, id).waitFor({ state: "detached" });
  return Date.now() - began;
}

/** Other clients connect and close until the end, so that every quick poll finds a change. */
function churn(reader) {
  let other = Promise.resolve();
  const timer = setInterval(() => {
    other = other.then((last) => (last?.leave(), Client.connect("other")));
  }, 650);
  reader.endings.push(async () => {
    clearInterval(timer);
    await other;
  });
}

/** True if the document has not been reloaded. */
async function isSame(page) {
  return page.evaluate(() => window.mark === "loaded once" && performance.getEntriesByType("navigation").length === 1);
}

/** Opens a live page of clients, with a mark that a reload would remove. */
async function livePage(reader) {
  const page = await reader.open("/clients?limit=1000&sort=-id");
  await page.getByText("live", { exact: true }).waitFor();
  await page.evaluate(() => {
    window.mark = "loaded once";
  });
  return page;
}

for (const [kind, start] of [["quiet", () => {}], ["busy", churn]]) {
  look(`on a ${kind} server, a client appears and disappears before the next sample is due`, {}, async (reader) => {
    const page = await livePage(reader);
    start(reader);
    const [clients, times] = [[], []];
    for (let round = 0; round < ROUNDS; round += 1) {
      times.push(await opens(page, clients));
      // A random delay, so that the rounds are not in step with the exporter.
      await pause(Math.random() * 1000);
    }
    const closed = await Promise.all(clients.map((client) => closes(page, client)));
    // A person or `make acceptance` judges the times; they say more about the machine than about the page.
    console.log(`# ${kind}: opened ${times.join(", ")} ms, closed ${closed.join(", ")} ms`);
    assert(await isSame(page), "the page was never reloaded");
  });
}
