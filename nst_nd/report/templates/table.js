"use strict";
// rows are made of data as text, never as markup, and only as many as are looked at
(() => {
  const STEP = 60;
  const by = (id) => document.getElementById(id);
  const { columns, rows } = JSON.parse(by("data").textContent);
  const head = by("table").tHead, body = by("table").tBodies[0], more = by("more");
  const states = ["failed", "interrupted", "running", "pending", "done"];
  const chips = { failed: "bad", interrupted: "fair", running: "fact", pending: "fact", done: "good" };
  const collator = new Intl.Collator(undefined, { numeric: true });
  const fixed = [
    { name: "job", of: (row) => row.name, cell: named },
    { name: "state", of: (row) => states.indexOf(row.state), cell: (row) => [made("span", `chip ${chips[row.state]}`, row.state)] },
    { name: "marks", number: true, of: (row) => marks(row) || null, cell: (row) => [String(marks(row) || "")], means: "Warnings and values unlike the others." },
    { name: "seconds", number: true, of: (row) => row.seconds, cell: (row) => [shown(row.seconds)] },
    { name: "MiB", number: true, of: (row) => row.memory, cell: (row) => [row.memory === null ? "" : String(Math.round(row.memory / 1048576))], means: "Peak memory of the process." },
  ];
  const measured = columns.map((column, place) => ({
    name: column.unit ? `${column.name} (${column.unit})` : column.name, means: column.means, number: true, hidden: !column.shown,
    of: (row) => Number({ inf: Infinity, "-inf": -Infinity }[row.values[place]] ?? row.values[place] ?? NaN), far: (row) => row.far[place], cell: (row) => valued(row, place),
  }));
  const every = [...fixed, ...measured];
  let sorted = null, down = false, found = rows, drawn = 0;

  // upper and lower case as the browser has it, once for each row
  const texts = rows.map((row) => [row.name, row.error, ...row.warnings].join("\n").toLowerCase());
  const place = new Map(rows.map((row, index) => [row, index]));

  function made(tag, kind, text) {
    const node = document.createElement(tag);
    if (kind) node.className = kind;
    if (text !== undefined) node.textContent = text;
    return node;
  }
  function marks(row) { return row.warnings.length + Object.keys(row.far).length; }
  function shown(value) {
    if (value === null || value === undefined) return "";
    return typeof value === "string" ? value : String(Number(value.toPrecision(4)));
  }
  function named(row) {
    const nodes = [];
    if (row.link) { const link = made("a", "", row.name); link.href = row.link; link.dir = "auto"; nodes.push(link); } else nodes.push(made("bdi", "", row.name));
    if (row.error) nodes.push(made("span", "error", row.error));
    for (const warning of row.warnings) nodes.push(made("span", "error", warning));
    if (row.attempts > 1) nodes.push(made("span", "small", ` ${row.attempts} attempts`));
    return nodes;
  }
  function valued(row, index) {
    const z = row.far[index], text = shown(row.values[index]);
    if (z === undefined) return [text];
    const sign = made("span", "", z > 0 ? " ▲" : " ▼");
    sign.title = `${z} robust standard deviations from the median`;
    return [text, sign];
  }

  function heading() {
    const line = made("tr"), first = made("th");
    first.scope = "col";
    first.textContent = "picture";
    line.append(first);
    for (const column of every) {
      if (column.hidden) continue;
      const cell = made("th", column.number ? "number" : ""), button = made("button", "", column.name);
      cell.scope = "col";
      button.type = "button";
      if (column.means) button.title = column.means;
      if (column === sorted) {
        cell.setAttribute("aria-sort", down ? "descending" : "ascending");
        button.append(down ? " ↓" : " ↑");
      }
      button.addEventListener("click", () => {
        // numbers from the largest, words from the first
        down = column === sorted ? !down : Boolean(column.number);
        sorted = column;
        order();
        heading();
        head.querySelector("[aria-sort] button").focus();
      });
      cell.append(button);
      line.append(cell);
    }
    head.replaceChildren(line);
  }

  function line(row) {
    const node = made("tr"), picture = made("td");
    if (row.picture) {
      const image = made("img");
      image.width = image.height = 64;
      image.alt = `result of ${row.name}`;
      image.decoding = "async";
      image.src = row.picture;
      picture.append(image);
    }
    node.append(picture);
    for (const column of every) {
      if (column.hidden) continue;
      const cell = made(column === fixed[0] ? "th" : "td", [column.number && "number", column.far && column.far(row) !== undefined && "out"].filter(Boolean).join(" "));
      if (column === fixed[0]) cell.scope = "row";
      cell.append(...column.cell(row));
      node.append(cell);
    }
    return node;
  }

  function grow() {
    body.append(...found.slice(drawn, drawn + STEP).map(line));
    drawn = Math.min(found.length, drawn + STEP);
    more.hidden = drawn >= found.length;
    by("said").textContent = `${found.length} of ${rows.length} jobs` + (more.hidden ? "" : `, the first ${drawn} are shown`);
  }
  function redraw() { body.replaceChildren(); drawn = 0; grow(); }

  function order() {
    const words = by("words").value.trim().toLowerCase(), state = by("state").value, only = by("marked").checked;
    found = rows.filter((row) => (!state || row.state === state) && (!only || marks(row)) && texts[place.get(row)].includes(words));
    if (sorted) {
      const sign = down ? -1 : 1;
      const missing = (value) => value === null || value === undefined || Number.isNaN(value);
      found = found.map((row) => [sorted.of(row), row]).sort(([a], [b]) => {
        if (missing(a) || missing(b)) return missing(a) - missing(b);
        return sign * (typeof a === "string" ? collator.compare(a, b) : a === b ? 0 : a < b ? -1 : 1);
      }).map(([, row]) => row);
    }
    redraw();
  }

  for (const column of measured) {
    const label = made("label"), box = made("input");
    box.type = "checkbox";
    box.checked = !column.hidden;
    box.addEventListener("change", () => { column.hidden = !box.checked; heading(); redraw(); });
    label.append(box, ` ${column.name}`);
    by("columns").append(label);
  }
  by("choice").hidden = !measured.length;
  by("filters").hidden = false;
  by("filters").addEventListener("submit", (event) => event.preventDefault());
  for (const id of ["words", "state", "marked"]) by(id).addEventListener("input", order);
  more.addEventListener("click", grow);
  new IntersectionObserver((entries, observer) => {
    if (more.hidden || !entries.some((entry) => entry.isIntersecting)) return;
    grow();
    // looked at afresh: it may be in sight still
    observer.unobserve(more);
    observer.observe(more);
  }, { rootMargin: "400px" }).observe(more);
  heading();
  order();
})();
