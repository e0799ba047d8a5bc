//! Vision Transformer.

use dendra_autograd::{Param, Var};
use dendra_derive::Setters;
use dendra_nn::{
    Conv2d, Dropout, Fans, Init, LayerNorm, Linear, Module, MultiheadAttention, Parameters, Source,
};
use dendra_tensor::{Error, Ops, Result};

use crate::activation::Activation;
use crate::build::{builds, check_layers, check_sizes, normal, truncated_normal};
use crate::chain::Chain;

/// A transformer on patches of an image (Dosovitskiy et al., "An image is worth
/// 16x16 words", 2020), with torchvision's parameter names.
///
/// The input has the shape `[N, 3, image_size, image_size]`, the output `[N,
/// num_classes]`.
#[derive(Clone, Debug, Parameters)]
#[parameters(crate = dendra_nn)]
pub struct VisionTransformer {
    /// The class token, which precedes the patches, `[1, 1, hidden_dim]`.
    pub class_token: Param,
    /// The convolution from patches to vectors.
    pub conv_proj: Conv2d,
    /// The blocks.
    pub encoder: VitEncoder,
    /// The classifier, as step `head`.
    pub heads: Chain,
    #[parameters(skip)]
    image_size: usize,
}

/// The position embedding and the blocks of a [`VisionTransformer`].
#[derive(Clone, Debug, Parameters)]
#[parameters(crate = dendra_nn)]
pub struct VitEncoder {
    /// The position embedding, `[1, patches + 1, hidden_dim]`.
    pub pos_embedding: Param,
    /// The blocks, `encoder_layer_0` and so on.
    pub layers: Chain,
    /// The final normalisation.
    pub ln: LayerNorm,
    #[parameters(skip)]
    dropout: Dropout,
}

#[derive(Clone, Debug, Parameters)]
#[parameters(crate = dendra_nn)]
struct Block {
    ln_1: LayerNorm,
    self_attention: MultiheadAttention,
    ln_2: LayerNorm,
    mlp: Chain,
    #[parameters(skip)]
    dropout: Dropout,
}

/// The settings of a [`VisionTransformer`].
#[derive(Clone, Debug, Setters)]
pub struct VisionTransformerSettings {
    patch_size: usize,
    num_layers: usize,
    num_heads: usize,
    hidden_dim: usize,
    mlp_dim: usize,
    /// The height and width of an image.
    #[set(default = 224)]
    image_size: usize,
    /// The number of classes.
    #[set(default = 1000)]
    num_classes: usize,
    /// The width of a linear layer before the last, with tanh; there is none by
    /// default.
    #[set]
    representation_size: Option<usize>,
    /// The dropout probability.
    #[set(default = 0.0)]
    dropout: f64,
    /// The dropout probability of attention weights.
    #[set(default = 0.0)]
    attention_dropout: f64,
}

builds!(VisionTransformerSettings => VisionTransformer);

/// Published networks.
impl VisionTransformer {
    /// Settings of a network with this patch size, number of blocks, number of
    /// heads, width, and width of the feed-forward network.
    pub fn new(
        patch_size: usize,
        num_layers: usize,
        num_heads: usize,
        hidden_dim: usize,
        mlp_dim: usize,
    ) -> VisionTransformerSettings {
        VisionTransformerSettings::with_defaults(
            patch_size, num_layers, num_heads, hidden_dim, mlp_dim,
        )
    }

    /// ViT-B/16.
    pub fn vit_b_16() -> VisionTransformerSettings {
        Self::new(16, 12, 12, 768, 3072)
    }

    /// ViT-B/32.
    pub fn vit_b_32() -> VisionTransformerSettings {
        Self::new(32, 12, 12, 768, 3072)
    }

    /// ViT-L/16.
    pub fn vit_l_16() -> VisionTransformerSettings {
        Self::new(16, 24, 16, 1024, 4096)
    }

    /// ViT-L/32.
    pub fn vit_l_32() -> VisionTransformerSettings {
        Self::new(32, 24, 16, 1024, 4096)
    }

    /// ViT-H/14.
    pub fn vit_h_14() -> VisionTransformerSettings {
        Self::new(14, 32, 16, 1280, 5120)
    }
}

const EPS: f64 = 1e-6;

