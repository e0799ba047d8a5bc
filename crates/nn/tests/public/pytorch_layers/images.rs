//! The layers on sequences, images and volumes of the cases, and those of two
//! inputs.

use dendra_nn::autograd::Var;
use dendra_nn::tensor::{Float, InterpolateMode, Ops, Result, Rng};
use dendra_nn::{
    AdaptiveAvgPool, AdaptiveMaxPool, AlphaDropout, AvgPool, BatchNorm3d, Bilinear, ChannelShuffle,
    CircularPad, ConstantPad, Conv, ConvTranspose, CosineSimilarity, Dropout1d, Dropout2d,
    Dropout3d, Fold, InstanceNorm, LPPool, LocalResponseNorm, Margins, MaxPool, MaxUnpool, Module,
    Padding, PaddingMode, PairwiseDistance, Parameters, PixelShuffle, PixelUnshuffle,
    ReflectionPad, ReplicationPad, Sizes, Unflatten, Unfold, Upsample, ZeroPad,
};
use serde_json::Value;

use crate::fixtures::Settings;

/// The layer of this name, if there is one.
pub(crate) fn layer<T: Float>(
    name: &str,
    settings: &Settings,
) -> Result<Option<Box<dyn Module<T>>>> {
    let rng = &mut Rng::seed(0);
    let size = |name| settings.integer(name) as usize;
    let number = |name| settings.number(name);
    Ok(Some(match name {
        "Conv1d" => Box::new(conv::<T, 1>(settings, rng)?),
        "Conv2d" => Box::new(conv::<T, 2>(settings, rng)?),
        "Conv3d" => Box::new(conv::<T, 3>(settings, rng)?),
        "ConvTranspose1d" => Box::new(conv_transpose::<T, 1>(settings, rng)?),
        "ConvTranspose2d" => Box::new(conv_transpose::<T, 2>(settings, rng)?),
        "ConvTranspose3d" => Box::new(conv_transpose::<T, 3>(settings, rng)?),
        "BatchNorm3d" => Box::new(BatchNorm3d::new(size("num_features")).init_as(rng)?),
        "InstanceNorm1d" => Box::new(instance_norm::<T, 1>(settings, rng)?),
        "InstanceNorm2d" => Box::new(instance_norm::<T, 2>(settings, rng)?),
        "InstanceNorm3d" => Box::new(instance_norm::<T, 3>(settings, rng)?),
        name if name.ends_with("Pad1d") => padding::<T, 1>(name, settings),
        name if name.ends_with("Pad2d") => padding::<T, 2>(name, settings),
        name if name.ends_with("Pad3d") => padding::<T, 3>(name, settings),
        "Upsample" => Box::new(upsample(settings)),
        "MaxPool1d" => Box::new(max_pool::<1>(settings)),
        "MaxPool3d" => Box::new(max_pool::<3>(settings)),
        "AvgPool1d" => Box::new(avg_pool::<1>(settings)),
        "AvgPool2d" => Box::new(avg_pool::<2>(settings)),
        "AvgPool3d" => Box::new(avg_pool::<3>(settings)),
        name @ ("IndexedMaxPool" | "MaxUnpool") => {
            let unpool = name == "MaxUnpool";
            match settings.sizes("kernel_size").len() {
                1 => Box::new(placed::<1>(settings, unpool)),
                2 => Box::new(placed::<2>(settings, unpool)),
                _ => Box::new(placed::<3>(settings, unpool)),
            }
        }
        "LPPool1d" => Box::new(lp_pool::<1>(settings)),
        "LPPool2d" => Box::new(lp_pool::<2>(settings)),
        "LPPool3d" => Box::new(lp_pool::<3>(settings)),
        "LocalResponseNorm" => {
            let layer = LocalResponseNorm::new(size("size")).alpha(number("alpha"));
            Box::new(layer.beta(number("beta")).k(number("k")))
        }
        "AdaptiveAvgPool3d" => {
            Box::new(AdaptiveAvgPool::<3>::new(sizes::<3>(settings, "output_size")))
        }
        "AdaptiveMaxPool3d" => {
            Box::new(AdaptiveMaxPool::<3>::new(sizes::<3>(settings, "output_size")))
        }
        "AdaptiveAvgPool1d" => {
            Box::new(AdaptiveAvgPool::<1>::new(sizes::<1>(settings, "output_size")))
        }
        "AdaptiveAvgPool2d" => {
            Box::new(AdaptiveAvgPool::<2>::new(sizes::<2>(settings, "output_size")))
        }
        "AdaptiveMaxPool1d" => {
            Box::new(AdaptiveMaxPool::<1>::new(sizes::<1>(settings, "output_size")))
        }
        "AdaptiveMaxPool2d" => {
            Box::new(AdaptiveMaxPool::<2>::new(sizes::<2>(settings, "output_size")))
        }
        "PixelShuffle" => Box::new(PixelShuffle::new(size("upscale_factor"))),
        "ChannelShuffle" => Box::new(ChannelShuffle::new(size("groups"))),
        "PixelUnshuffle" => Box::new(PixelUnshuffle::new(size("downscale_factor"))),
        "Unfold" => Box::new(
            Unfold::new(settings.pair("kernel_size"))
                .stride(settings.pair("stride"))
                .padding(settings.pair("padding"))
                .dilation(settings.pair("dilation")),
        ),
        "Fold" => Box::new(
            Fold::new(settings.pair("output_size"), settings.pair("kernel_size"))
                .stride(settings.pair("stride"))
                .padding(settings.pair("padding"))
                .dilation(settings.pair("dilation")),
        ),
        "Unflatten" => {
            Box::new(Unflatten::new(settings.integer("dim"), settings.sizes("unflattened_size")))
        }
        "Dropout1d" => Box::new(Dropout1d::new(number("p"))?),
        "Dropout2d" => Box::new(Dropout2d::new(number("p"))?),
        "Dropout3d" => Box::new(Dropout3d::new(number("p"))?),
        "AlphaDropout" => Box::new(AlphaDropout::new(number("p"))?),
        "Bilinear" => {
            let (in1, in2) = (size("in1_features"), size("in2_features"));
            let layer = Bilinear::new(in1, in2, size("out_features"));
            Box::new(Pairing(layer.bias(settings.flag("bias")).init_as(rng)?))
        }
        "CosineSimilarity" => Box::new(Comparing::Cosine(
            CosineSimilarity::new(settings.integer("dim")).eps(number("eps")),
        )),
        "PairwiseDistance" => {
            Box::new(Comparing::Distance(PairwiseDistance::new(number("p")).eps(number("eps"))))
        }
        _ => return Ok(None),
    }))
}

