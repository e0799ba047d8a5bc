// Compares what the modules compute with what Rust computed. The last bits
// differ: x86 fuses products and sums, and WebAssembly does not.
// `node bits.mjs PAGE MODELS`: the folder of the page, and that of the models.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const [page, models] = process.argv.slice(2);
let failures = 0;

/** A module of the page. */
async function load(name) {
  const module = await import(pathToFileURL(join(page, name, "dendra.js")));
  module.initSync({ module: readFileSync(join(page, name, "dendra_bg.wasm")) });
  return module;
}

function floats(name) {
  const bytes = readFileSync(join(models, name));
  return new Float32Array(new Uint8Array(bytes).buffer);
}

function compare(what, found, expected, tolerance) {
  const bits = (values) => new Uint32Array(new Float32Array(values).buffer);
  const [a, b] = [bits(found), bits(expected)];
  const different = a.length === b.length ? a.filter((bit, i) => bit !== b[i]).length : b.length;
  const furthest = Math.max(...Array.from(expected, (value, i) => Math.abs(value - found[i])));
  console.log(`${what}: ${different} of ${b.length} numbers differ, by ${furthest} at most`);
  if (a.length !== b.length || !(furthest <= tolerance)) failures++;
}

function refuses(what, call, message) {
  try {
    call();
  } catch (error) {
    if (String(error).includes(message)) return;
    console.log(`${what}: the message is ${error}`);
  }
  console.log(`${what}: not refused as expected`);
  failures++;
}

const predict = await load("predict");
for (const name of ["linear", "pictures", "functions"]) {
  const network = new predict.Network(readFileSync(join(models, `${name}.safetensors`)));
  compare(name, network.predict(floats(`${name}.input`)), floats(`${name}.output`), 2e-6);
  refuses(name, () => network.predict(new Float32Array(5)), "numbers for each sample");
  network.free();
}
refuses("a file", () => new predict.Network(new Uint8Array(100)), "the model");

const { Builder, Trainer } = await load("train");
const network = new Builder(Uint32Array.of(4)).dense(16).relu().dense(3).build(5);
const trainer = new Trainer(network, true, 0.01, 9);
const [input, target] = [floats("training.input"), floats("training.target")];
const losses = Array.from({ length: 50 }, () => trainer.step(input, target));
compare("training", losses, floats("training.losses"), 1e-4);
process.exit(failures === 0 ? 0 : 1);
