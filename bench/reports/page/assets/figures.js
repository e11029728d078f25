// Interactive figures: legend, hover, keyboard, pin, download.

const percentNumber = (value) => String(Number((100 * value).toPrecision(4)));
const percentTick = (value) => `${percentNumber(value)} %`;

// Sparsity as it is, or stretched: on a log scale of the fraction of weights that is kept.
const SPARSITY_AXES = {
  even: { label: 'sparsity, %', of: (s) => s, back: (v) => v },
  stretched: { label: 'sparsity, % (log scale of what is kept)', of: (s) => -Math.log10(Math.max(1e-4, 1 - s)), back: (v) => 1 - 10 ** -v },
};

function sparsityAxis(sparsities) {
  const axis = SPARSITY_AXES[state.axis];
  const ticks = unique(sparsities).sort((a, b) => a - b).map(axis.of);
  return { of: axis.of, axis: { label: axis.label, format: (v) => percentNumber(axis.back(v)), ticks } };
}

const PAPER_WIDTH = 680; // pixels between the margins of a sheet of A4
let printing = false;

class Figure {
  // make(width) returns the spec of a chart, whose series carry key, name and style; refs of points are cells or latency points
  constructor(root, { name, title, caption, controls = [], make }) {
    this.name = name;
    this.make = make;
    this.late = new Set();
    this.active = -1;
    this.box = el('div', { class: 'plot', tabindex: '0', role: 'group', 'aria-label': `${title}. Arrow keys go from point to point, Enter pins one.` });
    this.legend = el('div', { class: 'legend', role: 'group', 'aria-label': `Legend of: ${title}` });
    this.empty = el('p', { class: 'muted', hidden: true }, 'No result has these two values with the filters above.');
    const buttons = ['SVG', 'PDF'].map((kind) => el('button', { type: 'button', onclick: () => this.download(kind) }, `${title.split(':')[0]} as ${kind}`));
    this.buttons = el('div', { class: 'bar' }, buttons);
    root.append(el('figure', { id: name }, el('h3', {}, title), el('figcaption', { class: 'muted small' }, caption),
      el('div', { class: 'bar' }, controls), this.legend, this.box, this.empty, this.buttons));
    this.box.addEventListener('pointermove', (event) => this.hover(event));
    this.box.addEventListener('pointerleave', () => hideTip());
    this.box.addEventListener('click', (event) => this.click(event));
    this.box.addEventListener('keydown', (event) => this.key(event));
    this.box.addEventListener('blur', () => hideTip());
  }

  draw() {
    const width = printing ? PAPER_WIDTH : Math.max(280, Math.floor(this.box.parentElement.clientWidth || 800));
    this.spec = this.make(width);
    const series = this.spec.panels.flatMap((panel) => panel.series);
    for (const one of series) one.key ??= one.name;
    tellApart(series);
    this.entries = [...new Map(series.map((one) => [one.key, one])).values()];
    const fronts = new Set();
    for (const panel of this.spec.panels) {
      if (panel.frontOf) panel.front = panel.frontOf(panel.series.flatMap((one) => one.points));
      for (const point of panel.front || []) fronts.add(point);
    }
    this.late = this.spec.y.names ? new Set() : lateLines(series, fronts);
    this.entries.sort((one, other) => this.late.has(one.key) - this.late.has(other.key));
    if (!this.spec.y.names) for (const panel of this.spec.panels) panel.series = panel.series.filter((one) => !this.hides(one.key));
    const { scene, hits } = chart(this.spec);
    this.scene = scene;
    this.hits = hits;
    this.empty.hidden = series.some((one) => one.points.length);
    this.box.hidden = !this.empty.hidden;
    this.buttons.hidden = !this.empty.hidden;
    this.box.innerHTML = toSvg(scene, (name) => `var(--${name})`);
    this.drawLegend();
    this.mark();
  }

  hides(key) {
    return !(state.chosen.get(key) ?? !this.late.has(key));
  }

