//! The step of an optimizer: its checks, and the loop over all parameters that all
//! rules have in common.

use std::borrow::Cow;

use dendra_autograd::{Entry, EntryMut, Gradients, Param, Parameters, Path};
use dendra_tensor::kernels::parallel::{self, GRAIN};
use dendra_tensor::kernels::simd;
use dendra_tensor::{Error, Float, Result, Shape, Tensor};
use smallvec::SmallVec;

use crate::clip::Treatment;
use crate::descent::Descent;
use crate::optimizer::Optimizer;
use crate::rule::{Now, Rule, require_not_negative};
use crate::slots::Slots;

/// The cost of updating one element, in elementary operations.
const COST: usize = 4;

/// The number of elements that one thread updates at a time.
const PIECE: usize = GRAIN / COST;

/// The number of elements whose gradients are clipped at a time. They fit into the
/// L1 cache.
const BLOCK: usize = 1024;

/// The gradient of each parameter, in the order of the model; `None` for parameters
/// that are not updated.
pub(crate) type Chosen<'a, T> = Vec<Option<Cow<'a, [T]>>>;

/// Returns the parameters in the order of the model. `expected` is an estimate of
/// their number.
pub(crate) fn parameters<T: Float>(model: &dyn Parameters<T>, expected: usize) -> Vec<&Param<T>> {
    let mut found = Vec::with_capacity(expected);
    model.visit(&mut Path::unwritten(), &mut |_, entry| {
        if let Entry::Param(param) = entry {
            found.push(param);
        }
    });
    found
}

impl<R: Rule, T: Float> Descent<R, T> {
    /// Performs all parts of a step that can fail, before the model changes: checks
    /// the settings, and returns the gradient of each parameter and the clipping.
    pub(crate) fn plan<'a>(
        &mut self,
        model: &dyn Parameters<T>,
        gradients: &'a Gradients<T>,
    ) -> Result<(Chosen<'a, T>, Option<Treatment<T>>)> {
        let parameters = parameters(model, self.slots.len());
        if !(self.ready && self.slots.fit(&parameters)) {
            self.prepare(model)?;
        }
        require_not_negative(R::NAME, "the learning rate", self.learning_rate())?;
        let chosen = self.choose(&parameters, gradients)?;
        let treatment = self.treatment(&chosen)?;
        Ok((chosen, treatment))
    }

    /// Checks the settings and assigns a slot to every parameter of the model.
    fn prepare(&mut self, model: &dyn Parameters<T>) -> Result<()> {
        self.check()?;
        for (name, param) in model.named_parameters() {
            if param.is_trainable() {
                let fits = self.rule.check_shape(param.value().shape());
                fits.map_err(|error| error.within(name))?;
            }
        }
        let state_shape = |name: &str, shape: &Shape| self.rule.state_shape(name, shape);
        let group_of = |name: &str| self.group_of(name);
        let names = self.rule.state();
        self.slots = self.slots.bound_to(model, R::NAME, names, state_shape, group_of)?;
        self.ready = true;
        Ok(())
    }

    /// Returns the gradients of the parameters that a step updates.
    fn choose<'a>(
        &self,
        parameters: &[&Param<T>],
        gradients: &'a Gradients<T>,
    ) -> Result<Chosen<'a, T>> {
        let mut chosen = Vec::with_capacity(parameters.len());
        let mut missing = Vec::new();
        for (slot, param) in self.slots.iter().zip(parameters) {
            let gradient = match gradients.get(param) {
                Some(gradient) if param.is_trainable() => gradient,
                None if param.is_trainable() => {
                    missing.push(&slot.name);
                    chosen.push(None);
                    continue;
                }
                _ => {
                    chosen.push(None);
                    continue;
                }
            };
            let shape = param.value().shape();
            if gradient.shape() != shape {
                let message =
                    format!("its gradient has shape {}, expected {shape}", gradient.shape());
                return Err(Error::shape(R::NAME, format!("{}: {message}", slot.name)));
            }
            chosen.push(Some(match gradient.as_slice() {
                Some(gradient) => Cow::Borrowed(gradient),
                None => Cow::Owned(gradient.to_vec()),
            }));
        }
        if !missing.is_empty() && !self.allow_missing_gradients {
            return Err(Error::MissingGradient { names: missing.into_iter().cloned().collect() });
        }
        Ok(chosen)
    }

    /// Returns the clipping of the gradients.
    fn treatment(&self, chosen: &Chosen<'_, T>) -> Result<Option<Treatment<T>>> {
        let Some((norm, _)) = self.clipping.norm else {
            return Ok(self.clipping.treatment(None));
        };
        let norm = norm.of(chosen.iter().flatten().map(|gradient| &gradient[..]));
        if norm.is_finite() {
            return Ok(self.clipping.treatment(Some(norm)));
        }
        let bad = self.slots.iter().zip(chosen).find(|(_, gradient)| {
            gradient.as_ref().is_some_and(|gradient| gradient.iter().any(|x| !x.is_finite()))
        });
        let which = bad.map_or_else(String::new, |(slot, _)| format!(" of `{}`", slot.name));
        Err(Error::not_finite(
            format!("{}: step {}", R::NAME, self.steps),
            format!("the gradient{which} is not finite, so its norm cannot be clipped"),
        ))
    }

    /// Updates every parameter that has a gradient.
    ///
    /// # Errors
    ///
    /// Returns an error if `visit_mut` of the model visits the parameters in another
    /// order than `visit`. The model is then unchanged.
    #[inline(never)]
    pub(crate) fn update(
        &mut self,
        model: &mut dyn Parameters<T>,
        chosen: &Chosen<'_, T>,
        treatment: Option<Treatment<T>>,
        learning_rate: f64,
    ) -> Result<()> {
        let rule = &self.rule;
        let mut pieces = gather(rule, &mut self.slots, model, chosen, learning_rate)?;
        let elements: usize = pieces.iter().map(|piece| piece.weight.len()).sum();
        let cost = elements * COST / pieces.len().max(1);
        parallel::for_each_chunk(&mut pieces, 1, cost, |_, pieces| {
            simd::dispatch(
                #[inline(always)]
                || {
                    for piece in pieces {
                        piece.update(rule, treatment);
                    }
                },
            );
        });
        drop(pieces);
        for (slot, gradient) in self.slots.iter_mut().zip(chosen) {
            slot.steps += u64::from(gradient.is_some());
        }
        Ok(())
    }
}

