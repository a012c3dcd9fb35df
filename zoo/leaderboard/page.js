for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => {
    const head = button.closest("th");
    const table = head.closest("table");
    const column = head.cellIndex;
    const value = (row) => row.cells[column].dataset.v ?? "";
    const body = table.tBodies[0];
    const numbers = [...body.rows].every((row) => !Number.isNaN(Number(value(row))));
    /* words begin with A, numbers with the largest */
    const before = head.getAttribute("aria-sort");
    const falling = before === "none" ? numbers : before === "ascending";
    for (const other of table.tHead.rows[0].cells) {
      if (other.hasAttribute("aria-sort")) other.setAttribute("aria-sort", "none");
    }
    head.setAttribute("aria-sort", falling ? "descending" : "ascending");
    const rows = [...body.rows].sort((a, b) => {
      const [one, two] = [value(a), value(b)];
      if (one === "" || two === "") return (one === "") - (two === "");
      const order = numbers ? Number(one) - Number(two) : one.localeCompare(two, "en", { numeric: true });
      return falling ? -order : order;
    });
    body.append(...rows);
  });
}
