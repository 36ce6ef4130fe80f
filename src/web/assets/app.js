// Keeps the page's windows up to date: when the server says that something changed, the page asks for itself again and puts the
// new windows in the place of the old ones. Without this script the page is the same, and still.

const pause = document.querySelector("[data-pause]");
const live = document.querySelector("[data-live]");
const search = document.querySelector("[data-search]");
const form = document.querySelector("[data-live-form]");

// The shortest time between two refreshes, in milliseconds: a busy server changes more often than anyone can read. With the second
// that may pass until the exporter looks, who comes is here within two.
const REST = 500;

// How long to wait, in milliseconds, before a stream that was refused is asked for again.
const RETRY = 5000;

// How long after the last key a search is shown, in milliseconds.
const TYPING = 300;

let events = null;
let paused = false;
let missed = 0;
let busy = false;
let stale = false;

function say(text) {
  if (live && live.textContent !== text) live.textContent = text;
}

function state() {
  if (paused) return missed > 0 ? `paused · ${missed} changed` : "paused";
  return events?.readyState === EventSource.OPEN ? "live" : "not up to date: the exporter does not answer";
}

// What the reader has done to a window stays: where it was scrolled to, which link has the focus, what was unfolded.
function replace(now, next) {
  const held = now.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
  const scrolled = now.querySelector(".scroll")?.scrollLeft ?? 0;
  for (const kept of now.querySelectorAll("details[data-keep][open]")) {
    const same = next.querySelector(`details[data-keep="${CSS.escape(kept.dataset.keep)}"]`);
    if (same) same.open = true;
  }
  now.replaceWith(document.adoptNode(next));
  const region = next.querySelector(".scroll");
  if (region) region.scrollLeft = scrolled;
  if (held !== null) next.querySelector(`a[href="${CSS.escape(held)}"]`)?.focus({ preventScroll: true });
}

// Each answer of the server is a whole page, of which the windows are taken.
async function refresh() {
  if (paused || busy || document.hidden) {
    stale = true;
    return;
  }
  busy = true;
  stale = false;
  try {
    const asked = location.href;
    const answer = await fetch(asked, { headers: { accept: "text/html" } });
    if (answer.ok && asked === location.href) {
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const windows = document.querySelectorAll("[data-window]");
      const news = page.querySelectorAll("[data-window]");
      if (windows.length === news.length) windows.forEach((now, place) => replace(now, news[place]));
      ready();
      say(state());
    } else if (!answer.ok) {
      say(answer.status === 404 ? "it is gone" : `not up to date (${answer.status})`);
    }
  } catch {
    say("not up to date: the exporter does not answer");
  }
  setTimeout(() => {
    busy = false;
    if (stale) refresh();
  }, REST);
}

// What needs a script is shown once there is one, and how old a sample is is told in words.
function ready() {
  for (const part of document.querySelectorAll("[data-script]")) part.hidden = false;
  tick();
}

function span(seconds) {
  if (seconds < 120) return `${seconds}s`;
  return seconds < 7200 ? `${Math.floor(seconds / 60)}m` : `${Math.floor(seconds / 3600)}h`;
}

function tick() {
  for (const time of document.querySelectorAll("[data-since]")) {
    const seconds = Math.max(0, Math.round(Date.now() / 1000 - Number(time.dataset.since)));
    const text = `${span(seconds)} ago`;
    if (time.textContent !== text) time.textContent = text;
  }
}

// Hidden pages hold no stream: a browser opens only a few connections to one server.
function connect() {
  if (events && events.readyState !== EventSource.CLOSED) return;
  events = new EventSource("/api/v1/events");
  events.addEventListener("open", () => say(state()));
  events.addEventListener("status", () => {
    document.dispatchEvent(new CustomEvent("status"));
    refresh();
  });
  for (const name of ["opened", "closed"]) {
    events.addEventListener(name, () => {
      if (!paused) return;
      missed += 1;
      say(state());
    });
  }
  events.addEventListener("error", () => {
    say(state());
    // After an answer that is no stream the browser does not try again.
    if (events.readyState === EventSource.CLOSED) setTimeout(() => document.hidden || connect(), RETRY);
  });
}

function toggle() {
  paused = !paused;
  missed = 0;
  pause.setAttribute("aria-pressed", String(paused));
  pause.textContent = paused ? "Resume" : "Pause";
  say(state());
  if (!paused) refresh();
}

if (pause && document.querySelector("[data-window]")) {
  ready();
  // A tab may be opened behind another one.
  if (!document.hidden) connect();
  setInterval(tick, 1000);
  pause.hidden = false;
  pause.addEventListener("click", toggle);
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
      events?.close();
    } else {
      connect();
      refresh();
    }
  });
}

// Who types sees what matches, and the address of it.
if (form) {
  let timer = null;
  form.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      const asked = new URLSearchParams();
      for (const [name, value] of new FormData(form)) if (value !== "") asked.append(name, value);
      history.replaceState(null, "", `${form.getAttribute("action")}?${asked}`);
      refresh();
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
