//! Attribution: the contribution of each part of an input to the output of a
//! network.
//!
//! Each method implements [`Method`]: [`of`](Method::of) takes a
//! [`Module`](dendra_nn::Module), a batch of inputs and the class to explain,
//! and returns an [`Attribution`] with a value for each element of the input.
//! The names are Captum's where it has the method, and the results are equal
//! to Captum's.
//!
//! - By gradients: [`Saliency`], [`InputXGradient`], [`IntegratedGradients`],
//!   [`GradientShap`], [`GuidedBackprop`], [`Deconvolution`], and
//!   [`NoiseTunnel`] around any method.
//! - By other rules for the backward pass: [`DeepLift`], [`DeepLiftShap`],
//!   [`Lrp`].
//! - By changed inputs: [`FeatureAblation`], [`FeaturePermutation`],
//!   [`Occlusion`], [`ShapleyValue`], [`KernelShap`], [`Lime`].
//! - Of layers: [`Layer`] makes the remaining network a module, so that each
//!   of these methods applies; [`LayerActivation`], [`LayerGradCam`],
//!   [`GuidedGradCam`], [`LayerConductance`], [`InternalInfluence`].
//! - Of concepts, attention and training samples: [`ConceptVector`],
//!   [`attention_rollout`], [`TracIn`].
//! - Quality: [`infidelity`], [`sensitivity_max`], [`deletion`], [`insertion`],
//!   [`randomised_parameters`].
//! - Display: [`HeatMap`], [`Words`], [`Bars`].
//!
//! Rules apply to the operations in a backward pass, so networks with
//! user-defined layers are supported like those with layers of the library.
//!
//! ```
//! use dendra_explain::{Bars, IntegratedGradients, Method};
//! use dendra_nn::Sequential;
//! use dendra_nn::tensor::{Rng, Tensor};
//!
//! let model = Sequential::input([2]).dense(8).relu().dense(3).build(&mut Rng::seed(0))?;
//! let x = Tensor::from([[1.0_f32, -2.0]]);
//! let why = IntegratedGradients::new(50).of(&model, &x, 2)?;
//! println!("{}", Bars::new(&["length", "width"], &why.values().get(0)?)?);
//! # Ok::<(), dendra_nn::tensor::Error>(())
//! ```

mod ablation;
mod attribution;
mod batch;
#[cfg(test)]
mod captum;
mod curves;
mod deep_lift;
mod features;
mod gradient;
mod gradient_shap;
mod integrated;
mod layer;
mod lrp;
mod method;
mod noise;
#[cfg(test)]
mod properties;
mod quadrature;
mod quality;
mod randomisation;
mod regression;
mod reveal_cancel;
mod rollout;
mod shapley;
mod show;
mod surrogate;
mod target;
mod tcav;
mod tracin;

pub use ablation::{FeatureAblation, FeaturePermutation, Occlusion};
pub use attribution::Attribution;
pub use curves::{Curve, deletion, insertion};
pub use deep_lift::{DeepLift, DeepLiftRule, DeepLiftShap};
pub use gradient::{Deconvolution, GuidedBackprop, InputXGradient, Saliency};
pub use gradient_shap::GradientShap;
pub use integrated::IntegratedGradients;
pub use layer::{
    GuidedGradCam, InternalInfluence, Layer, LayerActivation, LayerConductance, LayerGradCam,
};
pub use lrp::{Lrp, LrpRule};
pub use method::Method;
pub use noise::{NoiseTunnel, NoiseTunnelType};
pub use quadrature::Quadrature;
pub use quality::{Perturbation, infidelity, sensitivity_max};
pub use randomisation::randomised_parameters;
pub use rollout::{attention_rollout, attention_weights};
pub use shapley::ShapleyValue;
pub use show::{Bars, HeatMap, Words};
pub use surrogate::{KernelShap, Lime};
pub use target::Target;
pub use tcav::{ConceptScore, ConceptVector};
pub use tracin::TracIn;
