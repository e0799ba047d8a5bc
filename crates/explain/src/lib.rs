//! Attribution.

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
mod quadrature;
mod quality;
mod randomisation;
mod regression;
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
pub use deep_lift::{DeepLift, DeepLiftShap};
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
