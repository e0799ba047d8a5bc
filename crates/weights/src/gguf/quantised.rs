//! Blocks of quantised elements, as ggml defines them (`ggml-quants.c` in
//! <https://github.com/ggml-org/ggml>). The operations are those of the Python
//! package `gguf`, in its order, so that the values have the same bits.

use dendra_tensor::f16;

/// Writes the elements of a block.
type Dequantise = fn(&[u8], &mut [f32]);

/// A kind of blocks.
pub(super) struct Kind {
    number: u32,
    pub(super) name: &'static str,
    /// The number of elements in a block.
    pub(super) elements: usize,
    /// The number of bytes in a block.
    pub(super) bytes: usize,
    /// `None` for kinds that are known but not supported.
    pub(super) dequantise: Option<Dequantise>,
}

impl std::fmt::Debug for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

const fn kind(
    number: u32,
    name: &'static str,
    elements: usize,
    bytes: usize,
    dequantise: Option<Dequantise>,
) -> Kind {
    Kind { number, name, elements, bytes, dequantise }
}

/// All kinds of blocks.
static KINDS: [Kind; 26] = [
    kind(2, "q4_0", 32, 18, Some(q4_0)),
    kind(3, "q4_1", 32, 20, Some(q4_1)),
    kind(6, "q5_0", 32, 22, Some(q5_0)),
    kind(7, "q5_1", 32, 24, Some(q5_1)),
    kind(8, "q8_0", 32, 34, Some(q8_0)),
    kind(9, "q8_1", 32, 40, None),
    kind(10, "q2_k", 256, 84, Some(q2_k)),
    kind(11, "q3_k", 256, 110, Some(q3_k)),
    kind(12, "q4_k", 256, 144, Some(q4_k)),
    kind(13, "q5_k", 256, 176, Some(q5_k)),
    kind(14, "q6_k", 256, 210, Some(q6_k)),
    kind(15, "q8_k", 256, 292, None),
    kind(16, "iq2_xxs", 256, 66, None),
    kind(17, "iq2_xs", 256, 74, None),
    kind(18, "iq3_xxs", 256, 98, None),
    kind(19, "iq1_s", 256, 50, None),
    kind(20, "iq4_nl", 32, 18, None),
    kind(21, "iq3_s", 256, 110, None),
    kind(22, "iq2_s", 256, 82, None),
    kind(23, "iq4_xs", 256, 136, None),
    kind(29, "iq1_m", 256, 56, None),
    kind(34, "tq1_0", 256, 54, None),
    kind(35, "tq2_0", 256, 66, None),
    kind(39, "mxfp4", 32, 17, None),
    kind(40, "nvfp4", 64, 36, None),
    kind(41, "q1_0", 128, 18, None),
];

/// The kind with this number.
pub(super) fn of_number(number: u32) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.number == number)
}

/// A half-precision number.
fn half(bytes: &[u8]) -> f32 {
    f16::from_le_bytes([bytes[0], bytes[1]]).to_f32()
}

/// The lower four bits of all bytes, then the upper four.
fn nibbles(bytes: &[u8]) -> impl Iterator<Item = u8> {
    bytes.iter().map(|byte| byte & 15).chain(bytes.iter().map(|byte| byte >> 4))
}

fn fill(out: &mut [f32], values: impl Iterator<Item = f32>) {
    out.iter_mut().zip(values).for_each(|(out, value)| *out = value);
}

fn q4_0(block: &[u8], out: &mut [f32]) {
    let scale = half(block);
    fill(out, nibbles(&block[2..]).map(|q| scale * (f32::from(q) - 8.0)));
}

fn q4_1(block: &[u8], out: &mut [f32]) {
    let (scale, least) = (half(block), half(&block[2..]));
    fill(out, nibbles(&block[4..]).map(|q| scale * f32::from(q) + least));
}

/// Five-bit numbers: the fifth bits of 32 elements come first.
fn five_bits(bytes: &[u8]) -> impl Iterator<Item = f32> {
    let fifth = u32::from_le_bytes(std::array::from_fn(|i| bytes[i]));
    let value = move |(i, q): (usize, u8)| f32::from(q) + f32::from((fifth >> i & 1) as u8) * 16.0;
    nibbles(&bytes[4..]).enumerate().map(value)
}

