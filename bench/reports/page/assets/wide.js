// Results with sparsities side by side: a line for each pruner and setting, as a paper's table; a cell can be pinned.

const targetKey = (cell) => (['global', 'layer', 'erk'].includes(cell.kind) ? percentTick(cell.sparsity) : cell.target);
const scopeOf = (cell) => (['layer', 'erk'].includes(cell.kind) ? cell.target.replace(percentTick(cell.sparsity), '').trim() : '');

// columns of a line itself: what it is sorted by
const FIXED = {
  sweep: (line) => line.first.sweep, model: (line) => MODELS.get(line.first.model) ?? 99,
  pruner: (line) => ORDER.get(line.first.method) ?? 999, settings: (line) => [settingsText(line.first), scopeOf(line.first)].filter(Boolean).join(', '), dense: (line) => line.first.top1_dense,
};

class WideTable {
  constructor(root, { cells, caption }) {
    this.cells = cells;
    this.sort = null; // {column, down}
    this.count = el('p', { class: 'muted small', 'aria-live': 'polite' });
    this.table = el('table', { class: 'wide', 'aria-label': caption });
    this.table.addEventListener('click', (event) => this.click(event));
    this.table.addEventListener('keydown', (event) => this.key(event));
    this.lacking = el('ul', { class: 'small lacking' });
    root.append(this.count, el('div', { class: 'scroll' }, this.table), this.lacking);
  }

  layout() {
    const mode = MODES[state.mode];
    const phases = unique(DATA.cells.map((cell) => cell.phase));
    const columns = new Map();
    const lines = new Map();
    for (const cell of this.shown) {
      if (!cell.target) continue;
      const key = `${cell.phase}|${targetKey(cell)}`;
      if (!columns.has(key)) columns.set(key, { key, phase: cell.phase, target: targetKey(cell), order: [phases.indexOf(cell.phase), cell.kind === 'N:M' ? 1 : 0, cell.sparsity] });
      const name = [cell.sweep, cell.model, cell.method, cell.options, settingText(cell), cell.setting, scopeOf(cell)].join('|');
      if (!lines.has(name)) lines.set(name, { first: cell, values: new Map() });
      const { values } = lines.get(name);
      if (!values.has(key) || cell.status === 'done') values.set(key, cell);
    }
    const ordered = [...columns.values()].sort((a, b) => a.order[0] - b.order[0] || a.order[1] - b.order[1] || a.order[2] - b.order[2]);
    const place = ({ first }) => [MODELS.get(first.model) ?? 99, ORDER.get(first.method) ?? 999];
    const all = [...lines.values()].sort((a, b) => place(a)[0] - place(b)[0] || place(a)[1] - place(b)[1]);
    return { columns: ordered, lines: this.sort ? this.sorted(all, mode) : all };
  }

  sorted(lines, mode) {
    const fixed = FIXED[this.sort.column];
    const value = (one) => {
      if (fixed) return fixed(one) ?? null;
      const cell = one.values.get(this.sort.column);
      return cell && mode.of(cell) ? mode.of(cell)[0] : null;
    };
    const sign = this.sort.down ? -1 : 1;
    const order = (a, b) => (typeof a === 'string' ? a.localeCompare(b) : a - b);
    return [...lines].sort((a, b) => (value(a) === null || value(b) === null
      ? (value(a) === null) - (value(b) === null) : sign * order(value(a), value(b))));
  }

  best(lines, column, mode) {
    // the best of each model, where there is anything to compare
    const found = new Map();
    for (const line of lines) {
      const cell = line.values.get(column.key);
      if (!cell || !mode.of(cell)) continue;
      const known = found.get(line.first.model);
      const value = (mode.lessIsBetter ? -1 : 1) * mode.of(cell)[0];
      if (!known || value > known.value) found.set(line.first.model, { value, cell, count: (known?.count || 0) + 1 });
      else known.count += 1;
    }
    return new Set([...found.values()].filter((one) => one.count > 1).map((one) => one.cell));
  }

