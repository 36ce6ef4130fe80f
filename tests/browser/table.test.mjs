// The table of clients does what people do with tables: sort by click and by keyboard, filter, page, send a link, hold still.

import assert from "node:assert/strict";
import { eventually, exporter, look, pause, PATIENCE } from "./browser.mjs";
import { Client } from "./redis.mjs";
import { column, rows } from "./table.mjs";

const head = (page, name) => page.getByRole("columnheader", { name });
const sortBy = (page, name) => head(page, name).getByRole("link");

/** Waits until the table is sorted by this column, and by no other. */
async function sorted(page, name, order) {
  await eventually(`${name} is ${order}`, PATIENCE, async () => (await head(page, name).getAttribute("aria-sort")) === order);
  assert.equal(await page.locator("th[aria-sort]").count(), 1);
}

const inOrder = (values, less) => values.every((value, at) => at === 0 || !less(value, values[at - 1]));
const numbers = (one, other) => Number(one) < Number(other);
const texts = (one, other) => one < other;

/** So many clients of one name, connected until the test is over. */
async function join(name, count) {
  const crew = [];
  for (let number = 1; number <= count; number += 1) crew.push(await Client.connect(`${name}-${number}`));
  return crew;
}

/** The same, once the exporter has seen them. */
async function crew(name, count) {
  const crew = await join(name, count);
  await eventually(`${name} is seen`, PATIENCE, async () => {
    const answer = await fetch(`${exporter}/api/v1/clients?filter=name~${name}-`);
    return (await answer.json()).matched === count;
  });
  return crew;
}

look("a click on a column's head sorts by it, another turns it round", {}, async (reader) => {
  const page = await reader.open("/clients");
  await sorted(page, "Last interaction", "descending");
  await sortBy(page, "Client ID").click();
  await sorted(page, "Client ID", "ascending");
  assert(inOrder(await column(page, "Client ID"), numbers));
  await sortBy(page, "Client ID").click();
  await sorted(page, "Client ID", "descending");
  assert(inOrder((await column(page, "Client ID")).reverse(), numbers));
  await sortBy(page, "Name").click();
  await sorted(page, "Name", "ascending");
  assert(inOrder(await column(page, "Name"), texts));
  await sortBy(page, "Connected").click();
  // The longest connected first.
  await sorted(page, "Connected", "descending");
  assert(inOrder(await column(page, "Connected at"), texts));
});

look("the keyboard alone searches, sorts and opens a client, and news takes its place from nobody", {}, async (reader) => {
  const members = await crew("typed", 3);
  const page = await reader.open("/clients?sort=id");
  await page.getByText("live", { exact: true }).waitFor();
  await page.keyboard.press("/");
  const search = page.getByRole("searchbox");
  assert(await search.evaluate((input) => input === document.activeElement), "/ goes to the search");
  await page.keyboard.type("typed/");
  assert.equal(await search.inputValue(), "typed/", "and is a letter there");
  await page.keyboard.press("Backspace");
  await page.keyboard.press("Enter");
  await page.waitForURL(/q=typed/);
  assert.equal((await rows(page)).length, members.length);
  const focused = () => page.evaluate(() => document.activeElement.textContent.trim());
  const tabTo = async (text) => {
    for (let tabs = 0; tabs < 60 && (await focused()) !== text; tabs += 1) await page.keyboard.press("Tab");
    assert.equal(await focused(), text);
  };
  await tabTo("Name");
  const before = await page.evaluate(() => (window.window_before = document.querySelector("[data-window]"), true));
  assert(before);
  await eventually("the window was drawn anew", PATIENCE, () => page.evaluate(() => !window.window_before.isConnected));
  assert.equal(await focused(), "Name", "what had the focus has it still");
  await page.keyboard.press("Enter");
  await sorted(page, "Name", "ascending");
  assert.deepEqual(await column(page, "Name"), ["typed-1", "typed-2", "typed-3"]);
  await tabTo(await members[0].id());
  await page.keyboard.press("Enter");
  await page.waitForURL(/\/clients\/\d+/);
  await page.getByRole("heading", { name: `Client ${await members[0].id()}` }).waitFor();
});

