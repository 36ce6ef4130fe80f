// Charts: the selected time stays under a resting mouse, only visible series are stacked, and the time axis ends now.

import assert from "node:assert/strict";
import { eventually, look, pause } from "./browser.mjs";

const STEP_SECONDS = 10;

const chart = (page, kind) => page.locator(`[data-chart=${kind}]`);
const drawn = (page) => chart(page, "apps").locator("canvas").waitFor();

/** Collects the URLs of a page's history requests. */
function asked(page) {
  const urls = [];
  page.on("response", (response) => response.url().includes("/api/v1/history") && urls.push(new URL(response.url())));
  return urls;
}

/** Replaces the history with these applications, in the period from `from` to `to` minutes ago. */
async function mockHistory(page, apps, from, to) {
  await page.route("**/api/v1/history*", async (route) => {
    const answer = await route.fetch();
    const { nodes, ...others } = await answer.json();
    const now = Math.floor(Date.now() / 1000);
    const at = [];
    for (let second = now - from * 60; second <= now - to * 60; second += STEP_SECONDS) at.push(second);
    const all = (value) => at.map(() => value);
    const columns = Object.entries(apps).map(([app, count]) => ({ app, connections: all(count) }));
    const node = { ...nodes[0], at, apps: columns, opened_per_second: all(1), closed_per_second: all(0) };
    await route.fulfill({ response: answer, json: { ...others, nodes: [node] } });
  });
}

/** The color at a point of the chart, given as fractions of its width and, from the bottom, of its height. */
async function color(page, x, y) {
  return chart(page, "apps").evaluate((figure, [x, y]) => {
    const [canvas, over] = [figure.querySelector("canvas"), figure.querySelector(".u-over").getBoundingClientRect()];
    const all = canvas.getBoundingClientRect();
    const scale = canvas.width / all.width;
    const [left, top] = [over.left - all.left + over.width * x, over.top - all.top + over.height * (1 - y)];
    // The pixel is read from a copy: reading from the chart's own canvas would make its drawing slow.
    const pixel = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
    pixel.drawImage(canvas, -Math.round(left * scale), -Math.round(top * scale));
    return [...pixel.getImageData(0, 0, 1, 1).data].join();
  }, [x, y]);
}

const NOTHING = "0,0,0,0";

look("the legend keeps the time under the mouse during updates", {}, async (reader) => {
  const page = await reader.open("/");
  const urls = asked(page);
  await drawn(page);
  const over = chart(page, "apps").locator(".u-over");
  await over.hover();
  const legend = async () => (await chart(page, "apps").locator(".u-legend .u-value").allTextContents()).join();
  assert.match(await legend(), /^\d\d:\d\d:\d\d,\d/);
  const canvas = await chart(page, "apps").locator("canvas").elementHandle();
  const before = urls.length;
  await eventually("there was an update", () => urls.length > before + 1);
  await pause(300);
  assert(await canvas.evaluate((canvas) => canvas.isConnected), "the chart was not replaced");
  assert.match(await legend(), /^\d\d:\d\d:\d\d,\d/);
});

look("a hidden series is not part of the stack", {}, async (reader) => {
  const page = await reader.open("/", 200);
  await mockHistory(page, { large: 5, middle: 3, small: 2 }, 50, 0);
  await page.reload();
  await drawn(page);
  const places = () => Promise.all([0.2, 0.4, 0.7, 0.85].map((height) => color(page, 0.5, height)));
  const [large, , middle, small] = await eventually("three are drawn", async () => {
    const seen = await places();
    return new Set([seen[0], seen[2], seen[3]]).size === 3 && seen;
  });
  await chart(page, "apps").locator(".u-legend").getByText("large", { exact: true }).click();
  // The series of 3 and 2 remain.
  const left = [middle, middle, small, small];
  const isStacked = async () => (await places()).join(";") === left.join(";");
  await eventually("the others are stacked without it", isStacked);
  await chart(page, "apps").locator(".u-legend").getByText("large", { exact: true }).click();
  await eventually("it is shown again", async () => (await places())[0] === large);
});

look("the chart of a server without recent samples shows when they ended", {}, async (reader) => {
  const page = await reader.open("/", 200);
  await mockHistory(page, { one: 4 }, 100, 30);
  await page.reload();
  await drawn(page);
  await eventually("its samples are drawn", async () => (await color(page, 0.25, 0.3)) !== NOTHING);
  // A grid line may go through one of these points.
  const right = await Promise.all([0.7, 0.72, 0.74].map((place) => color(page, place, 0.3)));
  assert(right.filter((found) => found === NOTHING).length >= 2, `nothing is drawn after the last sample: ${right}`);
  const over = await chart(page, "apps").locator(".u-over").boundingBox();
  await page.mouse.move(over.x + 1, over.y + 20);
  const [time] = await chart(page, "apps").locator(".u-legend .u-value").allTextContents();
  const today = new Date().toISOString().slice(0, 11);
  const ago = ((Date.now() - Date.parse(`${today}${time}Z`)) / 1000 + 86_400) % 86_400;
  // The history is longer. The axis ends at the time when the chart was drawn, which is a while ago on a busy machine.
  assert(ago > 3400 && ago < 4500, `${time} is ${ago} s ago`);
});

look("a page requests the history of the node that it shows", {}, async (reader) => {
  const page = await reader.open("/");
  const urls = asked(page);
  await page.reload();
  await drawn(page);
  const section = await page.locator("[data-charts]").getAttribute("data-charts");
  assert.equal(urls[0].searchParams.get("redis"), section);
});
