"use strict";
// Draws each plot when it comes near to the window, so that a page with many plots opens at once.
const plots = JSON.parse(document.getElementById("plots").textContent);
const palette = ["#2f7ed8", "#e07b1a", "#2a9d62", "#c0392b", "#8e5bc7", "#9a7b4f", "#d65aa0", "#6b7785"];

function color(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function layoutOf(plot, width) {
  const axis = {
    gridcolor: color("--grid"), zerolinecolor: color("--line"), linecolor: color("--line"), automargin: true,
  };
  const isTime = !plot.x_title;
  return {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { color: color("--text"), size: 12 },
    margin: { l: 10, r: 10, t: 10, b: 10 },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: color("--soft"), activecolor: color("--text") },
    hovermode: plot.kind === "bars" ? "closest" : "x unified",
    hoverlabel: { bgcolor: color("--card"), font: { color: color("--text") } },
    xaxis: { ...axis, type: isTime ? "date" : undefined, title: isTime ? undefined : { text: plot.x_title } },
    yaxis: {
      ...axis, title: { text: plot.unit }, type: plot.is_log ? "log" : "linear",
      tickformat: plot.is_log ? undefined : ",~r", exponentformat: "none",
    },
    showlegend: plot.lines.length > 1,
    legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0 },
    barmode: "group",
    dragmode: width < 600 ? false : "zoom",
  };
}

// A single value between two gaps is no line: it needs a marker to be seen.
function isSparse(line) {
  return line.y.filter((value) => value !== null).length < 60;
}

function tracesOf(plot) {
  const isTime = !plot.x_title;
  return plot.lines.map((line, place) => {
    const shade = palette[place % palette.length];
    const x = isTime ? line.x.map((at) => new Date(at)) : line.x;
    if (plot.kind === "bars") {
      const isResult = plot.lines.length === 1 && plot.name === "pnl";
      const shades = isResult ? line.y.map((y) => color(y < 0 ? "--bad" : "--good")) : shade;
      return { type: "bar", name: line.name, x, y: line.y, marker: { color: shades } };
    }
    return {
      type: "scatter", mode: isSparse(line) ? "lines+markers" : "lines", name: line.name, x, y: line.y,
      line: { color: shade, width: 1.5, shape: plot.kind === "steps" ? "hv" : "linear" }, connectgaps: false,
    };
  });
}

function draw(element) {
  const plot = plots[element.dataset.plot];
  // Named one by one: Plotly also has a button that sends the data of a plot to a server.
  const buttons = [["toImage"], ["zoom2d", "pan2d"], ["zoomIn2d", "zoomOut2d", "resetScale2d"]];
  const config = {
    displaylogo: false, responsive: true, modeBarButtons: buttons,
    displayModeBar: element.clientWidth < 600 ? false : "hover",
  };
  Plotly.react(element, tracesOf(plot), layoutOf(plot, element.clientWidth), config);
  element.dataset.drawn = "yes";
}

const watcher = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (entry.isIntersecting) {
      watcher.unobserve(entry.target);
      draw(entry.target);
    }
  }
}, { rootMargin: "400px" });
for (const element of document.querySelectorAll(".plot")) watcher.observe(element);

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  for (const element of document.querySelectorAll(".plot[data-drawn]")) draw(element);
});

// A click on the head of a column sorts by it; another click turns the order around.
function valueOf(row, place) {
  const text = row.cells[place].textContent.trim();
  const value = parseFloat(text.replace(/,/g, "").replace("−", "-").replace("+", ""));
  return Number.isNaN(value) ? text : value;
}

for (const head of document.querySelectorAll("th")) {
  head.addEventListener("click", () => {
    const body = head.closest("table").tBodies[0];
    const place = head.cellIndex;
    const sign = head.dataset.order === "down" ? 1 : -1;
    for (const other of head.parentNode.cells) delete other.dataset.order;
    head.dataset.order = sign === -1 ? "down" : "up";
    const rows = [...body.rows].sort((one, other) => {
      const [a, b] = [valueOf(one, place), valueOf(other, place)];
      if (typeof a === typeof b) return a < b ? -sign : a > b ? sign : 0;
      return typeof a === "string" ? 1 : -1;
    });
    body.append(...rows);
  });
}

// A link to a record of a log opens it.
function openTarget() {
  const target = location.hash && document.getElementById(location.hash.slice(1));
  if (target && target.tagName === "DETAILS") target.open = true;
}
addEventListener("hashchange", openTarget);
openTarget();
