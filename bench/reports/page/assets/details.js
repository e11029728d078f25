// What hover and pin tell of a result.

function facts(item) {
  if (item.facts) return item.facts.filter((fact) => fact[1]);
  return item.seeds ? cellFacts(item) : item.against ? differenceFacts(item) : latencyFacts(item);
}

function heading(item) {
  if (item.heading) return item.heading;
  if (item.against) return `${NEW.label} less ${item.against}, ${item.model}, ${item.target} ${item.phase}`;
  return item.seeds ? `${seriesName(item)}, ${item.model}, ${item.target} ${item.phase}` : `${item.label}, ${item.model}`;
}

function estimateText(estimate, format) {
  if (!estimate) return '';
  const interval = span(estimate, format);
  if (interval === 'no spread') return `${format(estimate[0])} (the same for every seed)`;
  return interval ? `${format(estimate[0])} (95 %: ${interval})` : `${format(estimate[0])} (one seed: no interval)`;
}

function machineText({ devices, threads }) {
  return [devices.join(', '), threads.length ? `threads ${threads.join(', ')}` : ''].filter(Boolean).join(', ');
}

function cellFacts(cell) {
  const origin = ORIGINS.get(cell.sweep);
  const compared = DATA.comparison && cell.sweep === 'compare';
  const made = DATA.made[cell.made];
  const quoted = (text) => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);
  const only = [`--only ${quoted(`model=${cell.model}`)}`, `--only ${quoted(`pruner=${cell.pruner}`)}`, made.only].join(' ').trim();
  return [
    ['status', cell.status === 'done' ? '' : [cell.status, cell.reason].filter(Boolean).join(': ')],
    ['top-1, %', estimateText(cell.top1, (v) => v.toFixed(2))],
    ['relative drop, %', estimateText(cell.loss, (v) => v.toFixed(2))],
    ['less dense', estimateText(cell.drop, signed)],
    ['less magnitude', cell.method === 'GM' ? '' : estimateText(cell.gain, signed)],
    ['dense top-1, %', cell.top1_dense?.toFixed(2)],
    [cell.resampled ? 'by dense model' : 'by seed', cell.values.map((value, i) => `${cell.seeds[i]}: ${value.toFixed(2)}`).join(', ')],
    ['fit, prune', cell.fit_seconds === null ? '' : `${seconds(cell.fit_seconds)} s, ${seconds(cell.prune_seconds)} s`],
    ['settings', settingsText(cell)],
    ['options', DATA.options[cell.options] === '{}' ? '' : DATA.options[cell.options]],
    ['trials', cell.trials.join(' ')],
    ['sweep', cell.sweep],
    ['commit', made.commits.join(', ')],
    ['machine', machineText(made)],
    ['make it', compared ? DATA.comparison.command : origin && origin.command ? `${origin.command} ${only}` : ''],
    ['make it again', origin && cell.trials.length ? `capbench rerun ${cell.trials[0]}${origin.folder}` : ''],
  ].filter((fact) => fact[1]);
}

function latencyFacts(point) {
  const origin = ORIGINS.get(point.sweep);
  const measured = point.group === 'speedup';
  return [
    ['top-1 kept', `${point.kept.toFixed(2)} % of dense`],
    ['times as fast', point.times.toFixed(2)],
    ['a pass', `${short(point.seconds)} s`],
    ['sparsity', percentTick(point.sparsity)],
    ['measured', point.note],
    [measured ? 'rounds' : 'dense models', String(point.count)],
    [measured ? 'cell' : 'timed in', point.sources.join(' ')],
    ['commit', origin ? origin.commits.map((commit) => commit.slice(0, 12)).join(' ') : ''],
    ['machine', origin ? machineText(origin) : ''],
    ['make it', origin ? origin.command : ''],
    ['make it again', !measured && origin ? `capbench rerun ${point.sources[0]}${origin.folder}` : ''],
  ].filter((fact) => fact[1]);
}

const MONO = ['options', 'trials', 'cell', 'timed in', 'make it', 'make it again', 'commit'];
const IN_TIP = ['status', 'difference', 'pairs', 'verdict', 'top-1, %', 'less dense', 'relative drop, %', 'by seed', 'by dense model', 'settings', 'sparsity at 1 % drop', 'mean rank', 'critical difference', 'trials', 'top-1 kept', 'times as fast', 'a pass', 'measured', 'rounds', 'dense models'];

function factList(item, wanted) {
  const shown = facts(item).filter(([name]) => !wanted || wanted.includes(name));
  return el('dl', {}, shown.flatMap(([name, text]) => [el('dt', {}, name), el('dd', { class: MONO.includes(name) ? 'mono' : '' }, text)]));
}

function showTip(item, x, y) {
  const tip = byId('tip');
  tip.replaceChildren(el('strong', {}, heading(item)), factList(item, IN_TIP));
  tip.hidden = false;
  const { width, height } = tip.getBoundingClientRect();
  const left = x + 16 + width > innerWidth ? x - width - 16 : x + 16;
  tip.style.left = `${Math.max(6, Math.min(left, innerWidth - width - 6))}px`;
  tip.style.top = `${Math.max(6, Math.min(y + 16, innerHeight - height - 6))}px`;
}

function hideTip() {
  byId('tip').hidden = true;
}

let returnTo = null; // what had the focus when the panel opened

function pin(item) {
  const panel = byId('pin');
  if (item === state.pinned) item = null;
  if (item && panel.hidden) returnTo = document.activeElement;
  state.pinned = item;
  hideTip();
  panel.hidden = !item;
  if (item) {
    panel.replaceChildren(el('h2', {}, heading(item)),
      el('button', { type: 'button', 'aria-label': 'Unpin', title: 'Unpin (Escape)', onclick: () => pin(null) }, '\u00d7'), factList(item));
    panel.scrollTop = 0;
  } else if (returnTo && returnTo.isConnected && panel.contains(document.activeElement)) {
    returnTo.focus();
  }
  figures.forEach((figure) => figure.scene && figure.mark());
  tables.forEach((table) => table.mark());
}
