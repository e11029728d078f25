// The views: overview, a method, a model.

let tables = [];
const OUTCOMES = {
  holds: ['good', '\u2713'], 'holds in part': ['part', '\u25d0'], 'does not hold': ['bad', '\u2717'], fails: ['bad', '\u2717'],
  undecided: ['', '?'], 'not shown': ['', '?'], 'not tested': ['', '?'],
};

function claimCells(claim) {
  const number = (cell) => (v) => (cell.unit === '%' ? v.toFixed(2).replace('-', '\u2212') : signed(v));
  const row = (cell) => el('tr', {}, el('th', { scope: 'row' }, cell.name),
    el('td', {}, `${number(cell)(cell.value)} ${cell.unit}`), el('td', {}, span([cell.value, cell.low, cell.high], number(cell))), el('td', {}, String(cell.seeds)),
    el('td', {}, cell.p_value === null ? '' : cell.p_value < 1e-3 ? '< 0.001' : cell.p_value.toFixed(3)), el('td', {}, cell.outcome || 'no verdict'));
  return el('div', { class: 'scroll' }, el('table', { class: 'plain small' }, el('caption', {}, `${claim.quantity}; p-values corrected for ${claim.corrected}`),
    el('thead', {}, el('tr', {}, ['', 'estimate', '95 % interval', 'dense seeds', 'p', 'outcome'].map((text) => el('th', { scope: 'col' }, text)))),
    el('tbody', {}, claim.cells.map(row))));
}

function claimItem(claim) {
  const [kind, sign] = OUTCOMES[claim.outcome] || ['', '\u2022'];
  const statement = claim.statement[0].toUpperCase() + claim.statement.slice(1);
  return el('li', { class: `${kind}${claim.cells.length ? ' whole' : ''}` },
    el('strong', {}, [claim.name, statement].filter(Boolean).join(': ')), ' ',
    el('span', { class: 'verdict' }, `${sign} ${claim.outcome || 'described'}`),
    claim.rule ? el('p', { class: 'small' }, claim.rule) : null,
    claim.cells.length ? claimCells(claim) : null,
    claim.text ? el('p', { class: 'small' }, claim.text) : null,
    el('p', { class: 'muted small' }, `Sweep ${claim.sweep}. Checked: ${claim.test} `, el('code', {}, claim.code), claim.command ? '; printed by ' : '', el('code', {}, claim.command)));
}

function claimsView() {
  const paper = DATA.claims.filter((claim) => claim.outcome);
  const others = DATA.claims.filter((claim) => !claim.outcome);
  const counts = Object.keys(OUTCOMES).map((outcome) => [outcome, paper.filter((claim) => claim.outcome === outcome).length]);
  return el('section', { id: 'claims', 'aria-labelledby': 'claims-title' }, el('h2', { id: 'claims-title' }, 'Claims'),
    el('p', { class: 'muted' }, paper.length ? `By these results: ${counts.filter(([, n]) => n).map(([outcome, n]) => `${n} ${n === 1 ? outcome : outcome.replace('holds', 'hold').replace('does', 'do').replace('fails', 'fail')}`).join(', ')}.` : 'These results decide no claim.'),
    el('ul', { class: 'claims' }, paper.map(claimItem)),
    others.length ? el('details', {}, el('summary', {}, `${others.length} findings without a verdict`), el('ul', { class: 'claims' }, others.map(claimItem))) : null);
}

function select(name, text, choices, value, onchange, all = 'all') {
  const options = [...(all === null ? [] : [['', all]]), ...choices];
  return el('label', {}, text, el('select', { name, onchange: (event) => onchange(event.target.value) },
    options.map(([key, shown]) => el('option', { value: key, selected: key === value }, shown))));
}

