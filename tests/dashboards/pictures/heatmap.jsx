// Grafana does not publish its heatmap component, so this draws the same data in its colors: a column per time, a cell
// per bucket, and a brighter color for a higher count.
import React from 'react';

const LEFT = 56;
const BOTTOM = 22;

function formatted(seconds) {
  if (!Number.isFinite(seconds)) return '+Inf';
  for (const [unit, size] of [['d', 86400], ['h', 3600], ['min', 60]]) {
    if (seconds >= size) return `${seconds / size} ${unit}`;
  }
  return `${seconds} s`;
}

export function heatmap(data, width, height, theme) {
  const bound = (frame) => Number(frame.fields[1].labels.le === '+Inf' ? Infinity : frame.fields[1].labels.le);
  const buckets = [...data].sort((one, other) => bound(one) - bound(other));
  const times = buckets[0]?.fields[0].values ?? [];
  const cells = buckets.map((frame, place) =>
    times.map((_, at) => frame.fields[1].values[at] - (place ? buckets[place - 1].fields[1].values[at] : 0)));
  const max = Math.max(1, ...cells.flat());
  const [w, h] = [(width - LEFT) / Math.max(1, times.length), (height - BOTTOM) / Math.max(1, buckets.length)];
  const hue = (count) => `hsl(${30 - 25 * (count / max)}, 90%, ${15 + 50 * Math.sqrt(count / max)}%)`;
  const text = { fill: theme.colors.text.secondary, fontSize: 11 };
  const every = Math.ceil(times.length / 6);
  return <svg width={width} height={height}>
    {cells.map((line, bucket) => line.map((count, at) => count > 0 && (
      <rect key={`${bucket}/${at}`} x={LEFT + at * w} y={height - BOTTOM - (bucket + 1) * h} width={w} height={h - 1}
        fill={hue(count)} />
    )))}
    {buckets.map((frame, bucket) => (
      <text key={bucket} x={LEFT - 6} y={height - BOTTOM - (bucket + 0.3) * h} textAnchor="end" {...text}>
        {formatted(bound(frame))}
      </text>
    ))}
    {times.map((at, place) => place % every === 0 && (
      <text key={at} x={LEFT + place * w} y={height - 6} {...text}>{new Date(at).toISOString().slice(11, 16)}</text>
    ))}
  </svg>;
}
