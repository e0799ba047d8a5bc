//! The layers, one file each, and the table of those that a
//! [`Sequential`](crate::Sequential) can hold.
//!
//! Shapes are written with the batch axis N first and images as `[N, C, H, W]`.
//! Names, settings and defaults are PyTorch's.

mod activation;
mod adaptive_pool;
mod attention;
mod avg_pool;
mod batch_norm;
mod bilinear;
mod combine;
mod conv;
mod conv_transpose;
mod distance;
mod dropout;
mod embedding;
mod embedding_bag;
mod flatten;
mod fractional_max_pool;
mod group_norm;
mod image;
mod instance_norm;
mod key_value_cache;
mod layer_norm;
mod linear;
mod local_response_norm;
mod lp_pool;
mod max_pool;
mod max_unpool;
mod padding;
mod pixel_shuffle;
mod positions;
mod recurrent;
mod transformer;
mod unflatten;
mod unfold;
mod upsample;

pub use activation::{
    Approximation, CELU, ELU, GELU, GLU, Hardshrink, Hardsigmoid, Hardswish, Hardtanh, Identity,
    LeakyReLU, LogSigmoid, LogSoftmax, Mish, PReLU, PReLUSettings, RReLU, ReLU, ReLU6, SELU, SiLU,
    Sigmoid, Softmax, Softmax2d, Softmin, Softplus, Softshrink, Softsign, Tanh, Tanhshrink,
    Threshold,
};
pub use adaptive_pool::{
    AdaptiveAvgPool, AdaptiveAvgPool1d, AdaptiveAvgPool2d, AdaptiveAvgPool3d, AdaptiveMaxPool,
    AdaptiveMaxPool1d, AdaptiveMaxPool2d, AdaptiveMaxPool3d, GlobalAvgPool, GlobalAvgPool1d,
    GlobalAvgPool2d, GlobalAvgPool3d, GlobalMaxPool, GlobalMaxPool1d, GlobalMaxPool2d,
    GlobalMaxPool3d,
};
pub use attention::{Attend, MultiheadAttention, MultiheadAttentionSettings};
pub use avg_pool::{AvgPool, AvgPool1d, AvgPool2d, AvgPool3d};
pub use batch_norm::{BatchNorm, BatchNorm1d, BatchNorm2d, BatchNorm3d, BatchNormSettings};
pub use bilinear::{Bilinear, BilinearSettings};
pub use combine::{Join, Parallel, ParallelSettings, Residual, ResidualSettings};
pub use conv::{Conv, Conv1d, Conv2d, Conv3d, ConvSettings, Padding, PaddingMode};
pub use conv_transpose::{
    ConvTranspose, ConvTranspose1d, ConvTranspose2d, ConvTranspose3d, ConvTransposeSettings,
};
pub use distance::{CosineSimilarity, PairwiseDistance};
pub use dropout::{AlphaDropout, Dropout, Dropout1d, Dropout2d, Dropout3d, FeatureAlphaDropout};
pub use embedding::{Embedding, EmbeddingSettings};
pub use embedding_bag::{BagMode, EmbeddingBag, EmbeddingBagSettings};
pub use flatten::Flatten;
pub use fractional_max_pool::{FractionalMaxPool, FractionalMaxPool2d, FractionalMaxPool3d};
pub use group_norm::{GroupNorm, GroupNormSettings};
pub use image::{Extents, Pair};
pub use instance_norm::{
    InstanceNorm, InstanceNorm1d, InstanceNorm2d, InstanceNorm3d, InstanceNormSettings,
};
pub use key_value_cache::KeyValueCache;
pub use layer_norm::{LayerNorm, LayerNormSettings, RMSNorm, RMSNormSettings};
pub use linear::{Linear, LinearSettings};
pub use local_response_norm::LocalResponseNorm;
pub use lp_pool::{LPPool, LPPool1d, LPPool2d, LPPool3d};
pub use max_pool::{MaxPool, MaxPool1d, MaxPool2d, MaxPool3d};
pub use max_unpool::{MaxUnpool, MaxUnpool1d, MaxUnpool2d, MaxUnpool3d};
pub use padding::{
    CircularPad, CircularPad1d, CircularPad2d, CircularPad3d, ConstantPad, ConstantPad1d,
    ConstantPad2d, ConstantPad3d, Margins, ReflectionPad, ReflectionPad1d, ReflectionPad2d,
    ReflectionPad3d, ReplicationPad, ReplicationPad1d, ReplicationPad2d, ReplicationPad3d, ZeroPad,
    ZeroPad1d, ZeroPad2d, ZeroPad3d,
};
pub use pixel_shuffle::{ChannelShuffle, PixelShuffle, PixelUnshuffle};
pub use positions::{LearnedPositions, RotaryEmbedding, SinusoidalPositions};
pub use recurrent::{
    CellSettings, GRU, GRUCell, LSTM, LSTMCell, RNN, RNNCell, Recurrent, RecurrentCell,
    RecurrentNonlinearity, RecurrentSettings, RecurrentState, pad_sequence,
};
pub use transformer::{
    Decode, FeedForwardActivation, Transformer, TransformerDecoder, TransformerDecoderLayer,
    TransformerEncoder, TransformerEncoderLayer, TransformerSettings,
};
pub use unflatten::Unflatten;
pub use unfold::{Fold, Unfold};
pub use upsample::Upsample;

