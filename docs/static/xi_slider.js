// The xi slider of notebook 01's page. It shows runs that were computed when the page was built
// (xi_runs.js); nothing of the toy problem is computed here.
(function () {
  const { view, contours, optimum, runs } = XI_RUNS;
  const [left, right, low, high] = view;
  const frame = { x: 56, y: 12, width: 570, height: 396 };
  const map = document.getElementById("xi-map");
  const range = document.getElementById("xi-range");
  const x = (alpha) => frame.x + (frame.width * (alpha - left)) / (right - left);
  const y = (w) => frame.y + frame.height - (frame.height * (w - low)) / (high - low);
  const points = (path) => path.map(([alpha, w]) => `${x(alpha).toFixed(1)},${y(w).toFixed(1)}`).join(" ");

  function draw(kind, attributes, text) {
    const element = document.createElementNS("http://www.w3.org/2000/svg", kind);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    if (text !== undefined) element.textContent = text;
    map.appendChild(element);
    return element;
  }

  draw("rect", { ...frame, class: "xi-ground" });
  for (const { path } of contours) draw("polyline", { points: points(path), class: "xi-contour" });
  const along = [Math.max(left, low), Math.min(right, high)];
  draw("polyline", { points: points(along.map((v) => [v, v])), class: "xi-feasible" });
  for (let alpha = Math.ceil(left); alpha <= right; alpha++)
    draw("text", { x: x(alpha), y: frame.y + frame.height + 20, class: "xi-tick" }, alpha);
  for (let w = Math.ceil(low); w <= high; w++)
    draw("text", { x: frame.x - 16, y: y(w) + 5, class: "xi-tick" }, w);
  draw("text", { x: frame.x + frame.width / 2, y: frame.y + frame.height + 42, class: "xi-name" }, "α");
  draw("text", { x: 12, y: frame.y + frame.height / 2, class: "xi-name" }, "w");
  draw("text", { x: x(optimum[0]), y: y(optimum[1]) + 9, class: "xi-star" }, "★");
  const path = draw("polyline", { class: "xi-path" });
  const rest = draw("circle", { r: 9, class: "xi-rest" });
  const start = draw("rect", { width: 11, height: 11, class: "xi-start" });
  const end = draw("circle", { r: 5, class: "xi-end" });

  function show() {
    const run = runs[range.value];
    const first = run.path[0], last = run.path[run.path.length - 1];
    path.setAttribute("points", points(run.path));
    rest.setAttribute("cx", x(run.rest));
    rest.setAttribute("cy", y(run.rest));
    start.setAttribute("x", x(first[0]) - 5.5);
    start.setAttribute("y", y(first[1]) - 5.5);
    end.setAttribute("cx", x(last[0]));
    end.setAttribute("cy", y(last[1]));
    document.getElementById("xi-value").textContent = run.xi.toFixed(2);
    document.getElementById("xi-words").textContent = run.words;
    range.setAttribute("aria-valuetext", `ξ = ${run.xi.toFixed(2)}`);
  }

  range.addEventListener("input", show);
  show();
})();
