//! Adafactor.

use dendra_derive::Setters;
use dendra_tensor::{Float, Result, Shape};

use crate::descent::Descent;
use crate::rule::{Now, Rule, require, require_not_negative};

/// Adafactor, which divides the gradient by its running root mean square. For a
/// matrix it stores only the means over rows and columns, so its state is small.
///
/// In step t, for the weight w (a matrix along its last two axes) with the
/// gradient g:
///
/// ```text
/// β = 1 − t^beta2_decay
/// α = max(ε₂, rms(w)) · min(learning_rate, 1/√t)
/// w = (1 − learning_rate · weight_decay)·w
/// r = β·r + (1 − β)·(means of g² along the rows)
/// c = β·c + (1 − β)·(means of g² along the columns)
/// v = r·cᵀ / max(mean(r), ε₁)                 of a vector or scalar: v = β·v + (1 − β)·g²
/// u = g / max(√v, ε₁)
/// w = w − α · u / max(1, rms(u) / d)
/// ```
///
/// `rms` is the root of the mean square over the whole parameter. Steps are
/// relative to the size of the weights; the learning rate is only their upper limit.
/// `ε₁` and the role of the learning rate follow PyTorch, which differs from the
/// paper there.
///
/// The state of a matrix is `row_var`, `[.., rows, 1]`, and `col_var`,
/// `[.., 1, columns]`. The state of other parameters is `variance`. Unused tensors
/// have the shape `[0]`.
///
/// PyTorch's default learning rate is 0.01.
///
/// Source: Shazeer and Stern, "Adafactor: adaptive learning rates with
/// sublinear memory cost", 2018.
///
/// ```
/// use dendra_optim::Adafactor;
///
/// let optimizer: Adafactor = Adafactor::new(1e-2).weight_decay(0.01);
/// ```
pub type Adafactor<T = f32> = Descent<AdafactorRule, T>;

/// The update of [`Adafactor`].
#[derive(Clone, Copy, Debug, Setters)]
#[set(through = Descent::rule_mut)]
pub struct AdafactorRule {
    /// The exponent in the decay rate `β = 1 − t^beta2_decay` of the running means, at
    /// most 0.
    #[set(default = -0.8)]
    beta2_decay: f64,
    /// `None` means the precision of the float type.
    #[set(skip)]
    eps1: Option<f64>,
    #[set(skip, default = 1e-3)]
    eps2: f64,
    /// The maximum root mean square of a step before it is scaled (`d` in PyTorch).
    #[set(default = 1.0)]
    clipping_threshold: f64,
}

impl<T: Float> Adafactor<T> {
    /// Sets ε₁, the minimum denominator, and ε₂, the minimum size of weights to which
    /// steps are relative. The defaults are the precision of the float type and 1e-3.
    #[must_use]
    pub fn eps(mut self, eps1: f64, eps2: f64) -> Self {
        let rule = self.rule_mut();
        (rule.eps1, rule.eps2) = (Some(eps1), eps2);
        self
    }
}

/// The values that depend on the number of steps.
#[derive(Clone, Copy, Debug)]
pub struct AtStep {
    /// The weight 1 − β of the new gradient in the running means.
    share: f64,
    /// 1/√t.
    inverse_root: f64,
}

impl Rule for AdafactorRule {
    type AtStep = AtStep;

    const NAME: &'static str = "Adafactor";
    const WHOLE: bool = true;

    fn state(&self) -> &'static [&'static str] {
        &["row_var", "col_var", "variance"]
    }

    fn state_shape(&self, name: &str, parameter: &Shape) -> Shape {
        let rank = parameter.len();
        // The axis over which the mean is taken, counted from the end.
        let axis = match name {
            "row_var" => 1,
            "col_var" => 2,
            _ if rank < 2 => return parameter.clone(),
            _ => return Shape::from([0]),
        };
        let mut shape = parameter.to_vec();
        match rank.checked_sub(axis) {
            Some(axis) if rank > 1 => shape[axis] = 1,
            _ => return Shape::from([0]),
        }
        Shape::from(shape)
    }

    fn check(&self) -> Result<()> {
        let (context, decay) = (Self::NAME, self.beta2_decay);
        require(decay <= 0.0, context, "beta2_decay", "at most 0", decay)?;
        require_not_negative(context, "the first eps", self.eps1.unwrap_or(0.0))?;
        require_not_negative(context, "the second eps", self.eps2)?;
        require(
            self.clipping_threshold >= 1.0,
            context,
            "the clipping threshold",
            "at least 1",
            self.clipping_threshold,
        )
    }

    fn at_step(&self, step: u64) -> AtStep {
        let step = step as f64;
        AtStep { share: step.powf(self.beta2_decay), inverse_root: step.sqrt().recip() }
    }

    #[inline(always)]
    fn update<T: Float>(
        &self,
        now: &Now<AtStep>,
        weight: &mut [T],
        gradient: &[T],
        state: &mut [&mut [T]],
    ) {
        self.step(now, weight, gradient, state);
    }
}

