"use strict";
(() => {
  const table = document.getElementById("neurons");
  if (!table) return;
  const body = table.tBodies[0];
  const rows = Array.from(body.rows, (row) => ({ row, text: row.textContent.toLowerCase() }));
  const search = document.getElementById("search");
  const layer = document.getElementById("layer");
  const found = document.getElementById("found");
  const verdicts = Array.from(document.getElementsByName("verdict"));
  const form = search.form;

  const filter = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const on = new Set(verdicts.filter((box) => box.checked).map((box) => box.value));
    let n = 0;
    for (const { row, text } of rows) {
      const { verdict } = row.dataset;
      const shown =
        (!verdict || on.has(verdict)) &&
        (!layer || !layer.value || row.dataset.layer === layer.value) &&
        words.every((word) => text.includes(word));
      row.hidden = !shown;
      n += shown;
    }
    found.textContent = `${n.toLocaleString("en")} of ${rows.length.toLocaleString("en")} shown`;
  };

  const value = (row, column) => {
    const cell = row.cells[column];
    return cell.dataset.value ?? cell.textContent;
  };

  const sort = (header, column, numeric) => {
    const down = header.getAttribute("aria-sort") === "ascending";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", down ? "descending" : "ascending");
    const sign = down ? -1 : 1;
    rows.sort((a, b) => {
      const [x, y] = [value(a.row, column), value(b.row, column)];
      if (x === "" || y === "") return (x === "") - (y === "");
      return sign * (numeric ? Number(x) - Number(y) : x.localeCompare(y));
    });
    body.append(...rows.map(({ row }) => row));
  };

  Array.from(table.tHead.rows[0].cells).forEach((header, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = header.textContent;
    button.addEventListener("click", () => sort(header, column, header.dataset.sort === "number"));
    header.replaceChildren(button);
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", filter);
  form.hidden = false;
  filter();
})();
