//! The checkpoints of a run.

use dendra_tensor::{Float, Result};

use crate::callback::Callback;
use crate::checkpoint::{Checkpoint, Keeper};
use crate::history::EpochReport;
use crate::stage::{Parts, Stage};

use super::{Run, SCALER, ask};

impl<T: Float> Run<'_, T> {
    pub(super) fn checkpoint(&mut self, stage: &mut dyn Stage<T>) -> Result<Checkpoint> {
        let mut callbacks = Vec::new();
        callbacks.extend(self.plan.rule.as_ref().map(|rule| (rule.name(), rule.state_dict())));
        let scaler = self.plan.mixed.scaler.as_ref();
        callbacks.extend(scaler.map(|scaler| (SCALER.to_owned(), scaler.state_dict())));
        for callback in &mut self.plan.callbacks {
            let named =
                |callback: &mut dyn Callback<T>| Ok((callback.name(), callback.state_dict()));
            let (name, state) = ask(&mut **callback, named)?;
            if !state.is_empty() {
                callbacks.push((name, state));
            }
        }
        let Parts { model, optimizer, .. } = stage.parts();
        let state = match self.shared() {
            Some(shared) => shared.optimizer_state(optimizer)?,
            None => optimizer.state_dict(),
        };
        Ok(Checkpoint {
            model: model.state_dict(),
            metadata: model.metadata(),
            optimizer: state,
            callbacks,
            position: self.position,
            settings: self.settings.clone(),
            history: self.history.clone(),
            best: self.keeper.as_ref().and_then(Keeper::best),
        })
    }

    pub(super) fn write_last(&mut self, stage: &mut dyn Stage<T>) -> Result<()> {
        if self.keeper.is_none() {
            return Ok(());
        }
        let checkpoint = self.checkpoint(stage)?;
        let written = self.keeper.as_ref().map_or(Ok(()), |keeper| keeper.write_last(&checkpoint));
        self.plan.agree(written)
    }

    /// Writes the checkpoints that are due after an epoch; `cut` is the last
    /// one when the epoch was cut short.
    pub(super) fn write_after(
        &mut self,
        stage: &mut dyn Stage<T>,
        report: &EpochReport,
        cut: Option<Checkpoint>,
    ) -> Result<()> {
        let (over, validates) = (self.is_over(), self.validates);
        let Some(keeper) = &mut self.keeper else { return Ok(()) };
        let best = keeper.is_best(report, validates)?;
        let due = over
            || keeper.due_after_epoch(report.number)
            || keeper.due_after_step(self.position.step);
        if !(best || due) {
            return Ok(());
        }
        let checkpoint = self.checkpoint(stage)?;
        let Some(keeper) = &self.keeper else { return Ok(()) };
        let mut written = if best { keeper.write_best(&checkpoint) } else { Ok(()) };
        if due && written.is_ok() {
            written = keeper.write_last(&cut.unwrap_or(checkpoint));
        }
        self.plan.agree(written)
    }
}
