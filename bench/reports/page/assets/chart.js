// Charts of points and lines as scenes: panels side by side, axes with ticks, intervals, Pareto fronts.

const MARGIN = { left: 52, right: 14, top: 26, bottom: 46 };

function linearTicks(low, high, count) {
  const step = 10 ** Math.floor(Math.log10((high - low) / count));
  const chosen = [1, 2, 5, 10].map((factor) => factor * step).find((size) => (high - low) / size <= count);
  const ticks = [];
  for (let i = Math.ceil(low / chosen - 1e-9); i * chosen <= high + 1e-9 * chosen; i += 1) ticks.push(i * chosen);
  return ticks;
}

function logTicks(low, high) {
  const first = Math.ceil(Math.log10(low) - 1e-9);
  const last = Math.floor(Math.log10(high) + 1e-9);
  const factors = last - first >= 3 ? [1] : last - first >= 1 ? [1, 3] : [1, 2, 3, 5, 7];
  const every = Math.max(1, Math.ceil((last - first) / 5));
  const ticks = [];
  for (let power = first - 1; power <= last; power += 1) {
    for (const factor of factors) {
      const tick = factor * 10 ** power;
      if (tick >= low * 0.999 && tick <= high * 1.001 && (every === 1 || (power - first) % every === 0)) ticks.push(tick);
    }
  }
  return ticks;
}

function domain(values, log) {
  let low = Math.min(...values);
  let high = Math.max(...values);
  if (!Number.isFinite(low)) return log ? [0.1, 10] : [0, 1];
  if (log) {
    const pad = high < 2 * low ? 2 : 1.25; // so that there is a tick in it
    return [low / pad, high * pad];
  }
  const pad = (high - low) * 0.06 || Math.abs(high) * 0.05 || 1;
  low -= pad;
  high += pad;
  return [low, high];
}

// The span of a panel's own values; of many lines that of the better half, where the others would flatten it.
function panelDomain(panel, lessIsBetter) {
  const sign = lessIsBetter ? -1 : 1;
  const guides = (panel.guides || []).filter((guide) => guide.counts).flatMap((guide) => guide.points.map((p) => p.y));
  const worst = panel.series.filter((one) => one.points.length > 1).map((one) => Math.min(...one.points.map((p) => sign * p.y))).sort((a, b) => b - a);
  const floor = worst.length ? worst[Math.max(2, Math.ceil(worst.length / 2) - 1)] ?? worst[worst.length - 1] : -Infinity;
  const values = panel.series.flatMap((one) => one.points.map((p) => p.y).filter((y) => one.theirs || sign * y >= floor));
  return domain([...values, ...guides], false);
}

// Parts of a line within two heights, cut where it leaves them.
function within(points, top, bottom) {
  const parts = [];
  let part = [];
  const end = () => { if (part.length > 1) parts.push(part); part = []; };
  points.forEach(([x, y], i) => {
    if (i) {
      const [px, py] = points[i - 1];
      const cuts = [top, bottom].filter((edge) => (py - edge) * (y - edge) < 0).map((edge) => [px + ((x - px) * (edge - py)) / (y - py), edge]);
      for (const cut of cuts.sort((a, b) => a[0] - b[0])) {
        part.push(cut);
        if (part.length > 1) end();
      }
    }
    if (y >= top - 1e-6 && y <= bottom + 1e-6) part.push([x, y]);
    else end();
  });
  end();
  return parts;
}

function scale(axis, range) {
  const [low, high] = axis.domain.map((value) => (axis.log ? Math.log10(value) : value));
  return (value) => range[0] + (((axis.log ? Math.log10(value) : value) - low) / (high - low)) * (range[1] - range[0]);
}

// Points that no other beats: the least x (or the most, where more is better) for the most y, as corners of a staircase.
function paretoFront(points, moreIsBetter) {
  const order = [...points].sort((a, b) => (moreIsBetter ? b.x - a.x : a.x - b.x) || b.y - a.y);
  const front = [];
  for (const point of order) if (!front.length || point.y > front[front.length - 1].y) front.push(point);
  return front;
}

