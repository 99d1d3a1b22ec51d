// page.js - draws the plots of the report with Chart.js.  What to draw is the JSON in #plots, one object for each
// canvas in the order of the page; colours are the style sheet's, so a change between light and dark draws anew.
"use strict";
(() => {
  const plots = JSON.parse(document.getElementById("plots").textContent);
  const charts = [];
  const style = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  const number = v => {
    const size = Math.abs(v);
    if (size >= 1e4) return (v / 1000).toLocaleString("en", {maximumFractionDigits: 1}) + " k";
    return v.toLocaleString("en", {maximumFractionDigits: size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : 4});
  };
  const day = v => new Date(v).toISOString().slice(0, 10);
  const moment = v => new Date(v).toISOString().slice(0, 16).replace("T", " ");
  const percentile = v => "p" + +(100 * (1 - 1 / v)).toFixed(2);
  const percentiles = [2, 4, 10, 20, 100, 1000];

  // An axis for each kind of scale.
  const log = {type: "logarithmic", ticks: {callback: v => /^[125]/.test((+v).toExponential()) ? number(v) : ""}};
  const axes = {
    linear: {type: "linear", ticks: {callback: number}},
    log,
    percentile: {
      type: "logarithmic", min: 1, ticks: {callback: percentile},
      afterBuildTicks: axis => { axis.ticks = percentiles.filter(v => v <= axis.max).map(value => ({value})); },
    },
    time: {type: "linear", ticks: {callback: day, maxTicksLimit: 6}},
  };
  const words = {linear: number, log: number, percentile, time: moment};

  function axis(of, isX) {
    const base = axes[of.scale];
    return {
      ...base,
      beginAtZero: !isX && of.scale === "linear",
      title: {display: of.label !== "", text: of.label, color: style("--quiet")},
      ticks: {...base.ticks, color: style("--quiet"), maxRotation: 0, autoSkipPadding: 12},
      grid: {color: style("--rule"), drawTicks: false, drawBorder: false},
    };
  }

  // How each kind of set looks.
  const kinds = {
    line: colour => ({showLine: true, borderWidth: 2, pointRadius: 3, tension: 0}),
    points: colour => ({showLine: false, pointRadius: 5, pointStyle: "circle"}),
    steps: colour => ({showLine: true, stepped: "before", borderWidth: 1.5, pointRadius: 0, fill: "origin",
                       backgroundColor: colour + "2e"}),
    roof: colour => ({showLine: true, borderWidth: 1.5, pointRadius: 0, borderDash: [5, 4]}),
  };

  function dataset(set, i) {
    const colour = style("--set-" + i % 6);
    return {label: set.label, data: set.points, borderColor: colour, backgroundColor: colour,
            pointHitRadius: 10, ...kinds[set.kind](colour)};
  }

  // Intervals, as thin lines behind the points.
  const whiskers = {
    id: "whiskers",
    beforeDatasetsDraw(chart) {
      const {ctx, scales: {x, y}} = chart;
      chart.data.datasets.forEach((set, i) => {
        if (!chart.isDatasetVisible(i)) return;
        ctx.save();
        ctx.strokeStyle = set.borderColor;
        ctx.globalAlpha = .55;
        ctx.lineWidth = 1.5;
        for (const p of set.data) {
          if (p.low === undefined) continue;
          const at = x.getPixelForValue(p.x);
          ctx.beginPath();
          for (const end of [p.low, p.high]) {
            ctx.moveTo(at - 4, y.getPixelForValue(end));
            ctx.lineTo(at + 4, y.getPixelForValue(end));
          }
          ctx.moveTo(at, y.getPixelForValue(p.low));
          ctx.lineTo(at, y.getPixelForValue(p.high));
          ctx.stroke();
        }
        ctx.restore();
      });
    },
  };

  function tip(plot, item) {
    const p = item.raw, name = p.text ? item.dataset.label + ", " + p.text : item.dataset.label;
    const interval = p.low === undefined ? "" : " (" + number(p.low) + " to " + number(p.high) + ")";
    return name + ": " + number(p.y) + interval + (plot.x.label ? " at " : ", ") + words[plot.x.scale](p.x);
  }

  function draw(canvas, plot) {
    return new Chart(canvas, {
      type: "scatter",
      data: {datasets: plot.sets.map(dataset)},
      plugins: [whiskers],
      options: {
        responsive: true, maintainAspectRatio: false, animation: false,
        interaction: {mode: "nearest", intersect: false},
        scales: {x: axis(plot.x, true), y: axis(plot.y, false)},
        plugins: {
          legend: {display: plot.sets.length > 1, position: "bottom", align: "start",
                   labels: {color: style("--ink"), boxWidth: 10, boxHeight: 10, usePointStyle: true}},
          tooltip: {callbacks: {label: item => tip(plot, item)}},
        },
      },
    });
  }

  function drawAll() {
    while (charts.length) charts.pop().destroy();
    document.querySelectorAll("figure canvas").forEach((canvas, i) => charts.push(draw(canvas, plots[i])));
  }

  Chart.defaults.font.family = getComputedStyle(document.body).fontFamily;
  Chart.defaults.font.size = 12;
  document.documentElement.classList.add("drawn");
  drawAll();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
})();
