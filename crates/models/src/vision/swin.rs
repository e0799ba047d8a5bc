//! Swin Transformer, versions 1 and 2.

use dendra_autograd::{Param, Var};
use dendra_derive::Setters;
use dendra_nn::{Conv2d, Dropout, Fans, Init, LayerNorm, Linear, Module, Parameters, ReLU, Source};
use dendra_tensor::{Error, Ops, PadMode, Result, Tensor};

use super::global_average;
use crate::activation::Activation;
use crate::build::{builds, check_sizes, truncated_normal};
use crate::chain::Chain;
use crate::stochastic_depth::StochasticDepth;

/// Attention within windows that are shifted from block to block (Liu et al.,
/// "Swin Transformer", 2021, and "Swin Transformer V2", 2022), with
/// torchvision's parameter names.
///
/// The input has the shape `[N, 3, H, W]`, the output `[N, num_classes]`.
/// torchvision's buffers `relative_position_index` and `relative_coords_table`
/// follow from the settings and are not part of the state;
/// [`load_state`](crate::load_state) skips them.
#[derive(Clone, Debug, Parameters)]
#[parameters(crate = dendra_nn)]
pub struct SwinTransformer {
    /// The patch embedding, then the stages with downsampling between them.
    pub features: Chain,
    /// The final normalisation.
    pub norm: LayerNorm,
    /// The classifier of the mean over all positions.
    pub head: Linear,
}

#[derive(Clone, Debug, Parameters)]
#[parameters(crate = dendra_nn)]
struct Block {
    norm1: LayerNorm,
    attn: WindowAttention,
    norm2: LayerNorm,
    mlp: Chain,
    #[parameters(skip)]
    stochastic_depth: StochasticDepth,
}

/// Attention within windows of an image `[N, H, W, C]`, with a bias for each
/// relative position.
#[derive(Clone, Debug, Parameters)]
#[parameters(crate = dendra_nn)]
struct WindowAttention {
    /// Version 1: a row for each relative position.
    relative_position_bias_table: Option<Param>,
    /// Version 2: the temperature of each head.
    logit_scale: Option<Param>,
    qkv: Linear,
    proj: Linear,
    /// Version 2: the network that computes biases from relative positions.
    cpb_mlp: Option<Chain>,
    #[parameters(skip)]
    window: usize,
    #[parameters(skip)]
    shifted: bool,
    #[parameters(skip)]
    num_heads: usize,
}

/// Concatenates four neighbours to one position and reduces them to twice the
/// channels.
#[derive(Clone, Debug, Parameters)]
#[parameters(crate = dendra_nn)]
struct PatchMerging {
    reduction: Linear,
    norm: LayerNorm,
    #[parameters(skip)]
    norm_last: bool,
}

/// Permutes the axes.
#[derive(Clone, Copy, Debug, Parameters)]
#[parameters(crate = dendra_nn, skip)]
struct ChannelsLast;

/// The settings of a [`SwinTransformer`].
#[derive(Clone, Debug, Setters)]
pub struct SwinTransformerSettings {
    embed_dim: usize,
    depths: Vec<usize>,
    num_heads: Vec<usize>,
    /// Whether to use version 2: cosine attention, normalisation after each
    /// part, and biases computed from relative positions.
    #[set(default = false)]
    v2: bool,
    /// The height and width of a window.
    #[set(default = 7)]
    window_size: usize,
    /// The height and width of a patch.
    #[set(default = 4)]
    patch_size: usize,
    /// The number of classes.
    #[set(default = 1000)]
    num_classes: usize,
    /// The probability of dropping the last block. It grows linearly from 0 for
    /// the first block.
    #[set(default = 0.1)]
    stochastic_depth: f64,
    /// The dropout probability within a block.
    #[set(default = 0.0)]
    dropout: f64,
}

builds!(SwinTransformerSettings => SwinTransformer);

/// Published networks.
impl SwinTransformer {
    /// Settings of a network with these numbers of blocks and heads for each
    /// stage. The first stage has `embed_dim` channels, each later one twice
    /// those of the previous one.
    pub fn new<const N: usize>(
        embed_dim: usize,
        depths: [usize; N],
        num_heads: [usize; N],
    ) -> SwinTransformerSettings {
        SwinTransformerSettings::with_defaults(embed_dim, depths.to_vec(), num_heads.to_vec())
    }

    /// Swin-T.
    pub fn swin_t() -> SwinTransformerSettings {
        Self::new(96, [2, 2, 6, 2], [3, 6, 12, 24]).stochastic_depth(0.2)
    }

    /// Swin-S.
    pub fn swin_s() -> SwinTransformerSettings {
        Self::new(96, [2, 2, 18, 2], [3, 6, 12, 24]).stochastic_depth(0.3)
    }

