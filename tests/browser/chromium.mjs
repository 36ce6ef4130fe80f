// The browser: the Chromium on PATH, controlled by playwright-core.

import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";

const packages = createRequire(new URL("../../.cache/browser/", import.meta.url));

/** Returns the source of axe-core, to run in a page. */
export const axe = () => packages("axe-core").source;

// The browser contacts no other host: no updates, no lists of unsafe sites.
const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

/** Starts the browser. */
export function launch() {
  const programs = (process.env.PATH ?? "").split(":").map((folder) => path.join(folder, "chromium"));
  const executablePath = programs.find((program) => existsSync(program));
  if (!executablePath) throw new Error("chromium is not on PATH; install it (tests/browser/install)");
  return packages("playwright-core").chromium.launch({ executablePath, args: FLAGS });
}

/** Sleeps. Only for tests of time itself. */
export const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));
