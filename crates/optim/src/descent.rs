//! The optimizer for all rules: its settings, and saving and loading its state.

use std::fmt;

use dendra_autograd::{Differences, Gradients, ParamId, Parameters, StateDict};
use dendra_tensor::{Element, Float, Result, Shape, Tensor};

use crate::clip::{Clipping, Norm};
use crate::group::{Exception, Group};
use crate::optimizer::Optimizer;
use crate::rule::{Rule, require_not_negative};
use crate::schedule::{ReduceLROnPlateau, Schedule};
use crate::slots::{self, Slots};

/// Gradient descent with a [`Rule`].
///
/// [`SGD`](crate::SGD), [`Adam`](crate::Adam) and the others are this type with
/// one rule each. Constructors and settings never fail: the first step, or
/// [`check`](Optimizer::check), returns an error for invalid settings.
///
/// Parameters are identified by their [`ParamId`](dendra_autograd::ParamId). After
/// the first step, a step with another model or a clone of the model is an error,
/// since the state does not belong to it. New parameters of the same model start
/// without state.
pub struct Descent<R: Rule, T: Float = f32> {
    pub(crate) rule: R,
    learning_rate: f64,
    /// The settings of parameters without a group.
    defaults: Group,
    exceptions: Vec<Exception>,
    schedule: Option<(Count, Box<dyn Schedule>)>,
    plateau: Option<ReduceLROnPlateau>,
    pub(crate) clipping: Clipping,
    pub(crate) allow_missing_gradients: bool,
    pub(crate) steps: u64,
    epochs: u64,
    pub(crate) slots: Slots<T>,
    /// Whether the settings are checked and the groups are assigned.
    pub(crate) ready: bool,
}

impl<R: Rule, T: Float> fmt::Debug for Descent<R, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct(R::NAME);
        debug.field("learning_rate", &self.learning_rate).field("steps", &self.steps);
        debug.finish_non_exhaustive()
    }
}

// The entries of a state dict that do not belong to a parameter.
const STEPS: &str = "steps";
const EPOCHS: &str = "epochs";
const LEARNING_RATE: &str = "learning_rate";
const PLATEAU: &str = "plateau";

/// The unit that a schedule counts.
enum Count {
    Steps,
    Epochs,
}

impl<R: Rule + Default, T: Float> Descent<R, T> {
    /// Creates the optimizer with this learning rate. The methods of the other
    /// settings document their defaults. The documentation of each optimizer contains
    /// PyTorch's default learning rate.
    pub fn new(learning_rate: f64) -> Self {
        Self::with_rule(R::default(), learning_rate)
    }
}

/// Settings that all rules have in common.
impl<R: Rule, T: Float> Descent<R, T> {
    /// Creates an optimizer with this rule.
    pub fn with_rule(rule: R, learning_rate: f64) -> Self {
        Self {
            rule,
            learning_rate,
            defaults: Group::default().weight_decay(R::WEIGHT_DECAY),
            exceptions: Vec::new(),
            schedule: None,
            plateau: None,
            clipping: Clipping::default(),
            allow_missing_gradients: false,
            steps: 0,
            epochs: 0,
            slots: Slots::default(),
            ready: false,
        }
    }

    /// Returns the rule for modification. Its settings are checked again before the
    /// next step.
    pub(crate) fn rule_mut(&mut self) -> &mut R {
        self.ready = false;
        &mut self.rule
    }

    /// Sets the weight decay, which pulls weights towards 0. The formula depends on the
    /// rule.
    #[must_use]
    pub fn weight_decay(mut self, weight_decay: f64) -> Self {
        self.defaults.weight_decay = weight_decay;
        self.ready = false;
        self
    }

