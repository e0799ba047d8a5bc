//! [`Federation`]: the server of federated learning.

use std::fmt;

use dendra_autograd::{Entry, Gradients, Param, Parameters, Path, StateDict};
use dendra_optim::Optimizer;
use dendra_tensor::{Error, Result, Rng, Tensor};

use crate::privacy::Privacy;

/// The label of the random stream that chooses the clients.
const CLIENTS: u64 = 0x4645_4445;

/// What a client has to do in a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Task {
    /// The index of the client.
    pub client: usize,
    /// The index of the round.
    pub round: u64,
}

/// What happened in a round.
#[derive(Clone, Debug, PartialEq)]
pub struct Round {
    /// The index of the round.
    pub number: u64,
    /// The clients whose changes are in the new model.
    pub clients: Vec<usize>,
    /// The clients that were chosen and sent nothing usable, with the reason.
    pub dropped: Vec<(usize, String)>,
    /// The number of samples of the clients in the new model.
    pub samples: usize,
}

/// The global model of federated learning, with the optimizer of the server.
///
/// ```
/// use dendra_autograd::{Param, Tape};
/// use dendra_optim::{Optimizer, SGD};
/// use dendra_privacy::federated::Federation;
/// use dendra_tensor::{Ops, Tensor};
///
/// // Each client knows one number; the weight becomes their mean.
/// let numbers = [1.0_f32, 2.0, 6.0];
/// let weight = Param::new(Tensor::from([0.0_f32]));
/// let mut federation = Federation::new(weight, SGD::new(1.0));
/// federation.round(numbers.len(), |task, weight| {
///     let mut optimizer = SGD::new(0.5);
///     let x = Tape::training(0, 0).input(Tensor::from([numbers[task.client]]));
///     let loss = weight.on(&x).sub(&x)?.square().sum();
///     optimizer.step(weight, &loss.backward()?)?;
///     Ok(1)
/// })?;
/// assert_eq!(federation.model().value().to_vec(), [3.0]);
/// # Ok::<(), dendra_tensor::Error>(())
/// ```
pub struct Federation<M, O> {
    model: M,
    optimizer: O,
    fraction: f64,
    seed: u64,
    rounds: u64,
    privacy: Option<Privacy>,
}

impl<M: fmt::Debug, O: fmt::Debug> fmt::Debug for Federation<M, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Federation");
        debug.field("model", &self.model).field("optimizer", &self.optimizer);
        debug.field("fraction", &self.fraction).field("rounds", &self.rounds);
        debug.field("privacy", &self.privacy).finish_non_exhaustive()
    }
}

impl<M: Parameters<f32> + Clone, O: Optimizer<f32>> Federation<M, O> {
    /// A federation in which all clients take part in every round. The
    /// optimizer's gradient is the negative mean change of the weights, so
    /// `SGD::new(1.0)` sets the model to the mean of the clients' models.
    pub fn new(mut model: M, optimizer: O) -> Self {
        model.name_parameters();
        Self { model, optimizer, fraction: 1.0, seed: 0, rounds: 0, privacy: None }
    }

    /// The share of the clients that is chosen in each round, at least one
    /// client; all by default.
    #[must_use]
    pub fn fraction(mut self, fraction: f64) -> Self {
        self.fraction = fraction;
        self
    }

    /// The seed of the choice of clients; 0 by default.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Limits what the model reveals about any single client. The plan's
    /// samples are the clients, each of which takes part in a round with the
    /// probability `sample_rate`; its norm is that of a client's change. All
    /// clients count the same, however many samples they have.
    #[must_use]
    pub fn private(mut self, privacy: Privacy) -> Self {
        self.privacy = Some(privacy);
        self
    }

    /// The global model.
    pub fn model(&self) -> &M {
        &self.model
    }

    /// The global model, which consumes the federation.
    pub fn into_model(self) -> M {
        self.model
    }

    /// The number of rounds so far.
    pub fn rounds(&self) -> u64 {
        self.rounds
    }

    /// What was released about the clients, if the federation is private.
    pub fn privacy(&self) -> Option<&Privacy> {
        self.privacy.as_ref()
    }

