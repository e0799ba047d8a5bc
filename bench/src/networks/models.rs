//! The networks, as a user of this library writes them.

use dendra::nn::{Attend, FeedForwardActivation, SequentialBuilder};
use dendra::prelude::*;

/// The number of characters in the vocabulary of the text models.
pub(crate) const WORDS: usize = 65;

/// A convolution without bias, and batch norm.
fn conv_norm(to: SequentialBuilder, conv: ConvSettings<2>) -> SequentialBuilder {
    to.layer(conv.bias(false)).batch_norm2d()
}

/// ResNet-18 for small images: 3×3 at first, no pooling (He et al., "Deep residual learning for
/// image recognition", 2016).
pub(crate) fn resnet18(image: [usize; 3], classes: usize) -> SequentialBuilder {
    let stem = Conv2d::lazy(64, 3).padding(1);
    let mut network = conv_norm(Sequential::input(image), stem).relu();
    let mut width = 64;
    for (channels, first_stride) in [(64, 1), (128, 2), (256, 2), (512, 2)] {
        for stride in [first_stride, 1] {
            let block = |block: SequentialBuilder| {
                let first = Conv2d::lazy(channels, 3).stride(stride).padding(1);
                let block = conv_norm(block, first).relu();
                conv_norm(block, Conv2d::lazy(channels, 3).padding(1))
            };
            network = match stride == 1 && width == channels {
                true => network.residual(block),
                false => network.parallel(Parallel::sum().branch(block).branch(|shortcut| {
                    conv_norm(shortcut, Conv2d::lazy(channels, 1).stride(stride))
                })),
            };
            network = network.relu();
            width = channels;
        }
    }
    network.global_avg_pool2d().flatten().dense(classes)
}

/// MobileNetV2 (Sandler et al., "MobileNetV2: inverted residuals and linear bottlenecks", 2018).
pub(crate) fn mobilenet_v2(image: [usize; 3], classes: usize) -> SequentialBuilder {
    let stem = Conv2d::lazy(32, 3).stride(2).padding(1);
    let mut network = conv_norm(Sequential::input(image), stem).relu6();
    let mut width = 32;
    // Expansion, channels, blocks, stride of the first block.
    for (expansion, channels, blocks, first_stride) in [
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    ] {
        for index in 0..blocks {
            let stride = if index == 0 { first_stride } else { 1 };
            let (hidden, is_residual) = (width * expansion, stride == 1 && width == channels);
            let block = |mut block: SequentialBuilder| {
                if expansion > 1 {
                    block = conv_norm(block, Conv2d::lazy(hidden, 1)).relu6();
                }
                let depthwise = Conv2d::lazy(hidden, 3).stride(stride).padding(1).groups(hidden);
                block = conv_norm(block, depthwise).relu6();
                conv_norm(block, Conv2d::lazy(channels, 1))
            };
            network = match is_residual {
                true => network.residual(block),
                false => network.sequential(block),
            };
            width = channels;
        }
    }
    let network = conv_norm(network, Conv2d::lazy(1280, 1)).relu6();
    network.global_avg_pool2d().flatten().dropout(0.2).dense(classes)
}

/// Two hidden layers with batch norm, for regression.
pub(crate) fn perceptron(inputs: usize, hidden: usize) -> SequentialBuilder {
    Sequential::input([inputs])
        .dense(hidden)
        .batch_norm1d()
        .relu()
        .dense(hidden)
        .batch_norm1d()
        .relu()
        .dense(1)
}

/// An LSTM that predicts the next characters.
#[derive(Parameters)]
pub(crate) struct Reader {
    embedding: Embedding,
    lstm: LSTM,
    head: Linear,
}

impl Reader {
    pub(crate) fn new(words: usize, width: usize, layers: usize, rng: &mut Rng) -> Result<Self> {
        Ok(Self {
            embedding: Embedding::new(words, width).init(rng)?,
            lstm: LSTM::new(width, width).num_layers(layers).batch_first(true).init(rng)?,
            head: Linear::new(width, words).init(rng)?,
        })
    }
}

impl Model<Tensor<i64>> for Reader {
    type Output = Var;

    fn run(&self, words: &Tensor<i64>, tape: &Tape) -> Result<Var> {
        let x = self.embedding.lookup(words, Some(tape))?;
        self.head.forward(&self.lstm.forward(&x)?)
    }
}

/// The network of the example `char_gpt`.
#[derive(Parameters)]
pub(crate) struct Gpt {
    tokens: Embedding,
    positions: LearnedPositions,
    blocks: TransformerEncoder,
    head: Linear,
}

impl Gpt {
    pub(crate) fn new(
        layers: usize,
        heads: usize,
        width: usize,
        context: usize,
        rng: &mut Rng,
    ) -> Result<Self> {
        let settings = TransformerEncoderLayer::new(width, heads)
            .dim_feedforward(4 * width)
            .activation(FeedForwardActivation::GELU)
            .dropout(0.0)
            .norm_first(true)
            .batch_first(true);
        let small = Init::Normal { mean: 0.0, std: 0.02 };
        let mut blocks = settings.stack_encoder(layers, rng)?;
        blocks.norm = Some(LayerNorm::new([width]).init(rng)?);
        Ok(Self {
            tokens: Embedding::new(WORDS, width).weight_init(small).init(rng)?,
            positions: LearnedPositions::new(context, width, rng)?,
            blocks,
            head: Linear::new(width, WORDS).bias(false).weight_init(small).init(rng)?,
        })
    }
}

impl Model<Tensor<i64>> for Gpt {
    type Output = Var;

    fn run(&self, words: &Tensor<i64>, tape: &Tape) -> Result<Var> {
        let x = self.positions.forward(&self.tokens.lookup(words, Some(tape))?)?;
        let causal = Attend { is_causal: true, ..Attend::default() };
        self.head.forward(&self.blocks.encode(&x, &causal)?)
    }
}
