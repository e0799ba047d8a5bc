//! A layer with integer weights.

use dendra_tensor::kernels::simd::dispatch;
use dendra_tensor::{Error, Result, Tensor};

use crate::affine::Affine;
use crate::few_bits::FewBits;
use crate::kernels::{
    DepthwiseWeights, Dequantise, Finish, Image, Packed, PerRow, Requantise, Source, Window,
    depthwise, product, quantise, to_channels_first,
};
use crate::layers::{ALL, Kind, Layer};
use crate::values::{Bytes, Slot, With};
use crate::weights::LayerWeights;

/// What a layer computes with.
#[derive(Debug)]
pub(crate) enum Work {
    /// Bytes of known units.
    Static(Static),
    /// Floats that become bytes by the range of each sample.
    Dynamic(Dynamic),
    /// Floats, with weights of few bits.
    FewBits(FewBits, Tensor<f32>),
}

#[derive(Debug)]
pub(crate) struct Static {
    matrix: Matrix,
    pub(crate) input: Affine,
    /// The unit of the output; floats without one.
    pub(crate) output: Option<Affine>,
    /// The bias in the units of the sums.
    pub(crate) bias: Vec<i32>,
    offsets: Vec<i32>,
    scales: Vec<f32>,
}

#[derive(Debug)]
pub(crate) struct Dynamic {
    matrix: Matrix,
    scales: Vec<f32>,
    bias: Vec<f32>,
}

/// The weights in the layout of a kernel.
#[derive(Debug)]
enum Matrix {
    Packed(Packed),
    Depthwise(DepthwiseWeights),
}

impl Matrix {
    fn of(layer: &Layer, weights: &LayerWeights) -> Result<Self> {
        let filters = weights.filters();
        let integers = weights.in_order(layer.kind);
        let depth = integers.len() / filters.max(1);
        Ok(match layer.kind {
            Kind::Depthwise(_) => Self::Depthwise(DepthwiseWeights::new(&integers, filters)?),
            _ => Self::Packed(Packed::new(&integers, filters, depth)?),
        })
    }

    fn sums(&self) -> &[i32] {
        match self {
            Self::Packed(packed) => packed.sums(),
            Self::Depthwise(weights) => weights.sums(),
        }
    }
}

impl Static {
    pub(crate) fn of(
        layer: &Layer,
        weights: &LayerWeights,
        input: Affine,
        output: Option<Affine>,
    ) -> Result<Self> {
        let matrix = Matrix::of(layer, weights)?;
        let units: Vec<f32> = weights.scales.to_vec().iter().map(|x| input.scale * x).collect();
        let bias = weights.bias.to_vec();
        let bias = bias.iter().zip(&units).map(|(bias, unit)| {
            // Sums of products have 31 bits, and so half of the range is left for the bias.
            (bias / unit).round_ties_even().clamp(-1e9, 1e9) as i32
        });
        let bias: Vec<i32> = bias.collect();
        let zero = i32::from(input.zero);
        let offsets = bias.iter().zip(matrix.sums());
        let offsets = offsets.map(|(bias, sum)| bias.wrapping_sub(zero * sum)).collect();
        let scales = match output {
            Some(output) => units.iter().map(|unit| unit / output.scale).collect(),
            None => units,
        };
        Ok(Self { matrix, input, output, bias, offsets, scales })
    }

    fn run(&self, layer: &Layer, slot: &mut Slot) -> Result<Slot> {
        let x = slot.bytes(self.input, layer.kind != Kind::Linear)?;
        let Some(unit) = self.output else {
            let finish =
                Dequantise { offsets: &self.offsets, scales: &self.scales, limits: layer.limits };
            let (data, shape) = self.matrix.apply(layer, x, &finish)?;
            return Ok(Slot::of_floats(in_order(layer.kind, data, shape)?));
        };
        let finish = Requantise {
            offsets: &self.offsets,
            scales: &self.scales,
            zero: unit.zero,
            limits: unit.limits(layer.limits),
        };
        let (data, shape) = self.matrix.apply(layer, x, &finish)?;
        let channels_last = layer.kind != Kind::Linear;
        Ok(Slot::of_bytes(Bytes { data, shape, channels_last, unit }))
    }
}

impl Dynamic {
    pub(crate) fn of(layer: &Layer, weights: &LayerWeights) -> Result<Self> {
        let matrix = Matrix::of(layer, weights)?;
        Ok(Self { matrix, scales: weights.scales.to_vec(), bias: weights.bias.to_vec() })
    }