look("filters leave what matches, and say how many that is", {}, async (reader) => {
  const members = await crew("sifted", 4);
  await members[0].ask("SELECT", "5");
  const page = await reader.open("/clients?limit=1000");
  const all = (await rows(page)).length;
  await page.getByRole("textbox", { name: "Application" }).fill("sifted");
  await page.getByRole("button", { name: "Apply" }).click();
  await page.waitForURL(/app=sifted/);
  assert.deepEqual((await column(page, "Name")).sort(), ["sifted-1", "sifted-2", "sifted-3", "sifted-4"]);
  assert.match(await page.getByText(/^Matched/).textContent(), new RegExp(`Matched 4 of ${all} `));
  await page.getByLabel("Search").fill("SIFTED-3");
  await page.getByRole("button", { name: "Apply" }).click();
  await page.waitForURL(/q=SIFTED-3/);
  assert.deepEqual(await column(page, "Name"), ["sifted-3"]);
  await page.getByRole("link", { name: "Reset" }).click();
  await page.getByRole("combobox", { name: /^State/ }).selectOption("waiting");
  await page.getByRole("button", { name: "Apply" }).click();
  await page.waitForURL(/state=waiting/);
  const states = await column(page, "State");
  assert(states.length > 2 && states.every((state) => ["blocked", "subscribed"].includes(state)), states.join());
});

look("pages of a list hold every client once", {}, async (reader) => {
  const members = await crew("paged", 11);
  const page = await reader.open("/clients?app=paged&sort=name&limit=4");
  const [seen, next] = [[], page.getByRole("link", { name: "next" })];
  for (;;) {
    seen.push(...(await column(page, "Name")));
    const from = page.url();
    if ((await next.count()) === 0) break;
    await next.click();
    await page.waitForURL((url) => url.href !== from);
  }
  const names = members.map((_, at) => `paged-${at + 1}`).sort();
  assert.deepEqual(seen, names);
  await page.getByRole("link", { name: "previous" }).click();
  await page.waitForURL(/offset=4/);
  assert.deepEqual(await column(page, "Name"), names.slice(4, 8));
});

look("a link that is sent to somebody shows him the same rows", {}, async (reader) => {
  const members = await crew("linked", 6);
  const page = await reader.open("/clients?limit=3");
  await page.getByLabel("Search").fill("linked");
  await page.keyboard.press("Enter");
  await page.waitForURL(/q=linked/);
  await sortBy(page, "Client ID").click();
  await sorted(page, "Client ID", "ascending");
  const other = await reader.open(page.url().slice(exporter.length));
  const seen = await column(page, "Client ID");
  assert.equal(await other.getByLabel("Search").inputValue(), "linked");
  assert.deepEqual(await column(other, "Client ID"), seen);
  assert.equal(seen[0], await members[0].id());
});

look("a paused page holds still, and a resumed one catches up", {}, async (reader) => {
  const page = await reader.open("/clients?q=paused&sort=id");
  await page.getByText("live", { exact: true }).waitFor();
  const button = page.getByRole("button", { name: "Pause" });
  await button.click();
  const resume = page.getByRole("button", { name: "Resume" });
  assert.equal(await resume.getAttribute("aria-pressed"), "true");
  const [one] = await join("paused", 1);
  await pause(2500);
  assert.deepEqual(await rows(page), [], "nothing moves");
  await resume.click();
  await eventually("it caught up", PATIENCE, async () => (await column(page, "Name"))[0] === "paused-1");
  assert.equal(await button.getAttribute("aria-pressed"), "false");
  one.leave();
  await eventually("it goes on", PATIENCE, async () => (await rows(page)).length === 0);
});

look("who types sees what matches at once, and an address to send", {}, async (reader) => {
  await crew("typing", 3);
  const page = await reader.open("/clients?sort=name");
  await page.getByRole("searchbox").pressSequentially("typing-2");
  await eventually("only that is left", PATIENCE, async () => (await column(page, "Name")).join() === "typing-2");
  const other = await reader.open(page.url().slice(exporter.length));
  assert.deepEqual(await column(other, "Name"), ["typing-2"]);
});

look("columns are chosen and clients grouped, and both are in the link", {}, async (reader) => {
  await crew("chosen", 2);
  const page = await reader.open("/clients?app=chosen&sort=name");
  await page.getByText("Columns", { exact: true }).click();
  await page.getByRole("checkbox", { name: "Address", exact: true }).uncheck();
  await page.getByRole("button", { name: "Apply" }).click();
  await page.waitForURL(/columns=/);
  const heads = Object.keys((await rows(page))[0]);
  assert(!heads.includes("Address") && heads.includes("Last interaction"), heads.join());
  await page.goto("/clients?q=chosen");
  await page.getByRole("combobox", { name: /^Group by/ }).selectOption("app");
  await page.getByRole("button", { name: "Apply" }).click();
  await page.waitForURL(/group=app/);
  assert.match(await page.locator("main table").first().innerText(), /chosen\s+2/);
});