fn sizes<const D: usize>(settings: &Settings, name: &str) -> Sizes<D> {
    Sizes(settings.sizes(name).try_into().unwrap())
}

fn conv<T: Float, const D: usize>(settings: &Settings, rng: &mut Rng) -> Result<Conv<T, D>> {
    let channels = |name| settings.integer(name) as usize;
    let kernel_size = sizes::<D>(settings, "kernel_size");
    let padding = match settings.setting("padding") {
        Value::String(text) if text == "same" => Padding::Same,
        Value::String(text) if text == "valid" => Padding::Valid,
        _ => Padding::Zeros(sizes::<D>(settings, "padding")),
    };
    let padding_mode = match settings.find_setting("padding_mode").and_then(Value::as_str) {
        Some("reflect") => PaddingMode::Reflect,
        Some("replicate") => PaddingMode::Replicate,
        Some("circular") => PaddingMode::Circular,
        _ => PaddingMode::Zeros,
    };
    Conv::new(channels("in_channels"), channels("out_channels"), kernel_size)
        .stride(sizes::<D>(settings, "stride"))
        .padding(padding)
        .padding_mode(padding_mode)
        .dilation(sizes::<D>(settings, "dilation"))
        .groups(channels("groups"))
        .bias(settings.flag("bias"))
        .init_as(rng)
}

fn instance_norm<T: Float, const D: usize>(
    settings: &Settings,
    rng: &mut Rng,
) -> Result<InstanceNorm<T, D>> {
    let mut layer = InstanceNorm::new(settings.integer("num_features") as usize);
    if let Some(affine) = settings.find_setting("affine").and_then(Value::as_bool) {
        layer = layer.affine(affine);
    }
    layer = layer.bias(settings.find_setting("bias").is_none());
    if let Some(eps) = settings.find_setting("eps").and_then(Value::as_f64) {
        layer = layer.eps(eps);
    }
    if settings.find_setting("track_running_stats").is_some() {
        layer = layer.track_running_stats(true).momentum(settings.number("momentum"));
    }
    layer.init_as(rng)
}

fn padding<T: Float, const D: usize>(name: &str, settings: &Settings) -> Box<dyn Module<T>> {
    let all = settings.integers("padding");
    let margins = Margins::<D>(std::array::from_fn(|axis| [all[2 * axis], all[2 * axis + 1]]));
    match name.split_once("Pad").unwrap().0 {
        "Zero" => Box::new(ZeroPad::new(margins)),
        "Constant" => Box::new(ConstantPad::new(margins, settings.number("value"))),
        "Reflection" => Box::new(ReflectionPad::new(margins)),
        "Replication" => Box::new(ReplicationPad::new(margins)),
        "Circular" => Box::new(CircularPad::new(margins)),
        other => panic!("what is {other}?"),
    }
}

fn max_pool<const D: usize>(settings: &Settings) -> MaxPool<D> {
    let layer = MaxPool::new(sizes::<D>(settings, "kernel_size"))
        .stride(sizes::<D>(settings, "stride"))
        .padding(sizes::<D>(settings, "padding"))
        .ceil_mode(settings.flag("ceil_mode"));
    match settings.find_setting("dilation") {
        Some(_) => layer.dilation(sizes::<D>(settings, "dilation")),
        None => layer,
    }
}