    fn run(&self, layer: &Layer, slot: &mut Slot) -> Result<Slot> {
        let x = slot.floats()?;
        let samples = x.shape().first().copied().unwrap_or(0);
        let mut outputs: Vec<f32> = Vec::new();
        let mut shape = Vec::new();
        let finish = |units, rows| PerRow {
            samples: units,
            rows,
            weight_sums: self.matrix.sums(),
            scales: &self.scales,
            bias: &self.bias,
            limits: layer.limits,
        };
        let each = x.len().checked_div(samples).unwrap_or(0);
        let units: Vec<(f32, u8)> = x.with(|x| {
            let of = |sample| {
                let [low, high] = range(&x[sample * each..][..each]);
                let unit = Affine::of_range(low, high);
                (unit.scale, unit.zero)
            };
            (0..samples).map(of).collect()
        });
        if layer.kind == Kind::Linear || samples == 0 {
            let mut data = vec![0; x.len()];
            x.with(|x| {
                for (sample, &(scale, zero)) in units.iter().enumerate() {
                    let place = sample * each..(sample + 1) * each;
                    quantise(&x[place.clone()], scale, zero, &mut data[place]);
                }
            });
            let unit = Affine { scale: 1.0, zero: 0 };
            let mut x = Bytes { data, shape: x.shape().to_vec(), channels_last: false, unit };
            x.order(layer.kind != Kind::Linear);
            let width = x.shape.last().copied().unwrap_or(1).max(1);
            let (data, shape) =
                self.matrix.apply(layer, &x, &finish(&units, (each / width).max(1)))?;
            return Ok(Slot::of_floats(in_order(layer.kind, data, shape)?));
        }
        // The padding of a convolution has the zero point of its sample.
        for (sample, (scale, zero)) in units.iter().enumerate() {
            let unit = Affine { scale: *scale, zero: *zero };
            let mut bytes = Bytes::of(&x.index_select(0, &[sample])?, unit);
            bytes.order(true);
            let units = &units[sample..=sample];
            let (data, one) = self.matrix.apply(layer, &bytes, &finish(units, usize::MAX))?;
            outputs.extend(data);
            shape = one;
        }
        shape[0] = samples;
        Ok(Slot::of_floats(in_order(layer.kind, outputs, shape)?))
    }
}

impl Matrix {
    /// The outputs of a layer, and their shape. Images are `[N, H, W, C]` in
    /// memory.
    fn apply<F: Finish>(
        &self,
        layer: &Layer,
        x: &Bytes,
        finish: &F,
    ) -> Result<(Vec<F::Element>, Vec<usize>)> {
        let refuse = || Err(Error::shape("Quantised", format!("a layer got {:?}", x.shape)));
        let (Kind::Convolution(window) | Kind::Depthwise(window)) = layer.kind else {
            let Self::Packed(packed) = self else { return refuse() };
            let Some((&depth, outer)) = x.shape.split_last() else { return refuse() };
            if depth != packed.depth() {
                return refuse();
            }
            let rows: usize = outer.iter().product();
            let mut out = vec![F::Element::default(); rows * packed.columns()];
            product(packed, &Source::Rows(&x.data), finish, &mut out);
            let shape = outer.iter().copied().chain([packed.columns()]).collect();
            return Ok((out, shape));
        };
        let &[samples, channels, height, width] = &x.shape[..] else { return refuse() };
        let Some(output) = window.output([height, width]) else { return refuse() };
        let padding = x.unit.zero;
        let image =
            Image { data: &x.data, size: [height, width], channels, window, output, padding };
        let [rows, columns] = output;
        let count = samples * rows * columns;
        let filters = match self {
            Self::Packed(packed) if packed.depth() == image.depth() => packed.columns(),
            Self::Depthwise(weights) if weights.sums().len() == channels => channels,
            _ => return refuse(),
        };
        let mut out = vec![F::Element::default(); count * filters];
        match self {
            Self::Packed(packed) => {
                // The windows of one pixel are the pixels.
                let is_pixels =
                    window == Window { kernel: [1; 2], stride: [1; 2], padding: [0; 2], ..window };
                let source = match is_pixels {
                    true => Source::Rows(&x.data),
                    false => Source::Windows(image),
                };
                product(packed, &source, finish, &mut out);
            }
            Self::Depthwise(weights) => depthwise(weights, &image, finish, &mut out),
        }
        Ok((out, vec![samples, filters, rows, columns]))
    }
}

impl Work {
    pub(crate) fn run(&self, layer: &Layer, slot: &mut Slot) -> Result<Slot> {
        match self {
            Self::Static(work) => work.run(layer, slot),
            Self::Dynamic(work) => work.run(layer, slot),
            Self::FewBits(weights, bias) => {
                let y = weights.linear(&slot.floats()?, Some(bias))?;
                let [low, high] = layer.limits;
                Ok(Slot::of_floats(match layer.limits == ALL {
                    true => y,
                    false => y.map(|x| x.max(low).min(high)),
                }))
            }
        }
    }
}

/// Floats of a layer in the order of the axes of their shape.
fn in_order(kind: Kind, data: Vec<f32>, shape: Vec<usize>) -> Result<Tensor<f32>> {
    match (kind, &shape[..]) {
        (Kind::Convolution(_) | Kind::Depthwise(_), &[_, channels, height, width]) => {
            let sizes = [channels, height * width];
            Ok(Tensor::build(shape, |out| to_channels_first(&data, sizes, out)))
        }
        _ => Tensor::from_vec(data, shape),
    }
}

/// The least and the largest number, and 0.
fn range(x: &[f32]) -> [f32; 2] {
    const LANES: usize = 16;
    let (mut low, mut high) = ([0.0_f32; LANES], [0.0_f32; LANES]);
    let (whole, rest) = x.as_chunks::<LANES>();
    dispatch(
        #[inline(always)]
        || {
            for x in whole {
                for lane in 0..LANES {
                    low[lane] = if x[lane] < low[lane] { x[lane] } else { low[lane] };
                    high[lane] = if x[lane] > high[lane] { x[lane] } else { high[lane] };
                }
            }
        },
    );
    let all = low.iter().chain(&high).chain(rest);
    all.fold([0.0, 0.0], |[low, high], &x| [low.min(x), high.max(x)])
}
