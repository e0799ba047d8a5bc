//! L-BFGS: quasi-Newton steps from the last few gradients.

mod line_search;

use std::collections::VecDeque;

use dendra_autograd::{AnyTensor, Differences, EntryMut, Gradients, Parameters, Path, StateDict};
use dendra_derive::Setters;
use dendra_tensor::{Element, Error, Float, Result, Shape, Tensor};

use crate::rule::{require, require_not_negative};
use line_search::{Point, strong_wolfe};

const NAME: &str = "LBFGS";

/// L-BFGS, which steps in the direction `−H·g`. H approximates the inverse of the
/// Hessian from the last `history_size` changes of weights and gradient. A line
/// search for the strong Wolfe conditions is optional.
///
/// A [`step`](Self::step) evaluates the loss at several points, so it takes a
/// function that computes loss and gradients, and `LBFGS` does not implement
/// [`Optimizer`](crate::Optimizer). It is meant for losses without noise: all data in
/// one batch, no dropout.
///
/// A step ends after `max_iter` iterations or `max_eval` evaluations, or when the
/// largest gradient is at most `tolerance_grad`, or when the loss or the weights
/// change by less than `tolerance_change`. The first iteration of the first step
/// moves along the negative gradient, with the step length
/// `learning_rate · min(1, 1/‖g‖₁)`.
///
/// Names, defaults and behaviour are those of PyTorch. So are the names in the state,
/// which contains all parameters as one vector in the order of the model.
///
/// Source: Liu and Nocedal, "On the limited memory BFGS method for large scale
/// optimization", 1989; Nocedal and Wright, "Numerical optimization", 2006,
/// algorithms 3.5, 3.6 and 7.4.
///
/// ```
/// use dendra_autograd::{Param, Tape};
/// use dendra_optim::LBFGS;
/// use dendra_tensor::{Ops, Tensor};
///
/// // Rosenbrock's valley: (1 − a)² + 100·(b − a²)².
/// let mut point = Param::new(Tensor::from([-1.2, 1.0_f64]));
/// let mut optimizer = LBFGS::new(1.0).max_iter(100).strong_wolfe(true).tolerance_change(1e-14);
/// optimizer.step(&mut point, |point| {
///     let x = point.on(&Tape::training(0, 0).input(Tensor::scalar(0.0)));
///     let (a, b) = (x.narrow(0, 0, 1)?, x.narrow(0, 1, 1)?);
///     let valley = b.sub(&a.square())?.square().mul_scalar(100.0);
///     a.neg().add_scalar(1.0).square().add(&valley)?.sum().backward()
/// })?;
/// assert!(point.value().to_vec().iter().all(|x| (x - 1.0).abs() < 1e-5));
/// # Ok::<(), dendra_tensor::Error>(())
/// ```
#[derive(Clone, Debug, Setters)]
pub struct LBFGS<T: Float = f32> {
    learning_rate: f64,
    /// The maximum number of iterations in a step.
    #[set(default = 20)]
    max_iter: usize,
    /// The maximum number of evaluations in a step. The last line search can exceed it.
    /// The default is 1.25 · `max_iter`.
    #[set]
    max_eval: Option<usize>,
    /// A step ends when no element of the gradient exceeds this number.
    #[set(default = 1e-7)]
    tolerance_grad: f64,
    /// A step ends when the loss or the weights change by less than this number.
    #[set(default = 1e-9)]
    tolerance_change: f64,
    /// The number of stored changes; each takes two vectors.
    #[set(default = 100)]
    history_size: usize,
    /// Whether to search for step lengths that satisfy the strong Wolfe conditions,
    /// with the constants 1e-4 and 0.9 and at most 25 evaluations.
    #[set(default = false)]
    strong_wolfe: bool,
    #[set(skip)]
    memory: Memory<T>,
}

/// The state from previous iterations.
#[derive(Clone, Debug)]
struct Memory<T: Float> {
    iterations: u64,
    evaluations: u64,
    /// The gradient, the direction and the step length of the last iteration.
    last: Option<(Vec<T>, Vec<T>, f64)>,
    /// The factor of the identity matrix from which H starts.
    scale: f64,
    /// Changes of the weights and of the gradient, oldest first.
    changes: VecDeque<Change<T>>,
}

#[derive(Clone, Debug)]
struct Change<T> {
    weights: Vec<T>,
    gradient: Vec<T>,
    /// The reciprocal of their inner product.
    rho: f64,
}

