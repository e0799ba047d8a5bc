//! Two optimizers for different parameters of one model.

use std::collections::HashSet;
use std::fmt;

use dendra_autograd::{
    Differences, Entry, EntryMut, Gradients, ParamId, Parameters, Path, StateDict,
};
use dendra_tensor::{Float, Result, Shape};

use crate::optimizer::Optimizer;
use crate::step;

/// Two optimizers for different parameters of a model: the first one for parameters
/// that a condition on name and shape accepts, the second one for all others. Nest
/// splits for more than two optimizers.
///
/// Each optimizer has its own settings, including clipping and schedule. If only
/// learning rate and weight decay differ, groups of one optimizer are sufficient.
/// The learning rate of a split is that of the first optimizer. Setting it changes
/// the learning rate of the second one in proportion. The names in the state start
/// with `first.` and `second.`.
///
/// ```
/// use dendra_optim::{AdamW, Muon, Optimizer, SGD, Split};
///
/// let matrices_within = |name: &str, shape: &dendra_tensor::Shape| {
///     shape.len() == 2 && name.starts_with("blocks.")
/// };
/// let mut optimizer: Split<Muon, AdamW> =
///     Split::new(matrices_within, Muon::new(0.02), AdamW::new(0.001));
/// Optimizer::<f32>::set_learning_rate(&mut optimizer, 0.04);
/// assert_eq!(optimizer.second().learning_rate(), 0.002);
/// ```
pub struct Split<A, B> {
    belongs: Box<Condition>,
    first: A,
    second: B,
    /// All parameters of the model in the last call.
    seen: Vec<ParamId>,
    /// The parameters of the first optimizer.
    chosen: HashSet<ParamId>,
}

impl<A: fmt::Debug, B: fmt::Debug> fmt::Debug for Split<A, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Split");
        debug.field("first", &self.first).field("second", &self.second).finish_non_exhaustive()
    }
}

/// The condition on name and shape for parameters of the first optimizer.
type Condition = dyn Fn(&str, &Shape) -> bool + Send + Sync;

impl<A, B> Split<A, B> {
    /// Creates a split. `first` updates the parameters that `belongs` accepts,
    /// `second` all others.
    pub fn new(
        belongs: impl Fn(&str, &Shape) -> bool + Send + Sync + 'static,
        first: A,
        second: B,
    ) -> Self {
        let belongs = Box::new(belongs);
        Self { belongs, first, second, seen: Vec::new(), chosen: HashSet::new() }
    }

    /// Returns the optimizer of the accepted parameters.
    pub fn first(&self) -> &A {
        &self.first
    }

    /// Returns the optimizer of all other parameters.
    pub fn second(&self) -> &B {
        &self.second
    }

    /// Assigns the parameters of a model to the optimizers, unless they are the same
    /// as in the last call.
    fn sort<T: Float>(&mut self, model: &dyn Parameters<T>) {
        let seen = step::parameters(model, self.seen.len());
        if seen.iter().map(|param| param.id()).eq(self.seen.iter().copied()) {
            return;
        }
        let named = model.named_parameters();
        self.seen = named.iter().map(|(_, param)| param.id()).collect();
        let chosen =
            named.iter().filter(|(name, param)| (self.belongs)(name, param.value().shape()));
        self.chosen = chosen.map(|(_, param)| param.id()).collect();
    }
}

/// The part of a model that one of the optimizers updates.
struct Portion<'m, T: Float> {
    model: &'m mut dyn Parameters<T>,
    chosen: &'m HashSet<ParamId>,
    is_first: bool,
}

impl<T: Float> Portion<'_, T> {
    fn holds(&self, id: ParamId) -> bool {
        self.chosen.contains(&id) == self.is_first
    }
}