impl AdafactorRule {
    /// Not inlined, since specialisation for instruction sets gains little here.
    #[inline(never)]
    fn step<T: Float>(
        &self,
        now: &Now<AtStep>,
        weight: &mut [T],
        gradient: &[T],
        state: &mut [&mut [T]],
    ) {
        if weight.is_empty() {
            return;
        }
        let AtStep { share, inverse_root } = now.at_step;
        let eps1 = self.eps1.map_or(T::EPSILON, T::from_f64);
        let scale = root_mean_square(weight).max(self.eps2);
        let alpha = scale * now.learning_rate.min(inverse_root);
        let [row_var, col_var, variance] = state else {
            unreachable!("the rule names three state tensors")
        };
        let share = T::from_f64(share);
        let toward = |mean: &mut T, new: T| *mean = *mean + share * (new - *mean);
        // For a vector, the running means themselves are the estimate.
        for (mean, &g) in variance.iter_mut().zip(gradient) {
            toward(mean, g * g);
        }
        let mut steps = variance.to_vec();
        let [rows, columns] = now.matrix;
        let matrices = row_var.chunks_exact_mut(rows).zip(col_var.chunks_exact_mut(columns));
        for (gradient, (row_var, col_var)) in gradient.chunks_exact(rows * columns).zip(matrices) {
            let mut column_squares = vec![T::ZERO; columns];
            for (row, mean) in gradient.chunks_exact(columns).zip(row_var.iter_mut()) {
                let mut squares = T::ZERO;
                for (&g, sum) in row.iter().zip(&mut column_squares) {
                    squares += g * g;
                    *sum += g * g;
                }
                toward(mean, squares / T::from_f64(columns as f64));
            }
            for (mean, &squares) in col_var.iter_mut().zip(&column_squares) {
                toward(mean, squares / T::from_f64(rows as f64));
            }
            let mean = row_var.iter().copied().sum::<T>() / T::from_f64(rows as f64);
            let mean = if mean < eps1 { eps1 } else { mean };
            for &row in row_var.iter() {
                steps.extend(col_var.iter().map(|&column| row * column / mean));
            }
        }
        let least = eps1 * eps1;
        for (step, &g) in steps.iter_mut().zip(gradient) {
            let estimate = if *step < least { least } else { *step };
            *step = g / estimate.sqrt();
        }
        let step_size =
            T::from_f64(alpha / (root_mean_square(&steps) / self.clipping_threshold).max(1.0));
        let [_, shrink] = now.decay(true).map(T::from_f64);
        for (w, &step) in weight.iter_mut().zip(&steps) {
            *w = shrink * *w - step_size * step;
        }
    }
}

/// Returns the root of the mean square, computed in double precision.
fn root_mean_square<T: Float>(values: &[T]) -> f64 {
    let squares = values.iter().map(|value| value.to_f64() * value.to_f64());
    (squares.sum::<f64>() / values.len() as f64).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_matrix_keeps_its_rows_and_columns() {
        let rule = Adafactor::<f32>::new(0.1).rule;
        let shapes = |shape: &[usize]| {
            let shape = Shape::from(shape);
            ["row_var", "col_var", "variance"].map(|name| rule.state_shape(name, &shape).to_vec())
        };
        assert_eq!(shapes(&[4, 3]), [vec![4, 1], vec![1, 3], vec![0]]);
        assert_eq!(shapes(&[5, 4, 3]), [vec![5, 4, 1], vec![5, 1, 3], vec![0]]);
        assert_eq!(shapes(&[3]), [vec![0], vec![0], vec![3]]);
        assert_eq!(shapes(&[]), [vec![0], vec![0], vec![]]);
    }

    #[test]
    fn invalid_settings_are_named() {
        use crate::Optimizer;

        let message = |adafactor: Adafactor| adafactor.check().unwrap_err().to_string();
        assert!(message(Adafactor::new(0.1).beta2_decay(0.5)).contains("beta2_decay"));
        assert!(message(Adafactor::new(0.1).eps(-1.0, 0.0)).contains("the first eps"));
        assert!(message(Adafactor::new(0.1).eps(0.0, f64::NAN)).contains("the second eps"));
        assert!(message(Adafactor::new(0.1).clipping_threshold(0.5)).contains("threshold"));
    }
}