impl<T: Float> Default for Memory<T> {
    fn default() -> Self {
        let changes = VecDeque::new();
        Self { iterations: 0, evaluations: 0, last: None, scale: 1.0, changes }
    }
}

impl<T: Float> LBFGS<T> {
    /// Creates L-BFGS with up to 20 iterations per step and a history of 100, without
    /// line search. PyTorch's default learning rate is 1.
    pub fn new(learning_rate: f64) -> Self {
        Self::with_defaults(learning_rate)
    }

    /// Returns the number of iterations in all steps.
    pub fn iterations(&self) -> u64 {
        self.memory.iterations
    }

    /// Returns the number of evaluations of loss and gradients in all steps.
    pub fn evaluations(&self) -> u64 {
        self.memory.evaluations
    }

    /// Checks the settings.
    ///
    /// # Errors
    ///
    /// Returns an error that contains the name of an invalid setting.
    pub fn check(&self) -> Result<()> {
        require_not_negative(NAME, "the learning rate", self.learning_rate)?;
        require_not_negative(NAME, "tolerance_grad", self.tolerance_grad)?;
        require_not_negative(NAME, "tolerance_change", self.tolerance_change)?;
        let history_size = self.history_size;
        require(history_size > 0, NAME, "history_size", "at least 1", history_size as f64)
    }

    /// Performs a step of several iterations and returns the loss before the step.
    /// `evaluate` computes the loss and the gradients of a model. The updates of buffers
    /// from its first call are applied.
    ///
    /// # Errors
    ///
    /// Returns the errors of `evaluate`, and an error if the loss or a gradient at the
    /// start is not finite, a gradient is missing, a setting is invalid, or the state
    /// belongs to another model. The parameters are then unchanged.
    pub fn step<M: Parameters<T>>(
        &mut self,
        model: &mut M,
        mut evaluate: impl FnMut(&M) -> Result<Gradients<T>>,
    ) -> Result<T> {
        self.check()?;
        let start = flat(model);
        let before = self.memory.clone();
        let result = self.iterate(model, &mut evaluate, &start);
        if result.is_err() {
            set(model, &start);
            self.memory = before;
        }
        result
    }

    fn iterate<M: Parameters<T>>(
        &mut self,
        model: &mut M,
        evaluate: &mut impl FnMut(&M) -> Result<Gradients<T>>,
        start: &[T],
    ) -> Result<T> {
        let first = evaluate(model)?;
        let (mut now, recorded) = (point(model, &first)?, first);
        if !now.is_finite() {
            let message = format!("the loss ({}) or its gradient is not finite", now.loss);
            return Err(Error::not_finite(NAME, message));
        }
        if self.memory.last.as_ref().is_some_and(|(gradient, ..)| gradient.len() != start.len()) {
            let message = "the state belongs to a model with another number of weights";
            return Err(Error::argument(NAME, message));
        }
        let first_loss = now.loss;
        let mut weights = start.to_vec();
        let mut evaluations = 1;
        let max_eval = self.max_eval.unwrap_or(self.max_iter * 5 / 4);
        let mut iteration = 0;
        while iteration < self.max_iter && now.largest() > self.tolerance_grad {
            iteration += 1;
            let direction = self.memory.direction(&now.gradient, self.history_size);
            let is_first = self.memory.iterations == 1;
            let shorten = if is_first { (1.0 / norm1(&now.gradient)).min(1.0) } else { 1.0 };
            let mut length = shorten * self.learning_rate;
            let slope = dot(&now.gradient, &direction);
            let gradient = now.gradient.clone();
            self.memory.last = Some((gradient.clone(), direction.clone(), length));
            if slope > -self.tolerance_change {
                break;
            }
            let loss_before = now.loss;
            let mut at = |length: f64| {
                set(model, &moved(&weights, &direction, length));
                point(model, &evaluate(model)?)
            };
            if self.strong_wolfe {
                let found = strong_wolfe(&mut at, &now, &direction, length, self.tolerance_change)?;
                length = found.length;
                evaluations += found.evaluations;
                now = found.point;
            } else if iteration < self.max_iter {
                now = at(length)?;
                evaluations += 1;
            }
            weights = moved(&weights, &direction, length);
            set(model, &weights);
            self.memory.last = Some((gradient, direction, length));
            let (_, direction, _) = self.memory.last.as_ref().expect("set in the line above");
            if evaluations >= max_eval
                || largest(direction) * length.abs() <= self.tolerance_change
                || (now.loss - loss_before).abs() < self.tolerance_change
            {
                break;
            }
        }
        self.memory.evaluations += evaluations as u64;
        model.apply_updates(&recorded)?;
        Ok(T::from_f64(first_loss))
    }
}