impl VisionTransformerSettings {
    fn assemble(&self, source: &mut Source<'_>) -> Result<VisionTransformer> {
        let &Self { patch_size, num_heads, hidden_dim, mlp_dim, image_size, .. } = self;
        check_sizes(
            "VisionTransformer",
            &[
                ("patch_size", patch_size),
                ("num_heads", num_heads),
                ("hidden_dim", hidden_dim),
                ("mlp_dim", mlp_dim),
                ("image_size", image_size),
                ("num_classes", self.num_classes),
                ("representation_size", self.representation_size.unwrap_or(1)),
            ],
        )?;
        check_layers("VisionTransformer", "num_layers", self.num_layers)?;
        if !image_size.is_multiple_of(patch_size) {
            let message =
                format!("image_size {image_size} is not a multiple of patch_size {patch_size}");
            return Err(Error::argument("VisionTransformer", message));
        }
        let none = Fans { fan_in: 1, fan_out: 1 };
        let context = &"VisionTransformer";
        let class_token = source.param(Init::Zeros, [1, 1, hidden_dim], none, context)?;
        let fan_in = (3 * patch_size * patch_size) as f64;
        let conv_proj = Conv2d::new(3, hidden_dim, patch_size).stride(patch_size);
        let conv_proj = conv_proj.weight_init(truncated_normal(fan_in.recip().sqrt()));
        let conv_proj = conv_proj.bias_init(Init::Zeros).init_from(source)?;
        let positions = (image_size / patch_size).pow(2) + 1;
        let pos_embedding =
            source.param(normal(0.02), [1, positions, hidden_dim], none, context)?;
        let mut layers = Chain::new();
        for index in 0..self.num_layers {
            layers.push_named(format!("encoder_layer_{index}"), self.block(source)?);
        }
        let ln = LayerNorm::new([hidden_dim]).eps(EPS).init_from(source)?;
        let dropout = Dropout::new(self.dropout)?;
        let encoder = VitEncoder { pos_embedding, layers, ln, dropout };
        let mut heads = Chain::new();
        let mut width = hidden_dim;
        if let Some(size) = self.representation_size {
            let init = truncated_normal((width as f64).recip().sqrt());
            let dense = Linear::new(width, size).weight_init(init).bias_init(Init::Zeros);
            heads.push_named("pre_logits", dense.init_from(source)?);
            heads.push_named("act", Activation::Tanh);
            width = size;
        }
        let head = Linear::new(width, self.num_classes).weight_init(Init::Zeros);
        heads.push_named("head", head.bias_init(Init::Zeros).init_from(source)?);
        Ok(VisionTransformer { class_token, conv_proj, encoder, heads, image_size })
    }

    fn block(&self, source: &mut Source<'_>) -> Result<Block> {
        let &Self { hidden_dim, mlp_dim, .. } = self;
        let norm =
            |source: &mut Source<'_>| LayerNorm::new([hidden_dim]).eps(EPS).init_from(source);
        let dropout = Dropout::new(self.dropout)?;
        let dense = |input, output| {
            let init = Init::XavierUniform { gain: 1.0 };
            Linear::new(input, output).weight_init(init).bias_init(normal(1e-6))
        };
        let attention = MultiheadAttention::new(hidden_dim, self.num_heads).batch_first(true);
        Ok(Block {
            ln_1: norm(source)?,
            self_attention: attention.dropout(self.attention_dropout).init_from(source)?,
            ln_2: norm(source)?,
            mlp: Chain::new()
                .then(dense(hidden_dim, mlp_dim).init_from(source)?)
                .then(Activation::GELU)
                .then(dropout)
                .then(dense(mlp_dim, hidden_dim).init_from(source)?)
                .then(dropout),
            dropout,
        })
    }
}

impl Module for Block {
    fn forward(&self, x: &Var) -> Result<Var> {
        let y = self.self_attention.forward(&self.ln_1.forward(x)?)?;
        let x = self.dropout.forward(&y)?.add(x)?;
        self.mlp.forward(&self.ln_2.forward(&x)?)?.add(&x)
    }
}

impl Module for VitEncoder {
    fn forward(&self, x: &Var) -> Result<Var> {
        let x = self.dropout.forward(&x.add(&self.pos_embedding.on(x))?)?;
        self.ln.forward(&self.layers.forward(&x)?)
    }
}

impl Module for VisionTransformer {
    fn forward(&self, x: &Var) -> Result<Var> {
        let size = self.image_size;
        let &[samples, 3, height, width] = &x.shape()[..] else {
            let message = format!("expected [N, 3, {size}, {size}], got {}", x.shape());
            return Err(Error::shape("VisionTransformer", message));
        };
        if [height, width] != [size; 2] {
            let message = format!("expected images of {size}×{size}, got {height}×{width}");
            return Err(Error::shape("VisionTransformer", message));
        }
        let patches = self.conv_proj.forward(x)?.flatten(2, 3)?.transpose(1, 2)?;
        let hidden = patches.shape()[2];
        let class = self.class_token.on(x).broadcast_to([samples, 1, hidden])?;
        let y = self.encoder.forward(&Var::cat(&[&class, &patches], 1)?)?;
        self.heads.forward(&y.narrow(1, 0, 1)?.squeeze(1)?)
    }
}
