//! The rule of an algorithm: the update of one parameter.

use dendra_tensor::{Error, Float, Result, Shape};

/// The update of one parameter, and its settings.
///
/// The result for an element may depend only on the weight, the gradient and
/// the state of that element, since a large parameter is updated in pieces on
/// several threads. A rule that is [`WHOLE`](Self::WHOLE) gets the whole
/// parameter at once.
pub trait Rule: Send + Sync + 'static {
    /// The values that depend only on the number of updates, such as the bias
    /// corrections of Adam. They are computed once for all parameters with the
    /// same number.
    type AtStep: Copy + Send + Sync;

    /// The name in errors.
    const NAME: &'static str;

    /// Whether an update needs the whole parameter, for example for its norm.
    const WHOLE: bool = false;

    /// The weight decay unless another one is set.
    const WEIGHT_DECAY: f64 = 0.0;

    /// The names of the state tensors.
    fn state(&self) -> &'static [&'static str];

    /// The shape of the state tensor of this name for a parameter of this
    /// shape. Only a rule that is [`WHOLE`](Self::WHOLE) may return another
    /// shape than that of the parameter.
    fn state_shape(&self, _name: &str, parameter: &Shape) -> Shape {
        parameter.clone()
    }

    /// The initial value of the state tensor of this name; the first update has
    /// this learning rate.
    fn initial_state(&self, _name: &str, _learning_rate: f64) -> f64 {
        0.0
    }

    /// Checks the settings.
    ///
    /// # Errors
    ///
    /// When one is invalid; the error names it.
    fn check(&self) -> Result<()>;

    /// Checks whether the rule can update a parameter of this shape.
    ///
    /// # Errors
    ///
    /// When it cannot.
    fn check_shape(&self, _shape: &Shape) -> Result<()> {
        Ok(())
    }

    /// The values that depend on the number of updates, which is 1 in the
    /// first.
    fn at_step(&self, step: u64) -> Self::AtStep;

    /// Updates weights and state, in the order of [`state`](Self::state); all
    /// slices have the same length, unless [`state_shape`](Self::state_shape)
    /// returns other shapes. Implementations are `#[inline(always)]`, so that
    /// the shared loop compiles them for each instruction set.
    fn update<T: Float>(
        &self,
        now: &Now<Self::AtStep>,
        weight: &mut [T],
        gradient: &[T],
        state: &mut [&mut [T]],
    );
}

/// The numbers that an update needs besides the tensors.
#[derive(Clone, Copy, Debug)]
pub struct Now<A> {
    /// The learning rate: schedule and group included.
    pub learning_rate: f64,
    /// The weight decay of the parameter's group.
    pub weight_decay: f64,
    /// The values that the rule computed from the number of updates.
    pub at_step: A,
    /// The length of the parameter's first axis; 1 for a scalar.
    pub rows: usize,
    /// The lengths of the parameter's last two axes; 1 for a missing axis.
    pub matrix: [usize; 2],
}

impl<A> Now<A> {
    /// The share of the weight that is added to the gradient, and the factor of
    /// the weight: `[weight_decay, 1]`, or `[0, 1 − learning_rate ·
    /// weight_decay]` if the decay is decoupled from the gradient.
    #[inline(always)]
    pub fn decay(&self, decoupled: bool) -> [f64; 2] {
        match decoupled {
            true => [0.0, 1.0 - self.learning_rate * self.weight_decay],
            false => [self.weight_decay, 1.0],
        }
    }
}

/// Replaces each weight and its state by the result of `f` for them and the
/// gradient.
///
/// State that is almost 0 becomes 0. The averages of a weight that no longer
/// gets a gradient, such as one after a dead unit, would otherwise decay to
/// subnormal numbers, which CPUs compute slowly.
///
/// # Panics
///
/// When there are not `N` state tensors, or a slice is shorter than `weight`.
#[inline(always)]
pub fn elementwise<T: Float, const N: usize>(
    weight: &mut [T],
    gradient: &[T],
    state: &mut [&mut [T]],
    f: impl Fn(T, T, [T; N]) -> (T, [T; N]),
) {
    let length = weight.len();
    // Slices of one length let the compiler drop the bounds checks.
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

/// An error that names a setting, unless it is `valid`.
pub(crate) fn require(
    valid: bool,
    place: &str,
    setting: &str,
    expected: &str,
    value: f64,
) -> Result<()> {
    if valid {
        return Ok(());
    }
    Err(Error::argument(place, format!("{setting} must be {expected}, got {value}")))
}

/// An error unless a setting is a finite number and not negative.
pub(crate) fn require_not_negative(place: &str, setting: &str, value: f64) -> Result<()> {
    let valid = value.is_finite() && value >= 0.0;
    require(valid, place, setting, "a finite number and not negative", value)
}

/// An error unless a setting is at least 0 and less than 1.
pub(crate) fn require_below_one(place: &str, setting: &str, value: f64) -> Result<()> {
    require((0.0..1.0).contains(&value), place, setting, "at least 0 and less than 1", value)
}

/// An error unless both shares that running means keep are below 1.
pub(crate) fn require_betas(place: &str, betas: [f64; 2]) -> Result<()> {
    require_below_one(place, "the first of the betas", betas[0])?;
    require_below_one(place, "the second of the betas", betas[1])
}

/// The sign of a number, or 0.
#[inline(always)]
pub(crate) fn sign<T: Float>(x: T) -> T {
    if x > T::ZERO {
        T::ONE
    } else if x < T::ZERO {
        -T::ONE
    } else {
        // A NaN stays one.
        x * T::ZERO
    }
}