    /// Swin-B.
    pub fn swin_b() -> SwinTransformerSettings {
        Self::new(128, [2, 2, 18, 2], [4, 8, 16, 32]).stochastic_depth(0.5)
    }

    /// SwinV2-T.
    pub fn swin_v2_t() -> SwinTransformerSettings {
        Self::swin_t().v2(true).window_size(8)
    }

    /// SwinV2-S.
    pub fn swin_v2_s() -> SwinTransformerSettings {
        Self::swin_s().v2(true).window_size(8)
    }

    /// SwinV2-B.
    pub fn swin_v2_b() -> SwinTransformerSettings {
        Self::swin_b().v2(true).window_size(8)
    }
}

const NONE: Fans = Fans { fan_in: 1, fan_out: 1 };

/// A linear layer with the initialisation of Swin.
fn dense(input: usize, output: usize) -> dendra_nn::LinearSettings {
    Linear::new(input, output).weight_init(truncated_normal(0.02)).bias_init(Init::Zeros)
}

fn layer_norm(channels: usize, source: &mut Source<'_>) -> Result<LayerNorm> {
    LayerNorm::new([channels]).init_from(source)
}

impl SwinTransformerSettings {
    fn assemble(&self, source: &mut Source<'_>) -> Result<SwinTransformer> {
        check_sizes(
            "SwinTransformer",
            &[
                ("embed_dim", self.embed_dim),
                ("window_size", self.window_size),
                ("patch_size", self.patch_size),
                ("num_classes", self.num_classes),
            ],
        )?;
        let mut channels = self.embed_dim;
        let patches = Conv2d::new(3, channels, self.patch_size).stride(self.patch_size);
        let mut features = Chain::new();
        features.push(
            Chain::new()
                .then(patches.init_from(source)?)
                .then(ChannelsLast)
                .then(layer_norm(channels, source)?),
        );
        let total: usize = self.depths.iter().sum();
        let mut index = 0;
        for (stage, (&depth, &heads)) in self.depths.iter().zip(&self.num_heads).enumerate() {
            if stage > 0 {
                features.push(PatchMerging {
                    reduction: dense(4 * channels, 2 * channels).bias(false).init_from(source)?,
                    norm: layer_norm(if self.v2 { 2 } else { 4 } * channels, source)?,
                    norm_last: self.v2,
                });
                channels *= 2;
            }
            check_sizes("SwinTransformer", &[("channels", channels), ("num_heads", heads)])?;
            if !channels.is_multiple_of(heads) {
                let message = format!("{channels} channels do not divide into {heads} heads");
                return Err(Error::argument("SwinTransformer", message));
            }
            let mut blocks = Chain::new();
            for block in 0..depth {
                let last = total.saturating_sub(1);
                let depth = StochasticDepth::linear(self.stochastic_depth, index, last)?;
                let block = self.block([channels, heads], block % 2 == 1, depth, source)?;
                match self.v2 {
                    false => blocks.push(block),
                    true => blocks.push(BlockV2 { block }),
                }
                index += 1;
            }
            features.push(blocks);
        }
        let norm = layer_norm(channels, source)?;
        let head = dense(channels, self.num_classes).init_from(source)?;
        Ok(SwinTransformer { features, norm, head })
    }

    fn block(
        &self,
        [channels, num_heads]: [usize; 2],
        shifted: bool,
        stochastic_depth: StochasticDepth,
        source: &mut Source<'_>,
    ) -> Result<Block> {
        let window = self.window_size;
        let norm1 = layer_norm(channels, source)?;
        let context = &"SwinTransformer";
        let table = [(2 * window - 1) * (2 * window - 1), num_heads];
        let temperature = Init::Constant(10.0_f64.ln());
        let mut param = |there: bool, init, shape: &[usize]| {
            there.then(|| source.param(init, shape, NONE, context)).transpose()
        };
        let relative_position_bias_table = param(!self.v2, truncated_normal(0.02), &table)?;
        let logit_scale = param(self.v2, temperature, &[num_heads, 1, 1])?;
        let qkv = dense(channels, 3 * channels).init_from(source)?;
        let proj = dense(channels, channels).init_from(source)?;
        let cpb_mlp = match self.v2 {
            false => None,
            true => Some(
                Chain::new()
                    .then(dense(2, 512).init_from(source)?)
                    .then(ReLU)
                    .then(dense(512, num_heads).bias(false).init_from(source)?),
            ),
        };
        let attn = WindowAttention {
            relative_position_bias_table,
            logit_scale,
            qkv,
            proj,
            cpb_mlp,
            window,
            shifted,
            num_heads,
        };
        let dropout = Dropout::new(self.dropout)?;
        let norm2 = layer_norm(channels, source)?;
        let mlp = Chain::new()
            .then(dense(channels, 4 * channels).init_from(source)?)
            .then(Activation::GELU)
            .then(dropout)
            .then(dense(4 * channels, channels).init_from(source)?)
            .then(dropout);
        Ok(Block { norm1, attn, norm2, mlp, stochastic_depth })
    }
}