function staircase(front) {
  return front.flatMap((point, i) => (i ? [{ x: point.x, y: front[i - 1].y }, point] : [point]));
}

function axisItems(spec, box, sx, sy, first) {
  const { x, y } = spec;
  const items = [];
  const room = box.right - box.left;
  const xTicks = x.ticks ? x.ticks.filter((tick) => tick >= x.domain[0] && tick <= x.domain[1])
    : x.log ? logTicks(...x.domain) : linearTicks(...x.domain, room > 420 ? 8 : 5);
  let edge = -Infinity;
  for (const tick of xTicks) {
    items.push(line([[sx(tick), box.top], [sx(tick), box.bottom]], 'grid'));
    const text = x.format(tick);
    const half = text.length * 3.4 + 2;
    if (sx(tick) - half > edge) {
      items.push(label(sx(tick), box.bottom + 16, text, { anchor: 'middle', fill: 'muted' }));
      edge = sx(tick) + half;
    }
  }
  for (const tick of y.ticks || (y.log ? logTicks(...y.domain) : linearTicks(...y.domain, 6))) {
    items.push(line([[box.left, sy(tick)], [box.right, sy(tick)]], 'grid'));
    items.push(label(box.left - 6, sy(tick) + 4, y.format(tick), { anchor: 'end', fill: y.names ? 'ink' : 'muted' }));
  }
  items.push(line([[box.left, box.bottom], [box.right, box.bottom]], 'muted'));
  items.push(label((box.left + box.right) / 2, box.bottom + 35, x.label, { anchor: 'middle' }));
  if (first && y.label) items.push(label(box.left - 40, (box.top + box.bottom) / 2, y.label, { anchor: 'middle', turned: true }));
  return items;
}

function panelItems(panel, box, sx, sy, hits, lessIsBetter) {
  const items = [];
  const inside = (value) => Math.min(box.bottom, Math.max(box.top, value));
  for (const guide of panel.guides || []) {
    items.push(line(guide.points.map((p) => [sx(p.x), inside(sy(p.y))]), 'muted', { dash: [2, 3] }));
    if (guide.label) items.push(label(box.right - 4, sy(guide.points[0].y) - 4, guide.label, { anchor: 'end', fill: 'muted', size: 11 }));
  }
  if (panel.front && panel.front.length > 1) {
    items.push(line(staircase(panel.front).map((p) => [sx(p.x), sy(p.y)]), 'muted', { width: 4, opacity: 0.35 }));
  }
  for (const bar of panel.bars || []) items.push(line([[sx(bar.x), sy(bar.from)], [sx(bar.x), sy(bar.to)]], 'ink', { width: 4 }));
  const marks = [];
  const beyond = new Set();
  for (const series of panel.series) {
    const points = series.points.map((p) => ({ ...p, at: [sx(p.x), sy(p.y)] }));
    if (series.joined && points.length > 1) {
      for (const part of within(points.map((p) => p.at), box.top, box.bottom)) items.push(line(part, series.style.colour, { width: series.style.width || 1.8, dash: series.style.dash }));
    }
    const seen = points.filter((p) => p.at[1] >= box.top - 1 && p.at[1] <= box.bottom + 1);
    if (seen.length < points.length) beyond.add(series.key);
    for (const p of seen) {
      if (p.low !== null && p.low !== undefined && p.high > p.low) {
        items.push(line([[p.at[0], inside(sy(p.low))], [p.at[0], inside(sy(p.high))]], series.style.colour, { width: 1.2, opacity: 0.6 }));
      }
      if (p.left !== undefined && p.right > p.left) {
        items.push(line([[sx(p.left), p.at[1]], [sx(p.right), p.at[1]]], series.style.colour, { width: 1.6, opacity: 0.7 }));
      }
      marks.push(marker(p.at[0], p.at[1], p.open ? { ...series.style, hollow: true } : series.style, { point: hits.length, size: series.style.size }));
      hits.push({ x: p.at[0], y: p.at[1], ref: p.ref, name: series.name });
    }
  }
  if (beyond.size) items.push(label(box.left + 5, lessIsBetter ? box.top + 13 : box.bottom - 6, `${beyond.size} line${beyond.size === 1 ? '' : 's'} beyond`, { fill: 'muted', size: 11 }));
  return [...items, ...marks];
}

