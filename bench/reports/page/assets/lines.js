// Which lines of a figure are shown: what was chosen by hand, else, of more than can be told apart, the best.

const MOST_LINES = 12;

// Mean accuracy kept by each line on the models, phases and sparsities that all of them have, else on its own.
function meanKept(lines) {
  const place = (cell) => `${cell.model}|${cell.phase}|${cell.sparsity}`;
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
    const line = lines.get(one.key) || { key: one.key, cells: [], first: false };
    line.cells.push(...one.points.map((point) => point.ref).filter((ref) => ref.seeds)); // results, not times
    line.first ||= one.theirs || one.points.some((point) => fronts.has(point));
    lines.set(one.key, line);
  }
  const pruned = [...lines.values()].filter((line) => line.cells.length && line.cells[0].method !== 'unpruned')
    .map((line) => ({ ...line, method: line.cells[0].method, family: line.cells[0].family }));
  return new Set(lateOf(pruned));
}

function lateOf(lines) {
  if (lines.length <= MOST_LINES) return [];
  const means = meanKept(lines);
  const ranked = lines.map((line, i) => ({ ...line, mean: means[i] })).sort((a, b) => b.mean - a.mean);
  const bestOfFamily = (line) => ranked.find((other) => other.family === line.family) === line;
  const first = new Set(ranked.filter((line) => line.first || line.method === 'CAP' || bestOfFamily(line)));
  for (const line of ranked) if (first.size < MOST_LINES) first.add(line);
  return ranked.filter((line) => !first.has(line)).map((line) => line.key);
}
