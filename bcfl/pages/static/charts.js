/* Draw the charts of a page: `figure[data-chart]`, each with its data as JSON (bcfl/pages/charts.py).

   Text goes in as text only (textContent, canvas), so that a name can be anything. The same file serves the
   explorer and, inlined, the report. */
(function () {
  "use strict";
  var TONES = ["tone-0", "tone-1", "tone-2", "tone-3", "tone-4", "tone-5", "tone-6", "tone-7"];
  var drawings = [];

  function colour(name) {
    return getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim() || "#888";
  }
  function tone(series) { return typeof series.tone === "number" ? TONES[series.tone % TONES.length] : series.tone; }
  function element(name, className, text) {
    var node = document.createElement(name);
    if (className) { node.className = className; }
    if (text !== undefined) { node.textContent = text; }
    return node;
  }
  function scaled(value, units) {
    for (var i = 0; i < units.length; i++) {
      if (Math.abs(value) >= units[i][0]) {
        return (value / units[i][0]).toFixed(Math.abs(value) / units[i][0] < 10 ? 1 : 0).replace(/\.0$/, "") + units[i][1];
      }
    }
    return String(Math.round(value * 100) / 100);
  }
  function text(value, unit) {
    if (value === null || value === undefined) { return "–"; }
    if (unit === "percent") { return (100 * value).toFixed(Math.abs(value) < 0.1 ? 2 : 1) + " %"; }
    if (unit === "gas" || unit === "count") { return scaled(value, [[1e9, " bn"], [1e6, " m"], [1e4, " k"]].map(function (u) { return u[0] === 1e4 ? [1e3, " k"] : u; })); }
    if (unit === "seconds") { return value >= 120 ? scaled(value, [[86400, " d"], [3600, " h"], [60, " min"]]) : Math.round(value * 10) / 10 + " s"; }
    return Math.abs(value) >= 10 || value === 0 ? String(Math.round(value * 100) / 100) : value.toPrecision(4);
  }
  function short(value, unit) {
    return unit === "percent" ? Math.round(1000 * value) / 10 + " %" : unit ? text(value, unit) : String(Math.round(value * 1e6) / 1e6);
  }
  function follow(href, x) { if (href && x !== undefined) { location.href = href.replace("{}", x); } }

  /* A legend whose entries are colour and word. */
  function legend(entries) {
    var list = element("ul", "legend");
    entries.forEach(function (entry) {
      var item = element("li");
      item.append(element("span", "mark " + entry[1]), document.createTextNode(entry[0]));
      list.append(item);
    });
    return list;
  }
  function tip(plot) {
    var box = element("div", "tip");
    box.setAttribute("role", "status");
    box.hidden = true;
    plot.append(box);
    return {
      show: function (lines, left, top) {
        box.replaceChildren();
        lines.forEach(function (line) {
          var row = element("div");
          if (line[1]) { row.append(element("span", "mark " + line[1])); }
          row.append(document.createTextNode(line[0]));
          box.append(row);
        });
        box.hidden = false;
        var room = plot.clientWidth - box.offsetWidth;
        box.style.left = Math.max(0, Math.min(left + 14, room)) + "px";
        box.style.top = Math.max(0, top - box.offsetHeight - 10) + "px";
      },
      hide: function () { box.hidden = true; },
    };
  }

  /* ---- curves, bars, stacks: uPlot ---- */
  function stacked(series, count) {
    var sums = new Array(count).fill(0);
    return series.map(function (one) {
      return one.values.map(function (value, place) { sums[place] += value || 0; return sums[place]; });
    });
  }
  function axes(spec, font) {
    var line = { stroke: colour("line"), width: 1 }, ink = colour("muted");
    var units = [];
    spec.series.forEach(function (s) { if (units.indexOf(s.unit) < 0) { units.push(s.unit); } });
    var list = [{
      stroke: ink, font: font, grid: { show: false }, ticks: { show: false }, size: 26, space: 40,
      values: function (u, ticks) { return ticks.map(function (t) { return Number.isInteger(t) ? String(t) : ""; }); },
    }];
    units.slice(0, 2).forEach(function (unit, place) {
      list.push({
        scale: "y" + place, side: place ? 1 : 3, stroke: ink, font: font, ticks: { show: false }, size: 58, space: 34,
        grid: place ? { show: false } : line,
        values: function (u, ticks) { return ticks.map(function (t) { return short(t, unit); }); },
      });
    });
    return { list: list, scaleOf: function (unit) { return "y" + Math.min(units.indexOf(unit), 1); }, count: Math.min(units.length, 2) };
  }
  function options(spec, width, hint) {
    var font = "11px " + getComputedStyle(document.body).fontFamily;
    var frame = axes(spec, font), bars = spec.form !== "line", scales = { x: { time: false } };
    var low = spec.x[0], high = spec.x[spec.x.length - 1];
    scales.x.range = bars ? [low - 0.6, high + 0.6] : low === high ? [low - 1, high + 1] : undefined;
    for (var i = 0; i < frame.count; i++) {
      scales["y" + i] = bars ? { range: function (u, min, max) { return [0, (max || 1) * 1.06]; } } : {};
    }
    var paint = function (s) { return function () { return colour(tone(s)); }; };
    var lines = spec.series.map(function (s) {
      return {
        label: s.label, scale: frame.scaleOf(s.unit), stroke: paint(s), width: bars ? 0 : 1.75, fill: bars ? paint(s) : undefined,
        paths: bars ? uPlot.paths.bars({ size: [0.72, 40], gap: 0 }) : undefined,
        points: { show: !bars && spec.x.length < 40, size: 5, fill: paint(s) }, spanGaps: true,
      };
    });
    if (spec.form === "stack") { lines.reverse(); }
    return {
      width: width, height: width < 480 ? 190 : 220, padding: [10, frame.count > 1 ? 0 : 12, 0, 0], legend: { show: false },
      scales: scales, series: [{}].concat(lines), axes: frame.list,
      cursor: { y: false, points: { show: !bars }, drag: { x: !hint.href, y: false } },
      hooks: { setCursor: [hint.move] },
    };
  }
  function curves(plot, spec) {
    var bubble = tip(plot), place = null, chart = null;
    function lines(at) {
      return [[spec.x_label + " " + spec.x[at]]].concat(spec.series.map(function (s) {
        return [s.label + ": " + text(s.values[at], s.unit), tone(s)];
      }));
    }
    function move(u) {
      place = u.cursor.idx;
      if (place === null || place === undefined || u.cursor.left < 0) { bubble.hide(); return; }
      bubble.show(lines(place), u.valToPos(spec.x[place], "x") + u.bbox.left / devicePixelRatio, 40);
    }
    var data = spec.form === "stack" ? stacked(spec.series, spec.x.length).reverse() : spec.series.map(function (s) { return s.values; });
    function draw() {
      if (chart) { chart.destroy(); }
      chart = new uPlot(options(spec, plot.clientWidth, { move: move, href: spec.href }), [spec.x].concat(data), plot);
      chart.over.addEventListener("click", function () { if (place !== null) { follow(spec.href, spec.x[place]); } });
      chart.over.classList.toggle("link", Boolean(spec.href));
    }
    draw();
    keys(plot, spec.title, function (x) {
      place = Math.max(0, Math.min(spec.x.length - 1, (place === null || place === undefined ? (x > 0 ? -1 : spec.x.length) : place) + x));
      chart.setCursor({ left: chart.valToPos(spec.x[place], "x"), top: 20 });
    }, function () { if (place !== null) { follow(spec.href, spec.x[place]); } }, bubble.hide);
    return draw;
  }

  /* Arrow keys move, Enter follows, Escape leaves. */
  function keys(plot, title, move, enter, leave) {
    plot.tabIndex = 0;
    plot.setAttribute("role", "application");
    plot.setAttribute("aria-roledescription", "chart");
    plot.setAttribute("aria-label", title + ". Arrow keys read the values, the table below has all of them.");
    plot.addEventListener("keydown", function (event) {
      var step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
      if (step) { move(step[0], step[1]); } else if (event.key === "Enter") { enter(); } else if (event.key === "Escape") { leave(); } else { return; }
      event.preventDefault();
    });
    plot.addEventListener("blur", leave);
  }

  /* ---- cells: rows by columns on a canvas ---- */
  /* Many small cells: a pixel each on a canvas of their own, which is then stretched. */
  function drawSmall(pen, spec, paint, size) {
    var rows = spec.row_names.length, columns = spec.columns.length, small = element("canvas"), inks = {};
    small.width = columns; small.height = rows;
    var brush = small.getContext("2d", { willReadFrequently: true });
    Object.keys(paint).forEach(function (code) {
      brush.clearRect(0, 0, 1, 1);
      brush.fillStyle = paint[code];
      brush.fillRect(0, 0, 1, 1);
      inks[code] = new Uint32Array(brush.getImageData(0, 0, 1, 1).data.buffer)[0];
    });
    var image = brush.createImageData(columns, rows), pixels = new Uint32Array(image.data.buffer);
    for (var r = 0; r < rows; r++) {
      for (var k = 0, line = spec.cells[r]; k < columns; k++) { pixels[r * columns + k] = inks[line[k]] || 0; }
    }
    brush.putImageData(image, 0, 0);
    pen.imageSmoothingEnabled = false;
    pen.drawImage(small, size.left, size.top, columns * size.w, rows * size.h);
  }
  function cellSize(room, count, least, most) { return Math.max(least, Math.min(most, Math.floor(room / Math.max(count, 1)))); }
  function cells(plot, spec) {
    var frame = element("div", "scroll map"), canvas = element("canvas"), bubble, at = null;
    frame.append(canvas);
    plot.append(frame);
    bubble = tip(plot);
    var rows = spec.row_names.length, columns = spec.columns.length, size = {};
    function measure() {
      size.h = cellSize(640, rows, 2, 20);
      size.named = size.h >= 12;
      size.left = size.named ? (plot.clientWidth < 480 ? 76 : 104) : 6;
      size.w = cellSize(plot.clientWidth - size.left - 8, columns, 2, 60);
      size.top = 20;
      size.gap = size.w > 6 && size.h > 6 ? 1 : 0;
    }
    function draw() {
      measure();
      var ratio = Math.min(devicePixelRatio || 1, 2), wide = size.left + columns * size.w + 8, high = size.top + rows * size.h + 4;
      canvas.width = wide * ratio; canvas.height = high * ratio;
      canvas.style.width = wide + "px"; canvas.style.height = high + "px";
      var pen = canvas.getContext("2d"), paint = {};
      Object.keys(spec.codes).forEach(function (code) { paint[code] = colour(spec.codes[code][1]); });
      pen.scale(ratio, ratio);
      pen.font = "11px " + getComputedStyle(document.body).fontFamily;
      pen.fillStyle = colour("muted");
      pen.textAlign = "center";
      var every = Math.ceil(34 / size.w);
      for (var c = 0; c < columns; c++) {
        if (c % every === 0) { pen.fillText(String(spec.columns[c]), size.left + (c + 0.5) * size.w, 13); }
      }
      pen.textAlign = "left";
      for (var r = 0; r < rows; r++) {
        var y = size.top + r * size.h, line = spec.cells[r];
        if (size.named) { pen.fillStyle = colour("muted"); pen.fillText(spec.row_names[r], 0, y + size.h / 2 + 4, size.left - 8); }
        for (var k = 0; k < columns && size.gap; k++) {
          pen.fillStyle = paint[line[k]] || "transparent";
          pen.fillRect(size.left + k * size.w, y, size.w - size.gap, size.h - size.gap);
        }
      }
      if (!size.gap) { drawSmall(pen, spec, paint, size); }
      if (at) {
        pen.strokeStyle = colour("ink"); pen.lineWidth = 2;
        pen.strokeRect(size.left + at[1] * size.w, size.top + at[0] * size.h, size.w - size.gap, size.h - size.gap);
      }
    }
    function tell() {
      var code = spec.codes[spec.cells[at[0]][at[1]]];
      var x = size.left + at[1] * size.w - frame.scrollLeft, y = size.top + at[0] * size.h - frame.scrollTop;
      bubble.show([[spec.row_label + " " + spec.row_names[at[0]]], [spec.column_label + " " + spec.columns[at[1]] + ": " + code[0], code[1]]], x + size.w, y);
    }
    function place(event) {
      var box = canvas.getBoundingClientRect();
      var r = Math.floor((event.clientY - box.top - size.top) / size.h), c = Math.floor((event.clientX - box.left - size.left) / size.w);
      return r >= 0 && r < rows && c >= 0 && c < columns ? [r, c] : null;
    }
    canvas.addEventListener("mousemove", function (event) {
      at = place(event);
      canvas.classList.toggle("link", Boolean(at && spec.column_href));
      if (at) { tell(); } else { bubble.hide(); }
    });
    canvas.addEventListener("mouseleave", function () { at = null; bubble.hide(); });
    canvas.addEventListener("click", function (event) {
      var hit = place(event);
      if (hit) { follow(spec.column_href, spec.columns[hit[1]]); return; }
      var r = Math.floor((event.clientY - canvas.getBoundingClientRect().top - size.top) / size.h);
      if (r >= 0 && spec.row_hrefs[r]) { location.href = spec.row_hrefs[r]; }
    });
    keys(plot, spec.title, function (x, y) {
      at = at ? [Math.max(0, Math.min(rows - 1, at[0] + y)), Math.max(0, Math.min(columns - 1, at[1] + x))] : [0, columns - 1];
      draw();
      frame.scrollTop = Math.max(0, at[0] * size.h - frame.clientHeight / 2);
      frame.scrollLeft = Math.max(0, at[1] * size.w - frame.clientWidth / 2);
      tell();
    }, function () { if (at) { follow(spec.column_href, spec.columns[at[1]]); } }, function () { at = null; bubble.hide(); draw(); });
    draw();
    frame.scrollLeft = frame.scrollWidth;
    return draw;
  }

  function start(figure) {
    var spec = JSON.parse(figure.querySelector("script").textContent), plot = figure.querySelector(".plot");
    var several = spec.kind === "cells" || spec.series.length > 1;
    figure.querySelector("details").open = false;
    if (!(spec.kind === "cells" ? spec.columns : spec.x).length) { plot.append(element("p", "quiet", "Nothing yet.")); return; }
    if (several) {
      figure.insertBefore(legend(spec.kind === "cells" ? Object.values(spec.codes) : spec.series.map(function (s) { return [s.label, tone(s)]; })), plot);
    }
    drawings.push({ figure: figure, width: plot.clientWidth, draw: (spec.kind === "cells" ? cells : curves)(plot, spec) });
  }
  /* Draw what is new below `root`, and forget what has left the page. */
  function draw(root) {
    drawings = drawings.filter(function (drawing) { return drawing.figure.isConnected; });
    (root || document).querySelectorAll("figure[data-chart]").forEach(function (figure) {
      if (!figure.dataset.drawn) { figure.dataset.drawn = "yes"; start(figure); }
    });
  }
  function again() { drawings.forEach(function (drawing) { if (drawing.figure.isConnected) { drawing.draw(); } }); }
  var wait = 0;
  addEventListener("resize", function () {
    clearTimeout(wait);
    wait = setTimeout(function () {
      drawings.forEach(function (drawing) {
        var width = drawing.figure.querySelector(".plot").clientWidth;
        if (width !== drawing.width) { drawing.width = width; drawing.draw(); }
      });
    }, 120);
  });
  document.documentElement.addEventListener("bcfl-theme", again);
  document.addEventListener("DOMContentLoaded", function () { draw(document); });
  window.bcflCharts = { draw: draw };
})();
