//! [`GradientRule`]: gradients of steps that are not those of a batch's mean loss.

use dendra_autograd::{Gradients, Parameters, StateDict, Tape, Var};
use dendra_datasets::Draw;
use dendra_losses::Loss;
use dendra_nn::{Model, Output};
use dendra_optim::Optimizer;
use dendra_tensor::{Error, Float, Ops, Result, Rng};

use crate::fit::Data;
use crate::shared::SharedRun;
use crate::step::Step;
use crate::trainer::{Gathered, Trainer, Values};

/// The label of the random streams of the steps of a rule.
const STEPS: u64 = 0x5354_4550;

/// Chooses the samples of each step and makes the gradients from their losses,
/// in place of the mean loss of the next batch of the loader. It stands between
/// the model and the optimizer: private training clips the gradient of each
/// sample and adds noise here. Set it with [`Fit::gradients`](crate::Fit::gradients).
pub trait GradientRule<T: Float = f32> {
    /// The name of the rule in errors and checkpoints.
    fn name(&self) -> String;

    /// Called before the first step of a run on this many samples, with the
    /// [`batch_size`](crate::Fit::batch_size) that divides them into steps.
    ///
    /// # Errors
    ///
    /// When the rule was made for other data. The run does not start.
    fn check(&self, samples: usize, batch_size: usize) -> Result<()> {
        let _ = (samples, batch_size);
        Ok(())
    }

    /// The reason to end the training before the next step, or `None`. The
    /// history keeps it.
    ///
    /// # Errors
    ///
    /// Any error ends the training.
    fn stop(&mut self) -> Result<Option<String>> {
        Ok(None)
    }

    /// The gradients of a step. `losses` computes the losses `[N]` of N samples,
    /// given their indices in the data set, each call on a tape of its own. The
    /// loss of the gradients is reported as that of the step. Random changes of
    /// the samples, such as augmentation, are new in each step.
    ///
    /// # Errors
    ///
    /// Those of `losses`, and when there are no gradients. The weights stay as
    /// they are.
    fn step(
        &mut self,
        model: &dyn Parameters<T>,
        losses: &mut dyn FnMut(&[usize]) -> Result<Var<T>>,
    ) -> Result<Gradients<T>>;

    /// The run as several processes share it. A rule that returns one, unlike the
    /// default, leaves the samples to the loader, and [`step`](Self::step) is not
    /// called.
    fn shared(&mut self) -> Option<&mut dyn SharedRun<T>> {
        None
    }

    /// The state that a checkpoint must hold; empty by default.
    fn state_dict(&self) -> StateDict {
        StateDict::new()
    }

    /// Restores the state that [`state_dict`](Self::state_dict) returned.
    ///
    /// # Errors
    ///
    /// When the state does not have the expected form.
    fn load_state_dict(&mut self, state: &StateDict) -> Result<()> {
        let _ = state;
        Ok(())
    }
}

impl<T: Float, R: GradientRule<T> + ?Sized> GradientRule<T> for &mut R {
    fn name(&self) -> String {
        (**self).name()
    }

    fn check(&self, samples: usize, batch_size: usize) -> Result<()> {
        (**self).check(samples, batch_size)
    }

    fn stop(&mut self) -> Result<Option<String>> {
        (**self).stop()
    }

    fn step(
        &mut self,
        model: &dyn Parameters<T>,
        losses: &mut dyn FnMut(&[usize]) -> Result<Var<T>>,
    ) -> Result<Gradients<T>> {
        (**self).step(model, losses)
    }

    fn shared(&mut self) -> Option<&mut dyn SharedRun<T>> {
        (**self).shared()
    }

    fn state_dict(&self) -> StateDict {
        (**self).state_dict()
    }

    fn load_state_dict(&mut self, state: &StateDict) -> Result<()> {
        (**self).load_state_dict(state)
    }
}

