// Sortable tables of cells with columns of the reader's choice; rows can be pinned by mouse and keyboard.

const statusRank = { done: 0, invalid: 1, skipped: 2, failed: 3, timeout: 4, preempted: 5 };

function columnsOf({ sweep = false, method = true, model = true } = {}) {
  const mode = MODES[state.mode];
  const estimate = (cell, i) => (mode.of(cell) ? mode.of(cell)[i] : null);
  const columns = [
    sweep && { key: 'sweep', head: 'sweep', value: (cell) => cell.sweep },
    model && { key: 'model', head: 'model', value: (cell) => MODELS.get(cell.model) ?? 99, html: (cell) => `<a href="${modelLink(cell.model)}">${escape(cell.model)}</a>` },
    method && { key: 'method', head: 'pruner', value: (cell) => ORDER.get(cell.method) ?? 999, html: (cell) => methodHtml(cell, !isOn({ key: 'settings', roomy: true })) },
    method && { key: 'family', head: 'family', roomy: true, value: (cell) => DATA.families.indexOf(cell.family), html: (cell) => escape(cell.family) },
    { key: 'settings', head: 'settings', wrap: true, roomy: true, value: settingsText },
    { key: 'target', head: 'sparsity', number: true, value: (cell) => cell.sparsity ?? -1, html: (cell) => escape(cell.target) },
    { key: 'phase', head: 'phase', value: (cell) => cell.phase },
    { key: 'value', head: mode.label, number: true, value: (cell) => estimate(cell, 0), html: (cell) => valueHtml(cell, mode) },
    { key: 'interval', head: '95 % interval', number: true, roomy: true, value: (cell) => (mode.of(cell) && mode.of(cell)[1] !== null ? mode.of(cell)[2] - mode.of(cell)[1] : null), html: (cell) => span(mode.of(cell), mode.format) },
    { key: 'n', head: 'n', number: true, roomy: true, value: (cell) => cell.values.length, html: (cell) => String(cell.values.length || '') },
    { key: 'dense', head: 'dense top-1', number: true, off: true, value: (cell) => cell.top1_dense, html: (cell) => cell.top1_dense?.toFixed(2) ?? '' },
    { key: 'kept', head: 'kept, % of dense', number: true, off: true, value: (cell) => cell.kept, html: (cell) => cell.kept?.toFixed(2) ?? '' },
    { key: 'fit', head: 'fit s', number: true, roomy: true, value: (cell) => cell.fit_seconds, html: (cell) => seconds(cell.fit_seconds) },
    { key: 'prune', head: 'prune s', number: true, roomy: true, value: (cell) => cell.prune_seconds, html: (cell) => seconds(cell.prune_seconds) },
    { key: 'memory', head: 'peak MiB', number: true, off: true, value: (cell) => cell.peak_memory_bytes, html: (cell) => mebibytes(cell.peak_memory_bytes) },
    { key: 'agreement', head: 'agree %', number: true, off: true, value: (cell) => cell.agreement, html: (cell) => (cell.agreement === null ? '' : cell.agreement.toFixed(1)) },
    { key: 'predicted', head: 'loss rise predicted', number: true, off: true, value: (cell) => cell.predicted, html: (cell) => short(cell.predicted) },
    { key: 'observed', head: 'loss rise observed', number: true, off: true, value: (cell) => cell.observed, html: (cell) => short(cell.observed) },
    { key: 'paper', head: 'published', number: true, value: (cell) => cell.paper, html: (cell) => (cell.paper === null ? '' : cell.paper.toFixed(2)) },
    { key: 'options', head: 'options', wrap: true, off: true, value: (cell) => DATA.options[cell.options] },
    { key: 'trials', head: 'trials', wrap: true, off: true, value: (cell) => cell.trials.map((trial) => trial.slice(0, 8)).join(' ') },
    { key: 'commit', head: 'commit', off: true, value: (cell) => DATA.made[cell.made].commits.join(', ') },
    { key: 'machine', head: 'machine', wrap: true, off: true, value: (cell) => DATA.made[cell.made].devices.join(', ') },
    { key: 'status', head: 'status', roomy: true, value: (cell) => statusRank[cell.status] ?? 9, html: statusHtml },
  ];
  return columns.filter(Boolean);
}

const isOn = (column) => state.columns.get(column.key) ?? (!column.off && !(column.roomy && narrow()));

const swatchHtml = new Map();
function methodHtml(cell, withSettings = false) {
  if (!swatchHtml.has(cell.method)) swatchHtml.set(cell.method, swatch(styleOf(cell.method)).outerHTML);
  const words = withSettings ? settingText(cell) : '';
  return `${swatchHtml.get(cell.method)}<a href="${methodLink(cell.method)}">${escape(cell.method)}</a>${words ? ` <small>${escape(words)}</small>` : ''}`;
}

function valueHtml(cell, mode) {
  const estimate = mode.of(cell);
  return estimate ? mode.format(estimate[0]) : cell.status === 'done' ? '' : `<span class="bad-text">${escape(cell.status)}</span>`;
}