function filterBar(root, lay) {
  const ofSweep = DATA.cells.filter((cell) => !state.sweep || cell.sweep === state.sweep);
  const same = (values) => unique(values).filter(Boolean).map((value) => [value, value]);
  const targets = [...ofSweep].filter((cell) => cell.target).sort((a, b) => a.kind.localeCompare(b.kind) || a.sparsity - b.sparsity);
  const choices = {
    model: same(DATA.models.map((model) => model.model).filter((model) => ofSweep.some((cell) => cell.model === model))),
    method: same(DATA.methods.map((method) => method.method).filter((method) => ofSweep.some((cell) => cell.method === method))),
    family: same(DATA.families.filter((family) => ofSweep.some((cell) => cell.family === family))),
    target: same(targets.map((cell) => cell.target)),
    setting: same(ofSweep.map((cell) => cell.setting || 'no such options')),
    phase: same(ofSweep.map((cell) => cell.phase)),
  };
  for (const name of Object.keys(choices)) if (!choices[name].some(([key]) => key === state[name])) state[name] = '';
  const set = (name) => (value) => { state[name] = value; changed(); };
  const focused = root.contains(document.activeElement) ? document.activeElement.name : null;
  const search = el('input', { type: 'search', name: 'text', value: state.text, size: '14', oninput: (event) => { state.text = event.target.value; drawResults(); } });
  root.replaceChildren(
    select('sweep', 'sweep', same(DATA.sweeps), state.sweep, (value) => { state.sweep = value; state.setting = firstSetting(value); changed(); }),
    select('model', 'model', choices.model, state.model, set('model')),
    select('method', 'pruner', choices.method, state.method, set('method')),
    select('family', 'family of method', choices.family, state.family, set('family')),
    select('target', 'sparsity', choices.target, state.target, set('target')),
    select('setting', 'settings', choices.setting, state.setting, set('setting')),
    select('phase', 'phase', choices.phase, state.phase, set('phase')),
    select('mode', 'top-1', [['absolute', 'absolute'], ['relative', 'relative drop'], ['dense', 'less dense'], ['magnitude', 'less magnitude']], state.mode, set('mode'), null),
    select('layout', 'table', [['wide', 'sparsities side by side'], ['list', 'one result a row']], state.layout, lay, null),
    el('label', {}, 'search', search),
    el('button', { type: 'button', name: 'reset', onclick: () => {
      Object.assign(state, { model: '', method: '', family: '', target: '', setting: '', phase: '', text: '' });
      changed();
    } }, 'Show all'));
  if (focused) root.querySelector(`[name="${focused}"]`)?.focus();
}

function drawResults() {
  tables.forEach((table) => table.draw());
  redrawFigures();
}

function tableView() {
  const section = el('section', { id: 'table', 'aria-labelledby': 'table-title' }, el('h2', { id: 'table-title' }, 'Results'),
    el('p', { class: 'muted' }, `Top-1 on the test images, mean over seeds with its 95 % interval${DATA.cells.some((cell) => cell.resampled) ? ', of several dense models by a bootstrap of models and test images, else' : ''} by Student\u2019s t. Less magnitude: at the same pattern and seed. The filters hold for the figures, too.`),
    el('details', { class: 'small' }, el('summary', {}, 'Whose settings'), el('p', {}, 'authors\u2019: a method\u2019s known options are at its authors\u2019 values, or the trial is run at their setting. tuned: the trial says that its options were chosen on validation images. profile\u2019s: others, which nobody searched for. Nothing stands where a method has no such options.')));
  const bar = el('div', { class: 'bar', id: 'filters', role: 'group', 'aria-label': 'Filters of table and figures' });
  section.append(bar);
  const holder = el('div', {});
  let table = null;
  const lay = (layout) => {
    state.layout = layout;
    tables = tables.filter((one) => one !== table);
    holder.replaceChildren();
    const options = { cells: pickCells, caption: 'Results' };
    table = layout === 'wide' ? new WideTable(holder, options) : new ResultTable(holder, { ...options, columns: () => columnsOf({ sweep: !state.sweep }) });
    tables.push(table);
    table.draw();
  };
  filterBar(bar, lay);
  listeners.push(() => { filterBar(bar, lay); drawResults(); });
  lay(state.layout);
  section.append(holder);
  section.append(el('div', { class: 'bar' },
    el('button', { type: 'button', id: 'csv', onclick: () => save(`${state.sweep || DATA.profile}.csv`, csvText(table.shown), 'text/csv') }, 'This table as CSV'),
    el('button', { type: 'button', id: 'parquet-button', onclick: saveParquet }, 'All rows as parquet'),
    el('button', { type: 'button', onclick: () => print() }, 'Print, or save as PDF')));
  return section;
}