/// Returns all parameters to update, in pieces.
fn gather<'a, R: Rule, T: Float>(
    rule: &R,
    slots: &'a mut Slots<T>,
    model: &'a mut dyn Parameters<T>,
    chosen: &'a Chosen<'_, T>,
    learning_rate: f64,
) -> Result<Vec<Piece<'a, T, R::AtStep>>> {
    let mut pieces = Vec::with_capacity(chosen.len());
    let mut same_order = true;
    // Most parameters have the same number of updates, so these values are recomputed
    // only when the number changes.
    let mut latest = None;
    let mut slots = slots.iter_mut().zip(chosen);
    model.visit_mut(&mut Path::unwritten(), &mut |_, entry| {
        let EntryMut::Param(param) = entry else { return };
        let slot = slots.next().filter(|(slot, _)| slot.id == Some(param.id()));
        same_order &= slot.is_some();
        let Some((slot, Some(gradient))) = slot else { return };
        let step = slot.steps + 1;
        let at_step = match latest {
            Some((latest_step, at_step)) if latest_step == step => at_step,
            _ => rule.at_step(step),
        };
        latest = Some((step, at_step));
        let shape = param.value().shape();
        let from_end = |axis| shape.iter().rev().nth(axis).copied().unwrap_or(1);
        let now = Now {
            learning_rate: learning_rate * slot.group.learning_rate_factor,
            weight_decay: slot.group.weight_decay,
            at_step,
            rows: shape.first().copied().unwrap_or(1),
            matrix: [from_end(1), from_end(0)],
        };
        if slot.state.is_empty() {
            let fresh = |name: &&str| {
                let initial = rule.initial_state(name, now.learning_rate);
                Tensor::full(rule.state_shape(name, shape), T::from_f64(initial))
            };
            slot.state = rule.state().iter().map(fresh).collect();
        }
        let weight = param.value_mut().make_mut();
        let state = slot.state.iter_mut().map(Tensor::make_mut).collect();
        let piece = Piece { weight, gradient, state, now };
        if R::WHOLE || piece.weight.len() <= PIECE {
            pieces.push(piece);
        } else {
            pieces.extend(piece.split());
        }
    });
    if same_order {
        return Ok(pieces);
    }
    Err(Error::argument(
        R::NAME,
        "visit and visit_mut of the model must visit its parameters in the same order",
    ))
}

/// A piece of a parameter, with the data for its update.
struct Piece<'a, T, A> {
    weight: &'a mut [T],
    gradient: &'a [T],
    state: SmallVec<[&'a mut [T]; 3]>,
    now: Now<A>,
}

impl<'a, T: Float, A: Copy> Piece<'a, T, A> {
    /// Splits it into smaller pieces for several threads.
    fn split(self) -> impl Iterator<Item = Self> {
        let now = self.now;
        let mut states: SmallVec<[_; 3]> =
            self.state.into_iter().map(|state| state.chunks_mut(PIECE)).collect();
        let pairs = self.weight.chunks_mut(PIECE).zip(self.gradient.chunks(PIECE));
        pairs.map(move |(weight, gradient)| Piece {
            weight,
            gradient,
            state: states.iter_mut().filter_map(Iterator::next).collect(),
            now,
        })
    }

    #[inline(always)]
    fn update<R: Rule<AtStep = A>>(&mut self, rule: &R, treatment: Option<Treatment<T>>) {
        let Some(treatment) = treatment else {
            return rule.update(&self.now, self.weight, self.gradient, &mut self.state);
        };
        if R::WHOLE {
            let treated: Vec<T> = self.gradient.iter().map(|&g| treatment.of(g)).collect();
            return rule.update(&self.now, self.weight, &treated, &mut self.state);
        }
        let mut treated = [T::ZERO; BLOCK];
        for start in (0..self.weight.len()).step_by(BLOCK) {
            let block = start..self.weight.len().min(start + BLOCK);
            let treated = &mut treated[..block.len()];
            for (treated, &gradient) in treated.iter_mut().zip(&self.gradient[block.clone()]) {
                *treated = treatment.of(gradient);
            }
            let mut state: SmallVec<[_; 3]> =
                self.state.iter_mut().map(|state| &mut state[block.clone()]).collect();
            rule.update(&self.now, &mut self.weight[block], treated, &mut state);
        }
    }
}
