//! [`Privacy`]: the private step for a training loop.

use std::fmt;

use dendra_autograd::{Gradients, Param, Parameters, Update, Var};
use dendra_tensor::{Error, Float, Result, Tensor};

use crate::accountant::{Accountant, Budget};
use crate::adaptive::AdaptiveClipping;
use crate::ledger::{Ledger, Mechanism};
use crate::noise::{Noise, PART};

/// The settings of a private training.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plan {
    /// The number of samples of the data set.
    pub samples: usize,
    /// The probability with which each sample takes part in a step.
    pub sample_rate: f64,
    /// The standard deviation of the noise, relative to `max_norm`.
    pub noise_multiplier: f64,
    /// The norm to which the gradient of each sample is clipped.
    pub max_norm: f64,
}

impl Plan {
    /// The plan of a training of `epochs` over `samples`, in steps of
    /// `batch_size` samples on average, with the noise that keeps it within a
    /// budget. The norm is 1.
    ///
    /// ```
    /// use dendra_privacy::{Accountant, Budget, Ledger, Mechanism, Plan};
    ///
    /// let budget = Budget { epsilon: 3.0, delta: 1e-5 };
    /// let plan = Plan::for_budget(60_000, 256, 20, Accountant::Renyi, budget)?;
    /// let plan = Plan { max_norm: 0.5, ..plan };
    ///
    /// let Plan { noise_multiplier, sample_rate, .. } = plan;
    /// let mut ledger = Ledger::new();
    /// ledger.record(Mechanism { noise_multiplier, sample_rate, steps: 20 * 235 })?;
    /// assert!(Accountant::Renyi.epsilon(&ledger, 1e-5)? <= 3.0);
    /// # Ok::<(), dendra_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// When a number is 0, and those of [`Accountant::noise_multiplier`].
    pub fn for_budget(
        samples: usize,
        batch_size: usize,
        epochs: u64,
        accountant: Accountant,
        budget: Budget,
    ) -> Result<Self> {
        if samples == 0 || batch_size == 0 || epochs == 0 {
            let message = format!(
                "expected samples, batch_size and epochs above 0, got {samples}, {batch_size} and \
                 {epochs}"
            );
            return Err(Error::argument("Plan::for_budget", message));
        }
        let sample_rate = (batch_size as f64 / samples as f64).min(1.0);
        let steps = epochs.saturating_mul(samples.div_ceil(batch_size) as u64);
        let noise_multiplier = accountant.noise_multiplier(budget, sample_rate, steps)?;
        Ok(Self { samples, sample_rate, noise_multiplier, max_norm: 1.0 })
    }
}

/// Differentially private gradient descent, for a training loop with any
/// optimizer.
///
/// Each [`step`](Self::step) draws samples, clips their gradients, adds noise
/// to the sum and records the step in the [`Ledger`] (Abadi et al., "Deep
/// learning with differential privacy", 2016). Samples and noise come from a
/// cryptographic generator with a secret seed.
///
/// ```
/// use dendra_autograd::{Param, Tape};
/// use dendra_optim::{Optimizer, SGD};
/// use dendra_privacy::{Accountant, Budget, Plan, Privacy};
/// use dendra_tensor::{Ops, Tensor};
///
/// let data = Tensor::from_fn([100, 1], |i| i as f32 / 100.0);
/// let mut weight = Param::new(Tensor::from([[0.0_f32]]));
/// let mut optimizer = SGD::new(0.5);
/// let plan = Plan { samples: 100, sample_rate: 0.2, noise_multiplier: 2.0, max_norm: 1.0 };
/// let budget = Budget { epsilon: 3.0, delta: 1e-3 };
/// let mut privacy = Privacy::new(plan)?.budget(Accountant::Renyi, budget);
/// while privacy.remaining_steps()? > 0 {
///     let mut step = privacy.step(&weight)?;
///     // Parts of at most 16 samples, for less memory.
///     for indices in step.parts(16) {
///         let x = optimizer.tape(0).input(data.index_select(0, &indices)?);
///         let losses = x.linear(&weight.on(&x), None)?.sub(&x.mul_scalar(3.0))?.square();
///         step.add(&losses.flatten(0, -1)?)?;
///     }
///     let gradients = step.finish()?;
///     optimizer.step(&mut weight, &gradients)?;
/// }
/// assert!(privacy.epsilon(Accountant::Renyi, 1e-3)? <= 3.0);
/// # Ok::<(), dendra_tensor::Error>(())
/// ```
pub struct Privacy {
    plan: Plan,
    max_norm: f64,
    adaptive: Option<AdaptiveClipping>,
    budget: Option<(Accountant, Budget)>,
    /// How many steps the budget still allows, once it was computed.
    remaining: Option<u64>,
    /// The samples whose gradients a trainer computes at a time.
    #[cfg(feature = "train")]
    part_size: usize,
    ledger: Ledger,
    noise: Noise,
}