fn avg_pool<const D: usize>(settings: &Settings) -> AvgPool<D> {
    let layer = AvgPool::new(sizes::<D>(settings, "kernel_size"))
        .stride(sizes::<D>(settings, "stride"))
        .padding(sizes::<D>(settings, "padding"))
        .ceil_mode(settings.flag("ceil_mode"));
    let layer = match settings.find_setting("count_include_pad").and_then(Value::as_bool) {
        Some(counts) => layer.count_include_pad(counts),
        None => layer,
    };
    match settings.find_setting("divisor_override").and_then(Value::as_u64) {
        Some(divisor) => layer.divisor_override(divisor as usize),
        None => layer,
    }
}

fn lp_pool<const D: usize>(settings: &Settings) -> LPPool<D> {
    LPPool::new(settings.number("norm_type"), sizes::<D>(settings, "kernel_size"))
        .stride(sizes::<D>(settings, "stride"))
        .ceil_mode(settings.flag("ceil_mode"))
}

fn upsample(settings: &Settings) -> Upsample {
    let layer = match settings.find_setting("scale_factor") {
        None => Upsample::size(settings.sizes("size")),
        Some(Value::Array(factors)) => {
            let factors = factors.iter().map(|factor| factor.as_f64().unwrap());
            Upsample::scale_factors(factors.collect::<Vec<_>>())
        }
        Some(factor) => Upsample::scale_factor(factor.as_f64().unwrap()),
    };
    let flag = |name| settings.find_setting(name).and_then(Value::as_bool).unwrap_or(false);
    let layer = layer.recompute_scale_factor(flag("recompute_scale_factor"));
    layer.align_corners(flag("align_corners")).mode(match settings.text("mode") {
        "nearest" => InterpolateMode::Nearest,
        "nearest-exact" => InterpolateMode::NearestExact,
        "bicubic" => InterpolateMode::Cubic,
        _ => InterpolateMode::Linear,
    })
}

fn conv_transpose<T: Float, const D: usize>(
    settings: &Settings,
    rng: &mut Rng,
) -> Result<ConvTranspose<T, D>> {
    let channels = |name| settings.integer(name) as usize;
    let kernel_size = sizes::<D>(settings, "kernel_size");
    ConvTranspose::new(channels("in_channels"), channels("out_channels"), kernel_size)
        .stride(sizes::<D>(settings, "stride"))
        .padding(sizes::<D>(settings, "padding"))
        .output_padding(sizes::<D>(settings, "output_padding"))
        .dilation(sizes::<D>(settings, "dilation"))
        .groups(channels("groups"))
        .bias(settings.flag("bias"))
        .init_as(rng)
}

/// A bilinear layer of two inputs that lie side by side.
#[derive(Parameters)]
#[parameters(crate = dendra_nn)]
struct Pairing<T: Float>(#[parameters(flatten)] Bilinear<T>);

impl<T: Float> Module<T> for Pairing<T> {
    fn forward(&self, x: &Var<T>) -> Result<Var<T>> {
        let [in1, in2] = [1, 2].map(|axis| self.0.weight.value().shape()[axis]);
        self.0.forward(&x.narrow(-1, 0, in1)?, &x.narrow(-1, in1, in2)?)
    }
}

/// A comparison of two inputs that lie side by side.
#[derive(Parameters)]
#[parameters(crate = dendra_nn)]
enum Comparing {
    Cosine(#[parameters(skip)] CosineSimilarity),
    Distance(#[parameters(skip)] PairwiseDistance),
}

impl<T: Float> Module<T> for Comparing {
    fn forward(&self, x: &Var<T>) -> Result<Var<T>> {
        let half = x.shape().last().unwrap() / 2;
        let (a, b) = (x.narrow(-1, 0, half)?, x.narrow(-1, half, half)?);
        match self {
            Self::Cosine(layer) => layer.forward(&a, &b),
            Self::Distance(layer) => layer.forward(&a, &b),
        }
    }
}

/// A pooling, and what becomes of its maxima: they go back to where they were,
/// or are multiplied by their indices.
#[derive(Parameters)]
#[parameters(crate = dendra_nn)]
struct Placed<const D: usize> {
    #[parameters(skip)]
    pool: MaxPool<D>,
    #[parameters(skip)]
    unpool: Option<MaxUnpool<D>>,
}

fn placed<const D: usize>(settings: &Settings, back: bool) -> Placed<D> {
    let unpool = || {
        MaxUnpool::new(sizes::<D>(settings, "kernel_size"))
            .stride(sizes::<D>(settings, "stride"))
            .padding(sizes::<D>(settings, "padding"))
    };
    Placed { pool: max_pool(settings), unpool: back.then(unpool) }
}

impl<T: Float, const D: usize> Module<T> for Placed<D> {
    fn forward(&self, x: &Var<T>) -> Result<Var<T>> {
        let (y, indices) = self.pool.forward_with_indices(x)?;
        match &self.unpool {
            Some(unpool) => {
                let size = x.shape()[2..].try_into().unwrap();
                unpool.forward(&y, &indices, Some(size))
            }
            None => y.mul(&Var::new(indices.cast())),
        }
    }
}
