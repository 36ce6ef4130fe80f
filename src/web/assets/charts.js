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

const dark = matchMedia("(prefers-color-scheme: dark)");
const charts = new Map();

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
    bands: more.bands,
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

// What there is of the hour, and at least some minutes.
function hour(at) {
  const last = at.length > 0 ? at[at.length - 1] : Math.floor(Date.now() / 1000);
  return [Math.min(at[0] ?? last, last - LEAST), last];
}

function timeScales(at) {
  return { x: { range: () => hour(at) }, y: { range: (_, least, most) => [0, Math.max(1, (most ?? 1) * 1.05)] } };
}

function stacked(node) {
  const sums = node.at.map(() => 0);
  // The largest lies at the bottom.
  return node.apps.map((app) =>
    app.connections.map((count, place) => (count === null ? null : (sums[place] += count))),
  );
}

function drawApps(figure, node) {
  const colour = (place) => (node.apps[place].app === "(other)" ? OTHERS : COLOURS[place % COLOURS.length]);
  const order = node.apps.map((_, place) => place).reverse();
  const sums = stacked(node);
  const series = order.map((place) => ({
    label: node.apps[place].app,
    stroke: colour(place),
    fill: `${colour(place)}${dark.matches ? "66" : "55"}`,
    width: 1,
    points: { show: node.at.length < 2 },
    value: (_, __, ___, index) => whole(null, index == null ? null : node.apps[place].connections[index]),
  }));
  // Each is filled down to the one that it stands on.
  const bands = order.slice(1).map((_, place) => ({ series: [place + 1, place + 2] }));
  return new uPlot(
    options(figure, {
      series: [{ label: "Time", value: moment }, ...series],
      scales: timeScales(node.at),
      axes: { x: { values: clock } },
      bands,
    }),
    [node.at, ...order.map((place) => sums[place])],
    figure,
  );
}

function drawChurn(figure, node) {
  const line = (label, colour) => ({ label, stroke: colour, width: 1.5, value: whole, points: { show: node.at.length < 3 } });
  return new uPlot(
    options(figure, {
      series: [{ label: "Time", value: moment }, line("Opened a second", COLOURS[2]), line("Closed a second", COLOURS[5])],
      scales: timeScales(node.at),
      axes: { x: { values: clock } },
    }),
    [node.at, node.opened_per_second, node.closed_per_second],
    figure,
  );
}

function span(seconds) {
  for (const [size, unit] of [[86400, "d"], [3600, "h"], [60, "m"]]) {
    if (seconds >= size) return `${seconds / size}${unit}`;
  }
  return `${seconds}s`;
}

function drawAges(figure, node) {
  const ages = node.last_interaction;
  const names = [...ages.bounds_seconds.map((bound) => `≤ ${span(bound)}`), "more"];
  const places = names.map((_, place) => place);
  const bars = uPlot.paths.bars({ size: [0.8, 60] });
  return new uPlot(
    options(figure, {
      series: [
        { label: "Silent for", value: (_, place) => (place == null ? "–" : names[place]) },
        { label: "Clients", stroke: COLOURS[0], fill: `${COLOURS[0]}88`, paths: bars, points: { show: false }, value: whole },
      ],
      scales: {
        x: { time: false, range: () => [-0.6, names.length - 0.4] },
        y: { range: (_, least, most) => [0, Math.max(1, (most ?? 1) * 1.05)] },
      },
      axes: { x: { values: (_, at) => at.map((place) => names[place] ?? ""), splits: () => places.filter((place) => place % 3 === 0), grid: { show: false } } },
    }),
    [places, ages.counts],
    figure,
  );
}

const DRAW = { apps: drawApps, churn: drawChurn, ages: drawAges };

// Which lines a reader has switched off stays so.
function draw(figure, node) {
  const before = charts.get(figure);
  const hidden = new Set((before?.series ?? []).filter((series) => series.show === false).map((series) => series.label));
  before?.destroy();
  charts.delete(figure);
  if (figure.dataset.chart === "ages" && !node.last_interaction) return;
  const chart = DRAW[figure.dataset.chart](figure, node);
  chart.series.forEach((series, place) => {
    if (place > 0 && hidden.has(series.label)) chart.setSeries(place, { show: false });
  });
  charts.set(figure, chart);
}

let busy = false;
let stale = false;

async function refresh() {
  if (busy || document.hidden || document.querySelector("[data-pause]")?.getAttribute("aria-pressed") === "true") {
    stale = true;
    return;
  }
  busy = true;
  stale = false;
  try {
    const answer = await fetch("/api/v1/history");
    if (answer.ok) {
      const { nodes } = await answer.json();
      for (const section of document.querySelectorAll("[data-charts]")) {
        const node = nodes.find((node) => node.redis === section.dataset.charts);
        if (!node) continue;
        section.hidden = false;
        section.querySelectorAll("[data-chart]").forEach((figure) => draw(figure, node));
      }
    }
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
  resized = setTimeout(() => charts.forEach((chart, figure) => chart.setSize({ width: Math.max(240, figure.clientWidth), height: HEIGHT })), 200);
});
