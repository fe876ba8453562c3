// Draws each chart from the table that stands below it: the table is the truth, the drawing only shows it.
//
//   <figure data-chart="bars|stacked|lines" data-unit="usd|count|ms"> … <canvas> … <table>
//
// A cell is drawn by its data-value (money: nanodollars) and read by its text; on hover its exact value is
// said. A row that has a link is followed by a click on its bar.

const NANODOLLARS = 1e9;
const SERIES = 8;
const NAME_PIXELS = 260; // a name's most in a legend or tooltip: its colour stays in sight, and others find room
const ROOM_PIXELS = 60; // beside a legend's name: its colour, and the chart's edges
const drawn = new WeakMap();

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

function read(figure) {
  const heads = [...figure.querySelectorAll("thead th")].slice(1);
  const rows = [...figure.querySelectorAll("tbody tr")].map((row) => ({
    label: row.querySelector("th").textContent,
    href: row.querySelector("th a")?.getAttribute("href") ?? "",
    cells: [...row.querySelectorAll("td")].map((cell) => ({
      value: cell.dataset.value === "" ? null : Number(cell.dataset.value),
      text: cell.textContent,
      exact: cell.title,
    })),
  }));
  return { series: heads.map((head) => ({ name: head.textContent, isFaint: "faint" in head.dataset })), rows };
}

function scaled(value, unit) {
  return unit === "usd" && value !== null ? value / NANODOLLARS : value;
}

function dataset(series, place, table, figure) {
  const { chart, unit } = figure.dataset;
  const own = series.isFaint ? colour("series-faint") : colour(`series-${(place % SERIES) + 1}`);
  const data = table.rows.map((row) => scaled(row.cells[place].value, unit));
  if (chart === "lines" || series.isFaint) {
    return {
      type: "line", label: series.name, data, borderColor: own, backgroundColor: own, borderWidth: series.isFaint ? 1.5 : 2,
      pointRadius: data.length === 1 ? 3 : 0, pointHoverRadius: 4, tension: 0, spanGaps: false, order: series.isFaint ? 0 : 1,
      borderDash: series.isFaint ? [4, 3] : [],
    };
  }
  return {
    type: "bar", label: series.name, data, backgroundColor: own, borderRadius: chart === "stacked" ? 0 : 3,
    maxBarThickness: 44, categoryPercentage: 0.82, barPercentage: 0.94, order: 2,
  };
}

// The text, or its beginning and end with … between them, so that it is no wider than that as it is drawn.
function shortened(text, pixels, context, font) {
  const signs = [...text];
  const made = (kept) => (kept >= signs.length ? text : `${signs.slice(0, Math.ceil(kept / 2)).join("")}…${signs.slice(signs.length - Math.floor(kept / 2)).join("")}`);
  context.save();
  context.font = `${font.size}px ${font.family}`;
  let [fits, fitsNot] = [0, signs.length + 1];
  while (fitsNot - fits > 1) {
    const tried = Math.floor((fits + fitsNot) / 2);
    if (context.measureText(made(tried)).width <= pixels) fits = tried;
    else fitsNot = tried;
  }
  context.restore();
  return made(fits);
}

function legend(table, font) {
  return {
    display: table.series.length > 1, position: "top", align: "end",
    onHover: (_, item, { chart }) => { chart.canvas.title = table.series[item.datasetIndex].name; },
    onLeave: (_, item, { chart }) => { chart.canvas.title = ""; },
    labels: {
      color: colour("muted"), boxWidth: 9, boxHeight: 9, usePointStyle: true, pointStyle: "rectRounded", font,
      sort: (one, other) => one.datasetIndex - other.datasetIndex,
      generateLabels: (chart) => {
        const room = Math.min(NAME_PIXELS, chart.width - ROOM_PIXELS);
        return window.Chart.defaults.plugins.legend.labels.generateLabels(chart).map((item) => ({ ...item, text: shortened(item.text, room, chart.ctx, font) }));
      },
    },
  };
}

function axisText(unit) {
  if (unit === "usd") {
    return (value) => {
      const digits = Math.abs(value) >= 1000 ? { notation: "compact", maximumFractionDigits: 1 } : { maximumSignificantDigits: 4 };
      return `$${new Intl.NumberFormat("en", digits).format(value)}`;
    };
  }
  const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
  return (value) => (unit === "ms" && Math.abs(value) >= 1000 ? `${value / 1000} s` : `${short.format(value)}${unit === "ms" ? " ms" : ""}`);
}

function tooltip(table, font) {
  return {
    backgroundColor: colour("text"), titleColor: colour("ground"), bodyColor: colour("ground"), padding: 10,
    cornerRadius: 7, boxPadding: 5, usePointStyle: true, displayColors: table.series.length > 1,
    callbacks: {
      label: (item) => {
        const cell = table.rows[item.dataIndex].cells[item.datasetIndex];
        const room = Math.min(NAME_PIXELS, item.chart.width / 3);
        const name = table.series.length > 1 ? `${shortened(item.dataset.label, room, item.chart.ctx, font)}: ` : "";
        return `${name}${cell.text}${cell.exact && cell.exact !== cell.text ? `  (${cell.exact})` : ""}`;
      },
    },
  };
}

function options(table, figure) {
  const isStacked = figure.dataset.chart === "stacked";
  const still = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
  const ticks = { color: colour("muted"), font: { family: getComputedStyle(document.body).fontFamily, size: 11 } };
  const goesOn = table.rows.some((row) => row.href);
  return {
    responsive: true, maintainAspectRatio: false, animation: still ? false : { duration: 180 },
    interaction: { mode: "index", intersect: false },
    scales: {
      x: { stacked: isStacked, grid: { display: false }, border: { color: colour("line") }, ticks: { ...ticks, maxRotation: 0, autoSkipPadding: 14 } },
      y: { stacked: isStacked, beginAtZero: true, grid: { color: colour("line") }, border: { display: false }, ticks: { ...ticks, maxTicksLimit: 5, callback: axisText(figure.dataset.unit) } },
    },
    plugins: {
      legend: legend(table, ticks.font),
      tooltip: tooltip(table, ticks.font),
    },
    onHover: (event, items) => {
      event.native.target.style.cursor = goesOn && items.length && table.rows[items[0].index].href ? "pointer" : "default";
    },
    onClick: (_, items) => {
      const href = items.length ? table.rows[items[0].index].href : "";
      if (href.startsWith("/")) location.assign(href);
    },
  };
}

function draw(figure) {
  const canvas = figure.querySelector("canvas");
  if (!canvas || !window.Chart) return;
  drawn.get(canvas)?.destroy();
  const table = read(figure);
  const datasets = table.series.map((series, place) => dataset(series, place, table, figure));
  const labels = table.rows.map((row) => row.label);
  drawn.set(canvas, new window.Chart(canvas, { data: { labels, datasets }, options: options(table, figure) }));
}

function drawAll(root = document) {
  for (const figure of root.querySelectorAll("figure[data-chart]")) draw(figure);
}

document.addEventListener("click", (event) => {
  const button = event.target instanceof Element && event.target.closest("[data-shows-table]");
  if (!button) return;
  const table = document.getElementById(button.getAttribute("aria-controls"));
  const isShown = !table.classList.toggle("visually-hidden");
  button.setAttribute("aria-expanded", String(isShown));
});
document.addEventListener("modeltrack:theme", () => drawAll());
document.addEventListener("htmx:afterSwap", () => drawAll());
document.addEventListener("htmx:beforeSwap", () => {
  for (const canvas of document.querySelectorAll("canvas")) drawn.get(canvas)?.destroy();
});
drawAll();
