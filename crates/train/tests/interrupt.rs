//! Ctrl-C finishes the step and saves.
#![cfg(all(unix, feature = "interrupt"))]

mod common;

use common::{data, state, trainer};
use dendra_tensor::{Error, Result};
use dendra_train::{BatchReport, Callback, Checkpoints, Fit, Moment};
use signal_hook::consts::SIGINT;

/// Presses Ctrl-C after a step.
struct Press(u64);

impl Callback for Press {
    fn on_batch(&mut self, now: &mut Moment<'_>, _: &BatchReport<'_>) -> Result<()> {
        if now.step == self.0 {
            signal_hook::low_level::raise(SIGINT).unwrap();
        }
        Ok(())
    }
}

#[test]
fn a_run_that_ctrl_c_has_ended_goes_on() {
    let fit = || Fit::epochs(2).batch_size(8).seed(5).stop_on_ctrl_c().quiet();
    let mut uninterrupted = trainer();
    uninterrupted.fit(&data(), fit()).unwrap();

    let folder = tempfile::tempdir().unwrap();
    for step in [4, 9, 12] {
        let pressed = fit().callback(Press(step)).checkpoints(Checkpoints::new(folder.path()));
        let error = trainer().fit(&data(), pressed).unwrap_err();
        assert!(matches!(error, Error::Interrupted { .. }), "{error}");
        let place = match step {
            9 => "after epoch 1".to_owned(),
            step => format!("in epoch {}, after batch {}", 1 + step / 9, step % 9),
        };
        let expected = format!("interrupted {place}: saved {}", folder.path().display());
        assert!(error.to_string().starts_with(&expected), "{error}");

        let mut resumed = trainer();
        resumed.fit(&data(), fit().resume(folder.path())).unwrap();
        assert_eq!(state(&resumed), state(&uninterrupted), "pressed after step {step}");
    }
    let error = trainer().fit(&data(), fit().callback(Press(1))).unwrap_err().to_string();
    assert!(error.contains("nothing was saved"), "{error}");
}
