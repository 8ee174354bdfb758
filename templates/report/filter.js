
(() => {
  'use strict';
  const box = document.getElementById('filter');
  const body = document.getElementById('exception-rows');
  if (!box || !body) return;
  const rows = Array.from(body.rows, (row) => ({ row, kind: row.dataset.kind, text: row.textContent.toLowerCase() }));
  const [words, kind, told] = ['input', 'select', 'output'].map((name) => box.querySelector(name));
  const apply = () => {
    const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const { row, kind: its, text } of rows) {
      const fits = (!kind.value || kind.value === its) && wanted.every((word) => text.includes(word));
      row.hidden = !fits;
      if (fits) shown += 1;
    }
    told.textContent = shown + ' of ' + rows.length + ' shown';
  };
  words.addEventListener('input', apply);
  kind.addEventListener('change', apply);
  box.hidden = false;
  apply();
})();