    /// Changes the settings of the parameters whose names `belongs` accepts. If a
    /// parameter is in several groups, their changes are applied in the order of the
    /// calls.
    ///
    /// ```
    /// use dendra_optim::AdamW;
    ///
    /// let optimizer: AdamW = AdamW::new(1e-3)
    ///     .group(|name| name.ends_with("bias"), |group| group.weight_decay(0.0))
    ///     .group(|name| name.starts_with("backbone."), |group| group.learning_rate_factor(0.1));
    /// ```
    #[must_use]
    pub fn group(
        mut self,
        belongs: impl Fn(&str) -> bool + Send + Sync + 'static,
        change: impl Fn(Group) -> Group + Send + Sync + 'static,
    ) -> Self {
        let exception = Exception { belongs: Box::new(belongs), change: Box::new(change) };
        self.exceptions.push(exception);
        self.ready = false;
        self
    }

    /// Sets a schedule that depends on the number of steps.
    #[must_use]
    pub fn schedule(mut self, schedule: impl Schedule + 'static) -> Self {
        self.schedule = Some((Count::Steps, Box::new(schedule)));
        self.ready = false;
        self
    }

    /// Sets a schedule that depends on the number of epochs, counted by
    /// [`end_epoch`](Optimizer::end_epoch).
    #[must_use]
    pub fn epoch_schedule(mut self, schedule: impl Schedule + 'static) -> Self {
        self.schedule = Some((Count::Epochs, Box::new(schedule)));
        self.ready = false;
        self
    }

    /// Reduces the learning rate when the metrics passed to
    /// [`observe`](Optimizer::observe) stop improving. With a schedule, this changes
    /// the base learning rate of the schedule.
    #[must_use]
    pub fn reduce_on_plateau(mut self, plateau: ReduceLROnPlateau) -> Self {
        self.plateau = Some(plateau);
        self.ready = false;
        self
    }

    /// Scales the gradients down so that their Euclidean norm, all together, is at
    /// most this number.
    #[must_use]
    pub fn clip_norm(self, max_norm: f64) -> Self {
        self.clip_norm_of(Norm::L2, max_norm)
    }

    /// Like [`clip_norm`](Self::clip_norm), with another norm.
    #[must_use]
    pub fn clip_norm_of(mut self, norm: Norm, max_norm: f64) -> Self {
        self.clipping.norm = Some((norm, max_norm));
        self.ready = false;
        self
    }

    /// Clamps every element of the gradients to `-limit ..= limit`, after clipping by
    /// norm if both are set.
    #[must_use]
    pub fn clip_value(mut self, limit: f64) -> Self {
        self.clipping.value = Some(limit);
        self.ready = false;
        self
    }

    /// Maximises the loss instead of minimising it.
    #[must_use]
    pub fn maximize(mut self, maximize: bool) -> Self {
        self.clipping.negate = maximize;
        self
    }

    /// Ignores trainable parameters on which the loss does not depend. By default they
    /// are an error.
    #[must_use]
    pub fn allow_missing_gradients(mut self) -> Self {
        self.allow_missing_gradients = true;
        self
    }

    /// Returns the settings of the parameter with this name.
    pub(crate) fn group_of(&self, name: &str) -> Group {
        let groups = self.exceptions.iter().filter(|exception| (exception.belongs)(name));
        groups.fold(self.defaults, |settings, exception| (exception.change)(settings))
    }
}

impl<R: Rule, T: Float> Optimizer<T> for Descent<R, T> {
    fn step(&mut self, model: &mut dyn Parameters<T>, gradients: &Gradients<T>) -> Result<()> {
        let (gradients_of, treatment) = self.plan(&*model, gradients)?;
        // All checks come before the parameters change.
        model.apply_updates(gradients)?;
        self.update(model, &gradients_of, treatment, self.learning_rate())?;
        self.steps += 1;
        Ok(())
    }

