//! Networks with every kind of layer. The tests of exports use them too.

use dendra_nn::layers::*;
use dendra_nn::tensor::{InterpolateMode, Rng};
use dendra_nn::{Parallel, Residual, Sequential, SequentialBuilder};

/// Returns networks that together contain every kind of layer with float inputs.
pub(super) fn networks() -> Vec<SequentialBuilder> {
    let vectors = || Sequential::input([12]);
    let sequences = || Sequential::input([4, 6]);
    let images = || Sequential::input([4, 6, 6]);
    let volumes = || Sequential::input([4, 4, 4, 4]);
    vec![
        vectors().dense(5).batch_norm1d().relu6().layer(Softmax::new(1)),
        vectors().layer(LeakyReLU::new(0.2)).layer(PReLU::new(1)).layer(RReLU::default()),
        vectors().layer(ELU::new(0.5)).layer(CELU::new(0.5)).selu().layer(GELU::default()),
        vectors().silu().mish().sigmoid().log_sigmoid().hardsigmoid().hardswish().tanh(),
        vectors().layer(Hardtanh::new(-0.5, 0.6)).tanhshrink().softplus().softsign(),
        vectors().hardshrink(0.1).softshrink(0.1).layer(Threshold::new(0.1, 0.2)),
        vectors().layer(LogSoftmax::default()).layer(Softmin::new(1)).glu(1).layer(Identity),
        vectors().dropout(0.5).alpha_dropout(0.5).unflatten([3, 4]).layer(Flatten::default()),
        sequences().layer(Conv1d::lazy(6, 2)).batch_norm1d().layer(MaxPool1d::new(2)).relu(),
        sequences().layer(ConvTranspose1d::lazy(3, 2)).layer(AvgPool1d::new(2)).dropout1d(0.5),
        sequences().layer(LPPool1d::new(2.0, 2)).layer(AdaptiveAvgPool1d::new(2)),
        sequences().layer(AdaptiveMaxPool1d::new(4)).layer(GlobalAvgPool1d::new()),
        sequences().layer(ZeroPad1d::new((1, 2))).layer(ConstantPad1d::new((1, 0), 0.5)),
        sequences().layer(ReflectionPad1d::new(1)).layer(ReplicationPad1d::new(1)),
        sequences().layer(CircularPad1d::new(1)).layer(InstanceNorm1d::lazy()),
        sequences().layer(LayerNorm::lazy()).layer(RMSNorm::lazy()).layer(SinusoidalPositions),
        sequences().layer(LSTM::lazy(3).batch_first(true).num_layers(2).bidirectional(true)),
        sequences().layer(LSTM::lazy(3).batch_first(true).proj_size(2)),
        sequences()
            .layer(GRU::lazy(3).batch_first(true))
            .last_step()
            .layer(Sequential::input([3]).dense(2).relu().build(&mut Rng::seed(4)).unwrap()),
        sequences().layer(GRU::lazy(3).batch_first(true)).layer(RNN::lazy(2).batch_first(true)),
        sequences().layer(Softmax::new(2)).layer(GlobalMaxPool1d::new()).feature_alpha_dropout(0.5),
        images().conv2d(3, 3).relu().max_pool2d(2).layer(GlobalMaxPool2d::new()),
        images().layer(Conv2d::lazy(4, 3).padding(Padding::Same)).layer(ReLU).batch_norm2d(),
        images().layer(Conv2d::lazy(4, 2).groups(2).padding(1).padding_mode(PaddingMode::Reflect)),
        images().layer(ConvTranspose2d::lazy(4, (2, 3)).stride(2)).avg_pool2d(2).dropout2d(0.5),
        images().layer(FractionalMaxPool2d::size(2, (3, 3))).layer(LPPool2d::new(3.0, 2)),
        images().layer(AdaptiveAvgPool2d::new(4)).layer(AdaptiveMaxPool2d::new(2)),
        images().layer(ZeroPad2d::new(1)).layer(ConstantPad2d::new(1, 0.5)).global_avg_pool2d(),
        images().layer(ReflectionPad2d::new(1)).layer(ReplicationPad2d::new(1)),
        images().layer(CircularPad2d::new(1)).layer(InstanceNorm2d::lazy().affine(true)),
        images().layer(Upsample::scale_factor(2.0)).layer(Softmax2d).layer(ChannelShuffle::new(2)),
        images().layer(Upsample::size([7, 5]).mode(InterpolateMode::Cubic)).pixel_shuffle(2),
        images().layer(PixelUnshuffle::new(2)).layer(GroupNorm::lazy(4)),
        images().layer(LocalResponseNorm::new(3)).layer(Unfold::new(2)),
        Sequential::input([16, 9]).layer(Fold::new((4, 4), 2)),
        images().layer(Residual::new(|block| block.conv2d(4, 1).relu().conv2d(4, 1))),
        images().layer(
            Parallel::concatenate(1).branch(|b| b.conv2d(2, 1).relu()).branch(|b| b.max_pool2d(1)),
        ),
        volumes().layer(Conv3d::lazy(4, 2)).layer(BatchNorm3d::lazy()).layer(MaxPool3d::new(2)),
        volumes().layer(ConvTranspose3d::lazy(3, 2)).layer(AvgPool3d::new(2)).dropout3d(0.5),
        volumes().layer(FractionalMaxPool3d::size(2, 3)).layer(LPPool3d::new(2.0, 2)),
        volumes().layer(AdaptiveAvgPool3d::new(3)).layer(AdaptiveMaxPool3d::new(2)),
        volumes().layer(ZeroPad3d::new(1)).layer(ConstantPad3d::new(1, 0.5)),
        volumes().layer(ReflectionPad3d::new(1)).layer(ReplicationPad3d::new(1)),
        volumes().layer(CircularPad3d::new(1)).layer(InstanceNorm3d::lazy()),
        volumes().layer(InstanceNorm3d::lazy().track_running_stats(true)),
        volumes().layer(GlobalAvgPool3d::new()),
        volumes().layer(GlobalMaxPool3d::new()),
        images().layer(BatchNorm2d::lazy().track_running_stats(false)),
    ]
}

/// Returns networks with the layers for token ids.
pub(super) fn networks_of_ids() -> Vec<SequentialBuilder> {
    let network = || Sequential::input([5]);
    let bag = |mode| EmbeddingBag::new(7, 3).mode(mode).padding_idx(1);
    vec![
        network().layer(Embedding::new(7, 3)).flatten().dense(2),
        network().layer(Embedding::new(7, 3).padding_idx(2).max_norm(1.0)).flatten(),
        network().layer(Embedding::new(7, 3).max_norm(0.5).norm_type(1.0)).flatten(),
        network().layer(bag(BagMode::Sum)).dense(2),
        network().layer(bag(BagMode::Mean)).dense(2),
        network().layer(bag(BagMode::Max)).dense(2),
    ]
}
