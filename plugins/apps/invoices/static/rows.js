// Adds rows to the form of an invoice. Without this the form has the rows that it has.
const rows = document.getElementById("rows");
const button = document.getElementById("add-row");
if (rows && button) {
  button.hidden = false;
  button.addEventListener("click", () => {
    const index = rows.rows.length;
    const row = rows.rows[index - 1].cloneNode(true);
    for (const field of row.querySelectorAll("input, select")) {
      const name = field.name.split("-")[0];
      field.name = `${name}-${index}`;
      field.setAttribute("aria-label", field.getAttribute("aria-label").replace(/\d+/, index + 1));
      if (field.tagName === "INPUT") field.value = "";
    }
    rows.append(row);
    row.querySelector("input").focus();
  });
}