    fn step_part(
        &mut self,
        model: &mut dyn Parameters<T>,
        gradients: &Gradients<T>,
        belongs: &dyn Fn(ParamId) -> bool,
    ) -> Result<()> {
        let (mut gradients_of, treatment) = self.plan(&*model, gradients)?;
        model.apply_updates(gradients)?;
        for (slot, gradient) in self.slots.iter_mut().zip(&mut gradients_of) {
            if !slot.id.is_some_and(belongs) {
                slot.forget();
                *gradient = None;
            }
        }
        self.update(model, &gradients_of, treatment, self.learning_rate())?;
        self.steps += 1;
        Ok(())
    }

    fn check_step(
        &mut self,
        model: &mut dyn Parameters<T>,
        gradients: &Gradients<T>,
    ) -> Result<()> {
        self.plan(&*model, gradients).map(|_| ())
    }

    fn check(&self) -> Result<()> {
        require_not_negative(R::NAME, "the learning rate", self.learning_rate)?;
        self.rule.check()?;
        self.defaults.check(R::NAME)?;
        for exception in &self.exceptions {
            (exception.change)(self.defaults).check(R::NAME)?;
        }
        self.clipping.check(R::NAME)?;
        self.plateau.as_ref().map_or(Ok(()), ReduceLROnPlateau::check)?;
        self.schedule.as_ref().map_or(Ok(()), |(_, schedule)| schedule.check())
    }

    fn steps(&self) -> u64 {
        self.steps
    }

    fn learning_rate(&self) -> f64 {
        match &self.schedule {
            Some((Count::Steps, schedule)) => {
                schedule.learning_rate(self.learning_rate, self.steps)
            }
            Some((Count::Epochs, schedule)) => {
                schedule.learning_rate(self.learning_rate, self.epochs)
            }
            None => self.learning_rate,
        }
    }

    fn base_learning_rate(&self) -> f64 {
        self.learning_rate
    }

    fn set_learning_rate(&mut self, learning_rate: f64) {
        self.learning_rate = learning_rate;
    }

    fn end_epoch(&mut self) {
        self.epochs += 1;
    }

    fn observe(&mut self, figure: f64) {
        if let Some(plateau) = &mut self.plateau {
            self.learning_rate = plateau.observe(figure, self.learning_rate);
        }
    }

    #[inline(never)]
    fn state_dict(&self) -> StateDict {
        let mut state = self.slots.state_dict(self.rule.state());
        if let Some(plateau) = &self.plateau {
            state.insert(PLATEAU, plateau.state());
        }
        state.insert(STEPS, Tensor::scalar(self.steps as i64));
        state.insert(EPOCHS, Tensor::scalar(self.epochs as i64));
        state.insert(LEARNING_RATE, Tensor::scalar(self.learning_rate));
        state
    }

    #[inline(never)]
    fn load_state_dict(&mut self, state: &StateDict) -> Result<()> {
        let mut differences = Differences::default();
        let steps = slots::count(STEPS, state.get(STEPS), &mut differences);
        let epochs = slots::count(EPOCHS, state.get(EPOCHS), &mut differences);
        let rate = state.get(LEARNING_RATE);
        differences.compare(LEARNING_RATE, rate, f64::NAME, &Shape::scalar());
        let mut plateau = self.plateau.clone();
        if let Some(plateau) = &mut plateau {
            plateau.load(PLATEAU, state.get(PLATEAU), &mut differences);
        }
        let mut own = vec![STEPS, EPOCHS, LEARNING_RATE];
        own.extend(plateau.as_ref().map(|_| PLATEAU));
        let of_parameters = state.iter().filter(|(name, _)| !own.contains(name));
        let slots = Slots::from_state(of_parameters, self.rule.state(), &mut differences);
        differences.into_result().map_err(|error| error.within(R::NAME))?;

        if let Some(rate) = state.typed::<f64>(LEARNING_RATE) {
            self.learning_rate = rate.item()?;
        }
        self.steps = steps;
        self.epochs = epochs;
        self.plateau = plateau;
        self.slots = slots;
        self.ready = false;
        Ok(())
    }
}