impl fmt::Debug for Privacy {
    /// Without the state of the generator, which must stay secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Privacy");
        debug.field("plan", &self.plan).field("max_norm", &self.max_norm);
        debug.field("adaptive", &self.adaptive).field("budget", &self.budget);
        debug.field("ledger", &self.ledger).finish_non_exhaustive()
    }
}

impl Privacy {
    /// A private training about which nothing was released yet.
    ///
    /// # Errors
    ///
    /// When a setting is impossible, or the operating system has no random
    /// numbers.
    pub fn new(plan: Plan) -> Result<Self> {
        Self::with_noise(plan, Noise::secret()?)
    }

    /// As [`new`](Self::new), with samples and noise that everyone who knows the
    /// seed can compute: for tests only, since it protects nothing.
    ///
    /// # Errors
    ///
    /// When a setting is impossible.
    pub fn reproducible_for_tests(plan: Plan, seed: u64) -> Result<Self> {
        Self::with_noise(plan, Noise::reproducible(seed))
    }

    fn with_noise(plan: Plan, noise: Noise) -> Result<Self> {
        let fail = |message| Err(Error::argument("Privacy::new", message));
        mechanism(plan).check().map_err(|error| error.within("Privacy::new"))?;
        if plan.samples == 0 || plan.sample_rate == 0.0 {
            let Plan { samples, sample_rate, .. } = plan;
            return fail(format!(
                "expected samples and a rate above 0, got {samples} and {sample_rate}"
            ));
        }
        check_norm("Privacy::new", plan.max_norm)?;
        Ok(Self {
            plan,
            max_norm: plan.max_norm,
            adaptive: None,
            budget: None,
            remaining: None,
            #[cfg(feature = "train")]
            part_size: 64,
            ledger: Ledger::new(),
            noise,
        })
    }

    /// Refuses steps that would exceed this budget.
    #[must_use]
    pub fn budget(mut self, accountant: Accountant, budget: Budget) -> Self {
        (self.budget, self.remaining) = (Some((accountant, budget)), None);
        self
    }

    /// Adapts the norm at which gradients are clipped; `max_norm` is the first
    /// one.
    #[must_use]
    pub fn adaptive(mut self, clipping: AdaptiveClipping) -> Self {
        self.adaptive = Some(clipping);
        self
    }

    /// Continues a training that has released this already and has this norm
    /// now.
    ///
    /// # Errors
    ///
    /// When the norm is not a positive number.
    pub fn resume(mut self, ledger: Ledger, max_norm: f64) -> Result<Self> {
        self.restore(ledger, max_norm)?;
        Ok(self)
    }

    pub(crate) fn restore(&mut self, ledger: Ledger, max_norm: f64) -> Result<()> {
        check_norm("Privacy::resume", max_norm)?;
        ledger.distinct()?;
        (self.ledger, self.max_norm, self.remaining) = (ledger, max_norm, None);
        Ok(())
    }

    /// The number of samples whose gradients a `Trainer` computes at a time; 64
    /// by default. It changes the memory that a step needs, not what it computes,
    /// except for rounding and dropout.
    #[cfg(feature = "train")]
    #[must_use]
    pub fn parts_of(mut self, samples: usize) -> Self {
        self.part_size = samples;
        self
    }

    #[cfg(feature = "train")]
    pub(crate) fn part_size(&self) -> usize {
        self.part_size
    }

    #[cfg(feature = "train")]
    pub(crate) fn plan(&self) -> &Plan {
        &self.plan
    }

    /// What was released so far, for a checkpoint.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The norm at which gradients are clipped.
    pub fn max_norm(&self) -> f64 {
        self.max_norm
    }

    /// The number of samples that a step takes on average, by which the sum of
    /// their gradients is divided.
    pub fn expected_batch_size(&self) -> f64 {
        self.plan.samples as f64 * self.plan.sample_rate
    }

    /// The ε of everything released so far.
    ///
    /// # Errors
    ///
    /// Those of [`Accountant::epsilon`].
    pub fn epsilon(&self, accountant: Accountant, delta: f64) -> Result<f64> {
        accountant.epsilon(&self.ledger, delta)
    }

