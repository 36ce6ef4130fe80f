// Draws the last hour of each server, which the exporter keeps in memory, and the distribution of idle times in the
// last sample. The tables of the page have the same numbers for readers without charts.

import uPlot from "./uplot/uPlot.esm.js";

// Minimum time between two refreshes, in milliseconds. The points are ten seconds apart.
const MIN_REFRESH_INTERVAL_MS = 5000;

const HEIGHT_PX = 200;

// Minimum span of the time axis, in seconds.
const MIN_SPAN_SECONDS = 600;

// Colors that can be distinguished in light and dark mode and by color-blind readers (after Okabe and Ito).
const COLORS = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8a7f00", "#7a52a8"];
const OTHERS_COLOR = "#8c8c8c";

// Maximum age of a point, in seconds.
const MAX_AGE_SECONDS = 3600;

const dark = matchMedia("(prefers-color-scheme: dark)");

// The chart of each figure, with its series and data.
const drawn = new Map();

function textColor(opacity) {
  return dark.matches ? `rgba(255,255,255,${opacity})` : `rgba(0,0,0,${opacity})`;
}

function axes(more) {
  const axis = {
    stroke: textColor(0.75),
    grid: { stroke: textColor(0.1), width: 1 },
    ticks: { stroke: textColor(0.2), width: 1 },
  };
  return [
    { ...axis, ...more.x },
    { ...axis, size: 56, ...more.y },
  ];
}

function width(figure) {
  return Math.max(240, figure.clientWidth);
}

function options(figure, more) {
  return {
    width: width(figure),
    height: HEIGHT_PX,
    cursor: { points: { size: 6 } },
    tzDate: (second) => uPlot.tzDate(new Date(second * 1000), "Etc/UTC"),
    legend: { live: true },
    axes: axes(more.axes ?? {}),
    series: more.series,
    scales: more.scales,
    hooks: more.hooks ?? {},
  };
}

// Times are in UTC, as in the tables and in logs.
const time = (second) => new Date(second * 1000).toISOString().slice(11, 19);
const clock = (_, seconds) => seconds.map((second) => time(second).slice(0, 5));
const timeOrDash = (_, second) => (second == null ? "–" : time(second));
const numberOrDash = (_, number) => (number == null ? "–" : String(number));

// The end of the time axis: now, also if the server is down, or the last point if the exporter's clock is ahead.
const end = (at) => Math.max(Date.now() / 1000, at[at.length - 1] ?? 0);

// The range of the time axis: the points, and at least some minutes.
function timeRange(at) {
  const last = end(at);
  return [Math.min(at[0] ?? last, last - MIN_SPAN_SECONDS), last];
}

// The node with only the points of the last hour.
function recent(node) {
  const first = end(node.at) - MAX_AGE_SECONDS;
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
  x: { range: (chart) => timeRange(chart.data[0]) },
  y: { range: (_, min, max) => [0, Math.max(1, (max ?? 1) * 1.05)] },
};

// Shows points while there are too few of them for a visible line.
const pointsBelow = (count) => ({ show: (chart) => chart.data[0].length < count });

// The cumulative sums of the visible series, the last one at the bottom. Each area is filled down to the next visible
// one.
function stack(held) {
  const sums = held.node.at.map(() => 0);
  const isShown = (place) => held.chart?.series[place + 1]?.show ?? true;
  const counts = (app) => held.node.apps.find((found) => found.app === app).connections;
  const add = (count, at) => (count === null ? null : (sums[at] += count));
  const upwards = held.names.map((app, place) => [app, place]).reverse();
  const columns = upwards.map(([app, place]) => counts(app).map(isShown(place) ? add : (count) => count));
  return [held.node.at, ...columns.reverse()];
}

function bands(chart) {
  const shown = chart.series.flatMap((series, place) => (place > 0 && series.show ? [place] : []));
  chart.delBand(null);
  shown.slice(1).forEach((below, place) => chart.addBand({ series: [shown[place], below] }));
}

