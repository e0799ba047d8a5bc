//! The layers, one file each.
//!
//! Shapes are written with the batch axis N first and images as `[N, C, H, W]`.
//! Names, settings and defaults are PyTorch's.

mod activation;
mod adaptive_pool;
mod attention;
mod avg_pool;
mod batch_norm;
mod bilinear;
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
    CellSettings, GRU, GRUCell, LSTM, LSTMCell, LastStep, RNN, RNNCell, Recurrent, RecurrentCell,
    RecurrentNonlinearity, RecurrentSettings, RecurrentState, pad_sequence,
};
pub use transformer::{
    Decode, FeedForwardActivation, Transformer, TransformerDecoder, TransformerDecoderLayer,
    TransformerEncoder, TransformerEncoderLayer, TransformerSettings,
};
pub use unflatten::Unflatten;
pub use unfold::{Fold, Unfold};
pub use upsample::Upsample;
