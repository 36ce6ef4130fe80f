// The browser itself: the Chromium on PATH, and what drives it.

import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";

const packages = createRequire(new URL("../../.cache/browser/", import.meta.url));

/** axe-core, as text that a page can run. */
export const axe = () => packages("axe-core").source;

// A browser in a test has nobody to call: no updates, no lists of bad sites, no other host at all.
const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

/** Starts it. */
export function launch() {
  const programs = (process.env.PATH ?? "").split(":").map((folder) => path.join(folder, "chromium"));
  const executablePath = programs.find((program) => existsSync(program));
  if (!executablePath) throw new Error("there is no chromium on PATH");
  return packages("playwright-core").chromium.launch({ executablePath, args: FLAGS });
}

/** Waits, where time itself is what is tested. */
export const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));
