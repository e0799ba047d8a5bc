import init, { Network } from "./predict/dendra.js";
import { toInput } from "./digit.js";

const element = (id) => document.getElementById(id);

await digits();
training();

/** Recognises what is drawn, after every stroke and while it is drawn. */
async function digits() {
  const status = element("digit-status");
  await init();
  const file = await fetch("digits.safetensors");
  if (!file.ok) {
    status.className = "problem";
    status.textContent = "digits.safetensors is not beside this page: it is what an example trains.";
    return;
  }
  const network = new Network(new Uint8Array(await file.arrayBuffer()));
  status.textContent = `a network of ${network.parameterCount} parameters`;

  const canvas = element("digit");
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.strokeStyle = "#fff";
  context.lineWidth = 20;
  context.lineCap = context.lineJoin = "round";
  const bars = Array.from({ length: 10 }, (_, digit) => {
    const row = document.createElement("div");
    row.className = "bar";
    row.innerHTML = `<span>${digit}</span><i></i><span></span>`;
    element("bars").append(row);
    return row;
  });

  const show = () => {
    const side = canvas.width;
    const pixels = context.getImageData(0, 0, side, side).data;
    const ink = Float32Array.from({ length: side * side }, (_, index) => pixels[4 * index] / 255);
    const input = toInput(ink, side);
    if (!input) return;
    const begin = performance.now();
    const found = network.probabilities(input);
    element("time").textContent = `${(performance.now() - begin).toFixed(1)} ms`;
    const best = found.indexOf(Math.max(...found));
    document.body.dataset.digit = best;
    bars.forEach((row, digit) => {
      row.classList.toggle("first", digit === best);
      row.children[1].style.width = `${12 * found[digit]}rem`;
      row.children[2].textContent = `${(100 * found[digit]).toFixed(1)}%`;
    });
  };

  let last = null;
  const at = (event) => [event.offsetX, event.offsetY];
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    last = at(event);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!last) return;
    context.beginPath();
    context.moveTo(...last);
    last = at(event);
    context.lineTo(...last);
    context.stroke();
    show();
  });
  canvas.addEventListener("pointerup", () => (last = null));
  element("clear").addEventListener("click", () => {
    context.clearRect(0, 0, canvas.width, canvas.height);
    delete document.body.dataset.digit;
  });
}

/** Trains in a worker, and draws the loss and the decisions as they come. */
function training() {
  const [button, status] = [element("train"), element("train-status")];
  button.addEventListener("click", () => {
    button.disabled = true;
    const worker = new Worker("worker.js", { type: "module" });
    const losses = [];
    worker.addEventListener("error", (event) => {
      status.className = "problem";
      status.textContent = event.message;
    });
    worker.addEventListener("message", ({ data }) => {
      losses.push(data.loss);
      status.textContent =
        `step ${data.steps}, loss ${data.loss.toFixed(4)}, ` +
        `accuracy ${(100 * data.accuracy).toFixed(1)}%, ${data.rate.toFixed(0)} steps a second`;
      document.body.dataset.accuracy = data.accuracy;
      curve(losses);
      plane(data);
      if (data.done) {
        worker.terminate();
        button.disabled = false;
        document.body.dataset.trained = data.steps;
      }
    });
  });
}

function curve(losses) {
  const { width, height } = element("plot");
  const context = element("plot").getContext("2d");
  context.clearRect(0, 0, width, height);
  context.strokeStyle = "#36c";
  context.beginPath();
  const most = Math.max(...losses);
  losses.forEach((loss, index) => {
    const x = (width * index) / Math.max(1, losses.length - 1);
    context.lineTo(x, height - 5 - ((height - 10) * loss) / most);
  });
  context.stroke();
}

/** The probability of the second spiral as colour, and the points. */
function plane({ grid, side, points, labels }) {
  const canvas = element("plane");
  const context = canvas.getContext("2d");
  const cell = canvas.width / side;
  grid.forEach((probability, index) => {
    const blue = Math.round(255 * probability);
    context.fillStyle = `rgb(${255 - blue / 2} 200 ${128 + blue / 2})`;
    context.fillRect((index % side) * cell, Math.floor(index / side) * cell, cell + 1, cell + 1);
  });
  labels.forEach((label, index) => {
    context.fillStyle = label ? "#00c" : "#c00";
    const place = (value) => ((value + 1.2) / 2.4) * canvas.width;
    context.fillRect(place(points[2 * index]) - 1, place(points[2 * index + 1]) - 1, 3, 3);
  });
}