use std::fmt;

use dendra_autograd::Var;
use dendra_derive::Parameters;
use dendra_tensor::{Error, Float, Result, Shape};
use serde::{Deserialize, Serialize};

use crate::init::Source;
use crate::module::Module;

/// The settings of a layer: what a network is planned with, and what a file
/// holds. A layer without state is its own settings.
pub(crate) trait Settings {
    /// The layer.
    type Layer<T: Float>: Module<T> + Clone + fmt::Debug + fmt::Display + Send + Sync;

    /// Fills in what the input decides and gives the shape of the output. Both
    /// shapes are without the batch axis.
    ///
    /// # Errors
    ///
    /// When the layer does not take this input, or a setting is wrong.
    fn infer(&mut self, input: &Shape) -> Result<Shape>;

    /// The layer, with new parameters.
    ///
    /// # Errors
    ///
    /// When a setting is wrong or still open.
    fn build<T: Float>(&self, source: &mut Source<'_>) -> Result<Self::Layer<T>>;
}

/// What a layer says whose input size nobody has found out.
fn open_input(kind: &str, setting: &str) -> Error {
    Error::argument(
        kind,
        format!("{setting} is open: only Sequential finds it out; give it to {kind}::new"),
    )
}

/// Gives settings the methods that make the layer.
macro_rules! initialised_by {
    ($settings:ty => $single:ty, any T: $layer:ty $(; $($generics:tt)*)?) => {
        impl<$($($generics)*)?> $settings {
            /// The layer, its parameters drawn from `rng`.
            ///
            /// # Errors
            ///
            /// When a setting is wrong or still open.
            pub fn init(&self, rng: &mut dendra_tensor::Rng) -> dendra_tensor::Result<$single> {
                self.init_as(rng)
            }

            /// As [`init`](Self::init), for any number type.
            ///
            /// # Errors
            ///
            /// When a setting is wrong or still open.
            pub fn init_as<T: dendra_tensor::Float>(
                &self,
                rng: &mut dendra_tensor::Rng,
            ) -> dendra_tensor::Result<$layer> {
                crate::layers::Settings::build(self, &mut crate::init::Source::Random(rng))
            }
        }
    };
}
pub(crate) use initialised_by;

/// A layer without state is its own settings.
macro_rules! own_settings {
    ($layer:ty $({ $($generics:tt)* })?: |$this:ident, $input:ident| $output:expr) => {
        impl$(<$($generics)*>)? crate::layers::Settings for $layer {
            type Layer<T: dendra_tensor::Float> = Self;

            fn infer(
                &mut self,
                $input: &dendra_tensor::Shape,
            ) -> dendra_tensor::Result<dendra_tensor::Shape> {
                let $this = &*self;
                $output
            }

            fn build<T: dendra_tensor::Float>(
                &self,
                _: &mut crate::init::Source<'_>,
            ) -> dendra_tensor::Result<Self> {
                Ok(self.clone())
            }
        }
    };
}
pub(crate) use own_settings;

/// Makes the enums of all layers and of their settings from one row a layer.
macro_rules! layers {
    ($($kind:ident: $settings:ty;)*) => {
        /// The settings of any layer that a [`Sequential`](crate::Sequential)
        /// can hold.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(tag = "kind")]
        #[non_exhaustive]
        pub enum LayerSettings {$(
            #[doc = concat!("[`", stringify!($kind), "`]")]
            $kind($settings),
        )*}

        $(impl From<$settings> for LayerSettings {
            fn from(settings: $settings) -> Self {
                Self::$kind(settings)
            }
        })*

        impl LayerSettings {
            /// The layer's name, as `Conv2d`.
            pub fn kind(&self) -> &'static str {
                match self { $(Self::$kind(_) => stringify!($kind),)* }
            }

            pub(crate) fn infer(&mut self, input: &Shape) -> Result<Shape> {
                match self { $(Self::$kind(settings) => settings.infer(input),)* }
            }

            pub(crate) fn build<T: Float>(&self, source: &mut Source<'_>) -> Result<Layer<T>> {
                Ok(match self {
                    $(Self::$kind(settings) => Layer::$kind(settings.build::<T>(source)?),)*
                })
            }
        }

        /// Any layer that a `Sequential` can hold.
        #[derive(Clone, Debug, Parameters)]
        #[allow(clippy::upper_case_acronyms, clippy::enum_variant_names)]
        pub(crate) enum Layer<T: Float> {$(
            $kind(#[parameters(flatten)] <$settings as Settings>::Layer<T>),
        )*}

        impl<T: Float> Module<T> for Layer<T> {
            fn forward(&self, x: &Var<T>) -> Result<Var<T>> {
                match self { $(Self::$kind(layer) => layer.forward(x),)* }
            }
        }

        impl<T: Float> fmt::Display for Layer<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self { $(Self::$kind(layer) => layer.fmt(f),)* }
            }
        }
    };
}

