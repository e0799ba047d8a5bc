//! The table of layer kinds. Each row defines the name of a kind in files and its
//! method of [`SequentialBuilder`].

use dendra_tensor::{Float, Result, Shape};
use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};
use serde::{Serialize, forward_to_deserialize_any};
use serde_json::{Map, Value};

use super::blocks::{ParallelSettings, Residual, ResidualSettings, SequentialSettings};
use super::builder::SequentialBuilder;
use super::plan::{AnyLayer, IntoLayer, LayerPlan};
use crate::init::Source;
use crate::layers::*;
use crate::settings::Settings;

/// Generates the enum of all settings and the methods that add a layer. A row is
///
/// ```text
/// KIND: SETTINGS = METHOD(ARGUMENT: TYPE, …) => the settings that METHOD adds;
/// ```
macro_rules! kinds {
    ($(
        $(#[doc = $doc:literal])*
        $kind:ident: $settings:ty = $method:ident($($argument:ident: $type:ty),*) => $new:expr;
    )*) => {
        /// The settings of a layer of this library.
        #[derive(Clone, Debug, PartialEq, Serialize)]
        #[serde(tag = "kind")]
        #[non_exhaustive]
        pub enum LayerSettings {$(
            #[doc = concat!("[`", stringify!($kind), "`](crate::", stringify!($kind), ")")]
            $kind($settings),
        )*}

        $(impl From<$settings> for LayerSettings {
            fn from(settings: $settings) -> Self {
                Self::$kind(settings)
            }
        }

        impl IntoLayer for $settings {
            fn into_layer(self) -> LayerPlan {
                LayerSettings::$kind(self).into_layer()
            }
        })*

        impl LayerSettings {
            /// The names of all layer kinds.
            pub const KINDS: &[&str] = &[$(stringify!($kind)),*];

            /// Returns the name of the layer kind, such as `Conv2d`.
            pub fn kind(&self) -> &'static str {
                match self { $(Self::$kind(_) => stringify!($kind),)* }
            }

            /// Reads the settings of a kind from their fields.
            pub(super) fn read(
                kind: &str,
                fields: Map<String, Value>,
            ) -> serde_json::Result<Self> {
                match kind {
                    $(stringify!($kind) => {
                        <$settings>::deserialize(Fields(fields)).map(Self::$kind)
                    })*
                    _ => Err(Error::unknown_variant(kind, Self::KINDS)),
                }
            }

            pub(super) fn infer(&mut self, input: &Shape) -> Result<Shape> {
                match self { $(Self::$kind(settings) => settings.infer(input),)* }
            }

            #[inline(never)]
            pub(super) fn build<T: Float>(
                &self,
                source: &mut Source<'_>,
            ) -> Result<Box<dyn AnyLayer<T>>> {
                Ok(match self {
                    $(Self::$kind(settings) => Box::new(settings.build::<T>(source)?),)*
                })
            }
        }

        /// A method for each kind of layer, with PyTorch's defaults. For other
        /// settings use [`layer`](SequentialBuilder::layer), for example
        /// `.layer(Conv2d::lazy(64, 3).padding(1))`. `build` reports all errors.
        impl SequentialBuilder {$(
            #[doc = concat!(
                "Adds a layer of kind [`", stringify!($kind), "`](crate::", stringify!($kind),
                "): `", stringify!($new), "`.",
            )]
            ///
            $(#[doc = $doc])*
            pub fn $method(self, $($argument: $type),*) -> Self {
                self.layer($new)
            }
        )*}
    };
}

impl<'de> Deserialize<'de> for LayerSettings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let mut fields = Map::deserialize(deserializer)?;
        let Some(Value::String(kind)) = fields.remove("kind") else {
            return Err(Error::missing_field("kind"));
        };
        Self::read(&kind, fields).map_err(Error::custom)
    }
}