    /// How many steps the budget still allows; without a budget,
    /// [`u64::MAX`].
    ///
    /// # Errors
    ///
    /// Those of [`Accountant::remaining_steps`].
    pub fn remaining_steps(&mut self) -> Result<u64> {
        let Some((accountant, budget)) = self.budget else { return Ok(u64::MAX) };
        if let Some(remaining) = self.remaining {
            return Ok(remaining);
        }
        let found = accountant.remaining_steps(&self.ledger, mechanism(self.plan), budget)?;
        self.remaining = Some(found);
        Ok(found)
    }

    /// Chooses the clients of a round, as [`step`](Self::step) chooses samples.
    #[cfg(feature = "federated")]
    pub(crate) fn choose(&mut self, place: &str, clients: usize) -> Result<Vec<usize>> {
        if clients != self.plan.samples {
            let planned = self.plan.samples;
            let message = format!("the plan is for {planned} clients, got {clients}");
            return Err(Error::argument(place, message));
        }
        if self.adaptive.is_some() {
            return Err(Error::argument(place, "the norm of clients cannot adapt"));
        }
        self.draw(place)
    }

    /// Adds noise to the sum of the clients' changes, and records the round.
    #[cfg(feature = "federated")]
    pub(crate) fn add_noise(&mut self, sums: &mut [f64]) -> Result<()> {
        let deviation = self.plan.noise_multiplier * self.max_norm;
        self.noise.add(sums, deviation);
        self.record()
    }

    /// The samples of the next step, unless the budget is spent.
    fn draw(&mut self, place: &str) -> Result<Vec<usize>> {
        if self.remaining_steps()? == 0 {
            let message = "the budget is spent; remaining_steps tells how many steps are left";
            return Err(Error::argument(place, message));
        }
        Ok(self.noise.draw(self.plan.samples, self.plan.sample_rate))
    }

    /// Notes in the ledger that a step was released.
    fn record(&mut self) -> Result<()> {
        self.ledger.record(mechanism(self.plan))?;
        if let Some(remaining) = &mut self.remaining {
            *remaining -= 1;
        }
        Ok(())
    }

    /// Draws the samples of the next step. Their number is random and may be 0;
    /// finish the step in that case too.
    ///
    /// # Errors
    ///
    /// When the budget is spent, or a setting is impossible.
    pub fn step<'a, T: Float>(
        &'a mut self,
        model: &'a dyn Parameters<T>,
    ) -> Result<PrivateStep<'a, T>> {
        let indices = self.draw("Privacy::step")?;
        let noise_multiplier = match &self.adaptive {
            Some(clipping) => {
                clipping.gradient_noise(self.plan.noise_multiplier, self.expected_batch_size())?
            }
            None => self.plan.noise_multiplier,
        };
        Ok(PrivateStep {
            privacy: self,
            model,
            indices,
            noise_multiplier,
            total: None,
            loss: 0.0,
            added: 0,
            below: 0,
        })
    }
}

fn mechanism(plan: Plan) -> Mechanism {
    let Plan { noise_multiplier, sample_rate, .. } = plan;
    Mechanism { noise_multiplier, sample_rate, steps: 1 }
}

fn check_norm(place: &str, max_norm: f64) -> Result<()> {
    if max_norm > 0.0 && max_norm.is_finite() {
        return Ok(());
    }
    let message = format!("max_norm: expected a positive number, got {max_norm}");
    Err(Error::argument(place, message))
}

/// A step of a private training: [`add`](Self::add) each of its
/// [`parts`](Self::parts), then [`finish`](Self::finish) it.
///
/// A step that is dropped releases nothing and costs nothing.
pub struct PrivateStep<'a, T: Float = f32> {
    privacy: &'a mut Privacy,
    model: &'a dyn Parameters<T>,
    indices: Vec<usize>,
    noise_multiplier: f64,
    /// The sum of the clipped gradients.
    total: Option<Gradients<T>>,
    loss: f64,
    added: usize,
    /// How many samples had a norm of at most `max_norm`.
    below: usize,
}

impl<T: Float> fmt::Debug for PrivateStep<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("PrivateStep");
        debug.field("indices", &self.indices).field("added", &self.added).finish_non_exhaustive()
    }
}