impl<M, O, L, Y, I, T> Trainer<M, O, L, Y, I, T>
where
    M: Model<I, T>,
    O: Optimizer<T>,
    L: Loss<Y, T, M::Output>,
    Y: Send,
    I: Send,
    T: Float,
{
    /// Trains on the samples that a rule chooses. `unreduced` gives a value for
    /// each of them. If this fails, neither the weights nor the figures have
    /// changed.
    pub(crate) fn step_by_rule(
        &mut self,
        rule: &mut dyn GradientRule<T>,
        data: Data<'_, I, Y>,
        unreduced: &dyn Loss<Y, T, M::Output>,
        (seed, epoch, index): (u64, u64, usize),
        gathered: &mut Gathered<Y, Values<M, I, T>>,
    ) -> Result<Step<T>> {
        // A rule may choose a sample in several steps of an epoch; each of them
        // changes the sample in another way.
        let own = Rng::seed(seed).fork(STEPS).fork(index as u64).next_u64();
        let (model, draw) = (&self.model, Draw::new(own, epoch));
        let mut figures = Vec::new();
        let mut losses = |indices: &[usize]| {
            let (inputs, targets) = data.batch_at(indices, &draw)?;
            // A stream of random numbers of its own for each part of the step.
            let seed = Rng::seed(seed).fork(figures.len() as u64).next_u64();
            let tape = Tape::training(seed, epoch << 32 | index as u64);
            let output = model.run(&inputs, &tape)?;
            let losses = of_samples(unreduced.forward(&output, &targets)?, indices.len())?;
            let mean = losses.value().map(T::to_f64).mean().item()?;
            figures.push((mean, indices.len(), output.into_values(), targets));
            Ok(losses)
        };
        let gradients = rule.step(model, &mut losses)?;
        if let Some(id) = gradients.first_not_finite() {
            let name = self.model.name_of(id).unwrap_or_else(|| "an unnamed parameter".to_owned());
            let step = format!("step {}", self.optimizer.steps() + 1);
            return Err(Error::not_finite(step, format!("the gradient of `{name}` is not finite")));
        }
        self.optimizer.step(&mut self.model, &gradients)?;
        let samples = figures.iter().map(|(_, samples, _, _)| samples).sum();
        for (loss, samples, values, targets) in figures {
            gathered.add(loss, Some(samples as f64), samples, &values, &targets)?;
        }
        Ok(Step { loss: gradients.loss().to_f64(), gradients, samples, skipped: None })
    }
}