function figuresView() {
  const section = el('section', { id: 'figures', 'aria-labelledby': 'figures-title' }, el('h2', { id: 'figures-title' }, 'Figures'),
    el('p', { class: 'muted' }, 'Hover tells what a point is, a click pins it; a name in a legend hides and shows its line in all figures, with Shift all others. Colours are families of methods, markers and shades methods of a family; bars are 95 % intervals.'));
  const sparsity = new Figure(section, {
    name: 'sparsity', title: 'Accuracy against sparsity', caption: 'A panel for each model and phase; the dotted line is the dense model, or magnitude at the same pattern where results are relative to it. A panel ends where the better half of its lines do, and says how many go on beyond. Of many lines the best of each family and the best of the others are shown first.', controls: [axisChoice(redrawFigures), reachChoice(redrawFigures)], make: (width) => sparsitySpec(pickCells(), width),
  });
  let target = null;
  const choice = el('span', {});
  const cost = new Figure(section, {
    name: 'cost', title: 'Accuracy against cost of the fit', caption: 'One phase, the first that the filters leave. Time of fit and prune on the machine named below. The stairs join the results that no cheaper one beats (Pareto).',
    controls: [choice],
    make: (width) => {
      const cells = pickCells();
      const targets = unique(cells.filter((cell) => cell.top1).sort((a, b) => a.sparsity - b.sparsity).map((cell) => cell.target));
      if (!targets.includes(target)) target = targets.find((one) => one.startsWith('90')) || targets[targets.length - 1] || '';
      choice.replaceChildren(select('at', 'at sparsity', targets.map((one) => [one, one]), target, (value) => { target = value; cost.draw(); }, null));
      return costSpec(cells, width, target);
    },
  });
  figures.push(sparsity, cost);
  if (DATA.latency.length) {
    let axis = 'times';
    const batches = unique(DATA.latency.map((point) => point.batch)).filter((batch) => batch !== null).map((batch) => [String(batch), String(batch)]);
    let batch = batches.length ? batches[batches.length - 1][0] : '';
    const batchChoice = batches.length ? select('batch', 'batch', batches, batch, (value) => { batch = value; latency.draw(); }, null) : null;
    const choices = select('axis', 'latency as', [['times', 'times as fast as dense'], ['seconds', 'seconds']], axis, (value) => { axis = value; latency.draw(); }, null);
    const latency = new Figure(section, {
      name: 'latency', title: 'Accuracy against measured latency', controls: [choices, batchChoice],
      caption: 'Measured times of inference beside the accuracy that is kept. Where the timed model has random weights, the accuracy is that of the embedded model of its family at the same sparsity, pruned one-shot by CAP: hover says which. The filters above do not hold here.',
      make: (width) => latencySpec(DATA.latency, width, axis, batch),
    });
    figures.push(latency);
  }
  return section;
}

function originsView() {
  const head = ['sweep', 'command', 'file', 'rows', 'trials', 'no result', 'commit', 'machine', 'measured', 'SHA-256'];
  const rows = DATA.origins.map((origin) => el('tr', {},
    el('th', { scope: 'row' }, origin.sweep), el('td', { class: 'wrap' }, el('code', {}, origin.command)), el('td', { class: 'wrap' }, el('code', {}, origin.file)),
    el('td', { class: 'num' }, String(origin.rows)), el('td', { class: 'num' }, String(origin.trials)), el('td', { class: 'num' }, String(origin.failed)),
    el('td', { class: 'narrow' }, el('code', {}, origin.commits.map((commit) => commit.slice(0, 12)).join(' ')), origin.dirty ? ' with changes' : ''),
    el('td', { class: 'narrow' }, machineText(origin)), el('td', { class: 'narrow' }, unique(origin.started).join(' to ')),
    el('td', {}, el('code', { title: origin.sha256 }, `${origin.sha256.slice(0, 12)}\u2026`))));
  const versions = DATA.origins.map((origin) => el('p', { class: 'small' }, el('strong', {}, `${origin.sweep}: `), Object.entries(origin.versions).map(([name, version]) => `${name} ${version}`).join(', ')));
  return el('section', { id: 'origins', 'aria-labelledby': 'origins-title' }, el('h2', { id: 'origins-title' }, 'Provenance'),
    el('p', { class: 'muted' }, 'Every number comes from these files, which the commands make; a pinned result names its trials, and ', el('code', {}, 'capbench rerun <trial>'), ' makes one again and compares.'),
    el('div', { class: 'scroll' }, el('table', { class: 'plain' }, el('thead', {}, el('tr', {}, head.map((text) => el('th', { scope: 'col' }, text)))), el('tbody', {}, rows))),
    el('details', {}, el('summary', {}, 'Versions of packages'), versions));
}

