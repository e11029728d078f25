// Submissions to the leaderboard, verified ones first.

function submissionTable(submission) {
  const head = ['model', 'sparsity', 'phase', 'top-1, %', 'n', 'against', 'difference', '95 % interval', 'verdict'];
  const numbers = ['sparsity', 'top-1, %', 'n', 'difference', '95 % interval'];
  const kinds = { better: 'good', worse: 'bad-text' };
  const rows = submission.results.map((one) => el('tr', {},
    el('td', {}, one.model), el('td', { class: 'num' }, one.target), el('td', {}, one.phase),
    el('td', { class: 'num' }, one.top1 === null ? one.status : one.top1.toFixed(2)), el('td', { class: 'num' }, String(one.seeds)), el('td', {}, one.against),
    el('td', { class: 'num' }, one.difference === null ? '' : signed(one.difference)), el('td', { class: 'num' }, span([one.difference, one.low, one.high], signed)),
    el('td', { class: `verdict ${kinds[one.verdict] || ''}` }, one.verdict)));
  return el('div', { class: 'scroll' }, el('table', { class: 'plain', 'aria-label': `Results of ${submission.method}` },
    el('thead', {}, el('tr', {}, head.map((text) => el('th', { scope: 'col', class: numbers.includes(text) ? 'num' : '' }, text)))), el('tbody', {}, rows)));
}

function submissionView(submission) {
  const [kind, sign, word] = submission.verified ? ['good', '\u2713', 'verified'] : ['bad', '\u2717', 'not verified'];
  const tried = `${submission.configurations} setting${submission.configurations === 1 ? '' : 's'} tried for each model`;
  const facts = [submission.authors, submission.source, `protocol ${submission.protocol}`, tried].filter(Boolean).join('; ');
  return el('li', { class: kind }, el('strong', {}, submission.method), ' ', el('span', { class: 'verdict' }, `${sign} ${word}`),
    el('p', { class: 'small' }, submission.note),
    el('p', { class: 'muted small' }, `${facts}. `, el('code', {}, submission.file), ' ', el('code', {}, DATA.options[submission.options])),
    submissionTable(submission), submission.code ? textBlock(`Source of ${submission.method}`, submission.file, submission.code, 'text/x-python') : null);
}

function standing(submission, against) {
  // of the cells that were measured: the mean difference, and how many are better and worse
  const found = submission.results.filter((one) => one.against === against && one.difference !== null);
  if (!found.length) return null;
  const count = (verdict) => found.filter((one) => one.verdict === verdict).length;
  return { mean: found.reduce((sum, one) => sum + one.difference, 0) / found.length, better: count('better'), worse: count('worse'), cells: found.length };
}

function modelsOf(submission) {
  const own = unique(submission.results.map((result) => result.model));
  const covered = own.filter((model) => MODELS.has(model)).length;
  return [own.join(', '), el('br'), el('small', { class: 'muted' }, `${covered} of the ${MODELS.size} models above`)];
}

function standingsTable() {
  // submissions have rivals, models and sparsities of their own, so that they are listed and not ranked
  const others = unique(DATA.submissions.flatMap((one) => one.results.map((result) => result.against)));
  const text = (found) => (found ? [signed(found.mean), el('br'), el('small', { class: 'muted' }, `better in ${found.better}, worse in ${found.worse} of ${found.cells}`)] : '');
  return el('div', { class: 'scroll' }, el('table', { class: 'plain', 'aria-label': 'Submissions against the others' },
    el('thead', {}, el('tr', {}, ['method', 'state', 'models', 'sparsities', 'settings tried', ...others.map((other) => `against ${other}`)].map((text, i) => el('th', { scope: 'col', class: i > 3 ? 'num' : '' }, text)))),
    el('tbody', {}, DATA.submissions.map((one) => el('tr', {},
      el('th', { scope: 'row' }, one.method), el('td', { class: `verdict ${one.verified ? 'good' : 'bad-text'}` }, one.verified ? '\u2713 verified' : '\u2717 not verified'),
      el('td', { class: 'wrap' }, modelsOf(one)), el('td', { class: 'wrap' }, unique(one.results.map((result) => result.target)).join(', ')),
      el('td', { class: 'num' }, String(one.configurations)), others.map((other) => el('td', { class: 'num' }, text(standing(one, other)))))))));
}

function submissionsView() {
  const verified = DATA.submissions.filter((one) => one.verified).length;
  return el('section', { id: 'submissions', 'aria-labelledby': 'submissions-title' }, el('h2', { id: 'submissions-title' }, 'Submissions'),
    el('p', { class: 'muted' }, `${verified} of ${DATA.submissions.length} verified: `, el('code', {}, 'capbench verify'), ' found files, protocol, tuning budget, rows and contract in order, and ran some cells again with the same outcome. Differences are the submitted pruner less the other, in points, paired by seed; in the table their mean over a submission\u2019s own models and sparsities, which differ between submissions.'),
    standingsTable(),
    el('ul', { class: 'claims' }, DATA.submissions.map(submissionView)));
}