/// The mean over all axes but the first, of losses `[N, ...]`.
fn of_samples<T: Float>(losses: Var<T>, samples: usize) -> Result<Var<T>> {
    match losses.shape()[..] {
        [first] if first == samples => Ok(losses),
        [first, _, ..] if first == samples => losses.flatten(1, -1)?.mean_axes(&[1], false),
        _ => {
            let message =
                format!("expected a loss for each of {samples} samples, got {}", losses.shape());
            Err(Error::shape("the loss", message))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Mutex;

    use dendra_datasets::{Batch, Dataset, TensorDataset, moons};
    use dendra_losses::CrossEntropy;
    use dendra_nn::Sequential;
    use dendra_optim::SGD;
    use dendra_tensor::{Rng, Shape, Tensor};

    use crate::{Checkpoints, Fit, GradientRule, NotFinite};

    use super::*;

    /// Takes the samples in order, as a loader that does not shuffle.
    #[derive(Default)]
    struct InOrder {
        next: usize,
        limit: Option<usize>,
    }

    impl GradientRule for InOrder {
        fn name(&self) -> String {
            "InOrder".to_owned()
        }

        fn stop(&mut self) -> Result<Option<String>> {
            Ok((self.limit == Some(self.next)).then(|| "enough".to_owned()))
        }

        fn step(
            &mut self,
            _: &dyn Parameters<f32>,
            losses: &mut dyn FnMut(&[usize]) -> Result<Var>,
        ) -> Result<Gradients> {
            let indices: Vec<usize> = (self.next..self.next + 16).map(|i| i % 64).collect();
            self.next += 16;
            losses(&indices)?.mean().backward()
        }

        fn state_dict(&self) -> StateDict {
            let mut state = StateDict::new();
            state.insert("next", Tensor::scalar(self.next as i64));
            state
        }

        fn load_state_dict(&mut self, state: &StateDict) -> Result<()> {
            let next = state.typed::<i64>("next").and_then(|next| next.item().ok());
            self.next = next.ok_or_else(|| Error::data("InOrder", "no position"))? as usize;
            Ok(())
        }
    }

    fn data() -> TensorDataset<i64> {
        moons(64, 0.1, 3).unwrap()
    }

    fn trainer() -> Trainer<Sequential, SGD, CrossEntropy> {
        let model = Sequential::input([2]).dense(8).tanh().dense(2);
        let model = model.build(&mut Rng::seed(1)).unwrap();
        Trainer::new(model, SGD::new(0.1).momentum(0.9), CrossEntropy::new())
    }

    fn weights(trainer: &Trainer<Sequential, SGD, CrossEntropy>) -> Vec<f32> {
        let parameters = trainer.model.named_parameters();
        parameters.iter().flat_map(|(_, param)| param.value().to_vec()).collect()
    }

    fn fit<'a>() -> Fit<'a> {
        Fit::epochs(3).batch_size(16).quiet()
    }

    #[test]
    fn the_samples_of_a_rule_train_like_those_of_a_loader() {
        let (mut by_rule, mut plain) = (trainer(), trainer());
        let history = by_rule.fit(&data(), fit().gradients(InOrder::default())).unwrap();
        let expected = plain.fit(&data(), fit().shuffle(false)).unwrap();
        for (a, b) in weights(&by_rule).iter().zip(weights(&plain)) {
            assert!((a - b).abs() < 1e-5, "{a} {b}");
        }
        assert!(weights(&by_rule) != weights(&trainer()));
        let last = |history: &crate::History| history.epochs[2].training.loss;
        assert!((last(&history) - last(&expected)).abs() < 1e-5);
    }

    #[test]
    fn a_rule_ends_the_training() {
        let rule = InOrder { next: 0, limit: Some(96) };
        let history = trainer().fit(&data(), fit().gradients(rule)).unwrap();
        assert_eq!(history.stopped.as_deref(), Some("enough"));
        assert_eq!(history.epochs.len(), 2);
    }

    #[test]
    fn a_resumed_run_continues_the_state_of_the_rule() {
        let folder = tempfile::tempdir().unwrap();
        let (mut whole, mut cut, mut resumed) = (trainer(), trainer(), trainer());
        whole.fit(&data(), fit().gradients(InOrder::default())).unwrap();
        let keep = |fit: Fit<'static>| fit.checkpoints(Checkpoints::new(folder.path()));
        let mut rule = InOrder::default();
        cut.fit(&data(), keep(fit()).max_steps(6).gradients(&mut rule)).unwrap();
        assert_eq!(rule.next, 96);
        let mut rule = InOrder::default();
        resumed.fit(&data(), fit().resume(folder.path()).gradients(&mut rule)).unwrap();
        assert_eq!(rule.next, 192);
        assert_eq!(weights(&resumed), weights(&whole));
        let without = trainer().fit(&data(), fit().resume(folder.path()));
        let error = without.unwrap_err().to_string();
        assert!(error.contains("chosen by InOrder"), "{error}");
    }

    /// Chooses the same samples in each step.
    struct Same;

    impl GradientRule for Same {
        fn name(&self) -> String {
            "Same".to_owned()
        }

        fn step(
            &mut self,
            _: &dyn Parameters<f32>,
            losses: &mut dyn FnMut(&[usize]) -> Result<Var>,
        ) -> Result<Gradients> {
            losses(&[3, 8, 40])?.mean().backward()
        }
    }

    /// Notes a random number of each sample that is drawn.
    struct Noted(TensorDataset<i64>, Mutex<Vec<u64>>);

    impl Dataset for Noted {
        type Input = Tensor;
        type Target = Tensor<i64>;

        fn len(&self) -> usize {
            self.0.len()
        }

        fn input_shape(&self) -> Shape {
            self.0.input_shape()
        }

        fn batch(&self, indices: &[usize]) -> Result<Batch<Self>> {
            self.0.batch(indices)
        }

        fn batch_at(&self, indices: &[usize], draw: &Draw) -> Result<Batch<Self>> {
            let numbers = indices.iter().map(|&index| draw.rng(index).next_u64());
            self.1.lock().unwrap().extend(numbers);
            self.batch(indices)
        }
    }

    #[test]
    fn a_sample_that_is_chosen_again_changes_in_another_way() {
        let drawn = |fit: Fit<'_>| {
            let data = Noted(data(), Mutex::default());
            trainer().fit(&data, fit.gradients(Same)).unwrap();
            data.1.into_inner().unwrap()
        };
        let whole = drawn(fit());
        assert_eq!(whole.len(), 3 * 4 * 3);
        assert_eq!(whole.iter().collect::<BTreeSet<_>>().len(), whole.len());
        let folder = tempfile::tempdir().unwrap();
        let mut parts = drawn(fit().max_steps(6).checkpoints(Checkpoints::new(folder.path())));
        assert_eq!(parts.len(), 6 * 3);
        parts.extend(drawn(fit().resume(folder.path())));
        assert_eq!(parts, whole);
    }

    #[test]
    fn settings_that_choose_samples_are_refused() {
        let rule = InOrder::default;
        for (setting, fit) in [
            ("balanced", fit().balanced()),
            ("accumulate", fit().accumulate(2)),
            ("not_finite", fit().not_finite(NotFinite::Skip { limit: 1 })),
        ] {
            let error = trainer().fit(&data(), fit.gradients(rule())).unwrap_err().to_string();
            assert!(error.contains(setting) && error.contains("InOrder"), "{error}");
        }
    }

    #[test]
    fn a_loss_without_a_reduction_is_refused() {
        let loss = |output: &Var, target: &Tensor<i64>| CrossEntropy::new().compute(output, target);
        let (model, optimizer, _) = trainer().into_parts();
        let mut trainer = Trainer::new(model, optimizer, loss);
        let result = trainer.fit(&data(), fit().gradients(InOrder::default()));
        assert!(result.unwrap_err().to_string().contains("reduction"));
    }
}