fn q5_0(block: &[u8], out: &mut [f32]) {
    let scale = half(block);
    fill(out, five_bits(&block[2..]).map(|q| scale * (q - 16.0)));
}

fn q5_1(block: &[u8], out: &mut [f32]) {
    let (scale, least) = (half(block), half(&block[2..]));
    fill(out, five_bits(&block[4..]).map(|q| scale * q + least));
}

fn q8_0(block: &[u8], out: &mut [f32]) {
    let scale = half(block);
    fill(out, block[2..].iter().map(|&q| f32::from(q as i8) * scale));
}

/// Two bits of element `i` of 256. They are packed in planes: four elements in
/// a byte, 32 bytes apart.
fn two_bits(packed: &[u8], i: usize) -> u8 {
    packed[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3
}

fn q2_k(block: &[u8], out: &mut [f32]) {
    let (scales, packed) = (&block[..16], &block[16..80]);
    let (scale, least) = (half(&block[80..]), half(&block[82..]));
    for (i, out) in out.iter_mut().enumerate() {
        let own = scales[i / 16];
        let (scale, least) = (scale * f32::from(own & 15), least * f32::from(own >> 4));
        *out = scale * f32::from(two_bits(packed, i)) - least;
    }
}

fn q3_k(block: &[u8], out: &mut [f32]) {
    let (mask, packed, scales) = (&block[..32], &block[32..96], &block[96..108]);
    let scale = half(&block[108..]);
    for (i, out) in out.iter_mut().enumerate() {
        let group = i / 16;
        let low = scales[group % 8] >> (group / 8 * 4) & 15;
        let high = scales[8 + group % 4] >> (group / 4 * 2) & 3;
        let own = f32::from(low | high << 4) - 32.0;
        let third = mask[i % 32] >> (i / 32) & 1;
        let q = f32::from(two_bits(packed, i)) - if third == 0 { 4.0 } else { 0.0 };
        *out = scale * own * q;
    }
}

/// The six-bit scale and minimum of a group of 32 elements.
fn scale_and_minimum(scales: &[u8], group: usize) -> (f32, f32) {
    let (scale, least) = if group < 4 {
        (scales[group] & 63, scales[group + 4] & 63)
    } else {
        let (low, i) = (scales[group + 4], group - 4);
        (low & 15 | scales[i] >> 2 & 48, low >> 4 | scales[i + 4] >> 2 & 48)
    };
    (f32::from(scale), f32::from(least))
}

fn q4_k(block: &[u8], out: &mut [f32]) {
    let (scale, least) = (half(block), half(&block[2..]));
    let (scales, packed) = (&block[4..16], &block[16..]);
    for (group, out) in out.chunks_exact_mut(32).enumerate() {
        let (own, own_least) = scale_and_minimum(scales, group);
        let (scale, least) = (scale * own, least * own_least);
        let bytes = &packed[group / 2 * 32..][..32];
        fill(out, bytes.iter().map(|q| scale * f32::from(q >> (group % 2 * 4) & 15) - least));
    }
}

fn q5_k(block: &[u8], out: &mut [f32]) {
    let (scale, least) = (half(block), half(&block[2..]));
    let (scales, fifth, packed) = (&block[4..16], &block[16..48], &block[48..]);
    for (group, out) in out.chunks_exact_mut(32).enumerate() {
        let (own, own_least) = scale_and_minimum(scales, group);
        let (scale, least) = (scale * own, least * own_least);
        let bytes = packed[group / 2 * 32..][..32].iter().zip(fifth);
        let q = |(q, fifth): (&u8, &u8)| q >> (group % 2 * 4) & 15 | (fifth >> group & 1) << 4;
        fill(out, bytes.map(|bytes| scale * f32::from(q(bytes)) - least));
    }
}

fn q6_k(block: &[u8], out: &mut [f32]) {
    let (low, high, scales) = (&block[..128], &block[128..192], &block[192..208]);
    let scale = half(&block[208..]);
    for (i, out) in out.iter_mut().enumerate() {
        let own = f32::from(scales[i / 16] as i8);
        let four = low[i / 128 * 64 + i % 64] >> (i % 128 / 64 * 4) & 15;
        let q = f32::from(four | two_bits(high, i) << 4) - 32.0;
        *out = scale * own * q;
    }
}
