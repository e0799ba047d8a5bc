//! [`Federation`]: the server of federated learning.

use std::fmt;

use dendra_autograd::{Gradients, Parameters, StateDict};
use dendra_optim::Optimizer;
use dendra_tensor::{Error, Result, Rng, Tensor};

use super::change::{Change, Sum, length, statistics, trainable};
use super::fixed_point::FixedPoint;
#[cfg(feature = "secure-aggregation")]
use super::hidden::SecureAggregation;
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
    pub(super) model: M,
    optimizer: O,
    fraction: f64,
    seed: u64,
    rounds: u64,
    privacy: Option<Privacy>,
    /// The largest element of a client's change, if they are added as integers.
    limit: Option<f64>,
    #[cfg(feature = "secure-aggregation")]
    pub(super) secure: Option<SecureAggregation>,
}

/// A round that has begun.
pub(super) struct Open {
    pub(super) chosen: Vec<usize>,
    pub(super) round: Round,
    pub(super) sum: Sum,
    /// The norm to which changes are clipped, in a private round.
    pub(super) max_norm: Option<f64>,
}

impl Open {
    pub(super) fn tasks(&self) -> Vec<Task> {
        let round = self.round.number;
        self.chosen.iter().map(|&client| Task { client, round }).collect()
    }

    /// Adds what a client made of the model, or notes why it drops out.
    pub(super) fn add<M: Parameters<f32>>(
        &mut self,
        before: &M,
        client: usize,
        trained: Result<(M, usize)>,
    ) {
        let added = trained.and_then(|(after, samples)| {
            let change = Change::between(before, &after)?;
            self.sum.add(&change, change.weight(samples, self.max_norm)?)?;
            Ok(samples)
        });
        match added {
            Ok(samples) => {
                self.round.clients.push(client);
                self.round.samples = self.round.samples.saturating_add(samples);
            }
            Err(error) => self.round.dropped.push((client, error.to_string())),
        }
    }
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
        Self {
            model,
            optimizer,
            fraction: 1.0,
            seed: 0,
            rounds: 0,
            privacy: None,
            limit: None,
            #[cfg(feature = "secure-aggregation")]
            secure: None,
        }
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

    /// Adds the changes as integers modulo 2⁶⁴ ([`FixedPoint`]), so that the sum
    /// does not depend on their order. A client drops out if a weight's change
    /// times the number of its samples, or in a private federation the clipped
    /// change, is above `limit`.
    #[must_use]
    pub fn fixed_point(mut self, limit: f64) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Hides the change of each client from the server in
    /// [`round_over`](Self::round_over). The model gets the same bits as with
    /// [`fixed_point`](Self::fixed_point) for the same limit, which is also what
    /// [`round`](Self::round) computes.
    #[cfg(feature = "secure-aggregation")]
    #[must_use]
    pub fn secure(mut self, settings: SecureAggregation) -> Self {
        self.secure = Some(settings);
        self.fixed_point(settings.limit)
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
        let mut open = self.begin("Federation::round", clients)?;
        for task in open.tasks() {
            let mut local = self.model.clone();
            let trained = train(task, &mut local).map(|samples| (local, samples));
            open.add(&self.model, task.client, trained);
        }
        self.finish(open)
    }

    /// Chooses the clients of a round.
    pub(super) fn begin(&mut self, place: &str, clients: usize) -> Result<Open> {
        if u32::try_from(clients).is_err() {
            let message = format!("expected at most {} clients, got {clients}", u32::MAX);
            return Err(Error::argument(place, message));
        }
        let chosen = self.choose(place, clients)?;
        let ring = self.limit.map(|limit| FixedPoint::for_sum(limit, chosen.len().max(1)));
        let number = self.rounds;
        Ok(Open {
            chosen,
            round: Round { number, clients: Vec::new(), dropped: Vec::new(), samples: 0 },
            sum: Sum::new(length(&self.model), ring.transpose()?),
            max_norm: self.privacy.as_ref().map(Privacy::max_norm),
        })
    }

    /// Changes the model by the sum of the round.
    pub(super) fn finish(&mut self, open: Open) -> Result<Round> {
        let Open { round, sum, .. } = open;
        let mut sum = sum.into_values();
        let weights = trainable(&self.model).map(|param| param.value().len()).sum();
        let divisor = match &mut self.privacy {
            Some(privacy) => {
                privacy.add_noise(&mut sum[..weights])?;
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

    /// Ends a round without a result.
    #[cfg(feature = "secure-aggregation")]
    pub(super) fn abandon(&mut self) {
        self.rounds += 1;
    }

    /// The clients of the next round, in ascending order.
    fn choose(&mut self, place: &str, clients: usize) -> Result<Vec<usize>> {
        if let Some(privacy) = &mut self.privacy {
            if !statistics(&self.model).is_empty() {
                let message = "the model keeps statistics of the data, which noise does not \
                               protect; use group or layer normalisation";
                return Err(Error::argument(place, message));
            }
            return privacy.choose(place, clients);
        }
        if !(self.fraction > 0.0 && self.fraction <= 1.0) || clients == 0 {
            let fraction = self.fraction;
            let message = format!(
                "expected clients and a fraction from 0 to 1, above 0, got {clients} and {fraction}"
            );
            return Err(Error::argument(place, message));
        }
        let count = ((self.fraction * clients as f64).round() as usize).clamp(1, clients);
        let mut rng = Rng::seed(self.seed).fork(CLIENTS).fork(self.rounds);
        let mut chosen = rng.permutation(clients);
        chosen.truncate(count);
        chosen.sort_unstable();
        Ok(chosen)
    }

    /// A step of the optimizer, and the mean of the statistics.
    fn apply(&mut self, sum: &[f64], divisor: f64) -> Result<()> {
        let (mut gradients, mut rest) = (Vec::new(), sum);
        let mut next = |length: usize| {
            let (values, after) = rest.split_at(length);
            rest = after;
            values
        };
        for param in trainable(&self.model) {
            let values = next(param.value().len());
            let mean = values.iter().map(|sum| (-sum / divisor) as f32).collect();
            gradients.push((param.id(), Tensor::from_vec(mean, param.value().shape().clone())?));
        }
        let mut means = Vec::new();
        for (name, before) in statistics(&self.model) {
            let sums = next(before.len()).iter();
            let mean = before.to_vec().into_iter().zip(sums);
            let mean = mean.map(|(before, sum)| (f64::from(before) + sum / divisor) as f32);
            means.push((name, Tensor::from_vec(mean.collect(), before.shape().clone())?));
        }
        self.optimizer.step(&mut self.model, &Gradients::from_values(0.0, gradients))?;
        if means.is_empty() {
            return Ok(());
        }
        let mut state = self.model.state_dict();
        means.into_iter().for_each(|(name, mean)| state.insert(name, mean));
        self.model.load_state_dict(&state)
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