layers! {
    Linear: LinearSettings;
    Conv1d: ConvSettings<1>;
    Conv2d: ConvSettings<2>;
    Conv3d: ConvSettings<3>;
    ConvTranspose1d: ConvTransposeSettings<1>;
    ConvTranspose2d: ConvTransposeSettings<2>;
    ConvTranspose3d: ConvTransposeSettings<3>;
    BatchNorm1d: BatchNormSettings<1>;
    BatchNorm2d: BatchNormSettings<2>;
    BatchNorm3d: BatchNormSettings<3>;
    MaxPool1d: MaxPool<1>;
    MaxPool2d: MaxPool<2>;
    MaxPool3d: MaxPool<3>;
    AvgPool1d: AvgPool<1>;
    AvgPool2d: AvgPool<2>;
    AvgPool3d: AvgPool<3>;
    FractionalMaxPool2d: FractionalMaxPool<2>;
    FractionalMaxPool3d: FractionalMaxPool<3>;
    LPPool1d: LPPool<1>;
    LPPool2d: LPPool<2>;
    LPPool3d: LPPool<3>;
    AdaptiveAvgPool1d: AdaptiveAvgPool<1>;
    AdaptiveAvgPool2d: AdaptiveAvgPool<2>;
    AdaptiveAvgPool3d: AdaptiveAvgPool<3>;
    AdaptiveMaxPool1d: AdaptiveMaxPool<1>;
    AdaptiveMaxPool2d: AdaptiveMaxPool<2>;
    AdaptiveMaxPool3d: AdaptiveMaxPool<3>;
    GlobalAvgPool1d: GlobalAvgPool<1>;
    GlobalAvgPool2d: GlobalAvgPool<2>;
    GlobalAvgPool3d: GlobalAvgPool<3>;
    GlobalMaxPool1d: GlobalMaxPool<1>;
    GlobalMaxPool2d: GlobalMaxPool<2>;
    GlobalMaxPool3d: GlobalMaxPool<3>;
    ZeroPad1d: ZeroPad<1>;
    ZeroPad2d: ZeroPad<2>;
    ZeroPad3d: ZeroPad<3>;
    ConstantPad1d: ConstantPad<1>;
    ConstantPad2d: ConstantPad<2>;
    ConstantPad3d: ConstantPad<3>;
    ReflectionPad1d: ReflectionPad<1>;
    ReflectionPad2d: ReflectionPad<2>;
    ReflectionPad3d: ReflectionPad<3>;
    ReplicationPad1d: ReplicationPad<1>;
    ReplicationPad2d: ReplicationPad<2>;
    ReplicationPad3d: ReplicationPad<3>;
    CircularPad1d: CircularPad<1>;
    CircularPad2d: CircularPad<2>;
    CircularPad3d: CircularPad<3>;
    Upsample: Upsample;
    PixelShuffle: PixelShuffle;
    PixelUnshuffle: PixelUnshuffle;
    ChannelShuffle: ChannelShuffle;
    Unfold: Unfold;
    Fold: Fold;
    Residual: ResidualSettings;
    Parallel: ParallelSettings;
    LayerNorm: LayerNormSettings;
    RMSNorm: RMSNormSettings;
    GroupNorm: GroupNormSettings;
    InstanceNorm1d: InstanceNormSettings<1>;
    InstanceNorm2d: InstanceNormSettings<2>;
    InstanceNorm3d: InstanceNormSettings<3>;
    LocalResponseNorm: LocalResponseNorm;
    Embedding: EmbeddingSettings;
    EmbeddingBag: EmbeddingBagSettings;
    SinusoidalPositions: SinusoidalPositions;
    LSTM: RecurrentSettings<4>;
    GRU: RecurrentSettings<3>;
    RNN: RecurrentSettings<1>;
    Flatten: Flatten;
    Unflatten: Unflatten;
    Dropout: Dropout;
    Dropout1d: Dropout1d;
    Dropout2d: Dropout2d;
    Dropout3d: Dropout3d;
    AlphaDropout: AlphaDropout;
    FeatureAlphaDropout: FeatureAlphaDropout;
    ReLU: ReLU;
    ReLU6: ReLU6;
    LeakyReLU: LeakyReLU;
    PReLU: PReLUSettings;
    RReLU: RReLU;
    ELU: ELU;
    CELU: CELU;
    SELU: SELU;
    GELU: GELU;
    SiLU: SiLU;
    Mish: Mish;
    Sigmoid: Sigmoid;
    LogSigmoid: LogSigmoid;
    Hardsigmoid: Hardsigmoid;
    Hardswish: Hardswish;
    Tanh: Tanh;
    Hardtanh: Hardtanh;
    Tanhshrink: Tanhshrink;
    Softplus: Softplus;
    Softsign: Softsign;
    Hardshrink: Hardshrink;
    Softshrink: Softshrink;
    Threshold: Threshold;
    Softmax: Softmax;
    Softmax2d: Softmax2d;
    LogSoftmax: LogSoftmax;
    Softmin: Softmin;
    GLU: GLU;
    Identity: Identity;
}
