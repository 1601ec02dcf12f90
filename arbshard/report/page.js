"use strict";
// Draws each plot when it comes near to the window, so that a page with many plots opens at once.
const plots = JSON.parse(document.getElementById("plots").textContent);
const palette = ["#2f7ed8", "#e07b1a", "#2a9d62", "#c0392b", "#8e5bc7", "#9a7b4f", "#d65aa0", "#6b7785"];

function color(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

// A map over two keys: rows from below, green above 0, red below, and a circle at the marked place.
function mapOf(plot, width) {
  const columns = plot.lines[0].x;
  const rows = plot.lines.map((line) => line.name);
  const z = plot.lines.map((line) => line.y);
  const limit = Math.max(1e-9, ...z.flat().filter((value) => value !== null).map(Math.abs));
  const hasRoom = width / columns.length > 75 && rows.length <= 12;
  const traces = [{
    type: "heatmap", x: columns, y: rows, z, zmin: -limit, zmax: limit, xgap: 2, ygap: 2, hoverongaps: false,
    colorscale: [[0, color("--bad")], [0.5, color("--card")], [1, color("--good")]],
    texttemplate: hasRoom ? "%{z:.3f}" : undefined,
    hovertemplate: `${plot.x_title} %{x}<br>${plot.y_title} %{y}<br>${plot.unit} %{z:.4f}<extra></extra>`,
    colorbar: { thickness: 10, outlinewidth: 0, tickformat: ",~r", nticks: 5 },
  }];
  if (plot.mark.length === 2) {
    traces.push({
      type: "scatter", mode: "markers", x: [plot.mark[0]], y: [plot.mark[1]], hoverinfo: "skip",
      marker: { symbol: "circle-open", size: hasRoom ? 44 : 18, color: color("--text"), line: { width: 2 } },
    });
  }
  return traces;
}

function layoutOf(plot, width) {
  const axis = {
    gridcolor: color("--grid"), zerolinecolor: color("--line"), linecolor: color("--line"), automargin: true,
  };
  const isTime = !plot.x_title;
  const isMap = plot.kind === "heat";
  const line = { color: color("--soft"), dash: "dot", width: 1.5 };
  return {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { color: color("--text"), size: 12 },
    margin: { l: 10, r: 10, t: isMap ? 30 : 10, b: 10 },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: color("--soft"), activecolor: color("--text") },
    hovermode: plot.kind === "bars" || isMap ? "closest" : "x unified",
    hoverlabel: { bgcolor: color("--card"), font: { color: color("--text") } },
    xaxis: {
      ...axis, type: isMap ? "category" : isTime ? "date" : undefined,
      title: isTime ? undefined : { text: plot.x_title },
    },
    yaxis: isMap ? { ...axis, type: "category", title: { text: plot.y_title } } : {
      ...axis, title: { text: plot.unit }, type: plot.is_log ? "log" : "linear",
      tickformat: plot.is_log ? undefined : ",~r", exponentformat: "none",
    },
    shapes: plot.mark.length === 1
      ? [{ type: "line", x0: plot.mark[0], x1: plot.mark[0], yref: "paper", y0: 0, y1: 1, line }] : [],
    showlegend: plot.lines.length > 1 && !isMap,
    legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0 },
    barmode: "group",
    dragmode: width < 600 ? false : "zoom",
  };
}

// A single value between two gaps makes no line, so it needs a marker.
function isSparse(line) {
  return line.y.filter((value) => value !== null).length < 60;
}

function tracesOf(plot, width) {
  if (plot.kind === "heat") return mapOf(plot, width);
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
  Plotly.react(element, tracesOf(plot, element.clientWidth), layoutOf(plot, element.clientWidth), config);
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
