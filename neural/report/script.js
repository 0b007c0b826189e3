"use strict";
// Before and after: the invisible range input over each picture moves the edge.
for (const box of document.querySelectorAll(".compare")) {
  const input = box.querySelector("input");
  input.addEventListener("input", () => box.style.setProperty("--x", input.value + "%"));
}

// Values under the pointer in each chart.
for (const svg of document.querySelectorAll("svg[data-hover]")) {
  const chart = JSON.parse(svg.dataset.hover);
  const [left, right] = chart.frame;
  const cursor = svg.querySelector(".cursor");
  const output = svg.parentElement.querySelector("output");
  const nearest = (points, step) =>
    points.reduce((best, point) => (Math.abs(point[0] - step) < Math.abs(best[0] - step) ? point : best));
  const leave = () => { cursor.style.visibility = output.style.visibility = "hidden"; };
  svg.addEventListener("pointermove", (event) => {
    const bounds = svg.getBoundingClientRect();
    const x = ((event.clientX - bounds.left) / bounds.width) * svg.viewBox.baseVal.width;
    if (x < left || x > right) return leave();
    const step = chart.x[0] + ((x - left) / (right - left)) * (chart.x[1] - chart.x[0]);
    cursor.setAttribute("x1", x);
    cursor.setAttribute("x2", x);
    output.textContent = `step ${Math.round(step)}` + chart.lines
      .map(([name, points]) => `\n${name}: ${Number(nearest(points, step)[1].toPrecision(4))} ${chart.unit}`).join("");
    cursor.style.visibility = output.style.visibility = "visible";
  });
  svg.addEventListener("pointerleave", leave);
}

// Score table: a click on a heading sorts by it, a second one turns the order round.
for (const heading of document.querySelectorAll(".scores th")) {
  heading.addEventListener("click", () => {
    const up = heading.dataset.order === "down";
    for (const other of heading.parentElement.children) delete other.dataset.order;
    heading.dataset.order = up ? "up" : "down";
    const body = heading.closest("table").tBodies[0];
    const text = (row) => row.children[heading.cellIndex].textContent;
    const compare = (a, b) => text(a).localeCompare(text(b), undefined, { numeric: true });
    const number = (row) => parseFloat(text(row)) || 0;
    const order = heading.cellIndex === 0 ? compare : (a, b) => number(b) - number(a);
    body.append(...[...body.rows].sort((a, b) => (up ? -order(a, b) : order(a, b))));
  });
}

document.getElementById("theme").addEventListener("click", () => {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
});

for (const button of document.querySelectorAll(".copy")) {
  button.addEventListener("click", () => {
    const code = button.parentElement.querySelector("code");
    const done = () => { button.textContent = "copied"; setTimeout(() => { button.textContent = "copy"; }, 1500); };
    if (navigator.clipboard) return navigator.clipboard.writeText(code.textContent).then(done);
    getSelection().selectAllChildren(code);
    document.execCommand("copy");
    done();
  });
}
