// Keeps the page's windows up to date: when the server says that something changed, the page asks for itself again and puts the
// new windows in the place of the old ones. Without this script the page is the same, and still.

import { Stream } from "./stream.js";
import { onRelease, renew } from "./windows.js";

const pause = document.querySelector("[data-pause]");
const live = document.querySelector("[data-live]");
const search = document.querySelector("[data-search]");
const form = document.querySelector("[data-live-form]");

// The shortest time between two refreshes, in milliseconds: a busy server changes more often than anyone can read. With the second
// that may pass until the exporter looks, who comes is here within two.
const REST = 500;

// How long after the last key a search is shown, in milliseconds.
const TYPING = 300;

// How long after a reload the page is not loaded anew again, in milliseconds: two exporters behind one name may disagree for good.
const RELOAD = 60_000;

// What became of the stream: `open`, `lost` or `refused`.
let connection = null;
let paused = false;
let missed = 0;
let busy = false;
let stale = false;
// Whether the reader wants to see something else than before: a pause does not hold that back.
let asked = false;
// Whether a window waits until the reader has done with it.
let waits = false;
// Why the last refresh failed.
let trouble = "";
// An address that the server does not understand, and never will.
let wrong = null;

function say(text) {
  if (live && live.textContent !== text) live.textContent = text;
}

function state() {
  if (paused) return missed > 0 ? `paused · ${missed} changed` : "paused";
  if (trouble) return `not up to date: ${trouble}`;
  if (connection === "refused") return "the exporter refuses a live stream: up to date every 10 s";
  if (connection !== "open") return "not up to date: the exporter does not answer";
  return waits ? "live · waits while you select" : "live";
}

// What is wrong with what is asked for stands beside where it was asked.
function complain(sentence) {
  const before = document.querySelector("[data-complaint]");
  if (before?.textContent === sentence) return;
  before?.remove();
  if (!sentence) return;
  const complaint = document.createElement("p");
  Object.assign(complaint, { className: "banner", textContent: sentence });
  complaint.setAttribute("role", "alert");
  complaint.dataset.complaint = "";
  form.after(complaint);
}

// The same page may have other windows after the exporter was started with other servers.
function reload() {
  const [visit] = performance.getEntriesByType("navigation");
  if (visit?.type === "reload" && performance.now() < RELOAD) trouble = "the servers changed; the page is loaded anew in a minute";
  else location.reload();
}

function show(answer, page, where, isAsked) {
  const sentence = page.querySelector("main p")?.textContent ?? "";
  const isWrong = answer.status === 400;
  wrong = isWrong ? where : null;
  if (form) complain(isWrong ? sentence : "");
  if (answer.ok) {
    trouble = "";
    ready(page);
    const renewed = renew(page, isAsked);
    waits = renewed === false;
    if (renewed === null) reload();
  } else {
    trouble = isWrong && form ? "what is asked for is not understood" : sentence || `the exporter answers with ${answer.status}`;
  }
}

// Each answer of the server is a whole page, of which the windows are taken.
async function refresh() {
  if (busy || document.hidden || (paused && !asked)) {
    stale = true;
    return;
  }
  const [where, isAsked] = [location.href, asked];
  if (where === wrong && !isAsked) return;
  busy = true;
  stale = false;
  asked = false;
  try {
    const answer = await fetch(where, { headers: { accept: "text/html" } });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    // The reader may have paused meanwhile, or have asked for something else.
    if (paused && !isAsked) stale = true;
    else if (where === location.href) show(answer, page, where, isAsked);
  } catch {
    trouble = "the exporter does not answer";
  }
  say(state());
  setTimeout(() => {
    busy = false;
    if (stale) refresh();
  }, REST);
}

function ask() {
  asked = true;
  refresh();
}

// Something changed, for all that is on the page.
function renewAll() {
  document.dispatchEvent(new CustomEvent("status"));
  refresh();
}

// What needs a script is shown once there is one, and how old a sample is is told in words.
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

function hear(what) {
  if (what === "status") return renewAll();
  if (what === "opened" || what === "closed") {
    if (!paused) return;
    missed += 1;
  } else {
    connection = what;
    if (what === "open") wrong = null;
    // That comes again with each attempt: so often the page looks by itself.
    if (what === "refused") renewAll();
  }
  say(state());
}

function toggle() {
  paused = !paused;
  missed = 0;
  pause.setAttribute("aria-pressed", String(paused));
  pause.textContent = paused ? "Resume" : "Pause";
  say(state());
  if (!paused) renewAll();
}

if (pause && document.querySelector("[data-window]")) {
  ready(document);
  const stream = new Stream(hear);
  // A tab may be opened behind another one. Hidden pages hold no stream.
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
      renewAll();
    }
  });
}

// An address says what was chosen and nothing else; the usual columns are not chosen, so that exports beside the table stay whole.
function shorten(given) {
  const words = [...given].filter(([name, value]) => name !== "columns" && value !== "");
  const columns = given.getAll("columns");
  const defaults = form.querySelector("[data-defaults]")?.dataset.defaults.split(",") ?? [];
  for (const name of [...given.keys()]) given.delete(name);
  for (const [name, value] of words) given.append(name, value);
  if (columns.length > 0 && [...columns].sort().join() !== defaults.sort().join()) given.set("columns", columns.join());
}

// Who types sees what matches, and the address of it.
if (form) {
  let timer = null;
  form.addEventListener("formdata", (event) => shorten(event.formData));
  form.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      const words = String(new URLSearchParams(new FormData(form)));
      history.replaceState(null, "", form.getAttribute("action") + (words && `?${words}`));
      ask();
    }, TYPING);
  });
}

async function copy(button) {
  const told = button.textContent;
  try {
    const answer = await fetch(button.dataset.copy);
    if (!answer.ok) throw new Error(String(answer.status));
    await navigator.clipboard.writeText(await answer.text());
    button.textContent = "copied";
  } catch {
    // A page that did not come over TLS or from this machine may not write to the clipboard.
    button.textContent = "not possible here";
  }
  setTimeout(() => (button.textContent = told), 2000);
}

document.addEventListener("click", (event) => {
  const button = event.target instanceof Element ? event.target.closest("[data-copy]") : null;
  if (button) copy(button);
});

// j and k go from row to row; Enter opens the one that has the focus, as every link.
function step(by) {
  const links = [...document.querySelectorAll("[data-rows] tbody tr")].map((row) => row.querySelector("a")).filter(Boolean);
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
    step(1);
  } else if (event.key === "k") {
    step(-1);
  }
});