    /// Chooses some of the clients, lets each of them train a copy of the model,
    /// and changes the model by the mean of their changes, weighted by their
    /// numbers of samples. `train` returns this number.
    ///
    /// A client drops out of the round if `train` fails or its change is not
    /// finite. If all drop out, the model stays as it is. The sum is formed in
    /// the order of the clients, so the result does not depend on the number of
    /// threads.
    ///
    /// # Errors
    ///
    /// When a setting is impossible, the privacy budget is spent, a private
    /// model has statistics of the data, or the optimizer fails. The model then
    /// stays as it is.
    pub fn round(
        &mut self,
        clients: usize,
        mut train: impl FnMut(Task, &mut M) -> Result<usize>,
    ) -> Result<Round> {
        let chosen = self.choose(clients)?;
        let number = self.rounds;
        let mut sum = Sum::new(&self.model);
        let mut round = Round { number, clients: Vec::new(), dropped: Vec::new(), samples: 0 };
        for client in chosen {
            let mut local = self.model.clone();
            let result = train(Task { client, round: number }, &mut local);
            let added = result.and_then(|samples| {
                let change = Change::between(&self.model, &local)?;
                match &self.privacy {
                    Some(privacy) => sum.add(&change, change.weight_within(privacy.max_norm())),
                    None if samples == 0 => {
                        return Err(Error::data("the client", "it has no samples"));
                    }
                    None => sum.add(&change, samples as f64),
                }
                Ok(samples)
            });
            match added {
                Ok(samples) => {
                    round.clients.push(client);
                    round.samples += samples;
                }
                Err(error) => round.dropped.push((client, error.to_string())),
            }
        }
        let divisor = match &mut self.privacy {
            Some(privacy) => {
                privacy.add_noise(&mut sum.weights)?;
                privacy.expected_batch_size()
            }
            None => round.samples as f64,
        };
        if self.privacy.is_some() || !round.clients.is_empty() {
            self.apply(&sum, divisor)?;
        }
        self.rounds += 1;
        Ok(round)
    }

    /// The clients of the next round, in ascending order.
    fn choose(&mut self, clients: usize) -> Result<Vec<usize>> {
        const NAME: &str = "Federation::round";
        if let Some(privacy) = &mut self.privacy {
            if has_statistics(&self.model) {
                let message = "the model keeps statistics of the data, which noise does not \
                               protect; use group or layer normalisation";
                return Err(Error::argument(NAME, message));
            }
            return privacy.choose(NAME, clients);
        }
        if !(self.fraction > 0.0 && self.fraction <= 1.0) || clients == 0 {
            let fraction = self.fraction;
            let message = format!(
                "expected clients and a fraction from 0 to 1, above 0, got {clients} and {fraction}"
            );
            return Err(Error::argument(NAME, message));
        }
        let count = ((self.fraction * clients as f64).round() as usize).clamp(1, clients);
        let mut rng = Rng::seed(self.seed).fork(CLIENTS).fork(self.rounds);
        let mut chosen = rng.permutation(clients);
        chosen.truncate(count);
        chosen.sort_unstable();
        Ok(chosen)
    }

    /// A step of the optimizer, and the mean of the statistics.
    fn apply(&mut self, sum: &Sum, divisor: f64) -> Result<()> {
        let mut gradients = Vec::new();
        for (values, (_, param)) in sum.weights.iter().zip(trainable(&self.model)) {
            let mean = values.iter().map(|sum| (-sum / divisor) as f32).collect();
            gradients.push((param.id(), Tensor::from_vec(mean, param.value().shape().clone())?));
        }
        self.optimizer.step(&mut self.model, &Gradients::from_values(0.0, gradients))?;
        if sum.statistics.is_empty() {
            return Ok(());
        }
        let mut state = self.model.state_dict();
        for (name, values, shape) in &sum.statistics {
            let before = state.typed::<f32>(name).map(Tensor::to_vec).unwrap_or_default();
            let mean = before
                .iter()
                .zip(values)
                .map(|(before, sum)| (f64::from(*before) + sum / divisor) as f32);
            state.insert(name.clone(), Tensor::from_vec(mean.collect(), shape.clone())?);
        }
        self.model.load_state_dict(&state)
    }
}

fn trainable<M: Parameters<f32>>(model: &M) -> impl Iterator<Item = (String, &Param)> {
    model.named_parameters().into_iter().filter(|(_, param)| param.is_trainable())
}

