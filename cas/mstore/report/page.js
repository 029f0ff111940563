"use strict";
(() => {
  const SVG = "http://www.w3.org/2000/svg";
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

  // Text is set as text, never as markup: what a store holds stays inert here too.
  const make = (name, attributes = {}, text = null) => {
    const made = document.createElementNS(SVG, name);
    Object.entries(attributes).forEach(([key, value]) => made.setAttribute(key, value));
    if (text !== null) made.textContent = text;
    return made;
  };

  const number = (value) => {
    if (value === null) return "–";
    const large = Math.abs(value) >= 1000 && Math.abs(value) < 1e15;
    if (large || (Number.isInteger(value) && Math.abs(value) < 1e15)) return Math.round(value).toLocaleString("en");
    return String(Number(value.toPrecision(4)));
  };

  function themes() {
    const button = document.querySelector(".theme");
    const dark = matchMedia("(prefers-color-scheme: dark)");
    const current = () => document.documentElement.dataset.theme || (dark.matches ? "dark" : "light");
    const show = () => { button.textContent = current() === "dark" ? "Light colours" : "Dark colours"; };
    button.hidden = false;
    button.addEventListener("click", () => {
      document.documentElement.dataset.theme = current() === "dark" ? "light" : "dark";
      show();
    });
    dark.addEventListener("change", show);
    show();
  }

  function sorting(table) {
    const heads = all("thead th", table);
    const key = (row, at) => {
      const cell = row.cells[at];
      const value = cell.dataset.value ?? cell.textContent;
      return value === "" ? null : Number.isNaN(Number(value)) ? value : Number(value);
    };
    const compare = (a, b) =>
      typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true });
    heads.forEach((head, at) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      if (!button.textContent) return;
      head.append(button);
      head.setAttribute("aria-sort", "none");
      button.addEventListener("click", () => {
        const order = head.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
        heads.forEach((other) => other.hasAttribute("aria-sort") && other.setAttribute("aria-sort", "none"));
        head.setAttribute("aria-sort", order);
        const body = table.tBodies[0];
        const rows = [...body.rows].map((row) => [key(row, at), row]);
        const known = rows.filter(([value]) => value !== null);
        known.sort(([a], [b]) => (order === "ascending" ? compare(a, b) : compare(b, a)));
        body.append(...known.map(([, row]) => row), ...rows.filter(([value]) => value === null).map(([, row]) => row));
      });
    });
  }

  function reading(canvas) {
    const told = JSON.parse(canvas.dataset.curves);
    const figure = canvas.closest("figure");
    const readout = figure.querySelector(".readout");
    const cross = canvas.querySelector(".cross");
    const back = canvas.querySelector(".back");
    const steps = [...new Set(told.curves.flatMap((curve) => curve.xs))].sort((a, b) => a - b);
    let at = -1;
    const show = (wanted) => {
      at = clamp(wanted, 0, steps.length - 1);
      const step = steps[at];
      const place = `${(100 * (step - told.low)) / (told.high - told.low || 1)}%`;
      cross.setAttribute("x1", place);
      cross.setAttribute("x2", place);
      cross.setAttribute("visibility", "visible");
      const values = told.curves
        .map((curve) => [curve.name, curve.xs.indexOf(step), curve.ys])
        .filter(([, index]) => index >= 0)
        .map(([name, index, ys]) => `${name} ${number(ys[index])}`);
      readout.textContent = `${told.axis} ${number(step)}: ${values.join(" · ")}`;
    };
    canvas.addEventListener("pointermove", (event) => {
      const box = back.getBoundingClientRect();
      const wanted = told.low + ((event.clientX - box.left) / box.width) * (told.high - told.low);
      const nearest = steps.reduce((best, step, index) => (Math.abs(step - wanted) < Math.abs(steps[best] - wanted) ? index : best), 0);
      show(nearest);
    });
    canvas.addEventListener("keydown", (event) => {
      const moves = { ArrowRight: at + 1, ArrowLeft: at < 0 ? steps.length - 1 : at - 1, Home: 0, End: steps.length - 1 };
      if (!(event.key in moves)) return;
      event.preventDefault();
      show(moves[event.key]);
    });
    readout.textContent = "Point at the chart, or focus it and press the arrow keys, to read values.";
    const hide = () => { cross.setAttribute("visibility", "hidden"); };
    canvas.addEventListener("pointerleave", hide);
    canvas.addEventListener("blur", hide);
  }

  function scale(values) {
    const known = values.filter((value) => value !== null);
    const low = Math.min(...known), high = Math.max(...known);
    const log = low > 0 && Math.log10(high / low) >= 2;
    const bend = (value) => (log ? Math.log10(value) : value);
    const room = (bend(high) - bend(low)) * 0.08 || Math.abs(bend(high)) / 2 || 1;
    const start = bend(low) - room, stop = bend(high) + room;
    const place = (value) => (100 * (bend(value) - start)) / (stop - start);
    const ticks = [];
    if (log) {
      for (let power = Math.ceil(start); power <= stop; power += Math.max(1, Math.floor((stop - start) / 5))) ticks.push(10 ** power);
    } else {
      const whole = known.every(Number.isInteger);
      const rough = Math.max((stop - start) / 6, whole ? 1 : 0), power = 10 ** Math.floor(Math.log10(rough));
      const step = (whole ? [1, 2, 5, 10] : [1, 2, 2.5, 5, 10]).map((unit) => unit * power).find((size) => size >= rough * 0.9999);
      for (let index = Math.ceil(start / step); index * step <= stop; index += 1) ticks.push(Number((index * step).toPrecision(10)));
    }
    return { place, ticks };
  }

  // Which end of a name stands at its point (in per cent of the width), so that it does not leave the chart.
  const anchored = (place) => (place < 25 ? "start" : place > 75 ? "end" : "middle");

  function scattering(canvas) {
    const told = JSON.parse(canvas.dataset.points);
    const figure = canvas.closest("figure");
    const [up, across] = ["up", "across"].map((axis) => figure.querySelector(`[data-axis=${axis}]`));
    const readout = figure.querySelector(".readout");
    const grid = canvas.querySelector(".grid"), points = canvas.querySelector(".points");
    let shown = [], at = -1;
    const draw = () => {
      const x = Number(across.value), y = Number(up.value);
      const alongX = scale(told.rows.map((row) => row[x])), alongY = scale(told.rows.map((row) => row[y]));
      grid.replaceChildren();
      alongY.ticks.forEach((value) => {
        const place = `${100 - alongY.place(value)}%`;
        grid.append(make("line", { x1: 0, x2: "100%", y1: place, y2: place }));
        grid.append(make("text", { x: -8, y: place, dy: "0.32em", "text-anchor": "end" }, number(value)));
      });
      alongX.ticks.forEach((value) => {
        const place = `${alongX.place(value)}%`;
        grid.append(make("text", { x: place, y: "100%", dy: "1.5em", "text-anchor": "middle" }, number(value)));
      });
      points.replaceChildren();
      shown = [];
      told.rows.forEach((row, index) => {
        if (row[x] === null || row[y] === null) return;
        const place = alongX.place(row[x]), cx = `${place}%`, cy = `${100 - alongY.place(row[y])}%`;
        const group = make("g");
        const dot = make("circle", { r: 4.5, cx, cy, class: `point c${index % 8}` });
        const words = `${told.names[index]}: ${told.dimensions[x]} ${number(row[x])}, ${told.dimensions[y]} ${number(row[y])}`;
        dot.append(make("title", {}, words));
        group.append(dot);
        if (told.rows.length <= told.named) group.append(make("text", { x: cx, y: cy, dy: "-0.8em", "text-anchor": anchored(place) }, told.names[index]));
        points.append(group);
        shown.push({ group, words, value: row[x] });
      });
      shown.sort((a, b) => a.value - b.value);
      at = -1;
      figure.querySelector(".axis-name").textContent = `↑ ${told.dimensions[y]}   → ${told.dimensions[x]}`;
      canvas.querySelector(".plot").setAttribute("aria-label", `${told.dimensions[y]} against ${told.dimensions[x]}`);
      readout.textContent = "Point at a version, or focus the chart and press the arrow keys.";
    };
    const choose = (wanted) => {
      if (!shown.length) return;
      at = clamp(wanted, 0, shown.length - 1);
      shown.forEach(({ group }, index) => group.classList.toggle("chosen", index === at));
      readout.textContent = shown[at].words;
    };
    canvas.addEventListener("keydown", (event) => {
      const moves = { ArrowRight: at + 1, ArrowLeft: at < 0 ? shown.length - 1 : at - 1, Home: 0, End: shown.length - 1 };
      if (!(event.key in moves)) return;
      event.preventDefault();
      choose(moves[event.key]);
    });
    points.addEventListener("pointerover", (event) => {
      const found = shown.findIndex(({ group }) => group.contains(event.target));
      if (found >= 0) choose(found);
    });
    [up, across].forEach((select) => select.addEventListener("change", draw));
    draw();
  }

  themes();
  all("table.sortable").forEach(sorting);
  all("[data-curves]").forEach(reading);
  all("[data-points]").forEach(scattering);
  addEventListener("beforeprint", () => all("details").forEach((part) => { part.open = true; }));
})();
