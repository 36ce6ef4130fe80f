// Updates do not disturb the reader: selection, pressed links, focus and scroll positions are kept. A paused page shows
// no updates but answers the reader's own requests.

import assert from "node:assert/strict";
import { eventually, exporter, look, pause } from "./browser.mjs";
import { Client } from "./redis.mjs";
import { column } from "./table.mjs";

// The time of several refreshes.
const WHILE = 2500;

const live = (page) => page.getByText("live", { exact: true }).waitFor();
const names = (page) => column(page, "Name");

/** Waits until the last window has been replaced. */
async function renewed(page) {
  await page.evaluate(() => (window.before = [...document.querySelectorAll("[data-window]")].at(-1), true));
  await eventually("the window was replaced", () => page.evaluate(() => !window.before.isConnected));
}

look("a paused page answers the reader's search, and shows no updates", {}, async (reader) => {
  await Client.connect("asked-1");
  const page = await reader.open("/clients?sort=name");
  await eventually("it is listed", async () => (await names(page)).includes("asked-1"));
  await page.getByRole("button", { name: "Pause" }).click();
  await page.getByRole("searchbox").pressSequentially("asked-");
  await eventually("only the match is listed", async () => (await names(page)).join() === "asked-1");
  await Client.connect("asked-2");
  await page.getByRole("status").filter({ hasText: /^paused · \d+ changed$/ }).waitFor();
  await pause(WHILE);
  assert.deepEqual(await names(page), ["asked-1"]);
});

look("a response that arrives after the reader paused is not shown", {}, async (reader) => {
  const page = await reader.open("/clients?q=late");
  await live(page);
  let [held, letGo] = [0, null];
  const gate = new Promise((open) => (letGo = open));
  await page.route("**/clients?q=late", async (route) => {
    held += 1;
    await gate;
    await route.continue();
  });
  await eventually("a response is pending", () => held > 0);
  await page.getByRole("button", { name: "Pause" }).click();
  await page.evaluate(() => (window.before = document.querySelector("main [data-window]"), true));
  letGo();
  await pause(WHILE);
  assert(await page.evaluate(() => window.before.isConnected));
});

look("an invalid filter is reported beside the form, once", {}, async (reader) => {
  reader.expectsLost(`${exporter}/clients`);
  const page = await reader.open("/clients");
  await live(page);
  let requests = 0;
  await page.getByRole("textbox", { name: "Filter" }).fill("idle >");
  const complaint = page.locator("main > [role=alert]");
  await complaint.filter({ hasText: /filter|idle/ }).waitFor();
  await page.getByRole("status").filter({ hasText: "Invalid filter" }).waitFor();
  page.on("request", (request) => (requests += request.url().includes("/clients?") ? 1 : 0));
  await pause(WHILE);
  assert.equal(requests, 0, "an invalid request is not repeated");
  await page.getByRole("textbox", { name: "Filter" }).fill("idle > 0");
  await live(page);
  assert.equal(await complaint.count(), 0);
});

look("a page with selected text waits until it is deselected", {}, async (reader) => {
  const page = await reader.open("/clients?sort=-id");
  await live(page);
  // In one step: between two steps the cell may be replaced.
  await page.evaluate(() => {
    const cell = [...document.querySelectorAll("td")].find((cell) => cell.textContent === "redis-client-exporter");
    getSelection().selectAllChildren(cell);
  });
  const selected = () => page.evaluate(() => String(getSelection()).trim());
  assert.equal(await selected(), "redis-client-exporter");
  await Client.connect("unselected");
  await pause(WHILE);
  assert.equal(await selected(), "redis-client-exporter");
  assert(!(await names(page)).includes("unselected"));
  await page.getByRole("status").filter({ hasText: "live · waits" }).waitFor();
  await page.evaluate(() => getSelection().removeAllRanges());
  await eventually("it caught up", async () => (await names(page)).includes("unselected"));
  await live(page);
});

look("a link that is pressed for a long time opens", {}, async (reader) => {
  const page = await reader.open("/clients?sort=id");
  await live(page);
  await page.getByRole("cell").getByRole("link").first().hover();
  await page.mouse.down();
  await pause(WHILE);
  await page.mouse.up();
  await page.waitForURL(/\/clients\/\d+/);
});

for (const [where, selector] of [
  ["/clients", ".scroll"],
  ["/clients", "[data-copy^='/api/v1/clients?']"],
  ["/", "[data-keep] summary"],
  ["/", "[data-keep] .scroll"],
]) {
  look(`the focus stays on ${selector} of ${where}`, {}, async (reader) => {
    const page = await reader.open(where);
    await live(page);
    await page.evaluate(() => document.querySelectorAll("[data-keep]").forEach((details) => (details.open = true)));
    await page.evaluate((selector) => document.querySelector(selector).focus(), selector);
    await renewed(page);
    await renewed(page);
    // In one step: between two steps the element may be replaced.
    const isFocused = (selector) => document.querySelector(selector) === document.activeElement;
    assert(await page.evaluate(isFocused, selector));
  });
}

look("every scroll position is kept", { viewport: { width: 280, height: 800 } }, async (reader) => {
  const id = await (await Client.connect("scrolled")).id();
  await eventually("it is sampled", async () => (await fetch(`${exporter}/clients/${id}`)).ok);
  const page = await reader.open(`/clients/${id}`);
  await live(page);
  const scrolled = () =>
    page.evaluate(() => [...document.querySelectorAll(".scroll")].map(({ scrollLeft }) => scrollLeft));
  await page.evaluate(() => {
    document.querySelectorAll(".scroll").forEach((part, place) => (part.scrollLeft = 20 + place));
  });
  // A part that fits does not scroll.
  const before = await scrolled();
  assert.equal(before[0], 20);
  await renewed(page);
  assert.deepEqual(await scrolled(), before);
});

look("a page whose windows changed is reloaded, once", {}, async (reader) => {
  const page = await reader.open("/");
  await live(page);
  await page.evaluate(() => (window.mark = "first"));
  await page.route(`${exporter}/`, async (route) => {
    if (route.request().resourceType() !== "fetch") return route.continue();
    const answer = await route.fetch();
    const body = (await answer.text()).replace("</main>", "<p data-window></p></main>");
    await route.fulfill({ response: answer, body });
  });
  const mark = () => page.evaluate(() => window.mark ?? null).catch(() => "going");
  await eventually("it was reloaded", async () => (await mark()) === null);
  await page.getByRole("status").filter({ hasText: "not up to date: the exporter changed" }).waitFor();
  await page.evaluate(() => (window.mark = "second"));
  await pause(WHILE);
  assert.equal(await mark(), "second");
});

look("the URL has the selected columns in one parameter, and none for the default columns", {}, async (reader) => {
  const page = await reader.open("/clients");
  await page.getByRole("searchbox").fill("x");
  await page.waitForURL(/q=x/);
  assert.equal(new URL(page.url()).search, "?q=x");
  await page.getByText("Columns", { exact: true }).click();
  await page.getByRole("checkbox", { name: "Database", exact: true }).check();
  await page.waitForURL(/columns=/);
  const columns = new URL(page.url()).searchParams.getAll("columns");
  assert.equal(columns.length, 1);
  assert(columns[0].split(",").includes("database"), columns[0]);
  await page.getByRole("button", { name: "Apply" }).click();
  await page.waitForLoadState();
  assert.deepEqual(new URL(page.url()).searchParams.getAll("columns"), columns);
  await page.getByText("Columns", { exact: true }).click();
  await page.getByRole("checkbox", { name: "Database", exact: true }).uncheck();
  await page.waitForURL((url) => url.search === "?q=x");
});