  draw() {
    this.shown = this.cells();
    const mode = MODES[state.mode];
    if (this.sort && ((this.sort.column === 'dense' && state.mode !== 'absolute') || (this.sort.column === 'sweep' && state.sweep))) this.sort = null;
    const { columns, lines } = this.layout();
    const best = new Map(columns.map((column) => [column.key, this.best(lines, column, mode)]));
    const sweeps = unique(lines.map((line) => line.first.sweep)).length > 1;
    const dense = state.mode === 'absolute';
    const names = [...(sweeps ? ['sweep'] : []), 'model', 'pruner', 'settings', ...(dense ? ['dense'] : [])];
    const several = unique(lines.map((line) => line.first.setting).filter(Boolean)).length > 1;
    const words = (line) => [several ? settingsText(line.first) : settingText(line.first), scopeOf(line.first)].filter(Boolean).join(', ');
    const kept = names.filter((name) => name !== 'settings' || lines.some(words));
    const phases = unique(columns.map((column) => column.phase));
    const top = phases.map((phase) => `<th scope="colgroup" class="phase" colspan="${columns.filter((column) => column.phase === phase).length}">${escape(phase)}, ${escape(mode.label)}</th>`);
    const head = (key, name, text, attributes) => {
      const order = this.sort && this.sort.column === key ? (this.sort.down ? 'descending' : 'ascending') : 'none';
      return `<th scope="col" ${attributes} aria-sort="${order}"><button type="button" data-key="${escape(key)}" aria-label="${escape(name)}">${escape(text)}</button></th>`;
    };
    const heads = columns.map((column) => head(column.key, `${column.phase} ${column.target}`, column.target, 'class="num"'));
    const fixedHeads = kept.map((name) => head(name, name, name, `rowspan="2"${name === 'dense' ? ' class="num"' : ''}`));
    const labels = {
      sweep: (line) => escape(line.first.sweep), model: (line) => `<a href="${modelLink(line.first.model)}">${escape(line.first.model)}</a>`,
      pruner: (line) => methodHtml(line.first), settings: (line) => escape(words(line)),
      dense: (line) => line.first.top1_dense?.toFixed(2) ?? '',
    };
    let previous = null;
    const body = lines.map((line) => {
      const begins = !this.sort && previous !== null && line.first.model !== previous ? ' begins' : '';
      previous = line.first.model;
      const fixed = kept.map((name) => (name === 'pruner' ? `<th scope="row" class="c-method">${labels[name](line)}</th>` : `<td class="${name === 'dense' ? 'num' : ''}${name === 'settings' ? 'narrow' : ''}">${labels[name](line)}</td>`));
      return `<tr class="${isNew(line.first) ? 'theirs' : ''}${begins}">${fixed.join('')}${columns.map((column) => this.cellHtml(line.values.get(column.key), best.get(column.key), mode)).join('')}</tr>`;
    });
    const focused = this.table.contains(document.activeElement) ? document.activeElement.dataset.key : null;
    this.table.innerHTML = `<thead><tr>${fixedHeads.join('')}${top.join('')}</tr><tr>${heads.join('')}</tr></thead><tbody>${body.join('')}</tbody>`;
    if (focused) [...this.table.querySelectorAll('button')].find((button) => button.dataset.key === focused)?.focus();
    this.table.querySelector('td[data-cell]')?.setAttribute('tabindex', '0');
    const number = this.shown.length;
    this.count.textContent = number ? `${number} result${number === 1 ? '' : 's'}; small: half of the 95 % interval; bold: the best of a model. A number shows seeds, trials and commands.` : 'No result: loosen a filter.';
    const reasons = unique(this.shown.filter((cell) => cell.status !== 'done').map((cell) => [cell.model, seriesName(cell), cell.target, cell.phase, cell.status].filter(Boolean).join(', ') + (cell.reason ? `: ${cell.reason}` : '')));
    this.lacking.replaceChildren(...reasons.map((text) => el('li', { class: 'bad-text' }, text)));
  }

  cellHtml(cell, best, mode) {
    if (!cell) return '<td></td>';
    const estimate = mode.of(cell);
    const half = estimate && estimate[1] !== null && estimate[2] > estimate[1] ? ` <small>\u00b1${((estimate[2] - estimate[1]) / 2).toFixed(2)}</small>` : '';
    const text = estimate ? `${mode.format(estimate[0])}${half}` : cell.status === 'done' ? '' : `<span class="bad-text">${escape(cell.status)}</span>`;
    return `<td class="num${best.has(cell) ? ' best' : ''}${cell === state.pinned ? ' pinned' : ''}" data-cell="${cell.id}" tabindex="-1">${text}</td>`;
  }

  click(event) {
    const key = event.target.closest('button[data-key]')?.dataset.key;
    if (key) {
      const again = Boolean(this.sort) && this.sort.column === key;
      const bestFirst = !MODES[state.mode].lessIsBetter && (!(key in FIXED) || key === 'dense');
      this.sort = { column: key, down: again ? !this.sort.down : bestFirst };
      this.draw();
      return;
    }
    const found = event.target.closest('td[data-cell]');
    if (found && !event.target.closest('a')) pin(DATA.cells[Number(found.dataset.cell)]);
  }

  key(event) {
    const found = event.target.closest('td[data-cell]');
    if (!found) return;
    const row = found.parentNode;
    const column = [...row.children].indexOf(found);
    const beside = (step) => { let next = found; do next = step(next); while (next && next.dataset.cell === undefined); return next; };
    const upright = (step) => { let next = row; do next = step(next); while (next && next.children[column]?.dataset.cell === undefined); return next?.children[column]; };
    const moves = {
      ArrowRight: () => beside((one) => one.nextElementSibling), ArrowLeft: () => beside((one) => one.previousElementSibling),
      ArrowDown: () => upright((one) => one.nextElementSibling), ArrowUp: () => upright((one) => one.previousElementSibling),
    };
    if (moves[event.key]) {
      const next = moves[event.key]();
      if (next) {
        found.tabIndex = -1;
        next.tabIndex = 0;
        next.focus();
      }
      event.preventDefault();
    } else if (event.key === 'Enter' || event.key === ' ') {
      pin(DATA.cells[Number(found.dataset.cell)]);
      event.preventDefault();
    }
  }

  mark() {
    this.table.querySelectorAll('td.pinned').forEach((cell) => cell.classList.remove('pinned'));
    if (state.pinned && state.pinned.id !== undefined) this.table.querySelector(`td[data-cell="${state.pinned.id}"]`)?.classList.add('pinned');
  }
}