/// The block of version 2, which normalises the outputs of its parts.
#[derive(Clone, Debug, Parameters)]
#[parameters(crate = dendra_nn)]
struct BlockV2 {
    #[parameters(flatten)]
    block: Block,
}

impl Module for Block {
    fn forward(&self, x: &Var) -> Result<Var> {
        let depth = &self.stochastic_depth;
        let x = depth.forward(&self.attn.forward(&self.norm1.forward(x)?)?)?.add(x)?;
        depth.forward(&self.mlp.forward(&self.norm2.forward(&x)?)?)?.add(&x)
    }
}

impl Module for BlockV2 {
    fn forward(&self, x: &Var) -> Result<Var> {
        let Block { norm1, attn, norm2, mlp, stochastic_depth } = &self.block;
        let x = stochastic_depth.forward(&norm1.forward(&attn.forward(x)?)?)?.add(x)?;
        stochastic_depth.forward(&norm2.forward(&mlp.forward(&x)?)?)?.add(&x)
    }
}

impl Module for ChannelsLast {
    fn forward(&self, x: &Var) -> Result<Var> {
        x.permute(&[0, 2, 3, 1])
    }
}

/// The height and width of `[N, H, W, C]`.
fn size(x: &Var) -> Result<[usize; 2]> {
    match x.shape()[..] {
        [_, height, width, _] => Ok([height, width]),
        _ => {
            let message = format!("expected [N, H, W, C], got {}", x.shape());
            Err(Error::shape("SwinTransformer", message))
        }
    }
}

/// Pads `[N, H, W, C]` with zeros at the bottom and on the right.
fn padded(x: &Var, [down, right]: [usize; 2]) -> Result<Var> {
    if (down, right) == (0, 0) {
        return Ok(x.clone());
    }
    // Starting with the last axis.
    let padding = [[0, 0], [0, right as isize], [0, down as isize]];
    x.pad(&padding, PadMode::Constant(0.0))
}

impl Module for PatchMerging {
    fn forward(&self, x: &Var) -> Result<Var> {
        let x = padded(x, size(x)?.map(|length| length % 2))?;
        let every_second = |row, column| x.slice(1, row, None, 2)?.slice(2, column, None, 2);
        let [a, b] = [every_second(0, 0)?, every_second(1, 0)?];
        let [c, d] = [every_second(0, 1)?, every_second(1, 1)?];
        let x = Var::cat(&[&a, &b, &c, &d], -1)?;
        match self.norm_last {
            false => self.reduction.forward(&self.norm.forward(&x)?),
            true => self.norm.forward(&self.reduction.forward(&x)?),
        }
    }
}

impl WindowAttention {
    /// The bias of each pair of positions in a window, `[1, heads, P, P]`.
    fn bias(&self, x: &Var) -> Result<Var> {
        let (window, side) = (self.window, 2 * self.window - 1);
        let table = match (&self.relative_position_bias_table, &self.cpb_mlp) {
            (Some(table), _) => table.on(x),
            (_, Some(mlp)) => {
                let table = Var::new(relative_coordinates(window));
                // Recorded with x, so that the parameters join its tape.
                let table = match x.tape() {
                    Some(tape) => tape.input(table.into_value()),
                    None => table,
                };
                mlp.forward(&table)?.sigmoid().mul_scalar(16.0)
            }
            _ => return Err(Error::argument("SwinTransformer", "the attention has no biases")),
        };
        let positions = window * window;
        let mut indices = Vec::with_capacity(positions * positions);
        for query in 0..positions {
            for key in 0..positions {
                let down = query / window + window - 1 - key / window;
                let right = query % window + window - 1 - key % window;
                indices.push(down * side + right);
            }
        }
        let bias = table.index_select(0, &indices)?;
        bias.reshape([positions, positions, self.num_heads])?.permute(&[2, 0, 1])?.unsqueeze(0)
    }
}

/// The relative positions of two positions in a window on a logarithmic scale,
/// `[(2·window − 1)², 2]`.
fn relative_coordinates(window: usize) -> Tensor {
    let side = 2 * window - 1;
    Tensor::from_fn([side * side, 2], |index| {
        let position = index / 2;
        let along = if index % 2 == 0 { position / side } else { position % side };
        let distance = along as f32 - (window - 1) as f32;
        let scaled = distance / (window - 1).max(1) as f32 * 8.0;
        scaled.signum() * (scaled.abs() + 1.0).log2() / 3.0 * f32::from(scaled != 0.0)
    })
}