function legendItems(entries, width, top) {
  const items = [];
  let x = 6;
  let y = top + 14;
  for (const entry of entries) {
    const room = 26 + entry.name.length * 6.4 + 14;
    if (x + room > width && x > 6) {
      x = 6;
      y += 18;
    }
    items.push(marker(x + 7, y - 4, entry.style), label(x + 17, y, entry.name));
    x += room;
  }
  return { items, height: y - top + 10 };
}

// spec: title, x, y (label, format, log, ticks, domain, whole: intervals are to be seen whole, own: each panel has an axis of its own
// that shows its best lines, lessIsBetter), panels (title, series, front, guides, bars), width, height of a panel,
// left: room for the names on the upright axis
function chart(spec) {
  const every = spec.panels.flatMap((panel) => panel.series.flatMap((series) => series.points));
  const xs = every.flatMap((p) => (p.left === undefined ? [p.x] : [p.left, p.x, p.right]));
  const guides = spec.panels.flatMap((panel) => (panel.guides || []).filter((g) => g.counts).flatMap((g) => g.points));
  const ends = spec.y.whole ? every.flatMap((p) => [p.low, p.high]).filter((end) => end !== null && end !== undefined) : [];
  const ys = [...every.map((p) => p.y), ...ends, ...guides.map((p) => p.y)];
  const x = { ...spec.x, domain: spec.x.domain || domain(xs, spec.x.log) };
  const y = { ...spec.y, domain: spec.y.domain || domain(ys, spec.y.log) };
  const count = Math.max(1, spec.panels.length);
  const fitting = Math.floor(spec.width / ((spec.left || MARGIN.left) + 150));
  const columns = Math.max(1, Math.min(count, fitting, spec.width >= 1000 ? (count % 3 === 0 ? 3 : count === 4 || count === 2 ? 2 : 3) : spec.width >= 640 ? 2 : 1));
  const width = spec.width / columns;
  const hits = [];
  const items = [];
  spec.panels.forEach((panel, i) => {
    const left = (i % columns) * width;
    const top = Math.floor(i / columns) * spec.height;
    const box = { left: left + (spec.left || MARGIN.left), right: left + width - MARGIN.right, top: top + MARGIN.top, bottom: top + spec.height - MARGIN.bottom };
    const own = spec.y.own && panel.series.length ? { ...y, domain: panelDomain(panel, spec.y.lessIsBetter) } : y;
    const sx = scale(x, [box.left, box.right]);
    const sy = scale(own, [box.bottom, box.top]);
    items.push(label(box.left, box.top - 9, panel.title, { bold: true }));
    items.push(...axisItems({ x, y: own }, box, sx, sy, i % columns === 0), ...panelItems(panel, box, sx, sy, hits, spec.y.lessIsBetter));
  });
  const height = Math.ceil(count / columns) * spec.height;
  const background = { kind: 'path', closed: true, fill: 'paper', stroke: null, width: 0, points: [] };
  const scene = { title: spec.title, width: Math.round(spec.width), height: Math.round(height), items };
  background.points = [[0, 0], [scene.width, 0], [scene.width, scene.height], [0, scene.height]];
  scene.items = [background, ...items];
  return { scene, hits };
}

function withLegend(scene, entries) {
  // a file of the figure has no buttons beside it, so the legend is drawn
  const { items, height } = legendItems(entries, scene.width, scene.height);
  const whole = { ...scene, height: scene.height + height, items: [...scene.items, ...items] };
  whole.items[0] = { ...scene.items[0], points: [[0, 0], [whole.width, 0], [whole.width, whole.height], [0, whole.height]] };
  return whole;
}
