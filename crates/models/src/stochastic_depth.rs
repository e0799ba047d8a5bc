//! Stochastic depth: residual branches that are dropped at random.

use dendra_autograd::Var;
use dendra_nn::{Module, Parameters};
use dendra_tensor::{Error, Ops, Result, Shape, Tensor};

/// In training, sets whole samples `[N, …]` to 0 with probability `p` and
/// divides the others by 1 − p; otherwise returns its input (Huang et al.,
/// "Deep networks with stochastic depth", 2016). It is torchvision's
/// `StochasticDepth(p, "row")`.
#[derive(Clone, Copy, Debug, PartialEq, Parameters)]
#[parameters(crate = dendra_nn, skip)]
pub struct StochasticDepth {
    p: f64,
}

impl StochasticDepth {
    /// Makes a layer that drops samples with probability `p`.
    ///
    /// # Errors
    ///
    /// When `p` is not in `0 ..= 1`.
    pub fn new(p: f64) -> Result<Self> {
        if (0.0..=1.0).contains(&p) {
            return Ok(Self { p });
        }
        let message = format!("expected a probability in 0 ..= 1, got {p}");
        Err(Error::argument("StochasticDepth", message))
    }

    /// The layer of block `index` of `count`, where the probability grows
    /// linearly to `last`.
    pub(crate) fn linear(last: f64, index: usize, count: usize) -> Result<Self> {
        Self::new(if count == 0 { 0.0 } else { last * index as f64 / count as f64 })
    }
}

impl Module for StochasticDepth {
    fn forward(&self, x: &Var) -> Result<Var> {
        let Some(tape) = x.tape().filter(|tape| tape.is_training() && self.p > 0.0) else {
            return Ok(x.clone());
        };
        let Some((&samples, rest)) = x.shape().split_first() else {
            return Err(Error::shape("StochasticDepth", "expected [N, …], got a scalar"));
        };
        let ones = rest.iter().map(|_| 1);
        let mask: Shape = [samples].into_iter().chain(ones).collect();
        let kept = (1.0 / (1.0 - self.p)) as f32;
        x.mul(&Var::new(Tensor::dropout_mask(mask, self.p, kept, &mut tape.random_stream())))
    }
}
