//! The trait of update rules: the update of one parameter by an algorithm.

use dendra_tensor::{Error, Float, Result, Shape};

/// The update of one parameter, with its settings.
///
/// The result for an element must depend only on the weight, the gradient and the
/// state of this element, since large parameters are updated in pieces on several
/// threads. A rule with [`WHOLE`](Self::WHOLE) gets the whole parameter at once.
pub trait Rule: Send + Sync + 'static {
    /// The type of values that depend only on the number of updates, such as the bias
    /// corrections of Adam. They are computed once for all parameters with the same
    /// number of updates.
    type AtStep: Copy + Send + Sync;

    /// The name in errors.
    const NAME: &'static str;

    /// Whether an update needs the whole parameter, for example to compute its norm.
    const WHOLE: bool = false;

    /// The default weight decay.
    const WEIGHT_DECAY: f64 = 0.0;

    /// Returns the names of the state tensors.
    fn state(&self) -> &'static [&'static str];

    /// Returns the shape of a state tensor for a parameter of this shape. Only a rule
    /// with [`WHOLE`](Self::WHOLE) can return a shape that differs from that of the
    /// parameter.
    fn state_shape(&self, _name: &str, parameter: &Shape) -> Shape {
        parameter.clone()
    }

    /// Returns the initial value of a state tensor. `learning_rate` is that of the
    /// first update.
    fn initial_state(&self, _name: &str, _learning_rate: f64) -> f64 {
        0.0
    }

    /// Checks the settings.
    ///
    /// # Errors
    ///
    /// Returns an error that contains the name of an invalid setting.
    fn check(&self) -> Result<()>;

    /// Checks whether the rule can update a parameter of this shape.
    ///
    /// # Errors
    ///
    /// Returns an error if it cannot.
    fn check_shape(&self, _shape: &Shape) -> Result<()> {
        Ok(())
    }

    /// Returns the values that depend on the number of updates. The first update has
    /// the number 1.
    fn at_step(&self, step: u64) -> Self::AtStep;

    /// Updates weights and state. State tensors are in the order of
    /// [`state`](Self::state). All slices have the same length, unless
    /// [`state_shape`](Self::state_shape) returns other shapes. Implementations are
    /// `#[inline(always)]`, so that the shared loop is compiled for each instruction
    /// set.
    fn update<T: Float>(
        &self,
        now: &Now<Self::AtStep>,
        weight: &mut [T],
        gradient: &[T],
        state: &mut [&mut [T]],
    );
}

/// The scalars that an update needs in addition to the tensors.
#[derive(Clone, Copy, Debug)]
pub struct Now<A> {
    /// The learning rate, including schedule and group.
    pub learning_rate: f64,
    /// The weight decay of the parameter's group.
    pub weight_decay: f64,
    /// The result of [`Rule::at_step`].
    pub at_step: A,
    /// The length of the parameter's first axis; 1 for a scalar.
    pub rows: usize,
    /// The lengths of the parameter's last two axes; 1 for a missing axis.
    pub matrix: [usize; 2],
}

impl<A> Now<A> {
    /// Returns the factor of the weight in the gradient, and the factor of the weight
    /// itself: `[weight_decay, 1]`, or `[0, 1 − learning_rate · weight_decay]` for
    /// decoupled weight decay.
    #[inline(always)]
    pub fn decay(&self, decoupled: bool) -> [f64; 2] {
        match decoupled {
            true => [0.0, 1.0 - self.learning_rate * self.weight_decay],
            false => [self.weight_decay, 1.0],
        }
    }
}

/// Replaces each weight and its state by the result of `f` for the weight, the
/// gradient and the state.
///
/// State close to 0 is set to 0. Otherwise the averages of a weight without further
/// gradients, for example after a dead unit, would decay to subnormal numbers, which
/// are slow on CPUs.
///
/// # Panics
///
/// Panics if there are not `N` state tensors, or a slice is shorter than `weight`.
#[inline(always)]
pub fn elementwise<T: Float, const N: usize>(
    weight: &mut [T],
    gradient: &[T],
    state: &mut [&mut [T]],
    f: impl Fn(T, T, [T; N]) -> (T, [T; N]),
) {
    let length = weight.len();
    // With slices of equal length the compiler removes bounds checks.
    let gradient = &gradient[..length];
    let state: &mut [&mut [T]; N] = state.try_into().expect("a rule names its state tensors");
    let mut state = state.each_mut().map(|state| &mut state[..length]);
    let nothing = T::MIN_POSITIVE * T::from_f64(64.0);
    for i in 0..length {
        let (new_weight, new_state) =
            f(weight[i], gradient[i], std::array::from_fn(|k| state[k][i]));
        weight[i] = new_weight;
        for (state, new) in state.iter_mut().zip(new_state) {
            state[i] = if new.abs() < nothing { T::ZERO } else { new };
        }
    }
}

/// Returns an error that contains the setting, unless it is `valid`.
pub(crate) fn require(
    valid: bool,
    context: &str,
    setting: &str,
    expected: &str,
    value: f64,
) -> Result<()> {
    if valid {
        return Ok(());
    }
    Err(Error::argument(context, format!("{setting} must be {expected}, got {value}")))
}

/// Returns an error unless a setting is finite and not negative.
pub(crate) fn require_not_negative(context: &str, setting: &str, value: f64) -> Result<()> {
    let valid = value.is_finite() && value >= 0.0;
    require(valid, context, setting, "a finite number and not negative", value)
}

/// Returns an error unless a setting is at least 0 and less than 1.
pub(crate) fn require_below_one(context: &str, setting: &str, value: f64) -> Result<()> {
    require((0.0..1.0).contains(&value), context, setting, "at least 0 and less than 1", value)
}

/// Returns an error unless both decay rates are at least 0 and less than 1.
pub(crate) fn require_betas(context: &str, betas: [f64; 2]) -> Result<()> {
    require_below_one(context, "the first of the betas", betas[0])?;
    require_below_one(context, "the second of the betas", betas[1])
}

/// Returns the sign of a number, or 0 for 0.
#[inline(always)]
pub(crate) fn sign<T: Float>(x: T) -> T {
    if x > T::ZERO {
        T::ONE
    } else if x < T::ZERO {
        -T::ONE
    } else {
        // NaN remains NaN.
        x * T::ZERO
    }
}
