// Sort by a column, filter rows, fold depths, choose columns. Rows and their order are those of the page until the reader acts.

function leaderboard(board) {
  const table = board.querySelector("table"), body = table.tBodies[0];
  const rows = [...body.rows], headers = [...table.tHead.rows[0].cells];
  const tools = board.querySelector("[data-tools]"), count = board.querySelector("[data-count]");
  const field = (name) => tools.querySelector(`[data-tool=${name}]`);
  const column = (name) => headers.findIndex((header) => header.dataset.name === name);
  let isAll = false;

  for (const name of ["family", "licence"]) {
    const options = [...new Set(rows.map((row) => row.cells[column(name)].textContent))].sort();
    options.forEach((option) => field(name).add(new Option(option, option)));
    field(name).closest("label").hidden = options.length < 2;
  }

  function isWanted(row) {
    const text = field("text").value.trim().toLowerCase(), most = number(field("size")), params = row.cells[column("parameters")].dataset.size;
    return row.cells[column("candidate")].textContent.toLowerCase().includes(text)
      && ["family", "licence"].every((name) => !field(name).value || row.cells[column(name)].textContent === field(name).value)
      && (most === null || (params !== undefined && Number(params) <= most));
  }

  function show() {
    const seen = new Set(), first = Number(board.dataset.first);
    let shown = 0, wanted = 0;
    for (const row of body.rows) {
      const isFolded = field("fold").checked && seen.has(row.dataset.group);
      const isIn = isWanted(row) && !isFolded;
      if (isWanted(row)) seen.add(row.dataset.group);
      wanted += isIn ? 1 : 0;
      row.hidden = !isIn || (!isAll && shown >= first);
      shown += row.hidden ? 0 : 1;
    }
    count.textContent = `${shown} / ${rows.length}`;
    const more = board.querySelector("[data-more]");
    more.hidden = wanted <= first;
    more.setAttribute("aria-expanded", String(isAll));
    more.textContent = isAll ? more.dataset.less : more.dataset.all;
  }

  function sort(place) {
    const header = headers[place], isNumber = header.classList.contains("number"), now = header.getAttribute("aria-sort");
    const next = now === null ? (isNumber ? "descending" : "ascending") : now === "ascending" ? "descending" : "ascending";
    const sign = next === "ascending" ? 1 : -1;
    const size = (row) => row.cells[place].dataset.size;
    const text = (row) => row.cells[place].textContent;
    const order = (a, b) => {
      if (!isNumber) return sign * text(a).localeCompare(text(b));
      if (size(a) === undefined || size(b) === undefined) return (size(a) === undefined) - (size(b) === undefined); // unknown ones last
      return sign * (Number(size(a)) - Number(size(b)));
    };
    headers.forEach((each) => each.removeAttribute("aria-sort"));
    header.setAttribute("aria-sort", next);
    body.append(...[...body.rows].sort(order));
    show();
  }

  headers.forEach((header, place) => {
    if (header.localName !== "th") return;
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = header.textContent;
    header.replaceChildren(button);
    button.addEventListener("click", () => sort(place));
  });
  board.querySelectorAll("[data-column]").forEach((box) => box.addEventListener("change", () => {
    const place = Number(box.dataset.column);
    [...table.rows].forEach((row) => row.cells[place].classList.toggle("off", !box.checked));
  }));
  tools.addEventListener("input", show);
  board.querySelector("[data-more]").addEventListener("click", () => {
    isAll = !isAll;
    show();
  });
  tools.hidden = false;
  show();
}
