// Draws the last hour of each server, which the exporter keeps in memory, and how last interactions are distributed now. The same
// numbers stand in the tables of the page, for who sees no charts.

import uPlot from "./uplot/uPlot.esm.js";

// The shortest time between two readings of the hour, in milliseconds: its points are ten seconds apart.
const REST = 5000;

const HEIGHT = 200;

// The least time that is shown, in seconds.
const LEAST = 600;

// Told apart in light and dark, and by who does not see all colours (after Okabe and Ito); the last is for all others.
const COLOURS = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8a7f00", "#7a52a8"];
const OTHERS = "#8c8c8c";

// What is older is not of the last hour, in seconds.
const HOUR = 3600;

const dark = matchMedia("(prefers-color-scheme: dark)");

// What is drawn in each figure: the chart, its series, and the numbers in it.
const drawn = new Map();

function ink(share) {
  return dark.matches ? `rgba(255,255,255,${share})` : `rgba(0,0,0,${share})`;
}

function axes(more) {
  const axis = { stroke: ink(0.75), grid: { stroke: ink(0.1), width: 1 }, ticks: { stroke: ink(0.2), width: 1 } };
  return [
    { ...axis, ...more.x },
    { ...axis, size: 56, ...more.y },
  ];
}

function options(figure, more) {
  return {
    width: Math.max(240, figure.clientWidth),
    height: HEIGHT,
    cursor: { points: { size: 6 } },
    tzDate: (second) => uPlot.tzDate(new Date(second * 1000), "Etc/UTC"),
    legend: { live: true },
    axes: axes(more.axes ?? {}),
    series: more.series,
    scales: more.scales,
    hooks: more.hooks ?? {},
  };
}

// In UTC, as the times in the tables and in logs.
const time = (second) => new Date(second * 1000).toISOString().slice(11, 19);
const clock = (_, seconds) => seconds.map((second) => time(second).slice(0, 5));
const moment = (_, second) => (second == null ? "–" : time(second));
const whole = (_, number) => (number == null ? "–" : String(number));

// Up to now, though a server that is down has no news; a server's clock may be ahead of this one.
const edge = (at) => Math.max(Date.now() / 1000, at[at.length - 1] ?? 0);

// What there is of the hour, and at least some minutes.
function hour(at) {
  const last = edge(at);
  return [Math.min(at[0] ?? last, last - LEAST), last];
}

// Only the points of the last hour.
function recent(node) {
  const first = edge(node.at) - HOUR;
  const kept = node.at.findIndex((second) => second >= first);
  const cut = (column) => (kept < 0 ? [] : column.slice(kept));
  return {
    ...node,
    at: cut(node.at),
    opened_per_second: cut(node.opened_per_second),
    closed_per_second: cut(node.closed_per_second),
    apps: node.apps.map(({ app, connections }) => ({ app, connections: cut(connections) })),
  };
}

const timeScales = {
  x: { range: (chart) => hour(chart.data[0]) },
  y: { range: (_, least, most) => [0, Math.max(1, (most ?? 1) * 1.05)] },
};

// A line through few points would not be seen.
const few = (least) => ({ show: (chart) => chart.data[0].length < least });

// The sums of those that are shown, the last at the bottom: each is filled down to the next that is shown.
function stack(held) {
  const sums = held.node.at.map(() => 0);
  const isShown = (place) => held.chart?.series[place + 1]?.show ?? true;
  const counts = (app) => held.node.apps.find((found) => found.app === app).connections;
  const add = (count, at) => (count === null ? null : (sums[at] += count));
  const upwards = held.names.map((app, place) => [app, place]).reverse();
  return [held.node.at, ...upwards.map(([app, place]) => counts(app).map(isShown(place) ? add : (count) => count)).reverse()];
}

function bands(chart) {
  const shown = chart.series.flatMap((series, place) => (place > 0 && series.show ? [place] : []));
  chart.delBand(null);
  shown.slice(1).forEach((below, place) => chart.addBand({ series: [shown[place], below] }));
}

// The largest lies at the bottom. The applications keep their places while they are the same.
const apps = {
  names: (node) => node.apps.map(({ app }) => app).reverse(),
  data: stack,
  options: (held) => {
    const colour = (place) => (held.names[place] === "(other)" ? OTHERS : COLOURS[(held.names.length - 1 - place) % COLOURS.length]);
    const count = (app, index) => held.node.apps.find((found) => found.app === app).connections[index];
    const series = held.names.map((app, place) => ({
      label: app,
      stroke: colour(place),
      fill: `${colour(place)}${dark.matches ? "66" : "55"}`,
      width: 1,
      points: few(2),
      value: (_, __, ___, index) => whole(null, index == null ? null : count(app, index)),
    }));
    const restack = (chart, _, { show }) => {
      if (show === undefined || !held.chart) return;
      bands(chart);
      chart.setData(stack(held));
    };
    return {
      series: [{ label: "Time", value: moment }, ...series],
      scales: timeScales,
      axes: { x: { values: clock } },
      hooks: { init: [bands], setSeries: [restack] },
    };
  },
};

