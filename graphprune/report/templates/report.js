"use strict";
// Sorting and filtering of the anchors' tables; everything else is plain HTML.
for (const section of document.querySelectorAll("section.network")) {
  const table = section.querySelector("table.anchors");
  if (!table) continue;
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  const key = (row, i) => row.cells[i].dataset.key ?? row.cells[i].textContent.trim();
  heads.forEach((head, i) => head.querySelector("button").addEventListener("click", () => {
    const down = head.getAttribute("aria-sort") === "ascending";
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const rows = [...body.rows].sort((a, b) => {
      const [x, y] = [key(a, i), key(b, i)];
      if (x === "" || y === "") return (x === "") - (y === "");
      const [p, q] = [Number(x), Number(y)];
      const order = Number.isNaN(p) || Number.isNaN(q) ? x.localeCompare(y) : p - q;
      return down ? -order : order;
    });
    body.append(...rows);
  }));
  const text = section.querySelector(".find"), status = section.querySelector(".status");
  const label = section.querySelector(".class"), count = section.querySelector(".count");
  const filter = () => {
    let shown = 0;
    for (const row of body.rows) {
      const fits = row.textContent.toLowerCase().includes(text.value.trim().toLowerCase())
        && (!status.value || row.dataset.status === status.value)
        && (!label.value || row.dataset.label === label.value);
      row.hidden = !fits;
      shown += fits;
    }
    count.textContent = `${shown} of ${body.rows.length} anchors`;
  };
  for (const control of [text, status, label]) control.addEventListener("input", filter);
  filter();
}
// A link to an anchor opens its details.
const open = () => {
  const target = location.hash && document.getElementById(location.hash.slice(1));
  if (target instanceof HTMLDetailsElement) target.open = true;
};
addEventListener("hashchange", open);
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((d) => { d.open = true; }));
open();