// The largest application is at the bottom. The order is kept while the applications are the same.
const apps = {
  names: (node) => node.apps.map(({ app }) => app).reverse(),
  data: stack,
  options: (held) => {
    const color = (place) =>
      held.names[place] === "(other)" ? OTHERS_COLOR : COLORS[(held.names.length - 1 - place) % COLORS.length];
    const count = (app, index) => held.node.apps.find((found) => found.app === app).connections[index];
    const series = held.names.map((app, place) => ({
      label: app,
      stroke: color(place),
      fill: `${color(place)}${dark.matches ? "66" : "55"}`,
      width: 1,
      points: pointsBelow(2),
      value: (_, __, ___, index) => numberOrDash(null, index == null ? null : count(app, index)),
    }));
    const restack = (chart, _, { show }) => {
      if (show === undefined || !held.chart) return;
      bands(chart);
      chart.setData(stack(held));
    };
    return {
      series: [{ label: "Time", value: timeOrDash }, ...series],
      scales: timeScales,
      axes: { x: { values: clock } },
      hooks: { init: [bands], setSeries: [restack] },
    };
  },
};

const line = (label, color) => ({ label, stroke: color, width: 1.5, value: numberOrDash, points: pointsBelow(3) });

const churn = {
  names: () => ["Opened/s", "Closed/s"],
  data: ({ node }) => [node.at, node.opened_per_second, node.closed_per_second],
  options: ({ names }) => ({
    series: [{ label: "Time", value: timeOrDash }, line(names[0], COLORS[2]), line(names[1], COLORS[5])],
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
  names: ({ last_interaction: ages }) =>
    ages && [...ages.bounds_seconds.map((bound) => `≤ ${span(bound)}`), "more"],
  data: ({ names, node }) => [names.map((_, place) => place), node.last_interaction.counts],
  options: ({ names }) => {
    const bars = uPlot.paths.bars({ size: [0.8, 60] });
    const splits = names.map((_, place) => place).filter((place) => place % 3 === 0);
    return {
      series: [
        { label: "Idle time", value: (_, place) => (place == null ? "–" : names[place]) },
        {
          label: "Clients",
          stroke: COLORS[0],
          fill: `${COLORS[0]}88`,
          paths: bars,
          points: { show: false },
          value: numberOrDash,
        },
      ],
      scales: { x: { time: false, range: () => [-0.6, names.length - 0.4] }, y: timeScales.y },
      axes: {
        x: { values: (_, at) => at.map((place) => names[place] ?? ""), splits: () => splits, grid: { show: false } },
      },
    };
  },
};

const KINDS = { apps, churn, ages };

const isSame = (names, others) => [...names].sort().join("\n") === [...others].sort().join("\n");

// Series that the reader has hidden stay hidden.
function build(figure, kind, held, before) {
  const hiddenSeries = (before?.series ?? []).filter((series) => series.show === false);
  const hidden = new Set(hiddenSeries.map((series) => series.label));
  before?.destroy();
  const chart = new uPlot(options(figure, kind.options(held)), kind.data(held), figure);
  held.chart = chart;
  chart.series.forEach((series, place) => {
    if (place > 0 && hidden.has(series.label)) chart.setSeries(place, { show: false });
  });
  drawn.set(figure, held);
}

// A chart with the same series gets the new data, so that the cursor stays.
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

// The address of the history of the servers that are shown.
function address() {
  const [one, another] = sections();
  const cluster = new URLSearchParams(location.search).get("cluster");
  const selected = another ? { ...(cluster && { cluster }) } : { redis: one.dataset.charts };
  return `/api/v1/history?${new URLSearchParams(selected)}`;
}

function show(nodes) {
  for (const [figure, { chart }] of drawn) {
    if (figure.isConnected) continue;
    chart.destroy();
    drawn.delete(figure);
  }
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
    // The reader may have paused in the meantime.
    if (isPaused()) stale = true;
    else show(nodes);
  } catch {
    // The page itself shows that the exporter does not answer.
  }
  setTimeout(() => {
    busy = false;
    if (stale) refresh();
  }, MIN_REFRESH_INTERVAL_MS);
}

refresh();
document.addEventListener("status", refresh);
dark.addEventListener("change", refresh);

let resized = null;
addEventListener("resize", () => {
  clearTimeout(resized);
  resized = setTimeout(() => {
    drawn.forEach(({ chart }, figure) => chart.setSize({ width: width(figure), height: HEIGHT_PX }));
  }, 200);
});
