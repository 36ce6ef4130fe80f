// The event stream that keeps a page up to date: a hidden page does not need one, and a page that lost it says so and
// recovers.

import assert from "node:assert/strict";
import { once } from "node:events";
import http from "node:http";
import net from "node:net";
import { eventually, exporter, look } from "./browser.mjs";
import { Client } from "./redis.mjs";
import { column } from "./table.mjs";

const live = (page) => page.getByRole("status").filter({ hasText: /^live$/ }).waitFor();

/** A TCP proxy to the exporter that can be blocked. */
class Road {
  #sockets = new Set();
  #server = net.createServer((socket) => {
    const onward = net.connect(Number(new URL(exporter).port), new URL(exporter).hostname);
    for (const [one, other] of [[socket, onward], [onward, socket]]) {
      this.#sockets.add(one.on("error", () => other.destroy()).on("close", () => other.destroy()));
      one.pipe(other);
    }
  });

  async open(port = 0) {
    this.#server.listen(port, "127.0.0.1");
    await once(this.#server, "listening");
    return (this.port = this.#server.address().port);
  }

  async block() {
    this.#sockets.forEach((socket) => socket.destroy());
    if (!this.#server.listening) return;
    this.#server.close();
    await once(this.#server, "close");
  }
}

look("a page that lost the exporter says so, and recovers when it is reachable again", {}, async (reader) => {
  const road = new Road();
  const at = `http://127.0.0.1:${await road.open()}`;
  reader.endings.push(() => road.block());
  const page = await reader.open(`${at}/clients?q=meanwhile`);
  await live(page);
  reader.expectsLost(at);
  await road.block();
  await page.getByRole("status").filter({ hasText: "not up to date" }).waitFor();
  await Client.connect("meanwhile");
  await road.open(road.port);
  await live(page);
  await eventually("it caught up", async () => (await column(page, "Name")).includes("meanwhile"));
});

/** Opens streams until no more are accepted. */
async function takeAll() {
  const requests = [];
  for (;;) {
    const request = http.get(`${exporter}/api/v1/events`, { agent: false }).on("error", () => {});
    const [answer] = await once(request, "response");
    answer.on("error", () => {}).resume();
    if (answer.statusCode !== 200) return requests;
    requests.push(request);
  }
}

look("a page that gets no stream says so and polls until it gets one", {}, async (reader) => {
  reader.expectsLost(`${exporter}/api/v1/events`);
  const taken = await takeAll();
  reader.endings.push(() => taken.forEach((request) => request.destroy()));
  const page = await reader.open("/clients?q=streamless");
  await page.getByRole("status").filter({ hasText: "refuses a live stream: refreshed every 10 s" }).waitFor();
  await Client.connect("streamless");
  await eventually("it polled", async () => (await column(page, "Name")).includes("streamless"));
  taken.forEach((request) => request.destroy());
  await live(page);
});

look("many hidden pages do not block a page from loading, and each is live when it is shown", {}, async (reader) => {
  const hide = () => {
    window.hidden = true;
    Object.defineProperty(document, "hidden", { get: () => window.hidden });
  };
  const pages = [];
  // One more than the connections that a browser opens to one server.
  for (let number = 0; number < 7; number += 1) pages.push(await reader.open("/clients", 200, hide));
  for (const page of [pages[0], pages[6]]) {
    assert.equal(await page.getByRole("status").textContent(), "");
    await page.evaluate(() => {
      window.hidden = false;
      document.dispatchEvent(new Event("visibilitychange"));
    });
    await live(page);
  }
});

look("more live pages than a browser has connections work, also after one is closed", {}, async (reader) => {
  const pages = [];
  for (let number = 0; number < 8; number += 1) pages.push(await reader.open("/clients?q=together&sort=name"));
  const lists = async (page, name) => (await column(page, "Name")).includes(name);
  const all = (name) => Promise.all(pages.map((page) => eventually(name, () => lists(page, name))));
  for (const page of pages) await live(page);
  await Client.connect("together-1");
  await all("together-1");
  // The first has the stream.
  await pages.shift().close();
  await Client.connect("together-2");
  await all("together-2");
});
