// Keeps the page's window up to date: when the server says that something changed, the page asks for itself again and puts the
// new window in the place of the old one. Without this script the page is the same, and still.

const pause = document.querySelector("[data-pause]");
const live = document.querySelector("[data-live]");
const search = document.querySelector("[data-search]");

// The shortest time between two refreshes, in milliseconds: a busy server changes more often than anyone can read.
const REST = 1000;

// How long to wait, in milliseconds, before a stream that was refused is asked for again.
const RETRY = 5000;

let events = null;
let paused = false;
let busy = false;
let stale = false;

function say(text) {
  if (live && live.textContent !== text) live.textContent = text;
}

async function refresh() {
  if (paused || busy || document.hidden) {
    stale = true;
    return;
  }
  busy = true;
  stale = false;
  try {
    const answer = await fetch(location.href, { headers: { accept: "text/html" } });
    if (answer.ok) {
      const next = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("[data-window]");
      const now = document.querySelector("[data-window]");
      // Whoever is reading a link with the keyboard keeps his place.
      const held = now?.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
      const scrolled = now?.querySelector(".scroll")?.scrollLeft ?? 0;
      if (next && now) {
        now.replaceWith(document.adoptNode(next));
        const region = next.querySelector(".scroll");
        if (region) region.scrollLeft = scrolled;
        if (held !== null) next.querySelector(`a[href="${CSS.escape(held)}"]`)?.focus({ preventScroll: true });
      }
      if (!paused && events?.readyState === EventSource.OPEN) say("live");
    } else {
      say(`not up to date (${answer.status})`);
    }
  } catch {
    say("not up to date: the exporter does not answer");
  }
  setTimeout(() => {
    busy = false;
    if (stale) refresh();
  }, REST);
}

// Hidden pages hold no stream: a browser opens only a few connections to one server.
function connect() {
  if (events && events.readyState !== EventSource.CLOSED) return;
  events = new EventSource("/api/v1/events");
  events.addEventListener("open", () => say(paused ? "paused" : "live"));
  events.addEventListener("status", refresh);
  events.addEventListener("error", () => {
    say("not up to date: the exporter does not answer");
    // After an answer that is no stream the browser does not try again.
    if (events.readyState === EventSource.CLOSED) setTimeout(() => document.hidden || connect(), RETRY);
  });
}

if (pause && document.querySelector("[data-window]")) {
  connect();
  pause.hidden = false;
  pause.addEventListener("click", () => {
    paused = !paused;
    pause.setAttribute("aria-pressed", String(paused));
    pause.textContent = paused ? "Resume" : "Pause";
    say(paused ? "paused" : "live");
    if (!paused) refresh();
  });
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
      events?.close();
    } else {
      connect();
      refresh();
    }
  });
}

document.addEventListener("keydown", (event) => {
  const typing = event.target instanceof Element && event.target.matches("input, select, textarea");
  if (event.key === "/" && search && !typing) {
    event.preventDefault();
    search.focus();
  }
});
