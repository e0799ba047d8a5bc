//! The optimizer that all rules share: its settings, and saving and loading its
//! state.

use std::fmt;

use dendra_autograd::{Differences, Gradients, Parameters, StateDict};
use dendra_tensor::{Element, Float, Result, Shape, Tensor};

use crate::clip::{Clipping, Norm};
use crate::group::{Exception, Group};
use crate::optimizer::Optimizer;
use crate::rule::{Rule, require_not_negative};
use crate::schedule::{ReduceLROnPlateau, Schedule};
use crate::slots::{self, Slots};

/// Descent along the gradients by a [`Rule`].
///
/// [`SGD`](crate::SGD), [`Adam`](crate::Adam) and the others are this type with
/// one rule each. Constructors and settings cannot fail: the first step, or
/// [`check`](Optimizer::check), reports invalid settings.
///
/// Parameters are distinguished by their identity. Once there is state, a step
/// with another model, or with a clone of the model, is an error, since the
/// state does not belong to it. New parameters of the same model start without
/// state.
pub struct Descent<R: Rule, T: Float = f32> {
    pub(crate) rule: R,
    learning_rate: f64,
    /// The settings of parameters that are in no group.
    defaults: Group,
    exceptions: Vec<Exception>,
    schedule: Option<(Count, Box<dyn Schedule>)>,
    plateau: Option<ReduceLROnPlateau>,
    pub(crate) clipping: Clipping,
    pub(crate) allow_missing_gradients: bool,
    pub(crate) steps: u64,
    epochs: u64,
    pub(crate) slots: Slots<T>,
    /// Whether the settings were checked and the groups assigned.
    pub(crate) ready: bool,
}

impl<R: Rule, T: Float> fmt::Debug for Descent<R, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct(R::NAME);
        debug.field("learning_rate", &self.learning_rate).field("steps", &self.steps);
        debug.finish_non_exhaustive()
    }
}

// The entries of a state dict that belong to no parameter.
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
    /// The optimizer with this learning rate and the defaults of its other
    /// settings, which their methods name. PyTorch's default learning rates are
    /// in the documentation of the optimizers.
    pub fn new(learning_rate: f64) -> Self {
        Self::with_rule(R::default(), learning_rate)
    }
}

/// Settings that every rule has.
impl<R: Rule, T: Float> Descent<R, T> {
    /// Descent by this rule.
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

    /// The rule, whose settings are checked again before the next step.
    pub(crate) fn rule_mut(&mut self) -> &mut R {
        self.ready = false;
        &mut self.rule
    }

    /// The strength with which weights are pulled to 0; the formula is that of
    /// the rule.
    #[must_use]
    pub fn weight_decay(mut self, weight_decay: f64) -> Self {
        self.defaults.weight_decay = weight_decay;
        self.ready = false;
        self
    }

    /// Other settings for the parameters whose names `belongs` accepts. A
    /// parameter in several groups takes all their changes, in the order in
    /// which the groups were given.
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

    /// A learning rate that changes with the steps.
    #[must_use]
    pub fn schedule(mut self, schedule: impl Schedule + 'static) -> Self {
        self.schedule = Some((Count::Steps, Box::new(schedule)));
        self.ready = false;
        self
    }

    /// A learning rate that changes with the epochs, as
    /// [`end_epoch`](Optimizer::end_epoch) counts them.
    #[must_use]
    pub fn epoch_schedule(mut self, schedule: impl Schedule + 'static) -> Self {
        self.schedule = Some((Count::Epochs, Box::new(schedule)));
        self.ready = false;
        self
    }

    /// A learning rate that falls when the figures passed to
    /// [`observe`](Optimizer::observe) no longer improve. It is the base of the
    /// schedule, if there is one.
    #[must_use]
    pub fn reduce_on_plateau(mut self, plateau: ReduceLROnPlateau) -> Self {
        self.plateau = Some(plateau);
        self.ready = false;
        self
    }

    /// Scales the gradients down so that the Euclidean norm of all together is
    /// at most this.
    #[must_use]
    pub fn clip_norm(self, max_norm: f64) -> Self {
        self.clip_norm_of(Norm::L2, max_norm)
    }

    /// As [`clip_norm`](Self::clip_norm), by another norm.
    #[must_use]
    pub fn clip_norm_of(mut self, norm: Norm, max_norm: f64) -> Self {
        self.clipping.norm = Some((norm, max_norm));
        self.ready = false;
        self
    }

    /// Limits every element of the gradients to `-limit ..= limit`; after
    /// clipping by norm, where both are set.
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

    /// Leaves trainable parameters on which the loss does not depend as they
    /// are; by default they are an error.
    #[must_use]
    pub fn allow_missing_gradients(mut self) -> Self {
        self.allow_missing_gradients = true;
        self
    }

    /// The settings of the parameter of this name.
    pub(crate) fn group_of(&self, name: &str) -> Group {
        let groups = self.exceptions.iter().filter(|exception| (exception.belongs)(name));
        groups.fold(self.defaults, |settings, exception| (exception.change)(settings))
    }
}

impl<R: Rule, T: Float> Optimizer<T> for Descent<R, T> {
    fn step(&mut self, model: &mut dyn Parameters<T>, gradients: &Gradients<T>) -> Result<()> {
        let (gradients_of, treatment) = self.plan(&*model, gradients)?;
        // Everything that can fail comes before the parameters change.
        model.apply_updates(gradients)?;
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
