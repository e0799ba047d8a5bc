//! NaN and infinities in data, weights, loss and gradient, at every step of a short run, under
//! every policy.

use std::sync::atomic::{AtomicU64, Ordering};

use dendra::autograd::EntryMut;
use dendra::prelude::*;
use dendra::train::{BatchReport, Checkpoint};

use crate::common::words;
use crate::{Outcome, Row};

const STEPS: u64 = 20;
const SAMPLES: usize = 8;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Where {
    Data,
    Weight,
    Loss,
    Gradient,
}

/// Writes a value into a weight before a step.
struct Spoil(u64, f32);

impl Callback for Spoil {
    fn on_batch(&mut self, now: &mut Moment<'_>, _: &BatchReport<'_>) -> Result<()> {
        if now.step + 1 == self.0 {
            now.model.visit_mut(&mut Default::default(), &mut |path, entry| {
                if let EntryMut::Param(param) = entry
                    && path.as_str() == "2.weight"
                {
                    param.value_mut().make_mut()[0] = self.1;
                }
            });
        }
        Ok(())
    }
}

pub(crate) fn run() -> Outcome {
    let mut held = 0;
    let policies =
        [NotFinite::Stop, NotFinite::Skip { limit: 1 }, NotFinite::RollBack { every: 4, limit: 1 }];
    for location in [Where::Data, Where::Weight, Where::Loss, Where::Gradient] {
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for policy in policies {
                // The first weight can be changed only after the first step.
                for step in 2..=STEPS {
                    one(location, value, policy, step).map_err(|error| {
                        format!("{value} in the {location:?} of step {step}, {policy:?}: {error}")
                    })?;
                    held += 1;
                }
            }
        }
    }
    Ok(Row {
        case: "NaN, ∞ or −∞ in data, weight, loss or gradient at step k, with the policies stop, \
               skip and roll back",
        runs: held.to_string(),
        outcome: "stopped exactly at step k, or continued; the last checkpoint was valid".into(),
    })
}

fn one(location: Where, value: f32, policy: NotFinite, step: u64) -> Result<(), String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let samples = STEPS as usize * SAMPLES;
    let mut inputs = blobs(samples, 3, 4, 0.5, 7).map_err(words)?.inputs().to_vec();
    let labels = blobs(samples, 3, 4, 0.5, 7).map_err(words)?.targets().clone();
    if location == Where::Data {
        inputs[((step as usize - 1) * SAMPLES + 3) * 4] = value;
    }
    let inputs = Tensor::from_vec(inputs, [samples, 4]).map_err(words)?;
    let data = TensorDataset::new(inputs, labels).map_err(words)?;
    let network = Sequential::input([4]).dense(8).tanh().dense(3).build(&mut Rng::seed(1));

    let calls = AtomicU64::new(0);
    let loss = |output: &Var, target: &Tensor<i64>| {
        let call = calls.fetch_add(1, Ordering::Relaxed) + 1;
        let loss = losses::cross_entropy(output, target)?;
        Ok(match location {
            Where::Loss if call == step => loss.add_scalar(f64::from(value)),
            // The square root of 0 is 0, but its slope is infinite.
            Where::Gradient if call == step => {
                loss.add(&output.mul_scalar(0.0).abs().sqrt().sum())?
            }
            _ => loss,
        })
    };
    let mut trainer: Trainer<_, _, _> =
        Trainer::new(network.map_err(words)?, SGD::new(0.1).momentum(0.9), loss);
    let mut fit = Fit::epochs(1)
        .batch_size(SAMPLES)
        .shuffle(false)
        .quiet()
        .not_finite(policy)
        .checkpoints(Checkpoints::new(folder.path()).every(Every::Steps(1)));
    if location == Where::Weight {
        fit = fit.callback(Spoil(step, value));
    }
    let result = trainer.fit(&data, fit);
    let checkpoint = Checkpoint::read(folder.path());
    if let Ok(checkpoint) = &checkpoint {
        for (name, tensor) in checkpoint.model.iter() {
            if !tensor.downcast::<f32>().is_none_or(Tensor::is_finite) {
                return Err(format!("`{name}` of the last checkpoint is not finite"));
            }
        }
    }
    // Weights are checked before they are written, so that is where these values are found.
    let expected = match location {
        Where::Weight => {
            format!("checkpoint after step {}: the value of `model.2.weight`", step - 1)
        }
        Where::Data => "the input of".to_owned(),
        Where::Loss => "the loss is not finite".to_owned(),
        Where::Gradient => "the gradient of `".to_owned(),
    };
    let at = format!("batch {step}");
    match (result, policy) {
        (Err(error), NotFinite::Stop) => {
            let text = error.to_string();
            let found =
                text.contains(&expected) && (location == Where::Weight || text.contains(&at));
            let good_steps = if location == Where::Weight { step - 2 } else { step - 1 };
            let last = checkpoint.map_or(0, |checkpoint| checkpoint.position.step);
            if found && last == good_steps { Ok(()) } else { Err(format!("{last}: {text}")) }
        }
        // A weight that is not finite is never written, whatever the policy is.
        (Err(error), _) if location == Where::Weight => {
            let text = error.to_string();
            if text.contains(&expected) { Ok(()) } else { Err(text) }
        }
        (Ok(history), NotFinite::Skip { .. } | NotFinite::RollBack { .. }) => {
            let [incident] = &history.incidents[..] else {
                return Err(format!("{} incidents", history.incidents.len()));
            };
            let told = incident.contains(&expected) && incident.contains(&at);
            let through = checkpoint.is_ok_and(|checkpoint| checkpoint.position.step == STEPS);
            if told && through { Ok(()) } else { Err(incident.clone()) }
        }
        (Err(error), _) => Err(error.to_string()),
        (Ok(_), NotFinite::Stop) => Err("it was not noticed".to_owned()),
    }
}
