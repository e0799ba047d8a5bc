// Trains a network on two spirals, and tells the page how far it is.

import init, { Builder, Trainer } from "./train/dendra.js";

const [SAMPLES, BATCH, STEPS, EVERY, SIDE] = [400, 100, 3000, 100, 40];

await init();
const { points, labels } = spirals(SAMPLES);
const network = new Builder(Uint32Array.of(2)).dense(32).tanh().dense(32).tanh().dense(2).build(1);
const trainer = new Trainer(network, true, 0.005, 1);
const places = Float32Array.from({ length: 2 * SIDE * SIDE }, (_, index) => {
  const cell = index >> 1;
  const at = index & 1 ? Math.floor(cell / SIDE) : cell % SIDE;
  return ((at + 0.5) / SIDE) * 2.4 - 1.2;
});

let time = 0;
for (let step = 0; step < STEPS; step += EVERY) {
  let sum = 0;
  const begin = performance.now();
  for (let index = 0; index < EVERY; index++) {
    const start = ((step + index) * BATCH) % SAMPLES;
    const end = start + BATCH;
    sum += trainer.step(points.subarray(2 * start, 2 * end), labels.subarray(start, end));
  }
  time += performance.now() - begin;
  const found = trainer.predict(points);
  const right = labels.filter((label, i) => Number(found[2 * i + 1] > found[2 * i]) === label);
  postMessage({
    loss: sum / EVERY,
    steps: trainer.steps,
    rate: (1000 * trainer.steps) / time,
    accuracy: right.length / SAMPLES,
    grid: trainer.probabilities(places).filter((_, index) => index & 1),
    side: SIDE,
    points,
    labels,
    done: trainer.steps >= STEPS,
  });
}

/** Points of two spirals, in turn. */
function spirals(count) {
  const points = new Float32Array(2 * count);
  const labels = new Float32Array(count);
  for (let index = 0; index < count; index++) {
    const [label, along] = [index & 1, (((index >> 1) * 97) % (count >> 1)) / (count >> 1)];
    const angle = along * 3.5 * Math.PI + label * Math.PI;
    const radius = 0.1 + 0.9 * along;
    points.set([radius * Math.cos(angle), radius * Math.sin(angle)], 2 * index);
    labels[index] = label;
  }
  return { points, labels };
}
