//! The published networks by their names in torchvision.

use dendra_nn::Module;
use dendra_tensor::{Error, Result};

use super::*;

macro_rules! networks {
    ($($family:ident: $($name:ident)*;)*) => {
        /// The names that [`get_model`] accepts, like torchvision's
        /// `list_models`.
        pub fn list_models() -> &'static [&'static str] {
            &[$($(stringify!($name),)*)*]
        }

        /// Makes a network for image classification by its name in torchvision,
        /// such as `"resnet50"`, without values; load them with
        /// [`load_state`](crate::load_state).
        ///
        /// ```
        /// let model = dendra_models::get_model("mobilenet_v2", 1000)?;
        /// assert_eq!(model.parameter_count(), 3_504_872);
        /// # use dendra_nn::Parameters;
        /// # Ok::<(), dendra_nn::tensor::Error>(())
        /// ```
        ///
        /// # Errors
        ///
        /// When there is no network with this name, or `num_classes` is 0.
        pub fn get_model(name: &str, num_classes: usize) -> Result<Box<dyn Module + Send + Sync>> {
            Ok(match name {
                $($(stringify!($name) => {
                    Box::new($family::$name().num_classes(num_classes).blank()?)
                })*)*
                _ => {
                    let names = list_models().join(", ");
                    let message = format!("there is no network {name:?}, only {names}");
                    return Err(Error::argument("get_model", message));
                }
            })
        }
    };
}
networks! {
    ResNet: resnet18 resnet34 resnet50 resnet101 resnet152 resnext50_32x4d resnext101_32x8d
        resnext101_64x4d wide_resnet50_2 wide_resnet101_2;
    VGG: vgg11 vgg13 vgg16 vgg19 vgg11_bn vgg13_bn vgg16_bn vgg19_bn;
    MobileNetV2: mobilenet_v2;
    MobileNetV3: mobilenet_v3_small mobilenet_v3_large;
    SqueezeNet: squeezenet1_0 squeezenet1_1;
    DenseNet: densenet121 densenet161 densenet169 densenet201;
    ShuffleNetV2: shufflenet_v2_x0_5 shufflenet_v2_x1_0 shufflenet_v2_x1_5 shufflenet_v2_x2_0;
    EfficientNet: efficientnet_b0 efficientnet_b1 efficientnet_b2 efficientnet_b3 efficientnet_b4
        efficientnet_b5 efficientnet_b6 efficientnet_b7 efficientnet_v2_s efficientnet_v2_m
        efficientnet_v2_l;
    ConvNeXt: convnext_tiny convnext_small convnext_base convnext_large;
    RegNet: regnet_y_400mf regnet_y_800mf regnet_y_1_6gf regnet_y_3_2gf regnet_y_8gf regnet_y_16gf
        regnet_y_32gf regnet_y_128gf regnet_x_400mf regnet_x_800mf regnet_x_1_6gf regnet_x_3_2gf
        regnet_x_8gf regnet_x_16gf regnet_x_32gf;
    VisionTransformer: vit_b_16 vit_b_32 vit_l_16 vit_l_32 vit_h_14;
    SwinTransformer: swin_t swin_s swin_b swin_v2_t swin_v2_s swin_v2_b;
}
