// What docs/protocol.md reports of several dense models: sparsity at 1 % drop, ranks, leads over the best rival.

const FACTS = DATA.protocol;
const anyFacts = FACTS.headlines.length + FACTS.leads.length + FACTS.ranks.length > 0;

function namedLines(names, width) {
  // the names of lines, the first on top, for the upright axis, and the room for them; what does not fit is cut
  const count = names.length;
  const room = Math.min(330, 0.6 * width, 16 + 6.7 * Math.max(...names.map((name) => name.length)));
  const most = Math.floor((room - 16) / 6.6);
  const fitted = names.map((name) => (name.length > most ? `${name.slice(0, Math.ceil(most / 2) - 1)}\u2026${name.slice(-Math.floor(most / 2))}` : name));
  return {
    of: (name) => count - names.indexOf(name), room,
    axis: { label: '', domain: [0.3, count + 0.7], ticks: names.map((_, i) => count - i), format: (v) => fitted[count - v] ?? '', names: true },
  };
}

function headlineSpec(sweep, phase, width) {
  const found = FACTS.headlines.filter((one) => one.sweep === sweep && one.phase === phase);
  const own = (name) => found.filter((one) => one.name === name);
  const mean = (name) => own(name).reduce((sum, one) => sum + one.at, 0) / own(name).length;
  const names = unique(found.map((one) => one.name)).sort((a, b) => own(b).length - own(a).length || mean(b) - mean(a));
  const lines = namedLines(names, width);
  const models = unique(found.map((one) => one.model)).sort((a, b) => (MODELS.get(a) ?? 99) - (MODELS.get(b) ?? 99));
  const panels = models.map((model) => ({
    title: model,
    series: found.filter((one) => one.model === model).map((one) => ({
      name: one.name, style: namedStyle(one.method, one.name, found), joined: false,
      points: [{ x: one.at, y: lines.of(one.name), left: one.low, right: one.high, open: one.beyond, ref: headlineRef(one) }],
    })),
  }));
  return {
    title: `Sparsity at 1 % relative drop, ${sweep}, ${phase}`, width, height: 92 + 19 * names.length, left: lines.room, panels,
    x: { label: 'sparsity at 1 % relative drop, %', format: percentNumber }, y: lines.axis,
  };
}

function namedStyle(method, name, every) {
  const names = unique(every.filter((other) => other.method === method).map((other) => withoutSetting(other.name)[0]));
  const [own, setting] = withoutSetting(name);
  return styleOf(method, names.indexOf(own), 0, setting);
}

const references = new Map(); // so that a figure drawn again knows what is pinned
function headlineRef(one) {
  if (!references.has(one)) references.set(one, {
    heading: `${one.name}, ${one.model}, ${one.phase}`,
    facts: [['sparsity at 1 % drop', one.text], ['sweep', one.sweep], ['make it', tableCommand(one.sweep)]],
  });
  return references.get(one);
}

function rankRef(one, ranks) {
  if (!references.has(one)) references.set(one, {
    heading: `${one.name}, ${ranks.title}`,
    facts: [['mean rank', one.rank.toFixed(2)], ['critical difference', ranks.critical.toFixed(2)], ['sweep', ranks.sweep], ['make it', tableCommand(ranks.sweep)]],
  });
  return references.get(one);
}

const tableCommand = (sweep) => {
  const origin = ORIGINS.get(sweep);
  return origin && origin.command ? origin.command.replace('capbench run', 'capbench table') : '';
};

