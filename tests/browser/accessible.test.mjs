// Accessibility: axe-core finds no serious fault on any page, in light and dark mode, on wide and narrow screens, and
// no page is wider than a narrow screen.

import assert from "node:assert/strict";
import { eventually, exporter, look } from "./browser.mjs";
import { axe } from "./chromium.mjs";
import { Client } from "./redis.mjs";

const PAGES = [
  "/",
  "/clients",
  "/clients?q=no-such-name",
  "/clients?q=watched&sort=name&limit=1",
  "/apps",
  "/closed",
  "one client",
];

/** The serious accessibility faults of a page. */
async function faults(page) {
  const found = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
  assert(found.passes.length > 5, "axe-core checked something");
  const serious = found.violations.filter(({ impact }) => ["serious", "critical"].includes(impact));
  const lesser = found.violations.filter((violation) => !serious.includes(violation)).map(({ id }) => id);
  if (lesser.length > 0) console.log(`# less serious on ${page.url()}: ${lesser.join()}`);
  return serious.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(" ").slice(0, 300)}`);
}

for (const place of PAGES) {
  look(`${place}, light and dark, wide and narrow`, {}, async (reader) => {
    const client = await Client.connect("watched-1");
    await Client.connect("watched-2");
    const one = `/clients/${await client.id()}`;
    await eventually("it is sampled", async () => (await fetch(exporter + one)).ok);
    const page = await reader.open(place === "one client" ? one : place);
    await page.evaluate(axe());
    await page.evaluate(() => document.querySelectorAll("details").forEach((details) => (details.open = true)));
    for (const [colorScheme, width] of [["light", 1280], ["dark", 1280], ["dark", 380], ["light", 380]]) {
      await page.emulateMedia({ colorScheme });
      await page.setViewportSize({ width, height: 800 });
      assert.deepEqual(await faults(page), [], `${colorScheme}, ${width} wide`);
      const wide = () => page.evaluate(() => document.documentElement.scrollWidth);
      // Charts are redrawn with a delay.
      await eventually(`the page fits into ${width}`, async () => (await wide()) <= width);
    }
  });
}
