// Data, state, and helpers of text and DOM.

const byId = (id) => document.getElementById(id);

function unpack(value) {
  // {columns, rows}, as serialization.py writes lists of rows, become objects again
  if (Array.isArray(value) || value === null || typeof value !== 'object') return value;
  if (Array.isArray(value.columns) && Array.isArray(value.rows)) {
    return value.rows.map((row) => Object.fromEntries(value.columns.map((name, i) => [name, unpack(row[i])])));
  }
  return Object.fromEntries(Object.entries(value).map(([name, part]) => [name, unpack(part)]));
}

function bytesOf(id) {
  return Uint8Array.from(atob(byId(id).textContent.trim()), (c) => c.charCodeAt(0));
}

function readData() {
  const packed = new Blob([bytesOf('data')]).stream();
  return new Response(packed.pipeThrough(new DecompressionStream('gzip'))).json();
}

if (typeof DecompressionStream === 'undefined') {
  byId('main').textContent = 'This page needs a browser of 2023 or later.';
  return;
}
let DATA;
try {
  DATA = unpack(await readData());
} catch (error) {
  byId('main').textContent = `The data of this page cannot be read: ${error.message}.`;
  return;
}
DATA.cells.forEach((cell, i) => { cell.id = i; });
const METHODS = new Map(DATA.methods.map((method) => [method.method, method]));
const ORIGINS = new Map(DATA.origins.map((origin) => [origin.sweep, origin]));
const ORDER = new Map(DATA.methods.map((method, i) => [method.method, i]));
const MODELS = new Map(DATA.models.map((model, i) => [model.model, i]));

const MODES = {
  absolute: { label: 'top-1, %', of: (cell) => cell.top1, format: (v) => v.toFixed(2) },
  relative: { label: 'relative drop, %', of: (cell) => cell.loss, format: (v) => v.toFixed(2), lessIsBetter: true },
  dense: { label: 'top-1 less dense, points', of: (cell) => cell.drop, format: signed },
  magnitude: { label: 'top-1 less magnitude, points', of: (cell) => cell.gain, format: signed },
};

const SHARED = ['authors\u0027', 'tuned']; // settings beside which a method without options stands, too

function narrow() {
  return matchMedia('(max-width: 40rem)').matches;
}

// Verdicts are on tuned settings: where there are both, these are shown first.
function firstSetting(sweep) {
  const found = new Set(DATA.cells.filter((cell) => !sweep || cell.sweep === sweep).map((cell) => cell.setting));
  return SHARED.every((setting) => found.has(setting)) ? 'tuned' : '';
}

const state = {
  sweep: DATA.sweeps[0] || '', model: '', method: '', family: '', target: '', setting: firstSetting(DATA.sweeps[0]), phase: '', text: '',
  mode: 'absolute', pinned: null, chosen: new Map(), columns: new Map(), layout: narrow() ? 'list' : 'wide', axis: 'stretched', reach: 'best',
};
const listeners = [];
const changed = () => listeners.forEach((listener) => listener());

function signed(value) {
  const text = Math.abs(value).toFixed(2);
  return text === '0.00' ? text : `${value < 0 ? '\u2212' : '+'}${text}`;
}

function short(value, digits = 3) {
  if (value === null || value === undefined) return '';
  const size = Math.abs(value);
  if (size && (size < 1e-3 || size >= 1e6)) return value.toExponential(digits - 1);
  return String(Number(value.toPrecision(digits)));
}

function seconds(value) {
  if (value === null || value === undefined) return '';
  return value < 10 ? value.toFixed(2) : value < 100 ? value.toFixed(1) : value.toFixed(0);
}

function mebibytes(value) {
  return value === null || value === undefined ? '' : Math.round(value / 2 ** 20).toLocaleString('en');
}

function span(estimate, format) {
  if (estimate && estimate[1] !== null && estimate[1] === estimate[2]) return 'no spread';
  return estimate && estimate[1] !== null ? `${format(estimate[1])} to ${format(estimate[2])}` : '';
}

const ESCAPES = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };
const escape = (text) => String(text ?? '').replace(/[&<>"']/g, (c) => ESCAPES[c]);

function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
    else if (name === 'html') node.innerHTML = value;
    else if (value === true) node.setAttribute(name, '');
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

const unique = (values) => [...new Set(values)];
const methodLink = (name) => `#/method/${encodeURIComponent(name)}`;
const modelLink = (name) => `#/model/${encodeURIComponent(name)}`;

function named(cell, text) {
  return [cell.by_parts ? '' : cell.method, text].filter(Boolean).join(' ');
}

function seriesName(cell) {
  return named(cell, cell.variant);
}

function settingText(cell) {
  return [cell.variant, cell.regime === 'one-shot' ? '' : cell.regime].filter(Boolean).join(', ');
}

function settingsText(cell) {
  // what tells trials of a method apart, and whose the settings are, unless that is said by it
  const words = settingText(cell);
  return [words, words.split(/[ ,]+/).includes(cell.setting.replace("'", '')) ? '' : cell.setting].filter(Boolean).join(', ');
}

function pickCells() {
  const words = state.text.toLowerCase().split(/\s+/).filter(Boolean);
  return DATA.cells.filter((cell) => (!state.sweep || cell.sweep === state.sweep)
    && (!state.model || cell.model === state.model) && (!state.method || cell.method === state.method)
    && (!state.family || cell.family === state.family) && (!state.target || cell.target === state.target)
    && (!state.setting || (cell.setting || 'no such options') === state.setting || (cell.setting === '' && SHARED.includes(state.setting)))
    && (!state.phase || cell.phase === state.phase)
    && words.every((word) => haystack(cell).includes(word)));
}

function haystack(cell) {
  cell.haystack ??= [cell.sweep, cell.model, cell.method, cell.pruner, cell.variant, cell.family, cell.setting,
    cell.target, cell.phase, cell.regime, cell.status, cell.reason, ...cell.trials].join(' ').toLowerCase();
  return cell.haystack;
}