function indexView() {
  const links = (names, link) => el('div', { class: 'links' }, names.map((name) => el('a', { href: link(name) }, name)));
  return el('section', { id: 'pages', 'aria-labelledby': 'pages-title' }, el('h2', { id: 'pages-title' }, 'Methods and models'),
    el('p', { class: 'muted' }, 'A page each: what a method is, its settings and results; layers and sparsities of a model.'),
    links(DATA.methods.map((method) => method.method), methodLink), links(DATA.models.map((model) => model.model), modelLink));
}

function introView() {
  const valid = DATA.cells.filter((cell) => cell.top1);
  const origins = DATA.origins.filter((origin) => DATA.sweeps.includes(origin.sweep));
  const total = (name) => origins.reduce((sum, origin) => sum + origin[name], 0);
  const days = unique(origins.flatMap((origin) => origin.started.map((time) => time.slice(0, 10)))).sort();
  const commits = unique(origins.flatMap((origin) => origin.commits));
  const tiles = [
    [unique(valid.map((cell) => cell.method)).length, 'methods'], [unique(valid.map((cell) => cell.model)).length, 'models'],
    [total('trials'), 'trials'], [valid.length, 'results'], [Math.max(0, ...valid.map((cell) => cell.values.length)), 'seeds at most'],
    [total('failed'), 'rows without a result'],
  ].filter(([count, name]) => count || name !== 'rows without a result');
  const data = unique(DATA.models.map((model) => model.dataset)).filter(Boolean).join(', ');
  const when = days.length ? `, measured ${days.length > 1 ? `${days[0]} to ${days[days.length - 1]}` : `on ${days[0]}`}` : '';
  const code = commits.length === 1 ? `, ${/^[0-9a-f]{12,}$/.test(commits[0]) ? `commit ${commits[0].slice(0, 12)}` : commits[0]}` : commits.length ? `, ${commits.length} commits of the code` : '';
  return el('section', { id: 'intro', 'aria-label': 'What this is' },
    el('p', { class: 'lede' }, `How much of a vision model can be pruned at no loss, and by which method? Top-1 on ${data || 'test images'}${when}${code}. Every number leads to its trials and to the command that makes it.`),
    el('ul', { class: 'tiles' }, tiles.map(([count, name]) => el('li', {}, el('strong', {}, count.toLocaleString('en')), ' ', count === 1 ? name.replace(/s( at most)?$/, '') : name))));
}

function overview() {
  return [introView(), DATA.comparison ? comparisonView() : claimsView(), ...(anyFacts ? [protocolView()] : []), tableView(), figuresView(), indexView(),
    ...(DATA.submissions.length ? [submissionsView()] : []), originsView()];
}

function methodView(name) {
  const method = METHODS.get(name);
  if (!method) return missingView(`method ${name}`);
  const cells = DATA.cells.filter((cell) => cell.method === name);
  const source = method.source ? el('a', { href: `https://arxiv.org/abs/${method.source}` }, `arXiv ${method.source}`) : 'none known here';
  const section = el('section', {}, el('h2', {}, swatch(styleOf(name)), name), el('p', {}, method.idea),
    el('dl', {}, el('dt', {}, 'registered as'), el('dd', {}, el('code', {}, method.pruner)), el('dt', {}, 'family'), el('dd', {}, method.family),
      el('dt', {}, 'source'), el('dd', {}, source, method.where ? `, ${method.where}` : ''),
      el('dt', {}, 'authors\u2019 settings'), el('dd', {}, Object.keys(method.authors).length ? el('code', {}, JSON.stringify(method.authors)) : 'not known, or no options')));
  const uses = unique(cells.map((cell) => `${cell.options}|${cell.setting}`)).map((key) => {
    const [options, setting] = key.split('|');
    const own = cells.filter((cell) => cell.options === Number(options));
    return el('tr', {}, el('td', { class: 'wrap' }, el('code', {}, DATA.options[Number(options)])), el('td', {}, setting), el('td', { class: 'wrap' }, unique(own.map((cell) => cell.sweep)).join(', ')), el('td', { class: 'wrap' }, unique(own.map((cell) => cell.model)).join(', ')));
  });
  section.append(el('h3', {}, 'Settings in these results'), el('div', { class: 'scroll' }, el('table', { class: 'plain' },
    el('thead', {}, el('tr', {}, ['options', 'whose', 'sweeps', 'models'].map((text) => el('th', { scope: 'col' }, text)))), el('tbody', {}, uses))));
  return withResults(section, cells, { sweep: true, method: false });
}

