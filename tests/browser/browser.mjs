// The browser that the tests look through: one Chromium for a script, and a watch on all that its pages do.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { launch, pause } from "./chromium.mjs";
import { leaveAll } from "./redis.mjs";

export { pause };

/** Where the exporter is. */
export const exporter = process.env.EXPORTER_URL ?? "http://127.0.0.1:19121";

let browser;

/** A test in a fresh browser window. It fails, too, if any of its pages complains. */
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
      // An answer that a test still holds back has nobody any more who waits for it.
      for (const page of context.pages()) await page.unrouteAll({ behavior: "ignoreErrors" });
      await context.close();
    }
    assert.deepEqual(reader.complaints, [], "what pages complained of");
  });
}

after(async () => (await browser)?.close());

/** Somebody who opens pages, and hears all that they complain of. */
class Reader {
  complaints = [];
  /** What is to be done at the end, however it ends. */
  endings = [];
  #context;
  #refused = new Set();
  #lost;

  constructor(context) {
    this.#context = context;
    context.setDefaultTimeout(20_000);
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
    await this.#context.exposeFunction("violated", (what) => note(`against the policy: ${what}`));
    await this.#context.addInitScript(() => {
      document.addEventListener("securitypolicyviolation", (event) => {
        window.violated(`${event.effectiveDirective} ${event.blockedURI} ${event.sample}`);
      });
    });
  }

  /** From now on the browser may say that it does not reach this server. */
  expectsLost(server) {
    this.#lost = server;
  }

  /** Opens a page that must be answered with this status; `before` runs in it before anything of its own does. */
  async open(where, status = 200, before = undefined) {
    const page = await this.#context.newPage();
    if (before) await page.addInitScript(before);
    // The browser says itself that a page was refused, and that what was told instead names no icon.
    if (status >= 400) [where, "/favicon.ico"].forEach((path) => this.#refused.add(new URL(path, exporter).href));
    const answer = await page.goto(where, { waitUntil: "load" });
    assert.equal(answer.status(), status, where);
    return page;
  }

  /** Opens a page, looks at it, and closes it: a browser loads nothing more beside six live pages. */
  async glance(where, body, status = 200) {
    const page = await this.open(where, status);
    const seen = await body(page);
    await page.close();
    return seen;
  }
}

/** Tries until there is something, for at most so many milliseconds. */
export async function eventually(what, patience, attempt) {
  const end = Date.now() + patience;
  for (;;) {
    const found = await attempt();
    if (found) return found;
    assert(Date.now() < end, `not within ${patience} ms: ${what}`);
    await pause(20);
  }
}

/** Long enough for anything that happens at all, on a busy machine too. */
export const PATIENCE = 20_000;
