//! [`Privacy`] as the rule that makes the gradients of a `Trainer`.

use dendra_autograd::{Gradients, Parameters, StateDict, Var};
use dendra_tensor::{Error, Float, Result, Tensor};
use dendra_train::GradientRule;

use crate::ledger::{Ledger, Mechanism};
use crate::privacy::Privacy;

const NAME: &str = "Privacy";

/// Set it with `Fit::gradients`. The training ends when the budget is spent, and
/// checkpoints hold the ledger.
///
/// The figures of the history are computed from the training data without
/// noise, so do not publish them.
impl<T: Float> GradientRule<T> for Privacy {
    fn name(&self) -> String {
        NAME.to_owned()
    }

    fn check(&self, samples: usize, batch_size: usize) -> Result<()> {
        let (planned, batch) = (self.plan().samples, self.expected_batch_size());
        if planned != samples {
            let message = format!(
                "the plan is for {planned} samples, the training data has {samples}; a part that \
                 is split off for validation does not count"
            );
            return Err(Error::argument(NAME, message));
        }
        if (batch - batch_size as f64).abs() >= 1.0 {
            let message = format!(
                "a step of the plan takes {batch:.1} samples on average, so batch_size must be \
                 {batch:.0}, got {batch_size}"
            );
            return Err(Error::argument(NAME, message));
        }
        Ok(())
    }

    fn stop(&mut self) -> Result<Option<String>> {
        let spent = self.remaining_steps()? == 0;
        Ok(spent.then(|| "the privacy budget is spent".to_owned()))
    }

    fn step(
        &mut self,
        model: &dyn Parameters<T>,
        losses: &mut dyn FnMut(&[usize]) -> Result<Var<T>>,
    ) -> Result<Gradients<T>> {
        let size = self.part_size();
        let mut step = Privacy::step(self, model)?;
        for indices in step.parts(size) {
            step.add(&losses(&indices)?)?;
        }
        step.finish()
    }

    /// The ledger, a row `[noise_multiplier, sample_rate, steps]` for each of
    /// its entries, and the norm.
    fn state_dict(&self) -> StateDict {
        let entries = self.ledger().entries();
        let row =
            |entry: &Mechanism| [entry.noise_multiplier, entry.sample_rate, entry.steps as f64];
        let values: Vec<f64> = entries.iter().flat_map(row).collect();
        let ledger = Tensor::from_fn([entries.len(), 3], |index| values[index]);
        let mut state = StateDict::new();
        state.insert("ledger", ledger);
        state.insert("max_norm", Tensor::scalar(self.max_norm()));
        state
    }