/// Buffers belong to the first part, so that they are updated once.
impl<T: Float> Parameters<T> for Portion<'_, T> {
    fn visit<'a>(&'a self, path: &mut Path, visitor: &mut dyn FnMut(&Path, Entry<'a, T>)) {
        self.model.visit(path, &mut |path, entry| {
            let is_held = match &entry {
                Entry::Param(param) => self.holds(param.id()),
                Entry::Buffer(_) | Entry::Counter(_) => self.is_first,
            };
            if is_held {
                visitor(path, entry);
            }
        });
    }

    fn visit_mut<'a>(
        &'a mut self,
        path: &mut Path,
        visitor: &mut dyn FnMut(&Path, EntryMut<'a, T>),
    ) {
        let (chosen, is_first) = (self.chosen, self.is_first);
        self.model.visit_mut(path, &mut |path, entry| {
            let is_held = match &entry {
                EntryMut::Param(param) => chosen.contains(&param.id()) == is_first,
                EntryMut::Buffer(_) | EntryMut::Counter(_) => is_first,
            };
            if is_held {
                visitor(path, entry);
            }
        });
    }
}

impl<A, B> Split<A, B> {
    /// Calls a function with each optimizer and its part of the model.
    fn each<T: Float>(
        &mut self,
        model: &mut dyn Parameters<T>,
        mut of_first: impl FnMut(&mut A, &mut dyn Parameters<T>) -> Result<()>,
        mut of_second: impl FnMut(&mut B, &mut dyn Parameters<T>) -> Result<()>,
    ) -> Result<()> {
        self.sort(&*model);
        let chosen = &self.chosen;
        of_first(&mut self.first, &mut Portion { model: &mut *model, chosen, is_first: true })?;
        of_second(&mut self.second, &mut Portion { model, chosen, is_first: false })
    }
}

impl<T: Float, A: Optimizer<T>, B: Optimizer<T>> Optimizer<T> for Split<A, B> {
    fn step(&mut self, model: &mut dyn Parameters<T>, gradients: &Gradients<T>) -> Result<()> {
        // Both steps are checked before one of them changes anything.
        self.check_step(&mut *model, gradients)?;
        self.each(
            model,
            |first, model| first.step(model, gradients),
            |second, model| second.step(model, gradients),
        )
    }

    fn step_part(
        &mut self,
        model: &mut dyn Parameters<T>,
        gradients: &Gradients<T>,
        belongs: &dyn Fn(ParamId) -> bool,
    ) -> Result<()> {
        self.check_step(&mut *model, gradients)?;
        self.each(
            model,
            |first, model| first.step_part(model, gradients, belongs),
            |second, model| second.step_part(model, gradients, belongs),
        )
    }

    fn check_step(
        &mut self,
        model: &mut dyn Parameters<T>,
        gradients: &Gradients<T>,
    ) -> Result<()> {
        self.each(
            model,
            |first, model| first.check_step(model, gradients),
            |second, model| second.check_step(model, gradients),
        )
    }

    fn check(&self) -> Result<()> {
        self.first.check()?;
        self.second.check()
    }

    fn steps(&self) -> u64 {
        self.first.steps()
    }

    fn learning_rate(&self) -> f64 {
        self.first.learning_rate()
    }

    fn base_learning_rate(&self) -> f64 {
        self.first.base_learning_rate()
    }

    fn set_learning_rate(&mut self, learning_rate: f64) {
        let before = self.first.base_learning_rate();
        if before > 0.0 {
            let proportion = learning_rate / before;
            self.second.set_learning_rate(self.second.base_learning_rate() * proportion);
        }
        self.first.set_learning_rate(learning_rate);
    }

    fn end_epoch(&mut self) {
        self.first.end_epoch();
        self.second.end_epoch();
    }

    fn observe(&mut self, figure: f64) {
        self.first.observe(figure);
        self.second.observe(figure);
    }

    fn state_dict(&self) -> StateDict {
        let mut state = StateDict::new();
        state.extend("first", &self.first.state_dict());
        state.extend("second", &self.second.state_dict());
        state
    }

    fn load_state_dict(&mut self, state: &StateDict) -> Result<()> {
        let mut rest = state.clone();
        let (first, second) = (rest.split_off("first"), rest.split_off("second"));
        let unexpected = rest.iter().map(|(name, _)| name.to_owned()).collect();
        Differences { unexpected, ..Differences::default() }.into_result()?;
        let before = self.first.state_dict();
        self.first.load_state_dict(&first).map_err(|error| error.within("first"))?;
        if let Err(error) = self.second.load_state_dict(&second) {
            self.first.load_state_dict(&before)?;
            return Err(error.within("second"));
        }
        Ok(())
    }
}