function statusHtml(cell) {
  if (cell.status === 'done') return 'done';
  const reason = cell.reason || '';
  const shown = reason.length > 60 ? `${reason.slice(0, 57)}\u2026` : reason;
  return `<span class="bad-text" title="${escape(reason)}">${escape(cell.status)}</span> ${escape(shown)}`;
}

class ResultTable {
  constructor(root, { cells, columns, caption }) {
    this.cells = cells;
    this.columns = columns;
    this.sort = { key: null, down: false };
    this.count = el('p', { class: 'muted small', 'aria-live': 'polite' });
    this.table = el('table', { 'aria-label': caption });
    this.table.addEventListener('click', (event) => this.click(event));
    this.table.addEventListener('keydown', (event) => this.key(event));
    this.choice = el('div', { class: 'bar choice', role: 'group', 'aria-label': 'Columns of the table' });
    root.append(el('details', { class: 'columns' }, el('summary', {}, 'Columns'), this.choice), this.count, el('div', { class: 'scroll' }, this.table));
  }

  drawChoice() {
    const focused = this.choice.contains(document.activeElement) ? document.activeElement.name : null;
    this.choice.replaceChildren(...this.columns().map((column) => el('label', { class: 'tick' }, el('input', {
      type: 'checkbox', name: `column-${column.key}`, checked: isOn(column),
      onchange: (event) => { state.columns.set(column.key, event.target.checked); tables.forEach((table) => table.draw()); },
    }), column.head)));
    if (focused) this.choice.querySelector(`[name="${focused}"]`)?.focus();
  }

  draw() {
    const shownBefore = this.shown;
    this.shown = this.sorted(this.cells());
    this.drawChoice();
    const wanted = (column) => (this.shown.some((cell) => (column.html ? column.html(cell) : column.value(cell)) !== '')
      || ['value', 'status', 'method', 'model', 'target'].includes(column.key));
    const used = this.columns().filter((column) => isOn(column) && wanted(column));
    const head = used.map((column) => {
      const order = column.key === this.sort.key ? (this.sort.down ? 'descending' : 'ascending') : 'none';
      return `<th scope="col" class="c-${column.key}${column.number ? ' num' : ''}" aria-sort="${order}"><button type="button" data-key="${column.key}">${escape(column.head)}</button></th>`;
    });
    const body = this.shown.map((cell, i) => {
      const cols = used.map((column) => `<td class="c-${column.key}${column.number ? ' num' : column.wrap ? ' narrow' : ''}">${column.html ? column.html(cell) : escape(column.value(cell))}</td>`);
      return `<tr data-row="${cell.id}" tabindex="${i ? -1 : 0}" class="${isNew(cell) ? 'theirs' : ''}${cell === state.pinned ? ' pinned' : ''}">${cols.join('')}</tr>`;
    });
    const focused = this.table.contains(document.activeElement) ? document.activeElement.dataset.key : null;
    this.table.innerHTML = `<thead><tr>${head.join('')}</tr></thead><tbody>${body.join('')}</tbody>`;
    if (focused) this.table.querySelector(`button[data-key="${focused}"]`)?.focus();
    this.count.textContent = `${this.shown.length} result${this.shown.length === 1 ? '' : 's'}; a row shows seeds, trials and commands.`;
    if (shownBefore && !this.shown.length) this.count.textContent = 'No result: loosen a filter.';
  }

  sorted(cells) {
    const column = this.columns().find((one) => one.key === this.sort.key);
    if (!column) return cells;
    const sign = this.sort.down ? -1 : 1;
    const missing = (value) => value === null || value === undefined || value === '';
    return [...cells].sort((a, b) => {
      const [x, y] = [column.value(a), column.value(b)];
      if (missing(x) || missing(y)) return missing(x) - missing(y); // what is missing goes last both ways
      return sign * (typeof x === 'string' ? x.localeCompare(y) : x - y);
    });
  }

  click(event) {
    const key = event.target.closest('button[data-key]')?.dataset.key;
    if (key) {
      const number = this.columns().find((column) => column.key === key).number;
      this.sort = key === this.sort.key ? { key, down: !this.sort.down } : { key, down: Boolean(number) && key !== 'target' };
      this.draw();
      return;
    }
    const row = event.target.closest('tr[data-row]');
    if (row && !event.target.closest('a')) pin(DATA.cells[Number(row.dataset.row)]);
  }

  key(event) {
    const row = event.target.closest('tr[data-row]');
    if (!row || event.target !== row) return;
    const next = { ArrowDown: row.nextElementSibling, ArrowUp: row.previousElementSibling, Home: row.parentNode.firstElementChild, End: row.parentNode.lastElementChild }[event.key];
    if (next) {
      row.tabIndex = -1;
      next.tabIndex = 0;
      next.focus();
      event.preventDefault();
    } else if (event.key === 'Enter' || event.key === ' ') {
      pin(DATA.cells[Number(row.dataset.row)]);
      event.preventDefault();
    }
  }

  mark() {
    this.table.querySelectorAll('tr.pinned').forEach((row) => row.classList.remove('pinned'));
    if (state.pinned && state.pinned.id !== undefined) this.table.querySelector(`tr[data-row="${state.pinned.id}"]`)?.classList.add('pinned');
  }
}
