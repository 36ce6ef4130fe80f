// Replaces the windows that are shown with those of a new page. What the reader does in a window is kept: the
// selection, a pressed pointer, the scroll position, the focus, and open details.

const FOCUSABLE = "a[href], button, summary, [tabindex]";

// The element on which a pointer is pressed. If it were replaced before the release, the click would be lost.
let pressed = null;

// True if a window was not replaced because the reader is using it.
let postponed = false;

const within = (root, selector) => [...(root.matches(selector) ? [root] : []), ...root.querySelectorAll(selector)];

// True if the reader has selected text, presses the pointer, or chooses a server in this element.
function isInUse(element) {
  const selection = getSelection();
  const isSelected = selection !== null && !selection.isCollapsed && selection.containsNode(element, true);
  const isChoosing = element.contains(document.activeElement) && document.activeElement.matches("select, input");
  return isSelected || isChoosing || element.contains(pressed);
}

// Identifies an element in the old and the new window by its type, with its link or name.
function key(element) {
  const keep = element.matches("summary") ? element.parentElement?.dataset.keep : undefined;
  const name = element.getAttribute("href") ?? element.dataset.copy ?? keep ?? element.getAttribute("aria-label");
  return `${element.localName} ${name ?? ""}`;
}

// The element of the new window that gets the focus: the same one, or else the one at its place.
function counterpart(focused, now, next) {
  const [before, after] = [within(now, FOCUSABLE), within(next, FOCUSABLE)];
  const sameAs = (element) => key(element) === key(focused);
  const place = before.filter(sameAs).indexOf(focused);
  return after.filter(sameAs)[place] ?? after[Math.min(before.indexOf(focused), after.length - 1)];
}

function replace(now, next) {
  const focused = now.contains(document.activeElement) ? document.activeElement : null;
  const scrolled = within(now, ".scroll").map(({ scrollLeft, scrollTop }) => [scrollLeft, scrollTop]);
  const successor = focused ? counterpart(focused, now, next) : null;
  for (const kept of now.querySelectorAll("details[data-keep][open]")) {
    const same = next.querySelector(`details[data-keep="${CSS.escape(kept.dataset.keep)}"]`);
    if (same) same.open = true;
  }
  now.replaceWith(document.adoptNode(next));
  within(next, ".scroll").forEach((region, place) => region.scrollTo(...(scrolled[place] ?? [0, 0])));
  successor?.focus({ preventScroll: true });
}

// Adds the sections of servers that the page shows now, and removes those of others. Returns false if one that should
// be removed is in use.
function replaceSections(page, isRequested) {
  const [now, next] = [document, page].map((root) => root.querySelector("[data-nodes]"));
  if (!now || !next) return true;
  const shown = new Map([...now.children].map((section) => [section.dataset.node, section]));
  const sections = [...next.children];
  const names = new Set(sections.map((section) => section.dataset.node));
  const others = [...shown.values()].filter((section) => !names.has(section.dataset.node));
  if (!isRequested && others.some(isInUse)) return false;
  for (const other of others) other.remove();
  // The sections that stay keep their charts.
  sections.forEach((section, place) => {
    const one = shown.get(section.dataset.node) ?? document.importNode(section, true);
    if (now.children[place] !== one) now.insertBefore(one, now.children[place] ?? null);
  });
  return true;
}

// Replaces the windows. Returns true if all were replaced, false if some are in use, and `null` if the new page has
// other windows. A view that the reader requested replaces windows in use, too.
export function replaceWindows(page, isRequested) {
  if (!replaceSections(page, isRequested)) {
    postponed = true;
    return false;
  }
  const shown = [...document.querySelectorAll("[data-window]")];
  const next = page.querySelectorAll("[data-window]");
  if (shown.length !== next.length) return null;
  postponed = false;
  shown.forEach((now, place) => {
    // A reader may be choosing from a list that has not changed.
    if (now.isEqualNode(next[place])) return;
    if (!isRequested && isInUse(now)) postponed = true;
    else replace(now, next[place]);
  });
  return !postponed;
}

// Calls back when the reader does not use a postponed window any more.
export function onRelease(callback) {
  const check = () => {
    if (!postponed || [...document.querySelectorAll("[data-window]")].some(isInUse)) return;
    postponed = false;
    callback();
  };
  const release = () => {
    pressed = null;
    check();
  };
  document.addEventListener("pointerdown", (event) => (pressed = event.button === 0 ? event.target : null));
  for (const end of ["pointerup", "pointercancel", "dragend"]) document.addEventListener(end, release);
  // The pointer may be released outside of the page.
  document.addEventListener("pointermove", (event) => pressed && event.buttons === 0 && release());
  document.addEventListener("selectionchange", check);
  // The focus has not moved yet.
  document.addEventListener("focusout", () => setTimeout(check));
}
