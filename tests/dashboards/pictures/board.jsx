// Draws a dashboard with Grafana's own panel components, from its JSON and the query results of a Prometheus. Units,
// colors, legends, thresholds, overrides, transformations and the grid are Grafana's. Variables, heatmaps and the frame
// are ours.
import React from 'react';
import { createRoot } from 'react-dom/client';
import {
  EventBusSrv, FieldConfigOptionsRegistry, FieldType, applyFieldOverrides, createTheme, dateTime, getDisplayProcessor,
  getFieldDisplayName, standardTransformers, standardTransformersRegistry, toDataFrame, transformDataFrame,
} from '@grafana/data';
import {
  BarGauge, BigValue, GlobalStyles, PanelChrome, PanelContextProvider, Table, ThemeContext, TimeSeries,
} from '@grafana/ui';
import { lastValueFrom } from 'rxjs';
import 'uplot/dist/uPlot.min.css';
import { heatmap } from './heatmap.jsx';

const COLUMNS = 24;
const ROW_HEIGHT = 34;
const GAP = 8;
const { board, prometheus, minutes, step, rows } = window.PICTURE;
const width = window.innerWidth;
const theme = createTheme({ colors: { mode: 'dark' } });
const end = Math.floor(Date.now() / 1000 / step) * step;
const start = end - minutes * 60;
const raw = { from: `now-${minutes}m`, to: 'now' };
const timeRange = { from: dateTime(start * 1000), to: dateTime(end * 1000), raw };

const context = { eventBus: new EventBusSrv(), eventsScope: '', sync: () => 0 };

const values = {
  __rate_interval: `${Math.max(30, step * 4)}s`, __range: `${minutes}m`,
  job: '.+', instance: '.+', redis: '.+', client_app: '.+', external_url: '',
};
const filled = (text) => text.replace(/\$\{?(\w+)(?::\w+)?\}?/g, (all, name) => values[name] ?? all);

standardTransformersRegistry.setInit(() =>
  [standardTransformers.mergeTransformer, standardTransformers.organizeFieldsTransformer].map((it) => (
    { id: it.id, name: it.name, transformation: async () => it })));

// Grafana's panels declare their properties. Here every property that a dashboard sets is accepted.
function registry(panel) {
  const ids = new Set([
    'unit', 'decimals', 'min', 'max', 'mappings', 'thresholds', 'color', 'links', 'displayName', 'noValue',
  ]);
  for (const override of panel.fieldConfig.overrides) for (const property of override.properties) ids.add(property.id);
  for (const key of Object.keys(panel.fieldConfig.defaults.custom ?? {})) ids.add(`custom.${key}`);
  const items = [...ids].map((id) => ({
    id, name: id, path: id.replace(/^custom\./, ''), isCustom: id.startsWith('custom.'), process: (value) => value,
    shouldApply: () => true, getItemsCount: () => 0, settings: {}, override: () => null, editor: () => null,
  }));
  return new FieldConfigOptionsRegistry(() => items);
}

async function ask(target) {
  const query = new URLSearchParams({ query: filled(target.expr) });
  const path = target.instant ? 'query' : 'query_range';
  if (target.instant) query.set('time', end);
  else for (const [name, value] of Object.entries({ start, end, step })) query.set(name, value);
  const answer = await (await fetch(`${prometheus}/api/v1/${path}?${query}`)).json();
  if (answer.status !== 'success') throw new Error(answer.error);
  return answer.data.result.map((series) => ({ labels: series.metric, points: series.values ?? [series.value] }));
}

function legend(target, labels) {
  if (!target.legendFormat || target.legendFormat === '__auto') return undefined;
  return target.legendFormat.replace(/\{\{\s*(\w+)\s*\}\}/g, (_, name) => labels[name] ?? '');
}

function series(target, { labels, points }) {
  const { __name__, ...rest } = labels;
  const config = { displayNameFromDS: legend(target, rest) };
  return toDataFrame({
    refId: target.refId,
    fields: [
      { name: 'Time', type: FieldType.time, values: points.map(([at]) => at * 1000), config: {} },
      { name: 'Value', type: FieldType.number, labels: rest, values: points.map(([, value]) => Number(value)), config },
    ],
  });
}

function tabular(target, result) {
  const labels = new Set(result.flatMap((row) => Object.keys(row.labels)));
  const names = [...labels].filter((name) => name !== '__name__').sort();
  const column = (name, type, value) => ({ name, type, values: result.map(value), config: {} });
  return toDataFrame({
    refId: target.refId,
    fields: [
      column('Time', FieldType.time, (row) => row.points[0][0] * 1000),
      ...names.map((name) => column(name, FieldType.string, (row) => row.labels[name] ?? '')),
      column(`Value #${target.refId}`, FieldType.number, (row) => Number(row.points[0][1])),
    ],
  });
}

async function frames(panel) {
  const answers = await Promise.all(panel.targets.map(ask));
  let data = panel.targets.flatMap((target, place) =>
    target.format === 'table' ? [tabular(target, answers[place])] : answers[place].map((one) => series(target, one)));
  if (panel.transformations?.length) {
    data = await lastValueFrom(transformDataFrame(panel.transformations, data, { interpolate: filled }));
  }
  return applyFieldOverrides({
    data, fieldConfig: panel.fieldConfig, replaceVariables: filled, theme, timeZone: 'utc',
    fieldConfigRegistry: registry(panel),
  });
}