/// The fields of a struct. The derived implementation of an enum with a tag would compile, for each
/// kind, what reads them from any format, as a map and as a sequence.
struct Fields(Map<String, Value>);

impl<'de> Deserializer<'de> for Fields {
    type Error = serde_json::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> serde_json::Result<V::Value> {
        self.0.deserialize_any(visitor)
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> serde_json::Result<V::Value> {
        match self.0.is_empty() {
            true => visitor.visit_unit(),
            false => Err(Error::invalid_type(Unexpected::Map, &visitor)),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

kinds! {
    /// A fully connected layer, which Keras calls dense.
    Linear: LinearSettings = dense(out_features: usize) => Linear::lazy(out_features);
    Conv1d: ConvSettings<1> = conv1d(out_channels: usize, kernel_size: impl Into<Sizes<1>>)
        => Conv1d::lazy(out_channels, kernel_size);
    Conv2d: ConvSettings<2> = conv2d(out_channels: usize, kernel_size: impl Into<Sizes<2>>)
        => Conv2d::lazy(out_channels, kernel_size);
    Conv3d: ConvSettings<3> = conv3d(out_channels: usize, kernel_size: impl Into<Sizes<3>>)
        => Conv3d::lazy(out_channels, kernel_size);
    ConvTranspose1d: ConvTransposeSettings<1> = conv_transpose1d(
        out_channels: usize,
        kernel_size: impl Into<Sizes<1>>
    ) => ConvTranspose1d::lazy(out_channels, kernel_size);
    ConvTranspose2d: ConvTransposeSettings<2> = conv_transpose2d(
        out_channels: usize,
        kernel_size: impl Into<Sizes<2>>
    ) => ConvTranspose2d::lazy(out_channels, kernel_size);
    ConvTranspose3d: ConvTransposeSettings<3> = conv_transpose3d(
        out_channels: usize,
        kernel_size: impl Into<Sizes<3>>
    ) => ConvTranspose3d::lazy(out_channels, kernel_size);
    BatchNorm1d: BatchNormSettings<1> = batch_norm1d() => BatchNorm1d::lazy();
    BatchNorm2d: BatchNormSettings<2> = batch_norm2d() => BatchNorm2d::lazy();
    BatchNorm3d: BatchNormSettings<3> = batch_norm3d() => BatchNorm3d::lazy();
    MaxPool1d: MaxPool<1> = max_pool1d(kernel_size: impl Into<Sizes<1>>)
        => MaxPool1d::new(kernel_size);
    MaxPool2d: MaxPool<2> = max_pool2d(kernel_size: impl Into<Sizes<2>>)
        => MaxPool2d::new(kernel_size);
    MaxPool3d: MaxPool<3> = max_pool3d(kernel_size: impl Into<Sizes<3>>)
        => MaxPool3d::new(kernel_size);
    AvgPool1d: AvgPool<1> = avg_pool1d(kernel_size: impl Into<Sizes<1>>)
        => AvgPool1d::new(kernel_size);
    AvgPool2d: AvgPool<2> = avg_pool2d(kernel_size: impl Into<Sizes<2>>)
        => AvgPool2d::new(kernel_size);
    AvgPool3d: AvgPool<3> = avg_pool3d(kernel_size: impl Into<Sizes<3>>)
        => AvgPool3d::new(kernel_size);
    FractionalMaxPool2d: FractionalMaxPool<2> = fractional_max_pool2d(
        kernel_size: impl Into<Sizes<2>>,
        output_size: impl Into<Sizes<2>>
    ) => FractionalMaxPool2d::size(kernel_size, output_size);
    FractionalMaxPool3d: FractionalMaxPool<3> = fractional_max_pool3d(
        kernel_size: impl Into<Sizes<3>>,
        output_size: impl Into<Sizes<3>>
    ) => FractionalMaxPool3d::size(kernel_size, output_size);
    LPPool1d: LPPool<1> = lp_pool1d(norm_type: f64, kernel_size: impl Into<Sizes<1>>)
        => LPPool1d::new(norm_type, kernel_size);
    LPPool2d: LPPool<2> = lp_pool2d(norm_type: f64, kernel_size: impl Into<Sizes<2>>)
        => LPPool2d::new(norm_type, kernel_size);
    LPPool3d: LPPool<3> = lp_pool3d(norm_type: f64, kernel_size: impl Into<Sizes<3>>)
        => LPPool3d::new(norm_type, kernel_size);
    AdaptiveAvgPool1d: AdaptiveAvgPool<1> = adaptive_avg_pool1d(output_size: impl Into<Sizes<1>>)
        => AdaptiveAvgPool1d::new(output_size);
    AdaptiveAvgPool2d: AdaptiveAvgPool<2> = adaptive_avg_pool2d(output_size: impl Into<Sizes<2>>)
        => AdaptiveAvgPool2d::new(output_size);
    AdaptiveAvgPool3d: AdaptiveAvgPool<3> = adaptive_avg_pool3d(output_size: impl Into<Sizes<3>>)
        => AdaptiveAvgPool3d::new(output_size);
    AdaptiveMaxPool1d: AdaptiveMaxPool<1> = adaptive_max_pool1d(output_size: impl Into<Sizes<1>>)
        => AdaptiveMaxPool1d::new(output_size);
    AdaptiveMaxPool2d: AdaptiveMaxPool<2> = adaptive_max_pool2d(output_size: impl Into<Sizes<2>>)
        => AdaptiveMaxPool2d::new(output_size);
    AdaptiveMaxPool3d: AdaptiveMaxPool<3> = adaptive_max_pool3d(output_size: impl Into<Sizes<3>>)
        => AdaptiveMaxPool3d::new(output_size);
    GlobalAvgPool1d: GlobalAvgPool<1> = global_avg_pool1d() => GlobalAvgPool1d::new();
    GlobalAvgPool2d: GlobalAvgPool<2> = global_avg_pool2d() => GlobalAvgPool2d::new();
    GlobalAvgPool3d: GlobalAvgPool<3> = global_avg_pool3d() => GlobalAvgPool3d::new();
    GlobalMaxPool1d: GlobalMaxPool<1> = global_max_pool1d() => GlobalMaxPool1d::new();
    GlobalMaxPool2d: GlobalMaxPool<2> = global_max_pool2d() => GlobalMaxPool2d::new();
    GlobalMaxPool3d: GlobalMaxPool<3> = global_max_pool3d() => GlobalMaxPool3d::new();
    ZeroPad1d: ZeroPad<1> = zero_pad1d(padding: impl Into<Margins<1>>) => ZeroPad1d::new(padding);
    ZeroPad2d: ZeroPad<2> = zero_pad2d(padding: impl Into<Margins<2>>) => ZeroPad2d::new(padding);
    ZeroPad3d: ZeroPad<3> = zero_pad3d(padding: impl Into<Margins<3>>) => ZeroPad3d::new(padding);
    ConstantPad1d: ConstantPad<1> = constant_pad1d(padding: impl Into<Margins<1>>, value: f64)
        => ConstantPad1d::new(padding, value);
    ConstantPad2d: ConstantPad<2> = constant_pad2d(padding: impl Into<Margins<2>>, value: f64)
        => ConstantPad2d::new(padding, value);
    ConstantPad3d: ConstantPad<3> = constant_pad3d(padding: impl Into<Margins<3>>, value: f64)
        => ConstantPad3d::new(padding, value);
    ReflectionPad1d: ReflectionPad<1> = reflection_pad1d(padding: impl Into<Margins<1>>)
        => ReflectionPad1d::new(padding);
    ReflectionPad2d: ReflectionPad<2> = reflection_pad2d(padding: impl Into<Margins<2>>)
        => ReflectionPad2d::new(padding);
    ReflectionPad3d: ReflectionPad<3> = reflection_pad3d(padding: impl Into<Margins<3>>)
        => ReflectionPad3d::new(padding);
    ReplicationPad1d: ReplicationPad<1> = replication_pad1d(padding: impl Into<Margins<1>>)
        => ReplicationPad1d::new(padding);
    ReplicationPad2d: ReplicationPad<2> = replication_pad2d(padding: impl Into<Margins<2>>)
        => ReplicationPad2d::new(padding);
    ReplicationPad3d: ReplicationPad<3> = replication_pad3d(padding: impl Into<Margins<3>>)
        => ReplicationPad3d::new(padding);
    CircularPad1d: CircularPad<1> = circular_pad1d(padding: impl Into<Margins<1>>)
        => CircularPad1d::new(padding);
    CircularPad2d: CircularPad<2> = circular_pad2d(padding: impl Into<Margins<2>>)
        => CircularPad2d::new(padding);
    CircularPad3d: CircularPad<3> = circular_pad3d(padding: impl Into<Margins<3>>)
        => CircularPad3d::new(padding);
    Upsample: Upsample = upsample(scale_factor: f64) => Upsample::scale_factor(scale_factor);
    PixelShuffle: PixelShuffle = pixel_shuffle(factor: usize) => PixelShuffle::new(factor);
    PixelUnshuffle: PixelUnshuffle = pixel_unshuffle(factor: usize) => PixelUnshuffle::new(factor);
    ChannelShuffle: ChannelShuffle = channel_shuffle(groups: usize) => ChannelShuffle::new(groups);
    Unfold: Unfold = unfold(kernel_size: impl Into<Pair>) => Unfold::new(kernel_size);
    Fold: Fold = fold(output_size: impl Into<Pair>, kernel_size: impl Into<Pair>)
        => Fold::new(output_size, kernel_size);
    Residual: ResidualSettings = residual(
        block: impl FnOnce(SequentialBuilder) -> SequentialBuilder
    ) => Residual::new(block);
    Parallel: ParallelSettings = parallel(branches: ParallelSettings) => branches;
    /// A nested network. The names of its parameters have the form `0.0.weight`.
    Sequential: SequentialSettings = sequential(
        block: impl FnOnce(SequentialBuilder) -> SequentialBuilder
    ) => SequentialSettings::new(block);
    /// It normalises over the last axis.
    LayerNorm: LayerNormSettings = layer_norm() => LayerNorm::lazy();
    /// It normalises over the last axis.
    RMSNorm: RMSNormSettings = rms_norm() => RMSNorm::lazy();
    GroupNorm: GroupNormSettings = group_norm(num_groups: usize) => GroupNorm::lazy(num_groups);
    InstanceNorm1d: InstanceNormSettings<1> = instance_norm1d() => InstanceNorm1d::lazy();
    InstanceNorm2d: InstanceNormSettings<2> = instance_norm2d() => InstanceNorm2d::lazy();
    InstanceNorm3d: InstanceNormSettings<3> = instance_norm3d() => InstanceNorm3d::lazy();
    LocalResponseNorm: LocalResponseNorm = local_response_norm(size: usize)
        => LocalResponseNorm::new(size);
    Embedding: EmbeddingSettings = embedding(num_embeddings: usize, embedding_dim: usize)
        => Embedding::new(num_embeddings, embedding_dim);
    EmbeddingBag: EmbeddingBagSettings = embedding_bag(num_embeddings: usize, embedding_dim: usize)
        => EmbeddingBag::new(num_embeddings, embedding_dim);
    SinusoidalPositions: SinusoidalPositions = sinusoidal_positions() => SinusoidalPositions;
    /// The output contains all steps; [`last_step`](Self::last_step) selects the
    /// last one.
    LSTM: RecurrentSettings<4> = lstm(hidden_size: usize)
        => LSTM::lazy(hidden_size).batch_first(true);
    /// The output contains all steps; [`last_step`](Self::last_step) selects the
    /// last one.
    GRU: RecurrentSettings<3> = gru(hidden_size: usize) => GRU::lazy(hidden_size).batch_first(true);
    /// The output contains all steps; [`last_step`](Self::last_step) selects the
    /// last one.
    RNN: RecurrentSettings<1> = rnn(hidden_size: usize) => RNN::lazy(hidden_size).batch_first(true);
    /// It selects the last of the steps `[N, L, …]` of a recurrent layer.
    LastStep: LastStep = last_step() => LastStep;
    /// It flattens all axes except the batch axis.
    Flatten: Flatten = flatten() => Flatten::new();
    /// It splits the first axis after the batch axis.
    Unflatten: Unflatten = unflatten(sizes: impl Into<Vec<usize>>) => Unflatten::new(1, sizes);
    Dropout: Dropout = dropout(p: f64) => Dropout::planned(p);
    Dropout1d: Dropout1d = dropout1d(p: f64) => Dropout1d::planned(p);
    Dropout2d: Dropout2d = dropout2d(p: f64) => Dropout2d::planned(p);
    Dropout3d: Dropout3d = dropout3d(p: f64) => Dropout3d::planned(p);
    AlphaDropout: AlphaDropout = alpha_dropout(p: f64) => AlphaDropout::planned(p);
    FeatureAlphaDropout: FeatureAlphaDropout = feature_alpha_dropout(p: f64)
        => FeatureAlphaDropout::planned(p);
    ReLU: ReLU = relu() => ReLU;
    ReLU6: ReLU6 = relu6() => ReLU6;
    LeakyReLU: LeakyReLU = leaky_relu(negative_slope: f64) => LeakyReLU::new(negative_slope);
    /// It has one slope for all channels.
    PReLU: PReLUSettings = prelu() => PReLU::new(1);
    RReLU: RReLU = rrelu() => RReLU::default();
    ELU: ELU = elu(alpha: f64) => ELU::new(alpha);
    CELU: CELU = celu(alpha: f64) => CELU::new(alpha);
    SELU: SELU = selu() => SELU;
    /// It computes the exact GELU.
    GELU: GELU = gelu() => GELU::default();
    SiLU: SiLU = silu() => SiLU;
    Mish: Mish = mish() => Mish;
    Sigmoid: Sigmoid = sigmoid() => Sigmoid;
    LogSigmoid: LogSigmoid = log_sigmoid() => LogSigmoid;
    Hardsigmoid: Hardsigmoid = hardsigmoid() => Hardsigmoid;
    Hardswish: Hardswish = hardswish() => Hardswish;
    Tanh: Tanh = tanh() => Tanh;
    /// It clamps to the range from −1 to 1.
    Hardtanh: Hardtanh = hardtanh() => Hardtanh::default();
    Tanhshrink: Tanhshrink = tanhshrink() => Tanhshrink;
    Softplus: Softplus = softplus() => Softplus::default();
    Softsign: Softsign = softsign() => Softsign;
    Hardshrink: Hardshrink = hardshrink(lambda: f64) => Hardshrink::new(lambda);
    Softshrink: Softshrink = softshrink(lambda: f64) => Softshrink::new(lambda);
    Threshold: Threshold = threshold(threshold: f64, value: f64)
        => Threshold::new(threshold, value);
    /// It works along the last axis.
    Softmax: Softmax = softmax() => Softmax::default();
    Softmax2d: Softmax2d = softmax2d() => Softmax2d;
    /// It works along the last axis.
    LogSoftmax: LogSoftmax = log_softmax() => LogSoftmax::default();
    /// It works along the last axis.
    Softmin: Softmin = softmin() => Softmin::default();
    GLU: GLU = glu(axis: isize) => GLU::new(axis);
    Identity: Identity = identity() => Identity;
}