function withResults(section, cells, columns) {
  const sweeps = unique(cells.filter((cell) => cell.top1).map((cell) => cell.sweep));
  let sweep = sweeps.includes(state.sweep) ? state.sweep : sweeps[0] || '';
  const choice = select('own-sweep', 'sweep', sweeps.map((one) => [one, one]), sweep, (value) => { sweep = value; figure.draw(); }, null);
  const figure = new Figure(section, {
    name: 'own', title: 'Accuracy against sparsity', caption: 'A panel for each model and phase; the dotted line is the dense model. A panel ends where the better half of its lines do.', controls: [choice, axisChoice(redrawFigures), reachChoice(redrawFigures)],
    make: (width) => sparsitySpec(cells.filter((cell) => cell.sweep === sweep), width),
  });
  figures.push(figure);
  section.append(el('h3', {}, 'Results'));
  tables.push(new ResultTable(section, { cells: () => cells, caption: 'Results', columns: () => columnsOf(columns) }));
  return [section];
}

function layerTable(model, states) {
  const head = ['layer', 'weights', ...states.map((one) => one.target)];
  const rows = model.layers.map((layer, i) => el('tr', {}, el('th', { scope: 'row' }, el('code', {}, layer)), el('td', { class: 'num' }, model.weights[i].toLocaleString('en')),
    states.map((one) => {
      const value = one.sparsity[i];
      return el('td', { class: 'num', style: `background:rgba(var(--heat), ${((value ?? 0) * 0.45).toFixed(2)})` }, value === null ? '' : `${(100 * value).toFixed(1)} %`);
    })));
  return el('div', { class: 'scroll' }, el('table', { class: 'plain' }, el('thead', {}, el('tr', {}, head.map((text, i) => el('th', { scope: 'col', class: i ? 'num' : '' }, text)))), el('tbody', {}, rows)));
}

function modelView(name) {
  const model = DATA.models.find((one) => one.model === name);
  if (!model) return missingView(`model ${name}`);
  const cells = DATA.cells.filter((cell) => cell.model === name);
  const section = el('section', {}, el('h2', {}, name), el('dl', {},
    [['architecture', model.timm_name], ['data', model.dataset], ['dense top-1', model.top1 === null ? '' : `${model.top1.toFixed(2)} %`],
      ['parameters', model.parameters?.toLocaleString('en')], ['multiply-adds', model.macs?.toLocaleString('en')],
      ['weights to prune', model.weights.reduce((sum, count) => sum + count, 0).toLocaleString('en')]].filter((pair) => pair[1]).flatMap(([key, text]) => [el('dt', {}, key), el('dd', {}, text)])));
  const groups = unique(model.states.map((one) => JSON.stringify([one.sweep, one.method, one.variant])));
  if (groups.length) {
    const holder = el('div', {});
    const show = (key) => holder.replaceChildren(layerTable(model, model.states.filter((one) => JSON.stringify([one.sweep, one.method, one.variant]) === key)));
    const preferred = groups.find((key) => key.startsWith(JSON.stringify([state.sweep, 'CAP']).slice(0, -1))) || groups[0];
    section.append(el('h3', {}, 'Sparsity of the layers'), el('p', { class: 'muted small' }, 'Fraction of zeros, mean over seeds.'),
      el('div', { class: 'bar' }, select('state', 'sweep, pruner', groups.map((key) => [key, JSON.parse(key).filter(Boolean).join(', ')]), preferred, show, null)), holder);
    show(preferred);
  }
  if (cells.some((cell) => cell.predicted > 0 && cell.observed > 0)) {
    const sweeps = unique(cells.filter((cell) => cell.predicted > 0 && cell.observed > 0).map((cell) => cell.sweep));
    let sweep = sweeps.includes(state.sweep) ? state.sweep : sweeps[0];
    const choice = select('loss-sweep', 'sweep', sweeps.map((one) => [one, one]), sweep, (value) => { sweep = value; figure.draw(); }, null);
    const figure = new Figure(section, {
      name: 'loss', title: 'Loss predicted against observed', controls: [choice],
      caption: 'Increase of the calibration loss as the pruner\u2019s quadratic model predicts it, and as it was observed; on the dotted line the two are the same.',
      make: (width) => lossSpec(cells.filter((cell) => cell.sweep === sweep), width),
    });
    figures.push(figure);
  }
  return withResults(section, cells, { sweep: true, model: false });
}

function missingView(what) {
  return [el('section', {}, el('h2', {}, 'Not in these results'), el('p', {}, `There is no ${what} here.`))];
}
