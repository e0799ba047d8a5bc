//! What becomes of a step that is not finite.

use dendra_autograd::StateDict;
use dendra_nn::Parameters;
use dendra_optim::Optimizer;
use dendra_tensor::{Error, Float, Result};

/// What becomes of a step whose loss or gradient is infinite or NaN. Nothing
/// of such a step reaches the weights, whatever the policy is, and the error
/// or the history's incident names the epoch, the batch and the first value
/// that was not finite: data, weight, loss or gradient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotFinite {
    /// The training ends with the error.
    Stop,
    /// The step is left out, and the history notes it.
    Skip {
        /// How many steps one after the other may be left out before the
        /// training ends with the error all the same.
        limit: usize,
    },
    /// The weights and the optimizer go back to where they were some steps
    /// ago, and the training goes on with the next batch.
    RollBack {
        /// How many steps lie between the states to go back to. Keeping one
        /// costs a copy of the weights and of the optimizer's state.
        every: u64,
        /// How often, without a step between, the training may go back before
        /// it ends with the error.
        limit: usize,
    },
}

/// The policy at work.
pub(crate) struct Guard {
    policy: NotFinite,
    /// How many steps one after the other were not finite.
    in_a_row: usize,
    /// The state to go back to.
    kept: Option<(StateDict, StateDict)>,
}

impl Guard {
    pub(crate) fn new(policy: NotFinite) -> Self {
        Self { policy, in_a_row: 0, kept: None }
    }

    /// Before a step: keeps the state where the policy asks for it.
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

    /// After a step that was done.
    pub(crate) fn done(&mut self) {
        self.in_a_row = 0;
    }

    /// After a step that failed: what was done about it, in words, when it
    /// was not finite and the policy takes that.
    ///
    /// # Errors
    ///
    /// The error that made the step fail, otherwise.
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
