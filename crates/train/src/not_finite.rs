//! What happens to a step that is not finite.

use dendra_autograd::StateDict;
use dendra_nn::Parameters;
use dendra_optim::Optimizer;
use dendra_tensor::{Error, Float, Result};

use crate::history::EpochReport;

/// What happens to a step whose loss or gradient is infinite or NaN. Such a
/// step never changes the weights, whatever the policy. The error, or the
/// incident in the history, names the epoch, the batch and the first value that
/// was not finite: data, weight, loss or gradient.
///
/// An epoch whose loss or validation loss is NaN, for example because all of its samples are
/// ignored, ends the training with [`Stop`](Self::Stop) and is noted in the history otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotFinite {
    /// The training ends with an error.
    Stop,
    /// The step is skipped, and the history notes it.
    Skip {
        /// How many steps in a row may be skipped before the training ends with
        /// an error.
        limit: usize,
    },
    /// The weights and the optimizer return to their state some steps earlier,
    /// and the training continues with the next batch.
    RollBack {
        /// The number of steps between the states that are kept. Keeping one
        /// needs a copy of the weights and of the optimizer's state.
        every: u64,
        /// How many times in a row, without a finite step in between, the
        /// training may roll back before it ends with an error.
        limit: usize,
    },
}

impl NotFinite {
    /// What to note about the losses of an epoch that are not numbers.
    ///
    /// # Errors
    ///
    /// When there is such a loss, and the training ends with steps that are not finite.
    pub(crate) fn check_losses(self, report: &EpochReport) -> Result<Vec<String>> {
        let ignored = "all samples are ignored, or have the weight 0";
        let values = "the data or the outputs are not numbers, or all samples are ignored";
        let validation = report.validation.as_ref();
        let parts =
            [("loss", Some(&report.training), ignored), ("validation loss", validation, values)];
        let of_nan = parts.into_iter().filter(|(_, part, _)| part.is_some_and(|p| p.loss.is_nan()));
        let errors = of_nan.map(|(name, _, reason)| {
            let message = format!("the {name} is NaN: {reason}");
            Error::not_finite(format!("epoch {}", report.number), message)
        });
        match self {
            Self::Stop => errors.map(Err).collect(),
            _ => Ok(errors.map(|error| error.to_string()).collect()),
        }
    }
}

/// A policy with its state.
pub(crate) struct Guard {
    policy: NotFinite,
    /// The number of steps in a row that were not finite.
    in_a_row: usize,
    /// The state to return to.
    kept: Option<(StateDict, StateDict)>,
}

impl Guard {
    pub(crate) fn new(policy: NotFinite) -> Self {
        Self { policy, in_a_row: 0, kept: None }
    }

    /// Called before a step: keeps the state if the policy needs it.
    pub(crate) fn before<T: Float>(
        &mut self,
        step: u64,
        model: &dyn Parameters<T>,
        optimizer: &dyn Optimizer<T>,
    ) {
        if let NotFinite::RollBack { every, .. } = self.policy
            && (self.kept.is_none() || step.is_multiple_of(every.max(1)))
            && self.in_a_row == 0
        {
            self.kept = Some((model.state_dict(), optimizer.state_dict()));
        }
    }

    /// Called after a step that succeeded.
    pub(crate) fn done(&mut self) {
        self.in_a_row = 0;
    }

    /// Called after a step that failed: applies the policy if the step was not
    /// finite, and returns what was done, as text.
    ///
    /// # Errors
    ///
    /// The error of the step, if the policy does not handle it.
    pub(crate) fn failed<T: Float>(
        &mut self,
        error: Error,
        model: &mut dyn Parameters<T>,
        optimizer: &mut dyn Optimizer<T>,
    ) -> Result<String> {
        let limit = match self.policy {
            _ if !matches!(error, Error::NotFinite { .. }) => return Err(error),
            NotFinite::Stop => return Err(error),
            NotFinite::Skip { limit } | NotFinite::RollBack { limit, .. } => limit,
        };
        self.in_a_row += 1;
        if self.in_a_row > limit {
            return Err(error.within(format!("after {limit} such steps in a row")));
        }
        match &self.kept {
            None => Ok(format!("{error}; the step was left out")),
            Some((weights, moments)) => {
                model.load_state_dict(weights)?;
                let before = optimizer.steps();
                optimizer.load_state_dict(moments)?;
                let back = before - optimizer.steps();
                Ok(format!("{error}; went back {back} steps"))
            }
        }
    }
}