  drawLegend() {
    const focused = this.legend.contains(document.activeElement) && document.activeElement.dataset.series;
    this.legend.hidden = Boolean(this.spec.y.names); // whose lines are named beside the axis
    this.legend.replaceChildren(...this.wholeButton(), ...this.entries.map((entry) => el('button', {
      type: 'button', 'data-series': entry.name, 'aria-pressed': String(!this.hides(entry.key)),
      title: 'Hide or show; with Shift all others', class: entry.theirs ? 'theirs' : '',
      onclick: (event) => this.toggle(entry.key, event.shiftKey),
    }, lineSwatch(entry.style), entry.name)));
    if (focused) [...this.legend.children].find((button) => button.dataset.series === focused)?.focus({ preventScroll: true });
  }

  // How many lines of how many are shown, and all of them or the first choice again; nothing where none is hidden.
  wholeButton() {
    const shown = this.entries.filter((entry) => !this.hides(entry.key)).length;
    const all = shown === this.entries.length;
    if (all && !this.late.size) return [];
    const count = [`${shown} of ${this.entries.length} lines`, el('span', { class: 'noprint' }, ': show all')];
    return [el('button', { type: 'button', 'data-series': ' ', onclick: () => {
      for (const entry of this.entries) if (all) state.chosen.delete(entry.key); else state.chosen.set(entry.key, true);
      redrawFigures();
    } }, all ? 'Show the best' : count)];
  }

  toggle(key, others) {
    const keys = others ? this.entries.map((entry) => entry.key).filter((other) => other !== key) : [key];
    const hide = !keys.every((one) => this.hides(one));
    for (const one of keys) state.chosen.set(one, !hide);
    redrawFigures();
  }

  nearest(event) {
    const frame = this.box.querySelector('svg').getBoundingClientRect();
    const ratio = frame.width / this.scene.width || 1;
    const [x, y] = [(event.clientX - frame.left) / ratio, (event.clientY - frame.top) / ratio];
    let best = -1;
    let least = event.pointerType === 'touch' ? 24 ** 2 : 14 ** 2;
    this.hits.forEach((hit, i) => {
      const distance = (hit.x - x) ** 2 + (hit.y - y) ** 2;
      if (distance < least) [best, least] = [i, distance];
    });
    return best;
  }

  hover(event) {
    const found = this.nearest(event);
    if (found < 0) hideTip();
    else showTip(this.hits[found].ref, event.clientX, event.clientY);
  }

  click(event) {
    const found = this.nearest(event);
    if (found < 0) return;
    this.active = found;
    pin(this.hits[found].ref);
  }

  key(event) {
    const steps = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
    if (event.key in steps && this.hits.length) {
      this.active = (this.active + steps[event.key] + this.hits.length) % this.hits.length;
      const hit = this.hits[this.active];
      const frame = this.box.querySelector('svg').getBoundingClientRect();
      const ratio = frame.width / this.scene.width || 1;
      showTip(hit.ref, frame.left + hit.x * ratio, frame.top + hit.y * ratio);
      this.mark();
      event.preventDefault();
    } else if ((event.key === 'Enter' || event.key === ' ') && this.hits[this.active]) {
      pin(this.hits[this.active].ref);
      event.preventDefault();
    }
  }

  mark() {
    // rings around the pinned point and the one that the keyboard is at
    const svg = this.box.querySelector('svg');
    svg.querySelectorAll('.ring').forEach((ring) => ring.remove());
    this.hits.forEach((hit, i) => {
      if (hit.ref !== state.pinned && i !== this.active) return;
      const ring = document.createElementNS('http://www.w3.org/2000/svg', 'circle');
      const values = { class: 'ring', cx: hit.x, cy: hit.y, r: 9, style: 'fill:none;stroke:var(--ink);stroke-width:2' };
      for (const [key, value] of Object.entries(values)) ring.setAttribute(key, value);
      svg.append(ring);
    });
  }

  download(kind) {
    const shown = this.spec.y.names ? [] : this.entries.filter((entry) => !this.hides(entry.key));
    (kind === 'SVG' ? saveSvg : savePdf)(this.name, withLegend(this.scene, shown));
  }
}

