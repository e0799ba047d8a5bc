//! The weights of layers as integers, with batch normalisation folded in.

use dendra_nn::{NodeKind, Trace};
use dendra_tensor::{Result, Tensor};

use crate::affine::by_filter;
use crate::layers::{Kind, Layer, epsilon, statistics};

/// The weights of a layer: integers times the unit of each filter.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerWeights {
    /// The integers, of the shape of the layer's weight: one filter for each index
    /// of axis 0.
    pub integers: Tensor<i8>,
    /// The unit of each filter.
    pub scales: Tensor<f32>,
    /// The bias of each filter, with that of a normalisation folded in.
    pub bias: Tensor<f32>,
}

impl LayerWeights {
    pub(crate) fn of(trace: &Trace<f32>, layer: &Layer, most: f32) -> Result<Self> {
        let (weight, bias, shape) = folded(trace, layer);
        let (integers, scales) = by_filter(&weight, shape[0], most);
        let filters = [shape[0]];
        Ok(Self {
            integers: Tensor::from_vec(integers, shape)?,
            scales: Tensor::from_vec(scales, filters)?,
            bias: Tensor::from_vec(bias, filters)?,
        })
    }

    /// The number of filters.
    pub fn filters(&self) -> usize {
        self.scales.len()
    }

    /// The integers in the order in which a kernel multiplies them: the channels
    /// of the first tap of a filter, then those of the next one.
    pub(crate) fn in_order(&self, kind: Kind) -> Vec<i8> {
        let integers = self.integers.to_vec();
        let &[filters, channels, height, width] = &self.integers.shape()[..] else {
            return integers;
        };
        if !matches!(kind, Kind::Convolution(_)) {
            return integers;
        }
        let taps = height * width;
        let mut ordered = Vec::with_capacity(integers.len());
        for filter in 0..filters {
            let filter = &integers[filter * channels * taps..][..channels * taps];
            for tap in 0..taps {
                ordered.extend((0..channels).map(|channel| filter[channel * taps + tap]));
            }
        }
        ordered
    }
}

fn parameter(trace: &Trace<f32>, index: usize) -> Option<&Tensor<f32>> {
    match &trace.nodes()[index].kind {
        NodeKind::Parameter { value, .. } => Some(value),
        _ => None,
    }
}

/// The weight and the bias of a layer, with the normalisation after it folded
/// in, and the shape of the weight.
pub(crate) fn folded(trace: &Trace<f32>, layer: &Layer) -> (Vec<f32>, Vec<f32>, Vec<usize>) {
    let Some(weight) = parameter(trace, layer.weight) else { return Default::default() };
    let shape = weight.shape().to_vec();
    let filters = shape[0];
    let mut values = weight.to_vec();
    let bias = layer.bias.and_then(|bias| parameter(trace, bias));
    let mut bias = bias.map_or_else(|| vec![0.0; filters], Tensor::to_vec);
    let Some(norm) = layer.norm.map(|norm| &trace.nodes()[norm]) else {
        return (values, bias, shape);
    };
    let (Some([mean, variance]), Some(epsilon)) = (statistics(norm), epsilon(norm)) else {
        return (values, bias, shape);
    };
    let of = |index: usize, default: f32| {
        let given = norm.parents.get(index).and_then(|&parent| parameter(trace, parent));
        given.map_or_else(|| vec![default; filters], Tensor::to_vec)
    };
    let (weights, shifts) = (of(1, 1.0), of(2, 0.0));
    let depth = values.len() / filters;
    for (filter, values) in values.chunks_mut(depth).enumerate() {
        let factor = f64::from(weights[filter]) / (variance[filter] + epsilon).sqrt();
        values.iter_mut().for_each(|x| *x = (f64::from(*x) * factor) as f32);
        let centred = (f64::from(bias[filter]) - mean[filter]) * factor;
        bias[filter] = (centred + f64::from(shifts[filter])) as f32;
    }
    (values, bias, shape)
}