function ranksSpec(ranks, width) {
  const names = ranks.pruners.map((one) => one.name);
  const lines = namedLines(names, width);
  const series = ranks.pruners.map((one) => ({
    name: one.name, style: namedStyle(one.method, one.name, ranks.pruners), joined: false,
    points: [{ x: one.rank, y: lines.of(one.name), left: 1, right: one.rank, ref: rankRef(one, ranks) }],
  }));
  const count = names.length;
  const bars = ranks.groups.map(([first, last], i) => ({ x: count + 0.35 + 0.22 * i, from: count - first + 0.25, to: count - last - 0.25 }));
  return {
    title: `Mean ranks, ${ranks.title}`, width: Math.min(width, 760), height: 92 + 19 * count, left: lines.room, panels: [{ title: ranks.title, series, bars }],
    x: { label: 'mean rank, 1 is best', format: (v) => short(v), domain: [0.8, count + 0.5 + 0.22 * bars.length] }, y: lines.axis,
  };
}

function leadsTable(sweep) {
  const found = FACTS.leads.filter((one) => one.sweep === sweep);
  const sparsities = unique(found.map((one) => one.sparsity));
  const models = unique(found.map((one) => one.model));
  const text = (one) => (one ? [el('span', {}, signed(one.lead[0])), el('br'), el('small', { class: 'muted' }, span(one.lead, signed)), el('br'), el('small', { class: 'muted' }, `over ${one.best}`)] : '');
  const sign = (one) => (!one || one.lead[1] === null ? '' : one.lead[1] > 0 ? 'good-text' : one.lead[2] < 0 ? 'bad-text' : '');
  return el('div', { class: 'scroll' }, el('table', { class: 'plain', 'aria-label': `Leads of CAP, ${sweep}` },
    el('thead', {}, el('tr', {}, ['model', ...sparsities.map(percentTick)].map((head, i) => el('th', { scope: 'col', class: i ? 'num' : '' }, head)))),
    el('tbody', {}, models.map((model) => el('tr', {}, el('th', { scope: 'row' }, model),
      sparsities.map((sparsity) => {
        const one = found.find((lead) => lead.model === model && lead.sparsity === sparsity);
        return el('td', { class: `num lead ${sign(one)}` }, text(one));
      }))))));
}

function headlineFigure(section, sweep) {
  const phases = unique(FACTS.headlines.filter((one) => one.sweep === sweep).map((one) => one.phase));
  if (!phases.length) return;
  let phase = phases[0];
  const choice = phases.length > 1 ? [select('headline-phase', 'phase', phases.map((one) => [one, one]), phase, (value) => { phase = value; figure.draw(); }, null)] : [];
  const figure = new Figure(section, {
    name: `headline-${sweep}`, title: `Sparsity at 1 % relative drop, ${sweep}`, controls: choice,
    caption: 'The sparsity at which a pruner has lost 1 % of the dense top-1, linear between those measured; bars are 95 % intervals over dense models and test images. A hollow mark was not reached: it is at least the largest sparsity measured. In the order of the mean over models.',
    make: (width) => headlineSpec(sweep, phase, width),
  });
  figures.push(figure);
}

function protocolView() {
  const section = el('section', { id: 'headline', 'aria-labelledby': 'headline-title' }, el('h2', { id: 'headline-title' }, 'Headline numbers'),
    el('p', { class: 'muted' }, 'Of results on several dense models each. What is compared here carries no verdict; verdicts are among the claims.'));
  const sweeps = unique([...FACTS.headlines, ...FACTS.ranks, ...FACTS.leads].map((one) => one.sweep));
  for (const sweep of sweeps) {
    headlineFigure(section, sweep);
    FACTS.ranks.filter((one) => one.sweep === sweep).forEach((ranks, i) => {
      figures.push(new Figure(section, {
        name: `ranks-${sweep}-${i}`, title: `Mean ranks, ${ranks.title}`, caption: ranks.sentence, make: (width) => ranksSpec(ranks, width),
      }));
    });
    if (FACTS.leads.some((one) => one.sweep === sweep)) {
      section.append(el('h3', {}, `CAP\u2019s lead over the best rival, one-shot, ${sweep}`),
        el('p', { class: 'muted small' }, 'Points of top-1 with the 95 % interval; the best rival is found anew in every resample. Settings of both are the tuned ones where there are such.'), leadsTable(sweep));
    }
  }
  return section;
}
