// Puts the windows of a new page in the place of those that are shown. What the reader has done to a window, or is doing in it,
// stays: what is selected or pressed, how far it is scrolled, what has the focus, what is unfolded.

const FOCUSABLE = "a[href], button, summary, [tabindex]";

// Where a pointer was pressed and not yet let go: a click on what is replaced meanwhile would be none.
let pressed = null;

// Whether a window was left as it was, for the reader's sake.
let held = false;

const within = (root, selector) => [...(root.matches(selector) ? [root] : []), ...root.querySelectorAll(selector)];

function isHeld(window) {
  const selection = getSelection();
  const isSelected = selection !== null && !selection.isCollapsed && selection.containsNode(window, true);
  return isSelected || window.contains(pressed);
}

// By this it is known again: what it is, and where it leads or what it is called.
function key(element) {
  const keep = element.matches("summary") ? element.parentElement?.dataset.keep : undefined;
  const name = element.getAttribute("href") ?? element.dataset.copy ?? keep ?? element.getAttribute("aria-label");
  return `${element.localName} ${name ?? ""}`;
}

// What had the focus, in the new window: the same thing; where there is none, what stands in its place.
function counterpart(focused, now, next) {
  const [before, after] = [within(now, FOCUSABLE), within(next, FOCUSABLE)];
  const sameAs = (element) => key(element) === key(focused);
  const place = before.filter(sameAs).indexOf(focused);
  return after.filter(sameAs)[place] ?? after[Math.min(before.indexOf(focused), after.length - 1)];
}

function replace(now, next) {
  const focused = now.contains(document.activeElement) ? document.activeElement : null;
  const scrolled = within(now, ".scroll").map(({ scrollLeft, scrollTop }) => [scrollLeft, scrollTop]);
  const heir = focused ? counterpart(focused, now, next) : null;
  for (const kept of now.querySelectorAll("details[data-keep][open]")) {
    const same = next.querySelector(`details[data-keep="${CSS.escape(kept.dataset.keep)}"]`);
    if (same) same.open = true;
  }
  now.replaceWith(document.adoptNode(next));
  within(next, ".scroll").forEach((region, place) => region.scrollTo(...(scrolled[place] ?? [0, 0])));
  heir?.focus({ preventScroll: true });
}

// Whether all windows are new now; `null` if the new page has not the same windows. What the reader asked for himself is put in
// even where he has selected something.
export function renew(page, isAsked) {
  const shown = [...document.querySelectorAll("[data-window]")];
  const news = page.querySelectorAll("[data-window]");
  if (shown.length !== news.length) return null;
  held = false;
  shown.forEach((now, place) => {
    if (!isAsked && isHeld(now)) held = true;
    else replace(now, news[place]);
  });
  return !held;
}

// Tells when a window that was left as it was can be renewed.
export function onRelease(tell) {
  const look = () => {
    if (!held || [...document.querySelectorAll("[data-window]")].some(isHeld)) return;
    held = false;
    tell();
  };
  const release = () => {
    pressed = null;
    look();
  };
  document.addEventListener("pointerdown", (event) => (pressed = event.button === 0 ? event.target : null));
  for (const end of ["pointerup", "pointercancel", "dragend"]) document.addEventListener(end, release);
  // It may have been let go outside of the page.
  document.addEventListener("pointermove", (event) => pressed && event.buttons === 0 && release());
  document.addEventListener("selectionchange", look);
}
