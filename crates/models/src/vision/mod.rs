//! Networks for images `[N, 3, H, W]`, with torchvision's names.

mod conv_norm;
mod convnext;
mod densenet;
mod efficientnet;
mod mobilenet_v2;
mod mobilenet_v3;
mod names;
mod regnet;
mod resnet;
mod shufflenet_v2;
mod squeeze_excitation;
mod squeezenet;
mod swin;
mod unet;
mod vgg;
mod vit;

pub use convnext::*;
pub use densenet::*;
pub use efficientnet::*;
pub use mobilenet_v2::*;
pub use mobilenet_v3::*;
pub use names::{get_model, list_models};
pub use regnet::*;
pub use resnet::*;
pub use shufflenet_v2::*;
pub use squeeze_excitation::*;
pub use squeezenet::*;
pub use swin::*;
pub use unet::*;
pub use vgg::*;
pub use vit::*;

use dendra_autograd::Var;
use dendra_tensor::{Ops, Result};

/// The mean of each channel of `[N, C, H, W]`, of shape `[N, C]`.
fn global_average(x: &Var) -> Result<Var> {
    x.mean_axes(&[2, 3], false)
}
