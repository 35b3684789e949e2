// The part of notebook 01's page that is alive: sliders and a start to drag, a run as a path on the
// map, its losses and eigenvalues, and the exercises. TOY (toy_data.js, made by docs/live.py) has the
// settings. Every number comes from dartslib/toy.py: run by MicroPython in a worker or, where the
// site was built without it, stored.
"use strict";
(function () {
  const LIMIT = 5000; // milliseconds for a reader's code
  const STEP = 0.25; // of the start by key, and with Shift, or dragged:
  const FINE = 0.05;
  const FARTHEST = 3; // of the start in alpha and w
  const box = document.getElementById("toy");

  // Elements: put(parent, "p.name", attributes, text); kinds of SVG within an SVG.
  function put(parent, kind, attributes = {}, text = "") {
    const [name, style] = kind.split(".");
    const space = name === "svg" ? "http://www.w3.org/2000/svg" : parent.namespaceURI;
    const made = document.createElementNS(space, name);
    if (style) made.setAttribute("class", style);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.textContent = text;
    return parent.appendChild(made);
  }

  // Python. ask(request) answers {answer, said}: what docs/inside/answers.py returns and prints.
  function stored({ xi }) {
    return { answer: TOY.stored[TOY.controls[0].values.indexOf(xi)], said: "" };
  }

  function startPython() {
    const inside = `\nconst INSIDE = ${JSON.stringify(TOY.inside)};\n`;
    const begin = "(async () => {", end = "})().catch((error) => setTimeout(() => { throw error; }));";
    const parts = [begin, TOY.loader, inside, TOY.worker, end];
    const source = new Blob(parts, { type: "text/javascript" });
    const address = URL.createObjectURL(source);
    let worker;
    const boot = () => new Promise((ready, fail) => {
      worker = new Worker(address);
      worker.onmessage = ready;
      worker.onerror = fail;
    });
    const send = (request) => new Promise((answered) => {
      const timer = setTimeout(async () => {
        worker.terminate();
        await boot();
        answered({ said: `not quite, because your code runs for more than ${LIMIT / 1000} seconds` });
      }, LIMIT);
      worker.onmessage = ({ data }) => {
        clearTimeout(timer);
        answered(data);
      };
      worker.postMessage(request);
    });
    let turn = boot();
    return (request) => (turn = turn.then(() => send(request))); // one at a time
  }

  const ask = TOY.stored ? stored : startPython();

  // A drawing with two axes, in units of its viewBox.
  class Panel {
    constructor(parent, style, [width, height], attributes) {
      this.svg = put(parent, `svg.${style}`, { viewBox: `0 0 ${width} ${height}`, ...attributes });
      this.frame = { x: 44, y: 30, width: width - 64, height: height - 76 };
    }

    // Begins anew: frame, title, names and ticks of the axes. bend(value) is where it stands.
    axes({ title, names, x, y, ticks, bend = (value) => value }) {
      const { svg, frame } = this;
      svg.replaceChildren();
      const along = ([from, to], value) => (value - from) / (to - from);
      this.x = (value) => frame.x + frame.width * along(x, value);
      this.y = (value) => frame.y + frame.height * (1 - along(y.map(bend), bend(value)));
      const middle = frame.x + frame.width / 2, bottom = frame.y + frame.height;
      put(svg, "rect.toy-ground", frame);
      put(svg, "text.toy-name", { x: middle, y: 19 }, title);
      put(svg, "text.toy-name", { x: middle, y: bottom + 40 }, names[0]);
      const beside = `translate(13 ${frame.y + frame.height / 2}) rotate(-90)`;
      put(svg, "text.toy-name", { transform: beside }, names[1]);
      for (const value of ticks[0]) {
        put(svg, "text.toy-tick", { x: this.x(value), y: bottom + 19 }, value);
      }
      for (const value of ticks[1]) {
        put(svg, "text.toy-tick", { x: frame.x - 16, y: this.y(value) + 5 }, value);
      }
    }

    line(style, points, parent = this.svg) {
      const text = points.map(([a, b]) => `${this.x(a).toFixed(1)},${this.y(b).toFixed(1)}`);
      return put(parent, `polyline.${style}`, { points: text.join(" ") });
    }

    dot(style, [a, b], r, parent = this.svg) {
      return put(parent, `circle.${style}`, { cx: this.x(a), cy: this.y(b), r });
    }
  }

  // The page: controls, three drawings, a sentence.
  const settings = { ...TOY.defaults, start: [...TOY.defaults.start] };
  const controls = put(box, "div.toy-controls");
  for (const { name, label, values } of TOY.controls) {
    const row = put(controls, "label", {}, label);
    const value = values.indexOf(settings[name]);
    const slider = put(row, "input", { type: "range", min: 0, max: values.length - 1, value });
    slider.id = `toy-${name}`;
    const shown = put(row, "output");
    const set = () => {
      settings[name] = values[slider.value];
      shown.textContent = settings[name];
      slider.setAttribute("aria-valuetext", settings[name]);
    };
    slider.addEventListener("input", () => (set(), refresh()));
    set();
  }
  const panels = put(box, "div.toy-panels");
  const map = new Panel(panels, "toy-map", [500, 512], {
    role: "group", "aria-label": "map of L_val over alpha and w, with the run",
  });
  const side = put(panels, "div.toy-side");
  const small = { role: "img", "aria-describedby": "toy-words" };
  const losses = new Panel(side, "toy-losses", [420, 270], { ...small, "aria-label": "losses" });
  const rates = new Panel(side, "toy-rates", [420, 270], { ...small, "aria-label": "eigenvalues" });
  const says = "■ start, ○ fixed point, ● where the run is, ★ optimum; dashed: w = α";
  put(box, "p.toy-legend", {}, says);
  const words = put(box, "p", { id: "toy-words", role: "status" }, "Python starts …");

  // The map: what stays, the run, and the start above it.
  const whole = [-TOY.side, TOY.side];
  const numbers = Array.from({ length: 2 * TOY.side + 1 }, (_, k) => k - TOY.side);
  map.axes({
    title: "the run on the contours of L_val", names: ["α", "w"],
    x: whole, y: whole, ticks: [numbers, numbers],
  });
  put(put(map.svg, "clipPath", { id: "toy-clip" }), "rect", map.frame);
  const ground = put(map.svg, "g", { "clip-path": "url(#toy-clip)" });
  for (const { level, path } of TOY.contours) {
    map.line("toy-contour", path, ground);
    const [a, b] = path[Math.floor(path.length / 2)];
    if (path.length < 20) continue; // too short for its number
    put(ground, "text.toy-level", { x: map.x(a), y: map.y(b) }, level);
  }
  map.line("toy-feasible", whole.map((value) => [value, value]), ground);
  const [best, bestW] = TOY.optimum;
  put(ground, "text.toy-star", { x: map.x(best), y: map.y(bestW) + 10 }, "★");
  const run = put(map.svg, "g", { "clip-path": "url(#toy-clip)" });
  const start = put(map.svg, "g.toy-start");
  put(start, "circle", { r: 22 }); // to be hit with a finger
  put(start, "rect", { x: -7, y: -7, width: 14, height: 14 });

  function placeStart() {
    const [alpha, w] = settings.start;
    start.setAttribute("transform", `translate(${map.x(alpha)} ${map.y(w)})`);
    start.setAttribute("aria-valuenow", alpha);
    start.setAttribute("aria-valuetext", `α = ${alpha}, w = ${w}`);
  }

  function moveStart(place, step) {
    const within = (value) => Math.max(-FARTHEST, Math.min(FARTHEST, value));
    settings.start = place.map((value) => +within(Math.round(value / step) * step).toFixed(2));
    placeStart();
    refresh();
  }

  function letStartMove() {
    const { frame, svg } = map;
    const toPlace = (event) => {
      const point = new DOMPoint(event.clientX, event.clientY);
      const { x, y } = point.matrixTransform(svg.getScreenCTM().inverse());
      const side = 2 * TOY.side;
      return [
        ((x - frame.x) / frame.width) * side - TOY.side,
        TOY.side - ((y - frame.y) / frame.height) * side,
      ];
    };
    const attributes = {
      tabindex: 0, role: "slider", "aria-label": "start, by arrow keys: left and right α, up and down w",
      "aria-valuemin": -FARTHEST, "aria-valuemax": FARTHEST,
    };
    for (const [name, value] of Object.entries(attributes)) start.setAttribute(name, value);
    start.addEventListener("pointerdown", (event) => start.setPointerCapture(event.pointerId));
    start.addEventListener("pointermove", (event) => {
      if (start.hasPointerCapture(event.pointerId)) moveStart(toPlace(event), FINE);
    });
    start.addEventListener("keydown", (event) => {
      const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
      if (!(event.key in way)) return;
      event.preventDefault(); // the page would scroll
      const step = event.shiftKey ? FINE : STEP;
      moveStart(settings.start.map((value, k) => value + step * way[event.key][k]), FINE);
    });
  }

  function drawRun({ rows, rest }) {
    run.replaceChildren();
    const path = rows.map(([, alpha, w]) => [alpha, w]);
    map.line("toy-path", path, run);
    map.dot("toy-rest", [rest, rest], 10, run);
    map.dot("toy-now", path[path.length - 1], 6, run);
  }

  function drawLosses({ rows, steps }) {
    const lowest = -20, highest = 200; // linear from -1 to 1, logarithmic beyond
    const within = (value) => Math.max(lowest, Math.min(highest, value));
    losses.axes({
      title: "losses along the run", names: ["steps", ""], x: [0, steps], y: [lowest, highest],
      ticks: [[0, steps], [-10, -1, 0, 1, 10, 100]],
      bend: (v) => (Math.abs(v) <= 1 ? v : Math.sign(v) * (1 + Math.log10(Math.abs(v)))),
    });
    losses.line("toy-zero", [[0, 0], [steps, 0]]);
    const { x, width, y } = losses.frame;
    ["L_train", "L_val"].forEach((name, k) => {
      const points = rows.map((row) => [row[0], within(row[3 + k])]);
      losses.line(`toy-loss-${k}`, points);
      losses.dot(`toy-at-${k}`, points[points.length - 1], 5);
      put(losses.svg, `text.toy-says-${k}`, { x: x + width - 110 + 60 * k, y: y + 20 }, name);
    });
  }

  function drawRates({ rates: now, curves }) {
    const all = curves.flat();
    const left = Math.floor(Math.min(...all.map(([real]) => real)) - 0.2);
    const high = Math.max(1.2, 1.2 * Math.max(...all.map(([, imaginary]) => imaginary)));
    const every = left < -9 ? 3 : left < -4 ? 2 : 1;
    const reals = Array.from({ length: Math.floor(-left / every) + 1 }, (_, k) => -k * every);
    rates.axes({
      title: "eigenvalues near the fixed point, all ξ", names: ["real part", "imaginary part"],
      x: [left, 0.5], y: [-high, high], ticks: [reals, [-1, 0, 1]],
    });
    rates.line("toy-zero", [[left, 0], [0.5, 0]]);
    rates.line("toy-zero", [[0, -high], [0, high]]);
    for (const k of [0, 1]) {
      rates.line("toy-curve", curves.map((pair) => pair[k]));
      rates.dot("toy-rate", now[k], 6);
    }
  }

  // The newest settings, as soon as the last ones are drawn.
  let busy = false, again = false;
  async function refresh() {
    again = true;
    if (busy) return;
    busy = true;
    try {
      while (again) {
        again = false;
        const { answer } = await ask(settings);
        drawRun(answer);
        drawLosses(answer);
        drawRates(answer);
        words.textContent = answer.words;
      }
    } catch (error) {
      words.textContent = `This browser does not run the page's Python: ${error.message}`;
    }
    busy = false;
  }

  placeStart();
  if (!TOY.stored) letStartMove();
  refresh();

  // The exercises.
  for (const place of document.querySelectorAll(".toy-answer")) {
    const { title, code } = TOY.exercises[place.dataset.exercise];
    const label = put(place, "label", {}, `Your answer, here in the page: ${title}`);
    const rows = code.split("\n").length + 1;
    const text = put(label, "textarea", { rows, spellcheck: false, autocapitalize: "off" });
    text.value = code;
    const button = put(place, "button", { type: "button" }, "Check");
    const says = put(place, "p", { role: "status" });
    const check = async () => (says.textContent = (await ask({ code: text.value })).said);
    button.addEventListener("click", check);
    text.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || !(event.shiftKey || event.ctrlKey)) return;
      event.preventDefault();
      check();
    });
  }
})();
