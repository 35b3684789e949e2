// Runs beside the page of notebook 01, in a worker: a reader's endless loop stops this, not the page.
// docs/static/toy_page.js puts it into an async function, below MicroPython's own loadMicroPython and
// INSIDE, the WebAssembly and the Python files.
let said = [];
const python = await loadMicroPython({
  url: INSIDE.wasm,
  heapsize: 2 ** 24,
  pystack: 2 ** 17, // words: descend gives zip a place for each of its steps
  stdout: (line) => said.push(line),
});
for (const [path, text] of Object.entries(INSIDE.files)) {
  python.FS.mkdirTree(path.slice(0, path.lastIndexOf("/")) || "/");
  python.FS.writeFile(path, text);
}
python.runPython("import stand_ins");
const answers = python.pyimport("answers");
onmessage = ({ data }) => {
  said = [];
  const answer = JSON.parse(answers.reply(JSON.stringify(data)));
  postMessage({ answer, said: said.join("\n") });
};
postMessage("ready");
