// Keeps the page up to date. When the exporter reports a change, the page fetches itself again and replaces its windows
// with the new ones. Without this script the page has the same content, but does not update.

import { Stream } from "./stream.js";
import { onRelease, replaceWindows } from "./windows.js";

const pause = document.querySelector("[data-pause]");
const live = document.querySelector("[data-live]");
const search = document.querySelector("[data-search]");
const form = document.querySelector("[data-live-form]");

// Minimum time between two refreshes, in milliseconds: a busy server changes more often than anyone can read. By
// default the exporter polls each second, so a new client is shown within two seconds.
const MIN_REFRESH_INTERVAL_MS = 500;

// Delay between the last key and the search, in milliseconds.
const SEARCH_DELAY_MS = 300;

// Minimum time between two reloads, in milliseconds: two exporters behind one name may always give different pages.
const MIN_RELOAD_INTERVAL_MS = 60_000;

// The status text while the form is invalid. The sentence of the exporter is below the form.
const INVALID_FILTER = "Invalid filter";

// The state of the stream: `open`, `lost` or `refused`.
let connection = null;
let paused = false;
let missed = 0;
let busy = false;
let stale = false;
// True if the reader requested another view, which is shown even while paused.
let requested = false;
// True if a window is not replaced yet because the reader is using it.
let waits = false;
// The reason why the last refresh failed.
let problem = "";
// An address that the exporter refused as invalid. It is not requested again.
let invalid = null;

function showStatus(text) {
  if (live && live.textContent !== text) live.textContent = text;
}

function statusText() {
  if (paused) return missed > 0 ? `paused · ${missed} changed` : "paused";
  if (problem) return problem === INVALID_FILTER ? problem : `not up to date: ${problem}`;
  if (connection === "refused") return "the exporter refuses a live stream: refreshed every 10 s";
  if (connection !== "open") return "not up to date: the exporter does not answer";
  return waits ? "live · waits while you select" : "live";
}

// Shows what is invalid in the form below it.
function showFault(sentence) {
  const before = document.querySelector("[data-fault]");
  if (before?.textContent === sentence) return;
  before?.remove();
  if (!sentence) return;
  const fault = document.createElement("p");
  Object.assign(fault, { className: "banner", textContent: sentence });
  fault.setAttribute("role", "alert");
  fault.dataset.fault = "";
  form.after(fault);
}

// The page has other windows if another version of the exporter was started.
function reload() {
  const [visit] = performance.getEntriesByType("navigation");
  if (visit?.type === "reload" && performance.now() < MIN_RELOAD_INTERVAL_MS) {
    problem = "the exporter changed; the page reloads within a minute";
  } else {
    location.reload();
  }
}

function show(answer, page, where, isRequested) {
  const sentence = page.querySelector("main p")?.textContent ?? "";
  const isInvalid = answer.status === 400;
  invalid = isInvalid ? where : null;
  if (form) showFault(isInvalid ? sentence : "");
  if (answer.ok) {
    problem = "";
    ready(page);
    const replaced = replaceWindows(page, isRequested);
    waits = replaced === false;
    if (replaced === null) reload();
  } else {
    problem = isInvalid && form ? INVALID_FILTER : sentence || `the exporter answered ${answer.status}`;
  }
}

// Fetches the whole page and takes its windows.
async function refresh() {
  if (busy || document.hidden || (paused && !requested)) {
    stale = true;
    return;
  }
  const [where, isRequested] = [location.href, requested];
  if (where === invalid && !isRequested) return;
  busy = true;
  stale = false;
  requested = false;
  try {
    const answer = await fetch(where, { headers: { accept: "text/html" } });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    // The reader may have paused or requested another view in the meantime.
    if (paused && !isRequested) stale = true;
    else if (where === location.href) show(answer, page, where, isRequested);
  } catch {
    problem = "the exporter does not answer";
  }
  showStatus(statusText());
  setTimeout(() => {
    busy = false;
    if (stale) refresh();
  }, MIN_REFRESH_INTERVAL_MS);
}

function request() {
  requested = true;
  refresh();
}

// Refreshes the windows and the charts.
function refreshAll() {
  document.dispatchEvent(new CustomEvent("status"));
  refresh();
}

