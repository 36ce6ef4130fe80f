// Several servers that come and go while pages are open. The test writes the names of those that are watched into a
// file.

import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { eventually, exporter, look } from "./browser.mjs";
import { axe } from "./chromium.mjs";

const ALL = ["one", "two", "three", "four", "five", "six"];

/** Lets the exporter watch these servers, and waits until all are sampled. */
async function watch(...names) {
  writeFileSync(process.env.WATCHED_SERVERS, names.join("\n"));
  await eventually(`${names} are watched`, async () => {
    const { nodes } = await (await fetch(`${exporter}/api/v1/status`)).json();
    return nodes.length === names.length && nodes.every(({ fresh, redis }) => fresh && names.includes(redis));
  });
}

const section = (page, name) => page.locator(`section[data-node="${name}"]`);
const status = (page, text) => page.getByRole("status").filter({ hasText: text }).waitFor();
const choices = (page) => page.locator("select[name=redis] option").allTextContents();

/** Opens a live page with a mark that a reload would remove. */
async function livePage(reader, where) {
  const page = await reader.open(where);
  await status(page, /^live$/);
  await page.evaluate(() => (window.mark = "loaded once"));
  return page;
}

const isSame = (page) => page.evaluate(() => window.mark === "loaded once");

look("an open overview shows a new server and drops a removed one without a reload", {}, async (reader) => {
  await watch("one", "two");
  const page = await livePage(reader, "/");
  const chart = section(page, "one").locator("canvas").first();
  await chart.waitFor();
  await chart.evaluate((canvas) => (canvas.id = "kept"));
  await watch("one", "two", "three");
  await section(page, "three").locator("canvas").first().waitFor();
  await eventually("it can be chosen", async () => (await choices(page)).includes("three"));
  await watch("one", "three");
  await section(page, "two").waitFor({ state: "detached" });
  assert.equal(await section(page, "one").locator("#kept").count(), 1, "the chart of another server stays");
  // Of many servers, none is shown in full; of one, there is no list.
  await watch(...ALL);
  await section(page, "one").waitFor({ state: "detached" });
  await page.getByText("6 servers: 6 without a problem.").waitFor();
  await watch("one");
  await section(page, "one").locator("canvas").first().waitFor();
  await eventually("there is nothing to choose", async () => (await choices(page)).length === 0);
  assert(await isSame(page), "the page was never reloaded");
});

look("a page of a server that is no longer watched says so, and continues when it returns", {}, async (reader) => {
  await watch("one", "two");
  const page = await livePage(reader, "/clients?redis=two");
  reader.expectsLost(`${exporter}/clients`);
  await watch("one");
  await status(page, "this server is not watched; servers are one");
  await watch("one", "two");
  await status(page, /^live$/);
  assert(await isSame(page), "the page was never reloaded");
});

look("a reader who is choosing a server is not disturbed", {}, async (reader) => {
  await watch("one", "two");
  const page = await livePage(reader, "/apps");
  await page.locator("select[name=redis]").focus();
  await watch("one", "two", "three");
  await status(page, "live · waits");
  assert(!(await choices(page)).includes("three"));
  await page.locator("select[name=redis]").blur();
  await eventually("the new server can be chosen", async () => (await choices(page)).includes("three"));
});

const PLAIN = { javaScriptEnabled: false };

look("the switcher works without a script and keeps the other parameters", PLAIN, async (reader) => {
  await watch("one", "two");
  const page = await reader.open("/clients?app=web&sort=id&limit=2&offset=2");
  assert.match(await page.locator("main").innerText(), /Matched 6 of/);
  await page.locator("select[name=redis]").selectOption("two");
  await page.getByRole("button", { name: "Show this server" }).click();
  await page.waitForURL(/redis=two/);
  assert.deepEqual([...new URL(page.url()).searchParams].sort().join(" "), "app,web limit,2 redis,two sort,id");
  assert.match(await page.locator("main").innerText(), /Matched 3 of/);
  await page.getByRole("navigation").getByRole("link", { name: "Applications" }).click();
  await page.waitForURL(/\/apps\?redis=two$/);
  assert.equal(await page.locator("select[name=redis]").inputValue(), "two");
  await page.getByRole("link", { name: "Reset" }).click();
  await page.waitForURL(/\/apps\?redis=two$/);
});

for (const where of ["/", "/apps", "/clients", "/closed"]) {
  look(`${where} of several servers is accessible and fits, light and dark, wide and narrow`, {}, async (reader) => {
    await watch(...ALL);
    const page = await reader.open(where);
    await page.evaluate(axe());
    for (const [colorScheme, width] of [["light", 1280], ["dark", 380]]) {
      await page.emulateMedia({ colorScheme });
      await page.setViewportSize({ width, height: 800 });
      const { violations, passes } = await page.evaluate(() => window.axe.run(document));
      assert(passes.length > 5, "axe-core checked something");
      const serious = violations.filter(({ impact }) => ["serious", "critical"].includes(impact));
      const faults = serious.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(" ").slice(0, 300)}`);
      assert.deepEqual(faults, [], `${colorScheme}, ${width} wide`);
      const wide = () => page.evaluate(() => document.documentElement.scrollWidth);
      await eventually(`the page fits into ${width}`, async () => (await wide()) <= width);
    }
  });
}
