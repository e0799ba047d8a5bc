// What a network for MNIST expects: the ink scaled to 20 pixels, its centre of
// mass in the middle of 28 × 28, from 0 for paper to 1 for ink.

const SIDE = 28;
const BOX = 20;

/**
 * The input for a square picture of ink: one number from 0 to 1 for each pixel.
 * Null if there is no ink.
 *
 * @param {Float32Array} ink
 * @param {number} side
 * @returns {Float32Array | null}
 */
export function toInput(ink, side) {
  let [left, right, top, bottom] = [side, -1, side, -1];
  for (let y = 0; y < side; y++) {
    for (let x = 0; x < side; x++) {
      if (ink[y * side + x] > 0.5) {
        [left, right] = [Math.min(left, x), Math.max(right, x)];
        [top, bottom] = [Math.min(top, y), Math.max(bottom, y)];
      }
    }
  }
  if (right < 0) return null;
  const longer = Math.max(right - left, bottom - top) + 1;
  const width = Math.max(1, Math.round(((right - left + 1) * BOX) / longer));
  const height = Math.max(1, Math.round(((bottom - top + 1) * BOX) / longer));
  const small = shrink(ink, side, left, top, longer / BOX, width, height);

  let [mass, sumX, sumY] = [0, 0, 0];
  small.forEach((value, index) => {
    mass += value;
    sumX += value * (index % width);
    sumY += value * Math.floor(index / width);
  });
  const shift = (sum, length) =>
    Math.min(SIDE - length, Math.max(0, Math.round(SIDE / 2 - sum / mass)));
  const [right28, down28] = [shift(sumX, width), shift(sumY, height)];
  const input = new Float32Array(SIDE * SIDE);
  small.forEach((value, index) => {
    const [x, y] = [index % width, Math.floor(index / width)];
    input[(y + down28) * SIDE + x + right28] = value;
  });
  return input;
}

/** The means of squares of `step` pixels. */
function shrink(ink, side, left, top, step, width, height) {
  const small = new Float32Array(width * height);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      let [sum, count] = [0, 0];
      const [endY, endX] = [top + (y + 1) * step, left + (x + 1) * step];
      for (let from = Math.floor(top + y * step); from < endY && from < side; from++) {
        for (let at = Math.floor(left + x * step); at < endX && at < side; at++) {
          sum += ink[from * side + at];
          count++;
        }
      }
      small[y * width + x] = count ? sum / count : 0;
    }
  }
  return small;
}
