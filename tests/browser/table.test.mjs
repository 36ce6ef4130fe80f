// The table of clients: sorting by mouse and keyboard, filters, paging, links to share, and pausing.

import assert from "node:assert/strict";
import { eventually, exporter, look, pause } from "./browser.mjs";
import { Client } from "./redis.mjs";
import { column, rows } from "./table.mjs";

const head = (page, name) => page.getByRole("columnheader", { name });
const sortBy = (page, name) => head(page, name).getByRole("link");

/** Waits until the table is sorted by this column, and by no other. */
async function sorted(page, name, order) {
  const ariaSort = () => head(page, name).getAttribute("aria-sort");
  await eventually(`${name} is ${order}`, async () => (await ariaSort()) === order);
  assert.equal(await page.locator("th[aria-sort]").count(), 1);
}

const inOrder = (values, less) => values.every((value, at) => at === 0 || !less(value, values[at - 1]));
const numbers = (one, other) => Number(one) < Number(other);
// Empty text is last.
const texts = (one, other) => one !== "" && (other === "" || one < other);

/** Connects `count` clients of one application until the end of the test. */
async function join(name, count) {
  const crew = [];
  for (let number = 1; number <= count; number += 1) crew.push(await Client.connect(`${name}-${number}`));
  return crew;
}

/** Connects such clients, and waits until they are sampled. */
async function crew(name, count) {
  const crew = await join(name, count);
  await eventually(`${name} is sampled`, async () => {
    const answer = await fetch(`${exporter}/api/v1/clients?filter=name~${name}-`);
    return (await answer.json()).matched === count;
  });
  return crew;
}

look("a click on a column's head sorts by it, a second click reverses the order", {}, async (reader) => {
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
  // The oldest connection first.
  await sorted(page, "Connected", "descending");
  assert(inOrder(await column(page, "Connected at"), texts));
});

look("search, sorting and opening a client work by keyboard, and updates keep the focus", {}, async (reader) => {
  const members = await crew("typed", 3);
  const page = await reader.open("/clients?sort=id");
  await page.getByText("live", { exact: true }).waitFor();
  await page.keyboard.press("/");
  const search = page.getByRole("searchbox");
  assert(await search.evaluate((input) => input === document.activeElement), "/ moves the focus to the search");
  await page.keyboard.type("typed/");
  assert.equal(await search.inputValue(), "typed/", "in the search, / is a character");
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
  const before = await page.evaluate(() => (window.window_before = document.querySelector("main [data-window]"), true));
  assert(before);
  await eventually("the window was replaced", () => page.evaluate(() => !window.window_before.isConnected));
  assert.equal(await focused(), "Name", "the focus is kept");
  await page.keyboard.press("Enter");
  await sorted(page, "Name", "ascending");
  assert.deepEqual(await column(page, "Name"), ["typed-1", "typed-2", "typed-3"]);
  await tabTo(await members[0].id());
  await page.keyboard.press("Enter");
  await page.waitForURL(/\/clients\/\d+/);
  await page.getByRole("heading", { name: `Client ${await members[0].id()}` }).waitFor();
});

look("filters list the matching clients and their number", {}, async (reader) => {
  const members = await crew("sifted", 4);
  await members[0].ask("SELECT", "5");
  const page = await reader.open("/clients?limit=1000");
  await page.getByRole("textbox", { name: "Application" }).fill("sifted");
  await page.getByRole("button", { name: "Apply" }).click();
  await page.waitForURL(/app=sifted/);
  assert.deepEqual((await column(page, "Name")).sort(), ["sifted-1", "sifted-2", "sifted-3", "sifted-4"]);
  // The total changes while clients of other tests close.
  const [, total] = (await page.getByText(/^Matched/).textContent()).match(/Matched 4 of ([\d,]+) /);
  assert(Number(total.replace(",", "")) >= 4 + 2, total);
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

look("the pages of a list have every client once", {}, async (reader) => {
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

look("a shared link shows the same rows", {}, async (reader) => {
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

look("a paused page does not change, and a resumed one is updated", {}, async (reader) => {
  const page = await reader.open("/clients?q=paused&sort=id");
  await page.getByText("live", { exact: true }).waitFor();
  const button = page.getByRole("button", { name: "Pause" });
  await button.click();
  const resume = page.getByRole("button", { name: "Resume" });
  assert.equal(await resume.getAttribute("aria-pressed"), "true");
  const [one] = await join("paused", 1);
  await pause(2500);
  assert.deepEqual(await rows(page), [], "nothing changes");
  await resume.click();
  await eventually("it caught up", async () => (await column(page, "Name"))[0] === "paused-1");
  assert.equal(await button.getAttribute("aria-pressed"), "false");
  one.leave();
  await eventually("it is updated again", async () => (await rows(page)).length === 0);
});

look("the list and the URL follow the search while typing", {}, async (reader) => {
  await crew("typing", 3);
  const page = await reader.open("/clients?sort=name");
  await page.getByRole("searchbox").pressSequentially("typing-2");
  const listed = async () => (await column(page, "Name")).join();
  await eventually("only the match is listed", async () => (await listed()) === "typing-2");
  const other = await reader.open(page.url().slice(exporter.length));
  assert.deepEqual(await column(other, "Name"), ["typing-2"]);
});

look("columns and groups can be selected, and both are in the URL", {}, async (reader) => {
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