    fn load_state_dict(&mut self, state: &StateDict) -> Result<()> {
        let wrong = || Error::data(NAME, "the checkpoint holds no ledger of a private training");
        let rows = state.typed::<f64>("ledger").filter(|rows| rows.shape()[1..] == [3]);
        let max_norm = state.typed::<f64>("max_norm").filter(|norm| norm.len() == 1);
        let (rows, max_norm) = (rows.ok_or_else(wrong)?.to_vec(), max_norm.ok_or_else(wrong)?);
        let mut ledger = Ledger::new();
        for row in rows.chunks_exact(3) {
            let steps = row[2] as u64;
            ledger.record(Mechanism { noise_multiplier: row[0], sample_rate: row[1], steps })?;
        }
        self.restore(ledger, max_norm.item()?)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Mutex;

    use dendra_autograd::Tape;
    use dendra_datasets::{Batch, Dataset, Draw, TensorDataset, moons};
    use dendra_losses::{CrossEntropy, Loss};
    use dendra_nn::{Module, Sequential};
    use dendra_optim::{Optimizer, SGD};
    use dendra_tensor::{Rng, Shape};
    use dendra_train::{Checkpoints, Fit, Trainer};

    use crate::{Accountant, Budget, Plan};

    use super::*;

    const SAMPLES: usize = 120;

    fn data() -> TensorDataset<i64> {
        moons(SAMPLES, 0.1, 3).unwrap()
    }

    fn plan() -> Plan {
        let budget = Budget { epsilon: 4.0, delta: 1e-3 };
        Plan::for_budget(SAMPLES, 30, 5, Accountant::Renyi, budget).unwrap()
    }

    fn private() -> Privacy {
        Privacy::reproducible_for_tests(plan(), 7).unwrap()
    }

    fn model() -> Sequential {
        Sequential::input([2]).dense(8).tanh().dense(2).build(&mut Rng::seed(1)).unwrap()
    }

    fn trainer() -> Trainer<Sequential, SGD, CrossEntropy> {
        Trainer::new(model(), SGD::new(0.1), CrossEntropy::new())
    }

    fn fit<'a>() -> Fit<'a> {
        Fit::epochs(5).batch_size(30).quiet()
    }

    fn weights(model: &Sequential) -> Vec<f32> {
        model.named_parameters().iter().flat_map(|(_, param)| param.value().to_vec()).collect()
    }

    #[test]
    fn a_trainer_does_the_steps_of_a_loop() {
        let mut trainer = trainer();
        let mut privacy = private();
        trainer.fit(&data(), fit().gradients(&mut privacy)).unwrap();
        assert_eq!(privacy.ledger().steps(), 20);

        let (mut model, mut optimizer) = (model(), SGD::new(0.1));
        let loss = CrossEntropy::new().reduction(dendra_tensor::Reduction::None);
        let mut by_hand = private();
        for _ in 0..20 {
            let mut step = by_hand.step(&model).unwrap();
            for indices in step.parts(64) {
                let (x, y) = data().batch(&indices).unwrap();
                let logits = model.forward(&Tape::training(0, 0).input(x)).unwrap();
                step.add(&loss.forward(&logits, &y).unwrap()).unwrap();
            }
            let gradients = step.finish().unwrap();
            optimizer.step(&mut model, &gradients).unwrap();
        }
        assert_eq!(weights(trainer.model()), weights(&model));
    }

    /// Notes a random number of each sample that is drawn.
    struct Noted(TensorDataset<i64>, Mutex<Vec<(usize, u64)>>);

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
            let note = |&index: &usize| (index, draw.rng(index).next_u64());
            self.1.lock().unwrap().extend(indices.iter().map(note));
            self.batch(indices)
        }
    }

    #[test]
    fn a_sample_that_is_drawn_again_is_augmented_in_another_way() {
        let data = Noted(data(), Mutex::default());
        trainer().fit(&data, fit().gradients(private())).unwrap();
        let drawn = data.1.into_inner().unwrap();
        let samples: BTreeSet<usize> = drawn.iter().map(|(sample, _)| *sample).collect();
        assert!(drawn.len() > 2 * samples.len(), "{} {}", drawn.len(), samples.len());
        let numbers: BTreeSet<u64> = drawn.iter().map(|(_, number)| *number).collect();
        assert_eq!(numbers.len(), drawn.len());
    }

    #[test]
    fn the_training_ends_with_the_budget() {
        let budget = Budget { epsilon: 3.0, delta: 1e-3 };
        let mut privacy = private().budget(Accountant::Renyi, budget);
        let left = privacy.remaining_steps().unwrap();
        assert!(0 < left && left < 20, "{left}");
        let history = trainer().fit(&data(), fit().gradients(&mut privacy)).unwrap();
        assert_eq!(history.stopped.as_deref(), Some("the privacy budget is spent"));
        assert_eq!(privacy.ledger().steps(), left);
        assert!(privacy.epsilon(Accountant::Renyi, 1e-3).unwrap() <= 3.0);
    }

    #[test]
    fn a_resumed_training_keeps_its_ledger() {
        let folder = tempfile::tempdir().unwrap();
        let cut = fit().max_steps(9).checkpoints(Checkpoints::new(folder.path()));
        trainer().fit(&data(), cut.gradients(private())).unwrap();
        let mut privacy = private();
        let resumed = fit().resume(folder.path()).gradients(&mut privacy);
        trainer().fit(&data(), resumed).unwrap();
        assert_eq!(privacy.ledger().steps(), 20);
    }

    #[test]
    fn another_number_of_samples_or_batch_size_is_refused() {
        let refused = |fit: Fit<'_>, part: &str| {
            let error = trainer().fit(&data(), fit.gradients(private())).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        };
        refused(fit().validation_split(0.5), "120 samples, the training data has 60");
        refused(fit().batch_size(32), "batch_size must be 30, got 32");
    }

    #[test]
    fn batch_norm_is_refused() {
        let model = Sequential::input([2]).dense(8).batch_norm1d().dense(2);
        let model = model.build(&mut Rng::seed(1)).unwrap();
        let mut trainer = Trainer::new(model, SGD::new(0.1), CrossEntropy::new());
        let error = trainer.fit(&data(), fit().gradients(private())).unwrap_err().to_string();
        assert!(error.contains("batch_norm"), "{error}");
    }
}