impl<T: Float> Memory<T> {
    /// Adds the change of the last iteration to the history and returns −H·g.
    fn direction(&mut self, gradient: &[T], history_size: usize) -> Vec<T> {
        self.iterations += 1;
        if let Some((before, direction, length)) = &self.last {
            let change: Vec<T> = gradient.iter().zip(before).map(|(&g, &b)| g - b).collect();
            let length = T::from_f64(*length);
            let weights: Vec<T> = direction.iter().map(|&d| d * length).collect();
            let product = dot(&change, &weights);
            // Only a positive curvature keeps H positive definite.
            if product > 1e-10 {
                if self.changes.len() == history_size {
                    self.changes.pop_front();
                }
                self.scale = product / dot(&change, &change);
                let rho = 1.0 / product;
                self.changes.push_back(Change { weights, gradient: change, rho });
            }
        }
        // The two loops of algorithm 7.4.
        let mut result: Vec<T> = gradient.iter().map(|&g| -g).collect();
        let mut shares = Vec::with_capacity(self.changes.len());
        for change in self.changes.iter().rev() {
            let share = dot(&change.weights, &result) * change.rho;
            add(&mut result, &change.gradient, -share);
            shares.push(share);
        }
        let scale = T::from_f64(self.scale);
        result.iter_mut().for_each(|x| *x *= scale);
        for (change, share) in self.changes.iter().zip(shares.into_iter().rev()) {
            let other = dot(&change.gradient, &result) * change.rho;
            add(&mut result, &change.weights, share - other);
        }
        result
    }
}

// Operations on vectors, with sums in `f64` in a fixed order.

fn dot<T: Float>(a: &[T], b: &[T]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a.to_f64() * b.to_f64()).sum()
}

fn norm1<T: Float>(x: &[T]) -> f64 {
    x.iter().map(|x| x.to_f64().abs()).sum()
}

fn largest<T: Float>(x: &[T]) -> f64 {
    x.iter().fold(0.0, |largest, x| f64::max_nan(largest, x.to_f64().abs()))
}

/// Computes `to = to + factor · x`.
fn add<T: Float>(to: &mut [T], x: &[T], factor: f64) {
    let factor = T::from_f64(factor);
    to.iter_mut().zip(x).for_each(|(to, &x)| *to += factor * x);
}

fn moved<T: Float>(from: &[T], direction: &[T], length: f64) -> Vec<T> {
    let mut to = from.to_vec();
    add(&mut to, direction, length);
    to
}

/// Returns the trainable parameters of a model as one vector.
fn flat<T: Float>(model: &impl Parameters<T>) -> Vec<T> {
    let parameters = model.named_parameters();
    let trainable = parameters.iter().filter(|(_, param)| param.is_trainable());
    trainable.flat_map(|(_, param)| param.value().to_vec()).collect()
}

/// Sets the trainable parameters to the values of a vector.
fn set<T: Float>(model: &mut impl Parameters<T>, mut values: &[T]) {
    model.visit_mut(&mut Path::unwritten(), &mut |_, entry| {
        let EntryMut::Param(param) = entry else { return };
        if param.is_trainable() {
            let (own, rest) = values.split_at(param.value().len());
            param.value_mut().make_mut().copy_from_slice(own);
            values = rest;
        }
    });
}

/// Returns the loss, and the gradients of all trainable parameters as one vector.
fn point<T: Float>(model: &impl Parameters<T>, gradients: &Gradients<T>) -> Result<Point<T>> {
    let (mut gradient, mut missing) = (Vec::new(), Vec::new());
    for (name, param) in model.named_parameters() {
        match gradients.get(param) {
            _ if !param.is_trainable() => {}
            Some(of_param) => gradient.extend(of_param.to_vec()),
            None => missing.push(name),
        }
    }
    if missing.is_empty() {
        return Ok(Point { loss: gradients.loss().to_f64(), gradient });
    }
    Err(Error::MissingGradient { names: missing })
}

// The entries of a state dict.
const ITERATIONS: &str = "n_iter";
const EVALUATIONS: &str = "func_evals";
const SCALE: &str = "H_diag";
const LENGTH: &str = "t";
const DIRECTION: &str = "d";
const GRADIENT: &str = "prev_flat_grad";
const GRADIENT_CHANGES: &str = "old_dirs";
const WEIGHT_CHANGES: &str = "old_stps";

