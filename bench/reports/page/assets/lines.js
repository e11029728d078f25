// Which lines of a figure are shown: what was chosen by hand, else, of more than can be told apart, the best.

const MOST_LINES = 12;
const ALWAYS = ['CAP', 'unpruned'];

// Of the lines of a phase: mean accuracy kept on the models and sparsities that all of them have, else on their own.
function meanKept(lines) {
  const place = (cell) => `${cell.model}|${cell.sparsity}`;
  const cells = lines.map((one) => one.cells.filter((cell) => cell.kept !== null));
  const shared = new Set((cells[0] || []).map(place).filter((key) => cells.every((own) => own.some((cell) => place(cell) === key))));
  return cells.map((own) => {
    const counted = shared.size ? own.filter((cell) => shared.has(place(cell))) : own;
    return counted.length ? counted.reduce((sum, cell) => sum + cell.kept, 0) / counted.length : -1;
  });
}

// Keys of the lines that begin hidden: neither among the best nor the best of a family, on a front, CAP's or the user's.
function lateLines(series, fronts) {
  const lines = new Map();
  for (const one of series) {
    const line = lines.get(one.key) || { key: one.key, cells: [], kept: one.theirs || one.points.some((point) => fronts.has(point)) };
    line.cells.push(...one.points.map((point) => point.ref).filter((ref) => ref.seeds)); // results, not times
    line.kept ||= one.theirs || one.points.some((point) => fronts.has(point));
    lines.set(one.key, line);
  }
  const late = new Set();
  const all = [...lines.values()].filter((line) => line.cells.length);
  for (const phase of unique(all.map((line) => line.cells[0].phase))) {
    const part = all.filter((line) => line.cells[0].phase === phase && !ALWAYS.slice(1).includes(line.cells[0].method));
    if (part.length <= MOST_LINES) continue;
    const means = meanKept(part);
    const ranked = part.map((line, i) => ({ ...line, mean: means[i] })).sort((a, b) => b.mean - a.mean);
    const family = (line) => line.cells[0].family;
    const first = new Set(ranked.filter((line, i) => line.kept || ALWAYS.includes(line.cells[0].method)
      || ranked.findIndex((other) => family(other) === family(line)) === i));
    for (const line of ranked) if (first.size < MOST_LINES) first.add(line);
    for (const line of ranked) if (!first.has(line)) late.add(line.key);
  }
  return late;
}
