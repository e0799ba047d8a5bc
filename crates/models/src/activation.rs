//! The activation functions in settings.

use dendra_autograd::Var;
use dendra_nn::{Module, Parameters};
use dendra_tensor::{Ops, Result};
use serde::{Deserialize, Serialize};

/// An activation function. In a `config.json` it has the name that transformers
/// uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Parameters, Serialize, Deserialize)]
#[parameters(crate = dendra_nn, skip)]
pub enum Activation {
    /// The larger of x and 0.
    #[serde(rename = "relu")]
    ReLU,
    /// x limited to 0 ..= 6.
    #[serde(rename = "relu6")]
    ReLU6,
    /// x·Φ(x).
    #[serde(rename = "gelu")]
    GELU,
    /// The approximation of GELU with a hyperbolic tangent.
    #[serde(rename = "gelu_new", alias = "gelu_pytorch_tanh", alias = "gelu_fast")]
    GELUTanh,
    /// x·σ(x).
    #[serde(rename = "silu", alias = "swish")]
    SiLU,
    /// x·min(max(x + 3, 0), 6) / 6.
    #[serde(rename = "hardswish")]
    Hardswish,
    /// The hyperbolic tangent.
    #[serde(rename = "tanh")]
    Tanh,
}

impl Activation {
    /// Applies the function to each element.
    pub fn apply(self, x: &Var) -> Var {
        match self {
            Self::ReLU => x.relu(),
            Self::ReLU6 => x.relu6(),
            Self::GELU => x.gelu(),
            Self::GELUTanh => x.gelu_tanh(),
            Self::SiLU => x.silu(),
            Self::Hardswish => x.hardswish(),
            Self::Tanh => x.tanh(),
        }
    }
}

impl Module for Activation {
    fn forward(&self, x: &Var) -> Result<Var> {
        Ok(self.apply(x))
    }
}
