//! Networks for images against torchvision's.

use dendra_autograd::{Parameters, Tape};
use dendra_models::*;
use dendra_nn::Module;
use dendra_tensor::Result;

use crate::filling::{differences, fill, image, read};

/// The network of a case.
fn model(name: &str) -> Result<Box<dyn Module>> {
    fn boxed(model: Result<impl Module + 'static>) -> Result<Box<dyn Module>> {
        Ok(Box::new(model?))
    }
    let residuals = |[expand_ratio, channels, blocks, stride]: [usize; 4]| InvertedResiduals {
        expand_ratio,
        channels,
        blocks,
        stride,
    };
    let v3 = |kernel, expanded_channels, out_channels, squeeze, activation, stride| {
        MobileNetV3Block { kernel, expanded_channels, out_channels, squeeze, activation, stride }
    };
    let stage = |block, [expand_ratio, kernel, stride, channels, blocks]: [usize; 5]| {
        EfficientNetStage { block, expand_ratio, kernel, stride, channels, blocks }
    };
    use Activation::{Hardswish, ReLU};
    use EfficientNetBlock::{FusedMBConv as Fused, MBConv as MB};
    match name {
        "resnet_basic" => {
            boxed(ResNet::new(ResNetBlock::Basic, [1, 2, 1, 1]).planes(8).num_classes(5).blank())
        }
        "resnet_bottleneck" => boxed(
            ResNet::new(ResNetBlock::Bottleneck, [1, 1, 2, 1]).planes(8).num_classes(5).blank(),
        ),
        "resnext_dilated" => boxed(
            ResNet::new(ResNetBlock::Bottleneck, [1, 1, 1, 2])
                .planes(8)
                .num_classes(5)
                .groups(4)
                .width_per_group(32)
                .replace_stride_with_dilation([false, true, true])
                .blank(),
        ),
        "vgg" => boxed(VGG::new(&[&[4], &[8, 8]]).hidden(12).num_classes(5).blank()),
        "vgg_bn" => {
            boxed(VGG::new(&[&[4], &[8, 8]]).batch_norm(true).hidden(12).num_classes(5).blank())
        }
        "mobilenet_v2" => {
            let stages = [[1, 16, 1, 1], [6, 24, 2, 2], [6, 32, 1, 2]].map(residuals);
            boxed(MobileNetV2::new(stages.to_vec()).width_mult(0.25).num_classes(5).blank())
        }
        "mobilenet_v3" => {
            let blocks = vec![
                v3(3, 16, 16, true, ReLU, 1),
                v3(3, 24, 8, false, Hardswish, 2),
                v3(5, 24, 8, true, Hardswish, 1),
            ];
            boxed(MobileNetV3::new(blocks, 16).num_classes(5).blank())
        }
        "squeezenet1_1" => boxed(SqueezeNet::squeezenet1_1().num_classes(5).blank()),
        "densenet" => boxed(DenseNet::new(4, &[2, 1, 2, 1], 8).num_classes(5).blank()),
        "shufflenet_v2" => {
            boxed(ShuffleNetV2::new([1, 2, 1], [8, 8, 16, 24, 16]).num_classes(5).blank())
        }
        "efficientnet" => {
            let stages = vec![stage(MB, [1, 3, 1, 8, 1]), stage(MB, [6, 5, 2, 16, 2])];
            boxed(EfficientNet::new(16, stages).num_classes(5).blank())
        }
        "efficientnet_v2" => {
            let stages = vec![
                stage(Fused, [1, 3, 1, 8, 1]),
                stage(Fused, [4, 3, 2, 16, 2]),
                stage(MB, [4, 3, 2, 16, 1]),
            ];
            let settings = EfficientNet::new(8, stages).last_channel(24).norm_eps(1e-3);
            boxed(settings.dropout(0.0).num_classes(5).blank())
        }
        "convnext" => boxed(ConvNeXt::new([8, 16], [1, 2]).num_classes(5).blank()),
        "regnet_y" => {
            let settings = RegNet::new(3, 8, 8.0, 2.0, 8).se_ratio(0.25).stem_width(8);
            boxed(settings.num_classes(5).blank())
        }
        "vit" => {
            let settings = VisionTransformer::new(8, 2, 2, 8, 12).image_size(40);
            boxed(settings.num_classes(5).representation_size(6).blank())
        }
        "swin" | "swin_v2" => {
            let settings = SwinTransformer::new(8, [2, 1], [2, 4]).window_size(4);
            boxed(settings.v2(name == "swin_v2").num_classes(5).blank())
        }
        "unet" => boxed(UNet::new(3, 2).channels(4).blank()),
        "unet_bilinear" => boxed(UNet::new(3, 2).channels(4).bilinear(true).blank()),
        _ => panic!("no network for the case {name}"),
    }
}

#[test]
fn networks_for_images_agree_with_torchvision() {
    let mut wrong = Vec::new();
    for (key, case) in &read(include_str!("../fixtures/vision.json")) {
        let (name, mode) = key.split_once('/').unwrap();
        let mut model = model(name).unwrap();
        fill(&mut model as &mut dyn Parameters);
        let tape = if mode == "train" { Tape::training(0, 0) } else { Tape::evaluation() };
        let shape = match mode {
            "train" => [3, 3, 64, 64],
            _ if name.starts_with("unet") => [1, 3, 17, 22],
            _ => [2, 3, 40, 40],
        };
        let y = model.forward(&tape.input(image(name, &shape))).unwrap();
        let found = differences(case, &model as &dyn Parameters, &[y]);
        wrong.extend(found.into_iter().map(|difference| format!("{key}: {difference}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