let figures = [];
const redrawFigures = () => figures.forEach((figure) => figure.draw());

// What is named in a setting, and whose it is where trials say so.
function withoutSetting(text) {
  const whose = text.match(/(^| )(authors|tuned)( |$)/);
  return whose ? [text.replace(whose[0], ' ').trim(), whose[2]] : [text, ''];
}

function seriesOf(cells, point, joined) {
  const phases = unique(DATA.cells.map((cell) => cell.phase)).filter(Boolean);
  const severalPhases = unique(cells.map((cell) => cell.phase)).length > 1;
  const severalKinds = unique(cells.map((cell) => cell.kind)).length > 1;
  const variants = new Map();
  const groups = new Map();
  for (const cell of cells) {
    const kinds = variants.get(cell.method) || new Set();
    const [variantText, setting] = withoutSetting(settingText(cell));
    const variant = `${variantText}|${cell.kind}`;
    variants.set(cell.method, kinds.add(variant));
    const phase = severalPhases ? phases.indexOf(cell.phase) : 0;
    const words = [named(cell, settingText(cell)), severalKinds && !['global', 'N:M'].includes(cell.kind) ? `(${cell.kind})` : '', severalPhases ? cell.phase : ''];
    const name = words.filter(Boolean).join(' ');
    const key = [cell.method, settingText(cell), cell.kind, severalPhases ? cell.phase : ''].join('|'); // the same in all figures
    if (!groups.has(key)) {
      const style = styleOf(cell.method, [...kinds].indexOf(variant), phase, setting);
      const theirs = isNew(cell);
      if (theirs) Object.assign(style, { width: 3.4, size: 6.5 });
      groups.set(key, { key, name, style, theirs, joined, points: [], order: [ORDER.get(cell.method) ?? 999, phase] });
    }
    groups.get(key).points.push({ ...point(cell), ref: cell });
  }
  const found = [...groups.values()].sort((a, b) => a.order[0] - b.order[0] || a.order[1] - b.order[1] || a.name.localeCompare(b.name));
  for (const one of found) one.points.sort((a, b) => a.x - b.x);
  return found;
}

function panelsByModel(cells, build) {
  const models = unique(cells.map((cell) => cell.model)).sort((a, b) => (MODELS.get(a) ?? 99) - (MODELS.get(b) ?? 99));
  return models.map((model) => ({ title: model, ...build(cells.filter((cell) => cell.model === model)) }));
}

// Panels by phase and model: in each of them lines of one phase alone.
function panelsByPhase(cells, build) {
  const phases = unique(DATA.cells.map((cell) => cell.phase)).filter((phase) => cells.some((cell) => cell.phase === phase));
  return phases.flatMap((phase) => panelsByModel(cells.filter((cell) => cell.phase === phase), build)
    .map((panel) => ({ ...panel, title: phases.length > 1 ? `${panel.title}, ${phase}` : panel.title })));
}

function reachChoice(draw) {
  return select('reach', 'accuracy axis', [['best', 'the best lines of a panel'], ['all', 'all lines, one axis']], state.reach, (value) => { state.reach = value; draw(); }, null);
}

function axisChoice(draw) {
  return select('axis', 'sparsity axis', [['stretched', 'stretched'], ['even', 'even']], state.axis, (value) => { state.axis = value; draw(); }, null);
}

