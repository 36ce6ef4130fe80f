// The browser of the tests: one Chromium per script, with checks on everything that its pages do.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { launch, pause } from "./chromium.mjs";
import { leaveAll } from "./redis.mjs";

export { pause };

/** The URL of the exporter. */
export const exporter = process.env.EXPORTER_URL ?? "http://127.0.0.1:19121";

let browser;

/** Runs a test in a new browser context. It also fails if one of its pages reports an error. */
export function look(name, options, body) {
  test(name, async () => {
    browser ??= launch();
    const context = await (await browser).newContext({ baseURL: exporter, ...options });
    const reader = new Reader(context);
    try {
      await reader.watch();
      await body(reader);
    } finally {
      for (const end of reader.endings) await end();
      leaveAll();
      // No page waits any more for a response that a test still delays.
      for (const page of context.pages()) await page.unrouteAll({ behavior: "ignoreErrors" });
      await context.close();
    }
    assert.deepEqual(reader.complaints, [], "errors of the pages");
  });
}

after(async () => (await browser)?.close());

/** Opens pages, and collects their errors. */
class Reader {
  complaints = [];
  /** Functions that are called at the end of the test, also if it fails. */
  endings = [];
  #context;
  #refused = new Set();
  #lost;

  constructor(context) {
    this.#context = context;
    context.setDefaultTimeout(PATIENCE);
  }

  async watch() {
    const note = (what) => this.complaints.push(what);
    this.#context.on("weberror", (error) => note(`an error: ${error.error()}`));
    this.#context.on("dialog", (dialog) => {
      note(`a dialog: ${dialog.message()}`);
      return dialog.dismiss();
    });
    this.#context.on("console", (message) => {
      const [loud, { url }] = [["error", "warning"].includes(message.type()), message.location()];
      const expected = this.#refused.has(url) || (this.#lost && url.startsWith(this.#lost));
      if (loud && !expected) note(`${url}: ${message.text()}`);
    });
    await this.#context.exposeFunction("violated", (what) => note(`policy violation: ${what}`));
    await this.#context.addInitScript(() => {
      document.addEventListener("securitypolicyviolation", (event) => {
        window.violated(`${event.effectiveDirective} ${event.blockedURI} ${event.sample}`);
      });
    });
  }

  /** From now on, the browser may report that it cannot reach this server. */
  expectsLost(server) {
    this.#lost = server;
  }

  /** Opens a page, and asserts the status of the response. `before` runs in the page before its own scripts. */
  async open(where, status = 200, before = undefined) {
    const page = await this.#context.newPage();
    if (before) await page.addInitScript(before);
    // The browser itself logs a refused page, and that the refusal has no icon.
    if (status >= 400) [where, "/favicon.ico"].forEach((path) => this.#refused.add(new URL(path, exporter).href));
    const answer = await page.goto(where, { waitUntil: "load" });
    assert.equal(answer.status(), status, where);
    return page;
  }

  /** Opens a page, runs `body` on it, and closes it. With six live pages open, a browser has no connection for more. */
  async glance(where, body, status = 200) {
    const page = await this.open(where, status);
    const seen = await body(page);
    await page.close();
    return seen;
  }
}

/** Repeats an attempt until it returns something. Fails after `PATIENCE`. */
export async function eventually(what, attempt) {
  const end = Date.now() + PATIENCE;
  for (;;) {
    const found = await attempt();
    if (found) return found;
    assert(Date.now() < end, `not within ${PATIENCE} ms: ${what}`);
    await pause(20);
  }
}

/** The time limit of every wait, in milliseconds. Only a hang exceeds it, however slow and busy the machine is. */
const PATIENCE = 180_000;