function lasts(data) {
  return data.flatMap((frame) => frame.fields.filter((field) => field.type === FieldType.number).map((field) => {
    const display = (field.display ?? getDisplayProcessor({ field, theme }))(field.values[field.values.length - 1]);
    return { ...display, title: getFieldDisplayName(field, frame, data), field };
  }));
}

function Stats({ panel, data, w, h }) {
  const shown = lasts(data);
  const many = shown.length > 1;
  return <div style={{ display: 'flex', gap: 4 }}>{shown.map((value, place) => (
    <BigValue key={place} theme={theme} width={w / shown.length - 4} height={h}
      colorMode={panel.options.colorMode ?? 'value'} graphMode="none" justifyMode="auto"
      value={{ ...value, title: many ? value.title : undefined }} />
  ))}</div>;
}

function Bars({ panel, data, w, h }) {
  const shown = lasts(data);
  const each = Math.min(36, h / Math.max(1, shown.length));
  const max = Math.max(...shown.map((it) => it.numeric));
  return <div>{shown.map((value, place) => (
    <div key={place} style={{ height: each }}>
      <BarGauge theme={theme} width={w} height={each - 4} orientation="horizontal"
        displayMode={panel.options.displayMode ?? 'gradient'} value={value} display={value.field.display}
        field={{ ...value.field.config, min: 0, max }} />
    </div>
  ))}</div>;
}

function content(panel, data, w, h) {
  switch (panel.type) {
    case 'timeseries': {
      const options = panel.options.legend ?? {};
      const noneHasLines = data.every((frame) => frame.length === 0);
      if (!data.length || noneHasLines) {
        return <div style={{ padding: 20, color: theme.colors.text.secondary }}>No data</div>;
      }
      return <TimeSeries frames={data} width={w} height={h} timeRange={timeRange} timeZone="utc"
        legend={{ calcs: [], ...options }} options={panel.options} />;
    }
    case 'stat':
    case 'gauge':
      return <Stats panel={panel} data={data} w={w} h={h} />;
    case 'bargauge':
      return <Bars panel={panel} data={data} w={w} h={h} />;
    case 'table':
      return data.length ? <Table data={data[0]} width={w} height={h} initialSortBy={panel.options.sortBy} /> : null;
    case 'heatmap':
      return heatmap(data, w, h, theme);
    default:
      return null;
  }
}

// Reports a panel that fails, and does not affect the others.
class Guard extends React.Component {
  state = {};
  static getDerivedStateFromError(error) { return { error }; }
  componentDidCatch(error, info) {
    console.log(`failed: ${this.props.title}: ${error.message} ${info.componentStack}`);
  }
  render() { return this.state.error ? null : this.props.children; }
}

function Panel({ panel, data, top }) {
  const { x, y, w, h } = panel.gridPos;
  const place = {
    position: 'absolute', left: (x * width) / COLUMNS + GAP / 2, top: (y - top) * ROW_HEIGHT + GAP / 2 + 44,
    width: (w * width) / COLUMNS - GAP, height: h * ROW_HEIGHT - GAP,
  };
  if (panel.type === 'row') return <div style={{ ...place, padding: 6, fontWeight: 500 }}>{panel.title}</div>;
  return <div style={place} className="panel">
    <PanelChrome title={panel.title} description={panel.description} width={place.width} height={place.height}>
      {(innerWidth, innerHeight) => <Guard title={panel.title}>{content(panel, data, innerWidth, innerHeight)}</Guard>}
    </PanelChrome>
  </div>;
}

async function draw() {
  const first = board.panels.findIndex((panel) => panel.title === rows[0]);
  const isOther = (panel) => panel.type === 'row' && !rows.includes(panel.title);
  const after = board.panels.findIndex((panel, place) => place > first && isOther(panel));
  const topLevel = board.panels.slice(first, after < 0 ? undefined : after);
  const shown = topLevel.flatMap((panel) => [panel, ...(panel.panels ?? [])]);
  const data = await Promise.all(shown.map((panel) => (panel.targets ? frames(panel) : [])));
  const empty = shown.filter((panel, place) => panel.targets && !data[place].some((frame) => frame.length));
  const top = shown[0].gridPos.y;
  document.body.style.background = theme.colors.background.canvas;
  document.body.style.color = theme.colors.text.primary;
  document.body.style.fontFamily = theme.typography.fontFamily;
  createRoot(document.getElementById('board')).render(
    <ThemeContext.Provider value={theme}><PanelContextProvider value={context}>
      <GlobalStyles />
      <div style={{ padding: 12, fontSize: 18 }}>{board.title}</div>
      {shown.map((panel, place) => <Panel key={panel.id} panel={panel} data={data[place]} top={top} />)}
    </PanelContextProvider></ThemeContext.Provider>);
  console.log(`drawn ${shown.length} panels; without data: ${empty.map((panel) => panel.title).join(', ') || 'none'}`);
}

draw().catch((error) => console.log(`failed: ${error.stack}`));