function sparsitySpec(cells, width) {
  const mode = MODES[state.mode];
  const usable = cells.filter((cell) => mode.of(cell) && cell.sparsity !== null);
  const x = sparsityAxis(usable.map((cell) => cell.sparsity));
  const panels = panelsByPhase(usable, (part) => {
    const reference = state.mode === 'absolute' ? part[0].top1_dense : 0;
    const ends = part.map((cell) => x.of(cell.sparsity));
    const guide = [Math.min(...ends), Math.max(...ends)].map((end) => ({ x: end, y: reference }));
    return {
      series: seriesOf(part, (cell) => ({ x: x.of(cell.sparsity), y: mode.of(cell)[0], low: mode.of(cell)[1], high: mode.of(cell)[2] }), true),
      guides: reference === null ? [] : [{ points: guide, counts: true, label: state.mode === 'magnitude' ? '' : 'dense' }],
    };
  });
  return {
    title: `Accuracy against sparsity, ${state.sweep}`, width, height: panels.length > 1 ? 290 : 400, panels,
    x: x.axis, y: { label: mode.label, format: (v) => short(v, 4), own: state.reach === 'best', lessIsBetter: mode.lessIsBetter },
  };
}

function costSpec(cells, width, target) {
  const mode = MODES[state.mode];
  const usable = cells.filter((cell) => mode.of(cell) && cell.fit_seconds !== null && (!target || cell.target === target)
    && cell.phase === cells[0].phase);
  const cost = (cell) => Math.max(1e-3, cell.fit_seconds + (cell.prune_seconds || 0));
  const panels = panelsByModel(usable, (part) => ({
    series: seriesOf(part, (cell) => ({ x: cost(cell), y: mode.of(cell)[0], low: mode.of(cell)[1], high: mode.of(cell)[2] }), false),
    frontOf: (points) => paretoFront(points, false),
  }));
  return {
    title: `Accuracy against cost of the fit, ${state.sweep}`, width, height: panels.length > 1 ? 290 : 400, panels,
    x: { label: 'fit and prune, seconds', log: true, format: (v) => short(v) }, y: { label: mode.label, format: (v) => short(v, 4) },
  };
}

function latencySpec(points, width, axis, batch) {
  points = points.filter((point) => point.batch === null || String(point.batch) === batch);
  const engines = unique(points.map((point) => point.method)).filter((name) => !METHODS.has(name));
  const names = unique(points.map((point) => point.model));
  const modelPoints = (model) => points.filter((point) => point.model === model);
  const x = axis === 'times' ? (point) => point.times : (point) => point.seconds;
  const panels = names.map((model) => {
    const groups = new Map();
    for (const point of modelPoints(model)) {
      const name = point.batch === null ? point.method : `${point.method}, batch ${point.batch}`;
      if (!groups.has(name)) groups.set(name, { name, style: styleOf(point.method, Math.max(0, engines.indexOf(point.method))), joined: METHODS.has(point.method) && point.group === 'speedup', points: [] });
      groups.get(name).points.push({ x: x(point), y: point.kept, ref: point });
    }
    const against = modelPoints(model).some((point) => point.group === 'speedup') ? 'the best dense engine' : 'dense in PyTorch';
    const title = axis === 'times' ? `${model}, against ${against}` : model;
    return { title, series: [...groups.values()], frontOf: (all) => paretoFront(all, axis === 'times') };
  });
  return {
    title: 'Accuracy against measured latency', width, height: panels.length > 1 ? 290 : 400, panels,
    x: axis === 'times' ? { label: 'times as fast', format: (v) => short(v) }
      : { label: 'seconds of a pass, median', log: true, format: (v) => short(v) },
    y: { label: 'top-1 kept, % of dense', format: (v) => short(v, 4) },
  };
}

function lossSpec(cells, width) {
  const usable = cells.filter((cell) => cell.predicted > 0 && cell.observed > 0);
  const panels = panelsByModel(usable, (part) => {
    const ends = part.map((cell) => cell.predicted);
    const guide = [Math.min(...ends), Math.max(...ends)].map((v) => ({ x: v, y: v }));
    return {
      series: seriesOf(part, (cell) => ({ x: cell.predicted, y: cell.observed }), true), guides: [{ points: guide, counts: false }],
    };
  });
  return {
    title: 'Increase of the calibration loss, predicted and observed', width, height: 400, panels,
    x: { label: 'predicted by the pruner, nats', log: true, format: (v) => short(v, 1) }, y: { label: 'observed, nats', log: true, format: (v) => short(v, 1) },
  };
}
