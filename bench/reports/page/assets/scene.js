// A scene is a list of shapes, which SVG and PDF are made of. Colours are names of the style's variables.

const SHAPES = ['circle', 'square', 'up', 'diamond', 'down', 'plus', 'left', 'right', 'star', 'cross'];

function polygon(sides, turn, size, inner = 1) {
  const points = [];
  for (let i = 0; i < sides; i += 1) {
    const angle = turn + (2 * Math.PI * i) / sides;
    const radius = i % 2 ? size * inner : size;
    points.push([Math.sin(angle) * radius, -Math.cos(angle) * radius]);
  }
  return points;
}

function outline(shape, r) {
  const a = r * 0.38;
  switch (shape) {
    case 'square': return [[-r, -r], [r, -r], [r, r], [-r, r]].map(([x, y]) => [x * 0.86, y * 0.86]);
    case 'up': return polygon(3, 0, r * 1.2);
    case 'down': return polygon(3, Math.PI, r * 1.2);
    case 'left': return polygon(3, -Math.PI / 2, r * 1.2);
    case 'right': return polygon(3, Math.PI / 2, r * 1.2);
    case 'diamond': return polygon(4, 0, r * 1.2);
    case 'star': return polygon(10, 0, r * 1.35, 0.5);
    case 'plus': return [[-a, -r], [a, -r], [a, -a], [r, -a], [r, a], [a, a], [a, r], [-a, r], [-a, a], [-r, a], [-r, -a], [-a, -a]];
    case 'cross': return outline('plus', r).map(([x, y]) => [(x - y) * 0.75, (x + y) * 0.75]);
    default: return polygon(16, 0, r);
  }
}

const line = (points, colour, options = {}) => ({ kind: 'path', points, stroke: colour, width: 1, ...options });
const label = (x, y, text, options = {}) => ({ kind: 'text', x, y, text, size: 12, fill: 'ink', anchor: 'start', ...options });
function marker(x, y, style, options = {}) {
  const points = outline(style.shape, options.size || 4.5).map(([dx, dy]) => [x + dx, y + dy]);
  return { kind: 'path', points, closed: true, stroke: style.colour, fill: style.hollow ? 'paper' : style.colour, width: 1.4, ...options };
}

function drawn(points, closed) {
  return `${points.map(([x, y], i) => `${i ? 'L' : 'M'}${x.toFixed(1)} ${y.toFixed(1)}`).join('')}${closed ? 'Z' : ''}`;
}

function toSvg(scene, colour) {
  // colour: name of a variable -> what stands in the style
  const parts = scene.items.map((item) => {
    const data = item.point === undefined ? '' : ` class="point" data-point="${item.point}"`;
    if (item.kind === 'text') {
      const turn = item.turned ? ` transform="rotate(-90 ${item.x.toFixed(1)} ${item.y.toFixed(1)})"` : '';
      return `<text x="${item.x.toFixed(1)}" y="${item.y.toFixed(1)}" text-anchor="${item.anchor}"${turn}`
        + ` style="font-size:${item.size}px;font-weight:${item.bold ? 650 : 400};fill:${colour(item.fill)}">${escape(item.text)}</text>`;
    }
    const style = [`fill:${item.fill ? colour(item.fill) : 'none'}`, `stroke:${item.stroke ? colour(item.stroke) : 'none'}`,
      `stroke-width:${item.width}`, 'stroke-linejoin:round', item.dash ? `stroke-dasharray:${item.dash.join(' ')}` : '',
      item.opacity ? `opacity:${item.opacity}` : ''].filter(Boolean).join(';');
    return `<path${data} d="${drawn(item.points, item.closed)}" style="${style}"/>`;
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${scene.width} ${scene.height}" width="${scene.width}" height="${scene.height}"`
    + ` role="img" aria-label="${escape(scene.title)}">${parts.join('')}</svg>`;
}

const DASHES = [null, [9, 3], [2, 2], [9, 3, 2, 3]];
const PHASE_DASHES = [null, [5, 4], [2, 2], [9, 3, 2, 3]]; // of a line after the first phase; every second is hollow

// A method has the same look everywhere; the authors' setting beside a tuned one is small and dotted.
function styleOf(method, variant = 0, phase = 0, setting = '') {
  const facts = METHODS.get(method);
  const family = Math.max(0, DATA.families.indexOf(facts ? facts.family : 'other'));
  const rank = ORDER.get(method) ?? ORDER.size;
  const own = DASHES[(Math.floor(rank / SHAPES.length) + variant) % DASHES.length];
  const dash = setting === 'authors' ? [1.5, 3] : phase > 0 ? PHASE_DASHES[phase % PHASE_DASHES.length] : own;
  const shape = SHAPES[(rank + 3 * variant) % SHAPES.length];
  const colour = `f${family}-${((facts ? facts.place : 0) + variant) % 3}`;
  return { ...(setting === 'authors' ? { size: 3.2, width: 1.2 } : {}), colour, shape, hollow: phase % 2 === 1, dash };
}

// Gives lines whose looks differ by colour alone another shape, in the order given, the same in all panels.
function tellApart(series) {
  const look = (style) => [style.shape, style.hollow, style.dash, style.size].join('|');
  const [taken, styles] = [new Set(), new Map()];
  for (const one of series) {
    if (!styles.has(one.key)) {
      let style = one.style;
      for (let turn = 1; taken.has(look(style)) && turn < SHAPES.length; turn += 1) {
        style = { ...style, shape: SHAPES[(SHAPES.indexOf(one.style.shape) + turn) % SHAPES.length] };
      }
      taken.add(look(style));
      styles.set(one.key, style);
    }
    one.style = styles.get(one.key);
  }
}

function swatch(style) {
  const items = [marker(8, 8, style, { size: 5.2 })];
  return el('span', { class: 'swatch', 'aria-hidden': 'true', html: toSvg({ items, width: 16, height: 16, title: '' }, (name) => `var(--${name})`) });
}

// A piece of the line with its marker, for a legend.
function lineSwatch(style) {
  const items = [line([[0, 8], [32, 8]], style.colour, { width: 1.8, dash: style.dash }), marker(16, 8, style, { size: style.size || 5.2 })];
  return el('span', { class: 'swatch line', 'aria-hidden': 'true', html: toSvg({ items, width: 32, height: 16, title: '' }, (name) => `var(--${name})`) });
}
