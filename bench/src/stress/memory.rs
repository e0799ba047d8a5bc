//! Memory usage over 50 epochs.

use dendra::prelude::*;

use crate::common::{data, part, trainer, words};
use crate::{Outcome, Row};

const EPOCHS: u64 = 50;

/// Measures after every epoch.
#[derive(Default)]
struct Resident(Vec<f64>);

impl Callback for Resident {
    fn on_epoch(&mut self, _: &mut Moment<'_>, _: &EpochReport) -> Result<()> {
        self.0.extend(resident());
        Ok(())
    }
}

/// The resident memory of this process, in MB.
fn resident() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse::<f64>().ok().map(|kibibytes| kibibytes * 1.024e-3)
}

pub(crate) fn run() -> Outcome {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let mut measured = Resident::default();
    let data = data(1000);
    let validation = part(&data, 200);
    let fit = Fit::epochs(EPOCHS).quiet().validate_on(&validation).callback(&mut measured);
    let fit = fit.callback(EarlyStopping::new(EPOCHS));
    trainer()
        .and_then(|mut trainer| {
            trainer.fit(&data, fit.checkpoints(Checkpoints::new(folder.path()).keep(3)))
        })
        .map_err(words)?;
    let case = "resident memory while training for 50 epochs, with validation, early stopping and \
                checkpoints";
    let sizes = measured.0;
    if sizes.len() as u64 != EPOCHS {
        let outcome = "not run: this system does not report its memory".to_owned();
        return Ok(Row { case, runs: "0".into(), outcome });
    }
    let (early, last) = (sizes[4], sizes[sizes.len() - 1]);
    let most = sizes[5..].iter().copied().fold(0.0, f64::max);
    if most > 1.05 * early + 1.0 {
        return Err(format!("memory grows: {early:.1} MB after 5 epochs, up to {most:.1} MB"));
    }
    Ok(Row {
        case,
        runs: "1".into(),
        outcome: format!(
            "{early:.1} MB after epoch 5, {last:.1} MB after epoch 50, at most {most:.1} MB \
             between"
        ),
    })
}