fn has_statistics<M: Parameters<f32>>(model: &M) -> bool {
    let mut found = false;
    model.visit(&mut Path::default(), &mut |_, entry| found |= matches!(entry, Entry::Buffer(_)));
    found
}

/// The names and values of the buffers.
fn statistics<M: Parameters<f32>>(model: &M) -> Vec<(String, Tensor)> {
    let mut found = Vec::new();
    model.visit(&mut Path::default(), &mut |path, entry| {
        if let Entry::Buffer(buffer) = entry {
            found.push((path.as_str().to_owned(), buffer.value().clone()));
        }
    });
    found
}

/// By how much a client changed its copy of the model.
struct Change {
    weights: Vec<Vec<f64>>,
    statistics: Vec<Vec<f64>>,
}

impl Change {
    fn between<M: Parameters<f32>>(before: &M, after: &M) -> Result<Self> {
        let difference = |before: &Tensor, after: &Tensor| -> Result<Vec<f64>> {
            let values = before.to_vec().into_iter().zip(after.to_vec());
            let values: Vec<f64> = values.map(|(a, b)| f64::from(b) - f64::from(a)).collect();
            if before.shape() != after.shape() || values.iter().any(|value| !value.is_finite()) {
                return Err(Error::not_finite("the client", "its weights are not finite"));
            }
            Ok(values)
        };
        let weights = trainable(before).zip(trainable(after));
        let weights = weights.map(|((_, a), (_, b))| difference(a.value(), b.value()));
        let buffers = statistics(before).into_iter().zip(statistics(after));
        let buffers = buffers.map(|((_, a), (_, b))| difference(&a, &b));
        Ok(Self {
            weights: weights.collect::<Result<_>>()?,
            statistics: buffers.collect::<Result<_>>()?,
        })
    }

    /// The factor that limits the norm of the weights' change.
    fn weight_within(&self, max_norm: f64) -> f64 {
        let squares = self.weights.iter().flatten().map(|value| value * value);
        (max_norm / squares.sum::<f64>().sqrt()).min(1.0)
    }
}

/// The sum of the changes, each times its weight.
struct Sum {
    weights: Vec<Vec<f64>>,
    statistics: Vec<(String, Vec<f64>, dendra_tensor::Shape)>,
}

impl Sum {
    fn new<M: Parameters<f32>>(model: &M) -> Self {
        let weights = trainable(model).map(|(_, param)| vec![0.0; param.value().len()]);
        let buffers = statistics(model).into_iter();
        let buffers =
            buffers.map(|(name, value)| (name, vec![0.0; value.len()], value.shape().clone()));
        Self { weights: weights.collect(), statistics: buffers.collect() }
    }

    fn add(&mut self, change: &Change, weight: f64) {
        let add = |sums: &mut [f64], values: &[f64]| {
            sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += weight * value);
        };
        self.weights.iter_mut().zip(&change.weights).for_each(|(sum, values)| add(sum, values));
        let buffers = self.statistics.iter_mut().zip(&change.statistics);
        buffers.for_each(|((_, sum, _), values)| add(sum, values));
    }
}

impl<M: Parameters<f32> + Clone, O: Optimizer<f32>> Federation<M, O> {
    /// The model, the optimizer and the number of rounds, for a file.
    pub fn state_dict(&self) -> StateDict {
        let mut state = StateDict::new();
        state.extend("model", &self.model.state_dict());
        state.extend("optimizer", &self.optimizer.state_dict());
        state.insert("rounds", Tensor::scalar(self.rounds as i64));
        state
    }

    /// Restores what [`state_dict`](Self::state_dict) returned. A private
    /// federation also needs [`Privacy::resume`].
    ///
    /// # Errors
    ///
    /// When a tensor is missing, unexpected or of another shape.
    pub fn load_state_dict(&mut self, state: &StateDict) -> Result<()> {
        let mut state = state.clone();
        let rounds = state.typed::<i64>("rounds").and_then(|rounds| rounds.item().ok());
        let rounds = rounds.and_then(|rounds| u64::try_from(rounds).ok());
        let rounds = rounds
            .ok_or_else(|| Error::data("Federation::load_state_dict", "no number of rounds"))?;
        self.model.load_state_dict(&state.split_off("model"))?;
        self.optimizer.load_state_dict(&state.split_off("optimizer"))?;
        self.rounds = rounds;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
