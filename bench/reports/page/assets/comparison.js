// A comparison: what is new stands out everywhere; paired differences, sources, texts to take over.

const NEW = DATA.comparison ? DATA.comparison.pruners[0] : null;
const sameOptions = (a, b) => {
  const sorted = (text) => JSON.stringify(Object.entries(JSON.parse(text)).sort());
  return a === b || sorted(DATA.options[a]) === sorted(DATA.options[b]);
};
const hasOptions = (pruner, cell) => cell.model in pruner.options && sameOptions(cell.options, pruner.options[cell.model]);
const isNew = (cell) => NEW !== null && cell.pruner === NEW.pruner && cell.sweep === 'compare' && hasOptions(NEW, cell);

function differenceSpec(width, phase) {
  const differences = DATA.comparison.differences.filter((one) => one.phase === phase && one.difference);
  const axis = sparsityAxis(differences.map((one) => one.sparsity));
  const panels = unique(differences.map((one) => one.model)).map((model) => {
    const others = DATA.comparison.pruners.slice(1);
    const series = others.map((other) => {
      const style = styleOf(DATA.cells.find((cell) => cell.pruner === other.pruner && hasOptions(other, cell))?.method);
      const own = differences.filter((one) => one.model === model && one.against === other.label);
      const points = own.map((one) => ({ x: axis.of(one.sparsity), y: one.difference[0], low: one.difference[1], high: one.difference[2], ref: one }));
      return { name: `against ${other.label}`, style, joined: true, points: points.sort((a, b) => a.x - b.x) };
    }).filter((one) => one.points.length);
    const ends = series.flatMap((one) => one.points.map((point) => point.x));
    return { title: model, series, guides: [{ counts: true, points: [Math.min(...ends), Math.max(...ends)].map((x) => ({ x, y: 0 })) }] };
  });
  return {
    title: `${NEW.label} less the others, ${phase}`, width, height: panels.length > 1 ? 290 : 400, panels,
    x: axis.axis, y: { label: 'difference in top-1, points', whole: true, format: (v) => short(v, 4) },
  };
}

function differenceFacts(one) {
  return [
    ['difference', estimateText(one.difference, signed)],
    ['pairs', `${one.pairs} seeds`],
    ['verdict', one.verdict],
    ['seeds to decide', one.needed],
    ['make it', DATA.comparison.command],
  ].filter((fact) => fact[1]);
}

function differenceTable() {
  const head = ['model', 'sparsity', 'phase', 'against', 'difference', '95 % interval', 'pairs', 'verdict', 'seeds to decide'];
  const kinds = { better: 'good', worse: 'bad-text' };
  const rows = DATA.comparison.differences.map((one) => el('tr', {},
    el('td', {}, one.model), el('td', { class: 'num' }, one.target), el('td', {}, one.phase), el('td', {}, one.against),
    el('td', { class: 'num' }, one.difference ? signed(one.difference[0]) : ''), el('td', { class: 'num' }, span(one.difference, signed)),
    el('td', { class: 'num' }, String(one.pairs)), el('td', { class: `verdict ${kinds[one.verdict] || ''}` }, one.verdict), el('td', { class: 'num' }, one.needed)));
  const numbers = ['sparsity', 'difference', '95 % interval', 'pairs', 'seeds to decide'];
  return el('div', { class: 'scroll' }, el('table', { class: 'plain', 'aria-label': 'Paired differences' },
    el('thead', {}, el('tr', {}, head.map((text) => el('th', { scope: 'col', class: numbers.includes(text) ? 'num' : '' }, text)))), el('tbody', {}, rows)));
}

// The options of a pruner, a line for each set that models have of their own.
function optionLines(pruner) {
  const places = unique(Object.values(pruner.options));
  return places.flatMap((place) => {
    const models = Object.keys(pruner.options).filter((model) => pruner.options[model] === place);
    return [el('div', {}, places.length > 1 ? `${models.join(', ')}: ` : '', el('code', {}, DATA.options[place]))];
  });
}

function textBlock(title, name, text, type) {
  return el('details', {}, el('summary', {}, title), el('pre', { tabindex: '0' }, text),
    el('button', { type: 'button', onclick: () => save(name, text, type) }, `${name} as a file`));
}

function comparisonView() {
  const { comparison } = DATA;
  const section = el('section', { id: 'comparison', 'aria-labelledby': 'comparison-title' },
    el('h2', { id: 'comparison-title' }, `${NEW.label} against the others`),
    el('ul', {}, comparison.verdicts.map((text) => el('li', {}, text))),
    el('p', { class: 'muted small' }, 'Differences are of top-1 in points, paired by seed, with their 95 % interval: by a bootstrap of seeds and test images where predicted classes are stored for all, else by Student\u2019s t. Where no difference is shown, the table has the number of seeds that would show the one found with a probability of 80 %; no number of seeds does where more test images are wanting. Made by ', el('code', {}, comparison.command)));
  const phases = unique(comparison.differences.map((one) => one.phase));
  let phase = phases[0];
  const choice = phases.length > 1 ? [select('difference-phase', 'phase', phases.map((one) => [one, one]), phase, (value) => { phase = value; figure.draw(); }, null)] : [];
  const figure = new Figure(section, {
    name: 'differences', title: 'Paired differences', caption: `${NEW.label} less each of the others; above the dotted line ${NEW.label} is better.`,
    controls: choice, make: (width) => differenceSpec(width, phase),
  });
  figures.push(figure);
  section.append(differenceTable(), el('h3', {}, 'Pruners'), el('div', { class: 'scroll' }, el('table', { class: 'plain' }, el('tbody', {}, comparison.pruners.map((one) => el('tr', { class: one === NEW ? 'theirs' : '' },
    el('th', { scope: 'row' }, one.label), el('td', { class: 'wrap' }, el('code', {}, one.source), one.sha256 ? ` SHA-256 ${one.sha256.slice(0, 12)}\u2026` : ''), el('td', { class: 'wrap' }, optionLines(one))))))));
  section.append(...comparison.pruners.filter((one) => one.code).map((one) => textBlock(`Source of ${one.label}`, one.source, one.code, 'text/x-python')),
    textBlock('BibTeX', 'references.bib', comparison.bibtex, 'text/x-bibtex'),
    textBlock('Text and table for an appendix', 'appendix.tex', comparison.appendix, 'text/x-tex'));
  return section;
}