const line = (label, colour) => ({ label, stroke: colour, width: 1.5, value: whole, points: few(3) });

const churn = {
  names: () => ["Opened/s", "Closed/s"],
  data: ({ node }) => [node.at, node.opened_per_second, node.closed_per_second],
  options: ({ names }) => ({
    series: [{ label: "Time", value: moment }, line(names[0], COLOURS[2]), line(names[1], COLOURS[5])],
    scales: timeScales,
    axes: { x: { values: clock } },
  }),
};

function span(seconds) {
  for (const [size, unit] of [[86400, "d"], [3600, "h"], [60, "m"]]) {
    if (seconds >= size) return `${seconds / size}${unit}`;
  }
  return `${seconds}s`;
}

const ages = {
  names: ({ last_interaction: told }) => told && [...told.bounds_seconds.map((bound) => `≤ ${span(bound)}`), "more"],
  data: ({ names, node }) => [names.map((_, place) => place), node.last_interaction.counts],
  options: ({ names }) => {
    const bars = uPlot.paths.bars({ size: [0.8, 60] });
    const splits = names.map((_, place) => place).filter((place) => place % 3 === 0);
    return {
      series: [
        { label: "Silent for", value: (_, place) => (place == null ? "–" : names[place]) },
        { label: "Clients", stroke: COLOURS[0], fill: `${COLOURS[0]}88`, paths: bars, points: { show: false }, value: whole },
      ],
      scales: { x: { time: false, range: () => [-0.6, names.length - 0.4] }, y: timeScales.y },
      axes: { x: { values: (_, at) => at.map((place) => names[place] ?? ""), splits: () => splits, grid: { show: false } } },
    };
  },
};

const KINDS = { apps, churn, ages };

const isSame = (names, others) => [...names].sort().join("\n") === [...others].sort().join("\n");

// Which lines a reader has switched off stays so.
function build(figure, kind, held, before) {
  const hidden = new Set((before?.series ?? []).filter((series) => series.show === false).map((series) => series.label));
  before?.destroy();
  const chart = new uPlot(options(figure, kind.options(held)), kind.data(held), figure);
  held.chart = chart;
  chart.series.forEach((series, place) => {
    if (place > 0 && hidden.has(series.label)) chart.setSeries(place, { show: false });
  });
  drawn.set(figure, held);
}

// A chart of the same series takes the new numbers: what the reader points at stays.
function draw(figure, node) {
  const kind = KINDS[figure.dataset.chart];
  const [before, names] = [drawn.get(figure), kind.names(node)];
  if (!names) {
    before?.chart.destroy();
    drawn.delete(figure);
  } else if (before && before.isDark === dark.matches && isSame(names, before.names)) {
    before.node = node;
    before.chart.setData(kind.data(before));
  } else {
    build(figure, kind, { node, names, isDark: dark.matches, chart: null }, before?.chart);
  }
}

const sections = () => [...document.querySelectorAll("[data-charts]")];
const isPaused = () => document.querySelector("[data-pause]")?.getAttribute("aria-pressed") === "true";

// The hour of no more servers than are shown.
function address() {
  const [one, another] = sections();
  return `/api/v1/history${another ? "" : `?${new URLSearchParams({ redis: one.dataset.charts })}`}`;
}

function show(nodes) {
  for (const section of sections()) {
    const node = nodes.find((node) => node.redis === section.dataset.charts);
    if (!node) continue;
    section.hidden = false;
    section.querySelectorAll("[data-chart]").forEach((figure) => draw(figure, recent(node)));
  }
}

let busy = false;
let stale = false;

async function refresh() {
  if (sections().length === 0) return;
  if (busy || document.hidden || isPaused()) {
    stale = true;
    return;
  }
  busy = true;
  stale = false;
  try {
    const answer = await fetch(address());
    const { nodes } = answer.ok ? await answer.json() : { nodes: [] };
    // The reader may have paused meanwhile.
    if (isPaused()) stale = true;
    else show(nodes);
  } catch {
    // The page itself says that the exporter does not answer.
  }
  setTimeout(() => {
    busy = false;
    if (stale) refresh();
  }, REST);
}

refresh();
document.addEventListener("status", refresh);
dark.addEventListener("change", refresh);

let resized = null;
addEventListener("resize", () => {
  clearTimeout(resized);
  resized = setTimeout(() => {
    drawn.forEach(({ chart }, figure) => chart.setSize({ width: Math.max(240, figure.clientWidth), height: HEIGHT }));
  }, 200);
});