impl<T: Float> PrivateStep<'_, T> {
    /// The samples of the step: indices of the data set.
    pub fn indices(&self) -> &[usize] {
        &self.indices
    }

    /// The samples of the step in parts of at most this many (at least 1).
    pub fn parts(&self, size: usize) -> Vec<Vec<usize>> {
        self.indices.chunks(size.max(1)).map(<[usize]>::to_vec).collect()
    }

    /// Adds the clipped gradients of some samples, given their losses `[N]`, as
    /// a loss function with `Reduction::None` returns them. Consumes the record
    /// of the tape.
    ///
    /// # Errors
    ///
    /// When the losses have another shape, since the mean of a batch depends on
    /// how many samples it has; when the gradient of a sample is not finite;
    /// when an operation mixes samples, such as batch normalisation (use group
    /// or layer normalisation); when a layer keeps statistics of the data; and
    /// the errors of [`Var::per_sample_norms`].
    pub fn add(&mut self, losses: &Var<T>) -> Result<()> {
        const NAME: &str = "PrivateStep::add";
        let (Some(_), &[samples]) = (losses.tape(), &losses.shape()[..]) else {
            let message = format!(
                "expected a loss for each sample, [N], on a tape (Reduction::None), got {}",
                losses.shape()
            );
            return Err(Error::shape(NAME, message));
        };
        let max_norm = self.privacy.max_norm;
        let mut below = 0;
        let mut weights = |norms: &Tensor<T>| {
            let norms = norms.to_vec();
            if let Some(index) = norms.iter().position(|norm| !norm.is_finite()) {
                let message = format!("the gradient of sample {index} of this part is not finite");
                return Err(Error::not_finite("clipped gradients", message));
            }
            below = norms.iter().filter(|norm| norm.to_f64() <= max_norm).count();
            let weights = norms.iter().map(|norm| clip_weight(norm.to_f64(), max_norm));
            Tensor::from_vec(weights.map(T::from_f64).collect(), [samples])
        };
        let gradients =
            losses.backward_weighted(&mut weights).map_err(|error| error.within(NAME))?;
        let keeps = |update: &Update<T>| !matches!(update, Update::Increment { .. });
        if gradients.updates().iter().any(keeps) {
            return Err(Error::argument(
                NAME,
                "a layer keeps statistics of the data, which noise does not protect; use group or \
                 layer normalisation",
            ));
        }
        self.added += samples;
        self.below += below;
        self.loss += losses.value().to_vec().iter().map(|loss| loss.to_f64()).sum::<f64>();
        match &mut self.total {
            None => self.total = Some(gradients),
            Some(total) => total.accumulate(gradients),
        }
        Ok(())
    }

    /// Adds the noise and divides by the expected batch size. The result has a
    /// gradient for each trainable parameter, for any optimizer. The step is
    /// recorded in the ledger.
    ///
    /// The loss of the gradients is the sum of the samples' losses, divided in
    /// the same way. It has no noise: do not publish it.
    ///
    /// # Errors
    ///
    /// When the number of samples that were added is not that of the step.
    pub fn finish(self) -> Result<Gradients<T>> {
        let Self { privacy, model, indices, total, .. } = self;
        if self.added != indices.len() {
            let (expected, found) = (indices.len(), self.added);
            let message = format!("the step has {expected} samples, got the losses of {found}");
            return Err(Error::argument("PrivateStep::finish", message));
        }
        let batch = privacy.expected_batch_size();
        let deviation = self.noise_multiplier * privacy.max_norm;
        let noise = &mut privacy.noise;
        let mut noisy = |param: &Param<T>| {
            let sums = total.as_ref().and_then(|total| total.get(param)).map(Tensor::contiguous);
            let sums = sums.as_ref().map(|sums| sums.as_slice().expect("made contiguous"));
            let mut part = [0.0; PART];
            let values = Tensor::build(param.value().shape().clone(), |values| {
                for (index, values) in values.chunks_mut(PART).enumerate() {
                    let part = &mut part[..values.len()];
                    part.fill(0.0);
                    if let Some(sums) = sums {
                        let sums = part.iter_mut().zip(&sums[index * PART..]);
                        sums.for_each(|(part, sum)| *part = sum.to_f64());
                    }
                    noise.add(part, deviation);
                    let values = values.iter_mut().zip(part);
                    values.for_each(|(value, sum)| *value = T::from_f64(*sum / batch));
                }
            });
            (param.id(), values)
        };
        let parameters = model.named_parameters();
        let trainable = parameters.iter().map(|(_, param)| *param).filter(|p| p.is_trainable());
        let values: Vec<_> = trainable.map(&mut noisy).collect();
        privacy.record()?;
        if let Some(clipping) = privacy.adaptive {
            let counts = (self.below, indices.len());
            let next = clipping.next(privacy.max_norm, counts, batch, &mut privacy.noise);
            privacy.max_norm = next;
        }
        Ok(Gradients::from_values(T::from_f64(self.loss / batch), values))
    }
}

/// The factor that limits a gradient to `max_norm`. It leaves a margin for the
/// rounding of the norm and of the product.
fn clip_weight(norm: f64, max_norm: f64) -> f64 {
    const MARGIN: f64 = 1.0 - 1e-5;
    (MARGIN * max_norm / norm).min(1.0)
}

#[cfg(test)]
mod tests;
