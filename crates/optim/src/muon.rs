//! Muon.

use dendra_derive::Setters;
use dendra_tensor::{Error, Float, Ops, Result, Shape, Tensor};

use crate::clip::Norm;
use crate::descent::Descent;
use crate::rule::{Now, Rule, elementwise, require_below_one, require_not_negative};

/// Muon, which orthogonalises the momentum of a matrix, so that a step has the same
/// size in all directions.
///
/// With the gradient G of a weight W of `rows × columns`:
///
/// ```text
/// M = μ·M + (1 − μ)·G
/// O = orthogonal((1 − μ)·G + μ·M)           or, without Nesterov's momentum, of M
/// W = (1 − learning_rate · weight_decay)·W − learning_rate · √max(1, rows/columns) · O
/// ```
///
/// `orthogonal` divides a matrix by its norm and iterates
/// `X = a·X + b·(X·Xᵀ)·X + c·(X·Xᵀ)²·X` five times with (a, b, c) = (3.4445, −4.775,
/// 2.0315). This moves the singular values close to 1 (to 0.7 … 1.2). PyTorch
/// computes this in `bfloat16`, which is less accurate.
///
/// Use Muon for the matrices inside a network, and another optimizer for vectors,
/// embeddings and the last layer, with a [`Split`](crate::Split). A parameter that
/// is not a matrix is an error.
///
/// PyTorch's default learning rate is 0.001.
///
/// Source: Jordan et al., "Muon: an optimizer for hidden layers in neural
/// networks", 2024; `match_rms_adamw`: Liu et al., "Muon is scalable for LLM
/// training", 2025.
///
/// ```
/// use dendra_optim::{AdamW, Muon, Split};
///
/// let optimizer: Split<Muon, AdamW> = Split::new(
///     |name, shape| shape.len() == 2 && name.starts_with("blocks."),
///     Muon::new(0.02),
///     AdamW::new(3e-4),
/// );
/// ```
pub type Muon<T = f32> = Descent<MuonRule, T>;

/// The update of [`Muon`].
#[derive(Clone, Copy, Debug, Setters)]
#[set(through = Descent::rule_mut)]
pub struct MuonRule {
    /// The decay rate μ of the momentum.
    #[set(default = 0.95)]
    momentum: f64,
    /// Whether the step uses Nesterov's momentum.
    #[set(default = true)]
    nesterov: bool,
    /// The coefficients of the Newton–Schulz iteration.
    #[set(default = [3.4445, -4.775, 2.0315])]
    ns_coefficients: [f64; 3],
    /// The minimum norm by which a matrix is divided.
    #[set(default = 1e-7)]
    eps: f64,
    /// The number of iterations.
    #[set(default = 5)]
    ns_steps: usize,
    /// Whether steps have the factor `0.2·√max(rows, columns)`. They are then about as
    /// large as those of AdamW, so that the same learning rate and weight decay can be
    /// used (PyTorch's `adjust_lr_fn`).
    #[set(default = false)]
    match_rms_adamw: bool,
}

impl MuonRule {
    /// Returns a matrix with the same singular vectors and singular values close to 1.
    fn orthogonal<T: Float>(&self, matrix: Tensor<T>) -> Result<Tensor<T>> {
        let [rows, columns] = [0, 1].map(|axis: usize| matrix.shape()[axis]);
        let x = if rows > columns { matrix.transpose(0, 1)? } else { matrix };
        let norm = Norm::L2.of(x.contiguous().as_slice().into_iter());
        let mut x = x.mul_scalar(1.0 / norm.max(self.eps));
        let [a, b, c] = self.ns_coefficients;
        for _ in 0..self.ns_steps {
            let gram = x.matmul(&x.transpose(0, 1)?)?;
            let update = gram.mul_scalar(b).add(&gram.matmul(&gram)?.mul_scalar(c))?;
            x = x.mul_scalar(a).add(&update.matmul(&x)?)?;
        }
        if rows > columns { x.transpose(0, 1) } else { Ok(x) }
    }
}

impl Rule for MuonRule {
    type AtStep = ();

    const NAME: &'static str = "Muon";
    const WEIGHT_DECAY: f64 = 0.1;
    const WHOLE: bool = true;

    fn state(&self) -> &'static [&'static str] {
        &["momentum_buffer"]
    }

    fn check(&self) -> Result<()> {
        require_below_one(Self::NAME, "momentum", self.momentum)?;
        require_not_negative(Self::NAME, "eps", self.eps)
    }

    fn check_shape(&self, shape: &Shape) -> Result<()> {
        if shape.len() == 2 {
            return Ok(());
        }
        let message = format!(
            "expected a matrix, got a parameter of shape {shape}; give it to another optimizer \
             with Split, or freeze it"
        );
        Err(Error::shape(Self::NAME, message))
    }

    fn at_step(&self, _: u64) {}

    #[inline(always)]
    fn update<T: Float>(
        &self,
        now: &Now<()>,
        weight: &mut [T],
        gradient: &[T],
        state: &mut [&mut [T]],
    ) {
        if weight.is_empty() {
            return;
        }
        let (momentum, share) = (T::from_f64(self.momentum), T::from_f64(1.0 - self.momentum));
        let mut direction = weight.to_vec();
        elementwise(&mut direction, gradient, state, |_, g, [m]| {
            let m = m + share * (g - m);
            (if self.nesterov { g + momentum * (m - g) } else { m }, [m])
        });
        let (rows, columns) = (now.rows, weight.len() / now.rows);
        let direction = Tensor::from_vec(direction, [rows, columns])
            .and_then(|direction| self.orthogonal(direction))
            .expect("products of a matrix with its own transpose")
            .to_vec();
        let adjusted = match self.match_rms_adamw {
            true => 0.2 * (rows.max(columns) as f64).sqrt(),
            false => (rows as f64 / columns as f64).max(1.0).sqrt(),
        };
        let step_size = T::from_f64(now.learning_rate * adjusted);
        let [_, shrink] = now.decay(true).map(T::from_f64);
        for (w, &d) in weight.iter_mut().zip(&direction) {
            *w = shrink * *w - step_size * d;
        }
    }
}

#[cfg(test)]
mod tests {
    use dendra_tensor::Rng;

    use super::*;

    #[test]
    fn singular_values_come_close_to_one() {
        for shape in [[4, 9], [9, 4], [6, 6]] {
            let matrix = Tensor::<f64>::normal(shape, 0.0, 3.0, &mut Rng::seed(1));
            let muon = Muon::<f64>::new(0.1);
            let x = muon.rule.orthogonal(matrix).unwrap();
            let x = if shape[0] > shape[1] { x.transpose(0, 1).unwrap() } else { x };
            // The largest and the mean square of the singular values.
            let gram = x.matmul(&x.transpose(0, 1).unwrap()).unwrap();
            let n = gram.shape()[0];
            let trace: f64 = (0..n).map(|i| gram.to_vec()[i * n + i]).sum();
            assert!((0.5..1.5).contains(&(trace / n as f64)), "{shape:?}: {trace}");
            let mut power = gram.clone();
            for _ in 0..6 {
                power = power.matmul(&power).unwrap();
                let size = power.square().sum().sqrt().item().unwrap();
                power = power.mul_scalar(1.0 / size);
            }
            let largest = gram.matmul(&power).unwrap().square().sum().sqrt().item().unwrap();
            assert!(largest < 1.5, "{shape:?}: {largest}");
        }
    }
}
