// Downloads: CSV, parquet, SVG and PDF, made in the page.

function save(name, content, type) {
  const url = URL.createObjectURL(new Blob([content], { type }));
  const link = el('a', { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}

const CSV_COLUMNS = ['sweep', 'model', 'pruner', 'method', 'variant', 'family', 'setting', 'regime', 'pattern', 'sparsity', 'phase',
  'status', 'reason', 'n', 'top1', 'top1_low', 'top1_high', 'top1_dense', 'drop', 'drop_low', 'drop_high', 'loss', 'loss_low', 'loss_high', 'gain', 'gain_low',
  'gain_high', 'kept', 'paper', 'agreement', 'fit_seconds', 'prune_seconds', 'peak_memory_bytes', 'predicted', 'observed', 'seeds',
  'values', 'trials', 'options', 'commits', 'devices', 'threads'];

function csvText(cells) {
  const quoted = (value) => {
    const text = Array.isArray(value) ? value.join(' ') : String(value ?? '');
    return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  const rows = cells.map((cell) => {
    const flat = { ...cell, ...DATA.made[cell.made], n: cell.values.length, options: DATA.options[cell.options] };
    for (const name of ['top1', 'drop', 'loss', 'gain']) {
      [flat[name], flat[`${name}_low`], flat[`${name}_high`]] = cell[name] || [null, null, null];
    }
    return CSV_COLUMNS.map((name) => quoted(flat[name])).join(',');
  });
  return `${[CSV_COLUMNS.join(','), ...rows].join('\n')}\n`;
}

function saveParquet() {
  save(`${DATA.profile}.parquet`, bytesOf('parquet'), 'application/vnd.apache.parquet');
}

function lightColours() {
  // files are for paper: their colours are those of the light theme
  const root = document.documentElement;
  const kept = root.dataset.theme;
  root.dataset.theme = 'light';
  const style = getComputedStyle(root);
  const found = (name) => style.getPropertyValue(`--${name}`).trim();
  const names = ['paper', 'ink', 'muted', 'rule', 'grid', 'accent', ...DATA.families.flatMap((_, i) => [0, 1, 2].map((j) => `f${i}-${j}`))];
  const colours = new Map(names.map((name) => [name, found(name)]));
  root.dataset.theme = kept;
  return (name) => colours.get(name) || '#000000';
}

function saveSvg(name, scene) {
  save(`${name}.svg`, `<?xml version="1.0" encoding="UTF-8"?>\n${toSvg(scene, lightColours())}\n`, 'image/svg+xml');
}

// characters of the standard fonts' encoding beyond Latin-1; others become what is nearest
const WIN_ANSI = { '\u2013': 0x96, '\u2014': 0x97, '\u2018': 0x91, '\u2019': 0x92, '\u2022': 0x95, '\u2026': 0x85, '\u20ac': 0x80 };
const NEAREST = { '\u2212': '-', '\u2265': '>=', '\u2264': '<=', '\u207b': '-' };

function pdfString(text) {
  let result = '';
  for (const c of text.replace(/[\u2212\u2265\u2264\u207b]/g, (found) => NEAREST[found])) {
    const code = WIN_ANSI[c] || (c.codePointAt(0) < 256 ? c.codePointAt(0) : 63);
    result += '()\\'.includes(c) ? `\\${c}` : String.fromCharCode(code);
  }
  return `(${result})`;
}

function pdfContent(scene, colour, widthOf) {
  const at = (x, y) => `${x.toFixed(2)} ${(scene.height - y).toFixed(2)}`;
  const rgb = (name) => colour(name).slice(1).match(/../g).map((pair) => (parseInt(pair, 16) / 255).toFixed(3)).join(' ');
  return scene.items.map((item) => {
    if (item.kind === 'text') {
      const shift = { start: 0, middle: 0.5, end: 1 }[item.anchor] * widthOf(item);
      const place = item.turned
        ? `0 1 -1 0 ${at(item.x, item.y + shift)}` : `1 0 0 1 ${at(item.x - shift, item.y)}`;
      return `BT /${item.bold ? 'F2' : 'F1'} ${item.size} Tf ${rgb(item.fill)} rg ${place} Tm ${pdfString(item.text)} Tj ET`;
    }
    const steps = item.points.map(([x, y], i) => `${at(x, y)} ${i ? 'l' : 'm'}`).join(' ');
    const paint = item.fill ? (item.stroke ? 'B' : 'f') : 'S';
    return `q ${item.stroke ? `${rgb(item.stroke)} RG ` : ''}${item.fill ? `${rgb(item.fill)} rg ` : ''}${item.width} w 1 j`
      + ` [${(item.dash || []).join(' ')}] 0 d ${steps} ${item.closed ? 'h ' : ''}${paint} Q`;
  }).join('\n');
}

function pdfText(scene) {
  const canvas = document.createElement('canvas').getContext('2d');
  const widthOf = (item) => {
    canvas.font = `${item.bold ? 'bold ' : ''}${item.size}px Helvetica, Arial, sans-serif`;
    return canvas.measureText(item.text).width;
  };
  const content = pdfContent(scene, lightColours(), widthOf);
  const font = (name) => `<< /Type /Font /Subtype /Type1 /BaseFont /${name} /Encoding /WinAnsiEncoding >>`;
  const objects = [
    '<< /Type /Catalog /Pages 2 0 R >>',
    '<< /Type /Pages /Kids [3 0 R] /Count 1 >>',
    `<< /Type /Page /Parent 2 0 R /MediaBox [0 0 ${scene.width} ${scene.height}] /Contents 4 0 R`
      + ' /Resources << /Font << /F1 5 0 R /F2 6 0 R >> >> >>',
    `<< /Length ${content.length} >>\nstream\n${content}\nendstream`,
    font('Helvetica'),
    font('Helvetica-Bold'),
  ];
  let text = '%PDF-1.4\n';
  const starts = objects.map((body, i) => {
    const start = text.length;
    text += `${i + 1} 0 obj\n${body}\nendobj\n`;
    return start;
  });
  const table = starts.map((start) => `${String(start).padStart(10, '0')} 00000 n \n`).join('');
  return `${text}xref\n0 ${objects.length + 1}\n0000000000 65535 f \n${table}trailer\n<< /Size ${objects.length + 1} /Root 1 0 R >>\n`
    + `startxref\n${text.length}\n%%EOF\n`;
}

function savePdf(name, scene) {
  save(`${name}.pdf`, Uint8Array.from(pdfText(scene), (c) => c.charCodeAt(0)), 'application/pdf');
}