impl<T: Float> LBFGS<T> {
    /// Returns the state with PyTorch's names: the counts `n_iter` and `func_evals`,
    /// and after the first step `d`, `t`, `prev_flat_grad`, `H_diag`, and the changes as
    /// the matrices `old_dirs` and `old_stps`.
    pub fn state_dict(&self) -> StateDict {
        let memory = &self.memory;
        let mut state = StateDict::new();
        state.insert(ITERATIONS, Tensor::scalar(memory.iterations as i64));
        state.insert(EVALUATIONS, Tensor::scalar(memory.evaluations as i64));
        let Some((gradient, direction, length)) = &memory.last else { return state };
        let mut insert = |name: &str, values: Vec<T>, shape: Shape| {
            let tensor = Tensor::from_vec(values, shape).expect("a vector of each for all weights");
            let any = AnyTensor::upcast(&tensor).expect("the library's float types are listed");
            state.insert(name, any);
        };
        let n = gradient.len();
        insert(GRADIENT, gradient.clone(), [n].into());
        insert(DIRECTION, direction.clone(), [n].into());
        let rows = [memory.changes.len(), n];
        let all = |part: fn(&Change<T>) -> &[T]| {
            memory.changes.iter().flat_map(|change| part(change).to_vec()).collect()
        };
        insert(GRADIENT_CHANGES, all(|change| &change.gradient), rows.into());
        insert(WEIGHT_CHANGES, all(|change| &change.weights), rows.into());
        state.insert(LENGTH, Tensor::scalar(*length));
        state.insert(SCALE, Tensor::scalar(memory.scale));
        state
    }

    /// Loads a state. The next steps produce the same bits as those of the optimizer
    /// from which the state was taken.
    ///
    /// # Errors
    ///
    /// Returns an error if the state is not from this kind of optimizer. The error lists
    /// all entries that are missing, unexpected or of a wrong type. The optimizer is
    /// then unchanged.
    pub fn load_state_dict(&mut self, state: &StateDict) -> Result<()> {
        let mut differences = Differences::default();
        let mut count = |name| crate::slots::count(name, state.get(name), &mut differences);
        let (iterations, evaluations) = (count(ITERATIONS), count(EVALUATIONS));
        let mut names = vec![ITERATIONS, EVALUATIONS];
        let vectors = [GRADIENT, DIRECTION, GRADIENT_CHANGES, WEIGHT_CHANGES];
        let has_last = iterations > 0;
        if has_last {
            names.extend(vectors);
            names.extend([LENGTH, SCALE]);
            let axis_length = |name, axis| {
                let found: Option<&AnyTensor> = state.get(name);
                found.and_then(|found| found.shape().get(axis).copied()).unwrap_or(0)
            };
            let (n, rows) = (axis_length(GRADIENT, 0), axis_length(GRADIENT_CHANGES, 0));
            for (name, shape) in
                vectors.into_iter().zip([vec![n], vec![n], vec![rows, n], vec![rows, n]])
            {
                differences.compare(name, state.get(name), T::NAME, &shape.into());
            }
            for name in [LENGTH, SCALE] {
                differences.compare(name, state.get(name), f64::NAME, &Shape::scalar());
            }
        }
        let others = state.iter().map(|(name, _)| name).filter(|name| !names.contains(name));
        differences.unexpected.extend(others.map(str::to_owned));
        differences.into_result().map_err(|error| error.within(NAME))?;

        let mut memory = Memory { iterations, evaluations, ..Memory::default() };
        let vector = |name| state.typed::<T>(name).map(Tensor::to_vec).unwrap_or_default();
        let number = |name| state.typed::<f64>(name).and_then(|x| x.item().ok()).unwrap_or(1.0);
        if has_last {
            let gradient = vector(GRADIENT);
            let n = gradient.len().max(1);
            let changes = vector(GRADIENT_CHANGES);
            let pairs = changes
                .chunks_exact(n)
                .zip(vector(WEIGHT_CHANGES).chunks_exact(n))
                .map(|(gradient, weights)| Change {
                    weights: weights.to_vec(),
                    gradient: gradient.to_vec(),
                    rho: 1.0 / dot(gradient, weights),
                })
                .collect();
            memory.changes = pairs;
            memory.scale = number(SCALE);
            memory.last = Some((gradient, vector(DIRECTION), number(LENGTH)));
        }
        self.memory = memory;
        Ok(())
    }
}
