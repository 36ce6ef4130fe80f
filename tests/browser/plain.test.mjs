// Without JavaScript everything but live updates works: the server renders pages, links, search, sorting and paging.

import assert from "node:assert/strict";
import { look } from "./browser.mjs";
import { Client } from "./redis.mjs";
import { column } from "./table.mjs";

const PLAIN = { javaScriptEnabled: false };

look("every page is reachable by links and has a heading", PLAIN, async (reader) => {
  const page = await reader.open("/");
  for (const [link, heading] of [["Clients", "Clients"], ["Applications", "Applications"], ["Closed", "Closed connections"]]) {
    await page.getByRole("navigation").getByRole("link", { name: link }).click();
    await page.getByRole("heading", { level: 1, name: heading }).waitFor();
  }
  await page.getByRole("navigation").getByRole("link", { name: "Overview" }).click();
  await page.getByRole("heading", { level: 1 }).waitFor();
  assert.match(await page.locator("main").innerText(), /Connections\s+\d+/);
  assert.equal(await page.getByRole("button").count(), 0, "there are no controls that need JavaScript");
});

look("search, sorting and paging work", PLAIN, async (reader) => {
  const members = [];
  for (const number of [3, 1, 2]) members.push(await Client.connect(`plain-${number}`));
  const page = await reader.open("/clients?limit=2");
  await page.getByLabel("Search").fill("plain-");
  await page.getByRole("button", { name: "Apply" }).click();
  await page.waitForURL(/q=plain-/);
  await page.getByRole("columnheader", { name: "Name" }).getByRole("link").click();
  await page.waitForURL(/sort=name/);
  const first = await column(page, "Name");
  assert.deepEqual([...first].sort(), first);
  await page.goto("/clients?q=plain-&sort=name&limit=2");
  assert.deepEqual(await column(page, "Name"), ["plain-1", "plain-2"]);
  await page.getByRole("link", { name: "next" }).click();
  await page.waitForURL(/offset=2/);
  assert.deepEqual(await column(page, "Name"), ["plain-3"]);
  await page.getByRole("cell").getByRole("link").first().click();
  await page.getByRole("heading", { name: `Client ${await members[0].id()}` }).waitFor();
});
