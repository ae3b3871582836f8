"use strict";
const settings = {
  displaylogo: false,
  displayModeBar: false,
  showSendToCloud: false,
  showEditInChartStudio: false,
  plotlyServerURL: "",
  topojsonURL: "",
  typesetMath: false,
};
const canvases = [...document.querySelectorAll("[data-figure]")];

function draw(canvas) {
  const told = JSON.parse(document.getElementById(canvas.dataset.figure).textContent);
  return Plotly.newPlot(canvas, told.data, told.layout, settings)
    .then(() => { canvas.dataset.drawn = "yes"; })
    .catch((error) => { canvas.textContent = `This figure could not be drawn: ${error}`; });
}

// One after the other, so that the page can be read and scrolled meanwhile.
canvases.reduce((before, canvas) => before.then(() => draw(canvas)), Promise.resolve());

// A figure keeps the width of its card.
const watch = new ResizeObserver((entries) => entries.forEach(({ target }) => target.dataset.drawn && Plotly.Plots.resize(target)));
canvases.forEach((canvas) => watch.observe(canvas));

// Paper is narrower than the window.
addEventListener("beforeprint", () => canvases.forEach((canvas) => canvas.dataset.drawn && Plotly.relayout(canvas, { width: 690 })));
addEventListener("afterprint", () => canvases.forEach((canvas) => canvas.dataset.drawn && Plotly.relayout(canvas, { width: null, autosize: true })));