/// −100 for positions of a window that were not neighbours before the shift,
/// `[1, windows, 1, P, P]`.
fn mask([height, width]: [usize; 2], window: usize, shift: [usize; 2]) -> Tensor {
    let region = |position: usize, size: usize, shift: usize| match position {
        _ if position < size - window => 0,
        _ if position < size - shift => 1,
        _ => 2,
    };
    let (across, positions) = (width / window, window * window);
    let windows = height / window * across;
    Tensor::from_fn([1, windows, 1, positions, positions], |index| {
        let (w, pair) = (index / (positions * positions), index % (positions * positions));
        let [a, b] = [pair / positions, pair % positions].map(|p| {
            let row = w / across * window + p / window;
            let column = w % across * window + p % window;
            (region(row, height, shift[0]), region(column, width, shift[1]))
        });
        if a == b { 0.0 } else { -100.0 }
    })
}

impl Module for WindowAttention {
    fn forward(&self, input: &Var) -> Result<Var> {
        let (window, heads) = (self.window, self.num_heads);
        let [height, width] = size(input)?;
        let (samples, channels) = (input.shape()[0], input.shape()[3]);
        let to_multiple = |length: usize| (window - length % window) % window;
        let mut x = padded(input, [to_multiple(height), to_multiple(width)])?;
        let full = size(&x)?;
        // A single window needs no shift.
        let shift = full.map(|length| match self.shifted && length > window {
            true => window / 2,
            false => 0,
        });
        let rolled = |x: &Var, sign: isize| -> Result<Var> {
            let x = if shift[0] > 0 { x.roll(sign * shift[0] as isize, 1)? } else { x.clone() };
            if shift[1] > 0 { x.roll(sign * shift[1] as isize, 2) } else { Ok(x) }
        };
        x = rolled(&x, -1)?;
        let [down, across] = full.map(|length| length / window);
        let (windows, positions) = (down * across, window * window);
        let x = x
            .reshape([samples, down, window, across, window, channels])?
            .permute(&[0, 1, 3, 2, 4, 5])?
            .reshape([samples * windows, positions, channels])?;

        let qkv = match &self.logit_scale {
            None => self.qkv.forward(&x)?,
            Some(_) => x.linear(&self.qkv.weight.on(&x), self.bias_without_keys(&x)?.as_ref())?,
        };
        let qkv = qkv
            .reshape([samples * windows, positions, 3, heads, channels / heads])?
            .permute(&[2, 0, 3, 1, 4])?;
        let part = |index| qkv.narrow(0, index, 1)?.squeeze(0);
        let [q, k, v] = [part(0)?, part(1)?, part(2)?];
        let scores = match &self.logit_scale {
            None => {
                let scale = ((channels / heads) as f64).powf(-0.5);
                q.mul_scalar(scale).matmul(&k.transpose(-1, -2)?)?
            }
            Some(logit_scale) => {
                let [q, k] = [q.normalize(2.0, -1, 1e-12)?, k.normalize(2.0, -1, 1e-12)?];
                let scale = logit_scale.on(&x).clamp_max(100.0_f64.ln()).exp();
                q.matmul(&k.transpose(-1, -2)?)?.mul(&scale)?
            }
        };
        let mut scores = scores.add(&self.bias(&x)?)?;
        if shift != [0, 0] {
            let mask = Var::new(mask(full, window, shift));
            let by_window = [samples, windows, heads, positions, positions];
            let all = [samples * windows, heads, positions, positions];
            scores = scores.reshape(by_window)?.add(&mask)?.reshape(all)?;
        }
        let y = scores.softmax(-1)?.matmul(&v)?;
        let y = y.transpose(1, 2)?.reshape([samples * windows, positions, channels])?;
        let y = self
            .proj
            .forward(&y)?
            .reshape([samples, down, across, window, window, channels])?
            .permute(&[0, 1, 3, 2, 4, 5])?
            .reshape([samples, full[0], full[1], channels])?;
        rolled(&y, 1)?.narrow(1, 0, height)?.narrow(2, 0, width)
    }
}

impl WindowAttention {
    /// The bias of the projection, which is 0 for the keys in version 2.
    fn bias_without_keys(&self, x: &Var) -> Result<Option<Var>> {
        let Some(bias) = &self.qkv.bias else { return Ok(None) };
        let third = bias.value().len() / 3;
        let keys = Tensor::from_fn([3 * third], |index| index / third.max(1) == 1);
        bias.on(x).masked_fill(&keys, 0.0).map(Some)
    }
}

impl Module for SwinTransformer {
    fn forward(&self, x: &Var) -> Result<Var> {
        let x = self.norm.forward(&self.features.forward(x)?)?;
        self.head.forward(&global_average(&x.permute(&[0, 3, 1, 2])?)?)
    }
}