// Shows the parts of the page that need a script, and the ages of times.
function ready(page) {
  for (const part of page.querySelectorAll("[data-script]")) part.hidden = false;
  tick(page);
}

function span(seconds) {
  if (seconds < 120) return `${seconds}s`;
  return seconds < 7200 ? `${Math.floor(seconds / 60)}m` : `${Math.floor(seconds / 3600)}h`;
}

function tick(page) {
  for (const time of page.querySelectorAll("[data-since]")) {
    const seconds = Math.max(0, Math.round(Date.now() / 1000 - Number(time.dataset.since)));
    const text = `${span(seconds)} ago`;
    if (time.textContent !== text) time.textContent = text;
  }
}

function onStreamEvent(name) {
  if (name === "status" || name === "removed") return refreshAll();
  if (name === "opened" || name === "closed") {
    if (!paused) return;
    missed += 1;
  } else {
    connection = name;
    if (name === "open") invalid = null;
    // Each attempt to open the stream is refused again, and refreshes the page.
    if (name === "refused") refreshAll();
  }
  showStatus(statusText());
}

function toggle() {
  paused = !paused;
  missed = 0;
  pause.setAttribute("aria-pressed", String(paused));
  pause.textContent = paused ? "Resume" : "Pause";
  showStatus(statusText());
  if (!paused) refreshAll();
}

if (pause && document.querySelector("[data-window]")) {
  ready(document);
  const stream = new Stream(onStreamEvent);
  // A tab may be opened in the background. Hidden pages have no stream.
  if (!document.hidden) stream.begin();
  setInterval(() => tick(document), 1000);
  onRelease(refresh);
  pause.hidden = false;
  pause.addEventListener("click", toggle);
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
      stream.end();
    } else {
      stream.begin();
      refreshAll();
    }
  });
}

// Removes empty parameters, and the columns if they are the default ones, so that the links to exports have all
// columns.
function shorten(given) {
  const kept = [...given].filter(([name, value]) => name !== "columns" && value !== "");
  const columns = given.getAll("columns");
  const defaults = form.querySelector("[data-defaults]")?.dataset.defaults.split(",") ?? [];
  for (const name of [...given.keys()]) given.delete(name);
  for (const [name, value] of kept) given.append(name, value);
  if (columns.length > 0 && [...columns].sort().join() !== defaults.sort().join()) given.set("columns", columns.join());
}

// Typing in the form updates the table and the address.
if (form) {
  let timer = null;
  form.addEventListener("formdata", (event) => shorten(event.formData));
  form.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      const query = String(new URLSearchParams(new FormData(form)));
      history.replaceState(null, "", form.getAttribute("action") + (query && `?${query}`));
      request();
    }, SEARCH_DELAY_MS);
  });
}

async function copy(button) {
  const label = button.textContent;
  try {
    const answer = await fetch(button.dataset.copy);
    if (!answer.ok) throw new Error(String(answer.status));
    await navigator.clipboard.writeText(await answer.text());
    button.textContent = "copied";
  } catch {
    // Browsers allow the clipboard only for pages over TLS or from this machine.
    button.textContent = "clipboard not available";
  }
  setTimeout(() => (button.textContent = label), 2000);
}

document.addEventListener("click", (event) => {
  const button = event.target instanceof Element ? event.target.closest("[data-copy]") : null;
  if (button) copy(button);
});

// j and k move the focus from row to row; Enter opens the link of the focused row.
function moveFocus(by) {
  const rows = [...document.querySelectorAll("[data-rows] tbody tr")];
  const links = rows.map((row) => row.querySelector("a")).filter(Boolean);
  const here = links.indexOf(document.activeElement);
  const next = here < 0 ? (by > 0 ? 0 : links.length - 1) : Math.min(Math.max(here + by, 0), links.length - 1);
  links[next]?.focus();
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target instanceof Element && event.target.matches("input, select, textarea")) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  if (event.key === "/" && search) {
    event.preventDefault();
    search.focus();
  } else if (event.key === "p" && pause && !pause.hidden) {
    toggle();
  } else if (event.key === "j") {
    moveFocus(1);
  } else if (event.key === "k") {
    moveFocus(-1);
  }
});
