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

function submissionsView() {
  const verified = DATA.submissions.filter((one) => one.verified).length;
  return el('section', { id: 'submissions', 'aria-labelledby': 'submissions-title' }, el('h2', { id: 'submissions-title' }, 'Submissions'),
    el('p', { class: 'muted' }, `${verified} of ${DATA.submissions.length} verified: `, el('code', {}, 'capbench verify'), ' found files, protocol, tuning budget, rows and contract in order, and ran some cells again with the same outcome. Differences are the submitted pruner less the other, in points, paired by seed.'),
    el('ul', { class: 'claims' }, DATA.submissions.map(submissionView)));
}
