// Routes, theme, keys.

const SECTIONS = [DATA.comparison ? ['comparison', 'Comparison'] : ['claims', 'Claims'], ...(anyFacts ? [['headline', 'Headline']] : []), ['table', 'Results'], ['figures', 'Figures'], ['pages', 'Methods and models'], ...(DATA.submissions.length ? [['submissions', 'Submissions']] : []), ['origins', 'Provenance']];

function currentRoute() {
  const parts = location.hash.slice(1).split('/').map(decodeURIComponent);
  return parts[0] === '' && parts.length === 3 ? { view: parts[1], name: parts[2] } : { view: 'overview', section: parts[0] };
}

let drawnView = null;

function route() {
  const { view, name, section } = currentRoute();
  const key = view === 'overview' ? view : location.hash;
  if (key !== drawnView) {
    drawnView = key;
    if (state.pinned) pin(null);
    state.chosen.clear();
    figures = [];
    tables = [];
    listeners.length = 0;
    const main = byId('main');
    main.replaceChildren(...(view === 'method' ? methodView(name) : view === 'model' ? modelView(name) : overview()));
    drawResults();
    if (view !== 'overview') {
      scrollTo(0, 0);
      main.focus();
    }
    document.title = view === 'overview' ? DATA.title : `${name}: ${DATA.title}`;
  }
  if (section) byId(section)?.scrollIntoView();
}

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  byId('theme').setAttribute('aria-pressed', String(theme === 'dark'));
}

byId('nav').append(...SECTIONS.map(([id, text]) => el('a', { href: `#${id}` }, text)));
byId('theme').addEventListener('click', () => setTheme(document.documentElement.dataset.theme === 'dark' ? 'light' : 'dark'));
const dark = matchMedia('(prefers-color-scheme: dark)');
dark.addEventListener('change', () => setTheme(dark.matches ? 'dark' : 'light'));
setTheme(dark.matches ? 'dark' : 'light');

let themeOnScreen = null;
addEventListener('beforeprint', () => {
  themeOnScreen = document.documentElement.dataset.theme;
  setTheme('light');
  printing = true;
  redrawFigures();
});
addEventListener('afterprint', () => {
  if (themeOnScreen) setTheme(themeOnScreen);
  printing = false;
  redrawFigures();
});
addEventListener('keydown', (event) => {
  if (event.key === 'Escape') {
    hideTip();
    if (state.pinned) pin(null);
  }
});
addEventListener('hashchange', route);
let width = innerWidth;
addEventListener('resize', () => {
  if (innerWidth === width) return;
  width = innerWidth;
  redrawFigures();
});
route();
document.documentElement.dataset.drawn = '';
