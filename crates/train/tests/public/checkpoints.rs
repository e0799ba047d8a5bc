//! A run that was interrupted anywhere and gone on with ends with the bits of
//! one that was not; and what is on the disk is good at any time.

use crate::common::{data, state, trainer};
use dendra_autograd::EntryMut;
use dendra_datasets::TensorDataset;
use dendra_losses::CrossEntropy;
use dendra_nn::{Parameters, Sequential};
use dendra_optim::Adam;
use dendra_tensor::{Error, Result, Rng, Tensor};
use dendra_train::{
    BatchReport, Callback, Checkpoint, Checkpoints, EarlyStopping, Every, Fit, Moment, StopFlag,
    Trainer,
};
use std::fs;
use std::path::Path;

fn fit() -> Fit<'static> {
    Fit::epochs(3).batch_size(8).seed(5).quiet()
}

/// Asks to stop after a step.
struct StopAt(u64, StopFlag);

impl Callback for StopAt {
    fn on_batch(&mut self, now: &mut Moment<'_>, _: &BatchReport<'_>) -> Result<()> {
        if now.step == self.0 {
            self.1.set();
        }
        Ok(())
    }
}

/// Trains until after a step, and gives the message of the interruption.
fn interrupt<'a>(fit: Fit<'a>, step: u64) -> String {
    let flag = StopFlag::new();
    let fit = fit.stop_when(&flag).callback(StopAt(step, flag.clone()));
    let error = trainer().fit(&data(), fit).unwrap_err();
    assert!(matches!(error, Error::Interrupted { .. }), "{error}");
    error.to_string()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Interrupts a run after each of these steps and goes on.
fn assert_resumes(steps: &[u64], fit: impl Fn() -> Fit<'static>) {
    let mut uninterrupted = trainer();
    let history = uninterrupted.fit(&data(), fit()).unwrap();
    for &step in steps {
        let folder = tempfile::tempdir().unwrap();
        let message = interrupt(fit().checkpoints(Checkpoints::new(folder.path())), step);
        assert!(message.contains("Fit::resume"), "{message}");
        let mut resumed = trainer();
        let again = resumed.fit(&data(), fit().resume(folder.path())).unwrap();
        assert_eq!(state(&resumed), state(&uninterrupted), "interrupted after step {step}");
        assert_eq!(again.losses(), history.losses());
        assert_eq!(again.curve("validation loss"), history.curve("validation loss"));
        assert_eq!(resumed.epochs(), uninterrupted.epochs());
    }
}

#[test]
fn a_run_goes_on_as_if_it_had_not_been_interrupted() {
    assert_resumes(&[1, 5, 8, 9, 10, 18, 25, 26], fit);
}

#[test]
fn so_it_does_with_everything_turned_on() {
    let weights: Vec<f64> = (0..10).map(|class| 1.0 + 0.1 * f64::from(class)).collect();
    let fit = || {
        Fit::epochs(4)
            .batch_size(8)
            .seed(6)
            .accumulate(3)
            .validation_split(0.2)
            .class_weights(weights.clone())
            .callback(EarlyStopping::new(1).monitor("validation accuracy").min_delta(1.0))
            .quiet()
    };
    assert_resumes(&[1, 2, 3, 4, 5], fit);
}

#[test]
fn a_run_may_be_interrupted_over_and_over() {
    let mut uninterrupted = trainer();
    uninterrupted.fit(&data(), fit()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let again =
        || fit().checkpoints(Checkpoints::new(folder.path())).resume_if_present(folder.path());
    for step in [4, 9, 13, 20] {
        interrupt(again(), step);
    }
    let mut resumed = trainer();
    resumed.fit(&data(), again()).unwrap();
    assert_eq!(state(&resumed), state(&uninterrupted));
    // What is through stays as it is.
    let mut through = trainer();
    through.fit(&data(), again()).unwrap();
    assert_eq!(state(&through), state(&uninterrupted));
}

#[test]
fn a_longer_run_goes_on_from_a_shorter_one() {
    let mut long = trainer();
    long.fit(&data(), fit().max_steps(22)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::new(folder.path());
    trainer().fit(&data(), fit().max_steps(13).checkpoints(checkpoints)).unwrap();
    let mut resumed = trainer();
    resumed.fit(&data(), fit().max_steps(22).resume(folder.path())).unwrap();
    assert_eq!(state(&resumed), state(&long));
}

#[test]
fn best_last_and_the_newest_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let stale = format!(".dendra-{}-0.safetensors.tmp", u32::MAX);
    fs::write(folder.path().join(stale), "half").unwrap();
    let checkpoints = Checkpoints::new(folder.path()).every(Every::Steps(4)).keep(2);
    let mut trained = trainer();
    let history = trained.fit(&data(), fit().checkpoints(checkpoints)).unwrap();
    assert_eq!(
        names(folder.path()),
        [
            "best.safetensors",
            "last.safetensors",
            "step-000000024.safetensors",
            "step-000000027.safetensors"
        ]
    );
    let last = Checkpoint::read(folder.path()).unwrap();
    assert_eq!((last.model, last.optimizer), state(&trained));
    assert_eq!(last.position.step, 27);
    let best = Checkpoint::read(folder.path().join("best.safetensors")).unwrap();
    let losses = history.losses();
    let lowest = losses.iter().copied().fold(f64::INFINITY, f64::min);
    assert_eq!(best.history.losses().last(), Some(&lowest));
    // PyTorch and others find the weights in it by their names.
    assert!(best.model.get("1.weight").is_some());
}

#[test]
fn a_checkpoint_is_deployed_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::new(folder.path());
    let mut trained = trainer();
    trained.fit(&data(), fit().checkpoints(checkpoints)).unwrap();
    let last = folder.path().join("last.safetensors");
    // Another program needs neither code nor training for it.
    let deployed = Sequential::load(&last).unwrap();
    assert_eq!(deployed.state_dict(), trained.model().state_dict());
    assert_eq!(deployed.summary(), trained.model().summary());
    Sequential::load(folder.path().join("best.safetensors")).unwrap();
    // A model that is built in code takes the weights alone.
    let mut fresh = trainer().into_model();
    dendra_nn::load(&mut fresh, &last).unwrap();
    assert_eq!(fresh.state_dict(), deployed.state_dict());
    let mut other = Sequential::input([784]).dense(12).dense(3).build(&mut Rng::seed(1)).unwrap();
    let error = dendra_nn::load(&mut other, &last).unwrap_err().to_string();
    assert!(error.contains("missing: 0.weight, 0.bias") && !error.contains("optimizer"), "{error}");
}

#[test]
fn a_network_of_token_ids_is_trained_and_deployed() {
    let ids = Tensor::from_fn([60, 6], |i| (i as i64 * 7 + i as i64 / 6) % 8);
    let has_three = |row: usize| ids.to_vec()[row * 6..][..6].contains(&3);
    let labels = Tensor::from_fn([60], |row| i64::from(has_three(row)));
    let data = TensorDataset::classification(ids.clone(), labels, 2).unwrap();
    let model = Sequential::tokens([6]).embedding(8, 6).gru(8).last_step().dense(2);
    let model = model.build(&mut Rng::seed(1)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut trainer = Trainer::new(model, Adam::new(0.05), CrossEntropy::new());
    let fit = Fit::epochs(8).batch_size(10).quiet();
    let history = trainer.fit(&data, fit.checkpoints(Checkpoints::new(folder.path()))).unwrap();
    let losses = history.losses();
    assert!(losses[7] < 0.7 * losses[0], "{losses:?}");
    let deployed = Sequential::load(folder.path().join("last.safetensors")).unwrap();
    let answer = deployed.forward_tokens(&ids, None).unwrap();
    assert_eq!(&trainer.predict(&ids).unwrap(), answer.value());
}

#[test]
fn another_run_cannot_be_gone_on_with() {
    let folder = tempfile::tempdir().unwrap();
    trainer().fit(&data(), fit().checkpoints(Checkpoints::new(folder.path()))).unwrap();
    let refusal = |fit: Fit<'_>| {
        let mut other = trainer();
        let before = state(&other);
        let message = other.fit(&data(), fit).unwrap_err().to_string();
        assert_eq!(state(&other), before);
        message
    };
    let message = refusal(fit().seed(6).batch_size(16).resume(folder.path()));
    for part in ["last.safetensors", "batch_size was 8 and is 16", "seed was 5 and is 6"] {
        assert!(message.contains(part), "{message}");
    }
    let message = refusal(fit().resume(folder.path().join("missing")));
    assert!(message.contains("missing"), "{message}");
    let weights = folder.path().join("weights.safetensors");
    trainer().model().save(&weights).unwrap();
    let message = refusal(fit().resume(&weights));
    assert!(message.contains("is not a checkpoint"), "{message}");

    let with_state = fit().callback(EarlyStopping::new(9));
    trainer().fit(&data(), with_state.checkpoints(Checkpoints::new(folder.path()))).unwrap();
    let message = trainer().fit(&data(), fit().resume(folder.path())).unwrap_err().to_string();
    assert!(message.contains("`EarlyStopping`"), "{message}");
}

#[test]
fn a_checkpoint_cut_off_anywhere_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    trainer().fit(&data(), fit().checkpoints(Checkpoints::new(folder.path()))).unwrap();
    let whole = fs::read(folder.path().join("last.safetensors")).unwrap();
    let cut = folder.path().join("cut");
    for length in (0..whole.len()).step_by(997) {
        fs::write(&cut, &whole[..length]).unwrap();
        assert!(Checkpoint::read(&cut).is_err(), "{length} bytes");
    }
}

/// Makes a weight infinite after a step.
struct Spoil(u64);

impl Callback for Spoil {
    fn on_batch(&mut self, now: &mut Moment<'_>, _: &BatchReport<'_>) -> Result<()> {
        if now.step == self.0 {
            now.model.visit_mut(&mut Default::default(), &mut |_, entry| {
                if let EntryMut::Param(param) = entry {
                    param.value_mut().make_mut()[0] = f32::INFINITY;
                }
            });
        }
        Ok(())
    }
}

#[test]
fn spoilt_weights_never_replace_a_good_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoints = || Checkpoints::new(folder.path()).every(Every::Steps(3));
    let last = folder.path().join("last.safetensors");
    trainer().fit(&data(), fit().max_steps(3).checkpoints(checkpoints())).unwrap();
    let good = fs::read(&last).unwrap();
    for step in [4, 5, 6] {
        let fit = fit().checkpoints(checkpoints()).resume(folder.path()).callback(Spoil(step));
        let error = trainer().fit(&data(), fit).unwrap_err();
        assert!(matches!(error, Error::NotFinite { .. }), "{error}");
        assert!(error.to_string().contains("the value of `"), "{error}");
        assert_eq!(fs::read(&last).unwrap(), good, "spoilt after step {step}");
    }
    trainer().fit(&data(), fit().resume(folder.path())).unwrap();
}

#[test]
fn a_damaged_last_checkpoint_names_the_newest_sound_one() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoints = Checkpoints::new(folder.path()).keep(3);
    trainer().fit(&data(), fit().checkpoints(checkpoints)).unwrap();
    let last = folder.path().join("last.safetensors");
    // A flipped bit in the last value, which only the checksum detects.
    let mut bytes = fs::read(&last).unwrap();
    *bytes.last_mut().unwrap() ^= 4;
    fs::write(&last, bytes).unwrap();
    let error = trainer().fit(&data(), fit().resume(folder.path())).unwrap_err().to_string();
    let newest = folder.path().join("step-000000027.safetensors");
    assert!(error.starts_with(&format!("{}: damaged: its checksum is", last.display())), "{error}");
    let hint = format!("The newest valid checkpoint in its folder is {}", newest.display());
    assert!(error.contains(&hint), "{error}");
    fs::remove_file(&newest).unwrap();
    let error = Checkpoint::read(folder.path()).unwrap_err().to_string();
    let other = ["best.safetensors", "step-000000018.safetensors"];
    assert!(other.iter().any(|name| error.ends_with(name)), "{error}");
}

#[test]
fn a_folder_that_cannot_be_written_is_an_error_before_training() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "not a folder").unwrap();
    let mut trainer = trainer();
    let before = state(&trainer);
    let fit = fit().checkpoints(Checkpoints::new(file.join("run")));
    let error = trainer.fit(&data(), fit).unwrap_err().to_string();
    assert!(error.contains("file/run"), "{error}");
    assert!(state(&trainer) == before);
    // A folder in which no file can be replaced.
    let run = folder.path().join("run");
    fs::create_dir_all(run.join("last.safetensors")).unwrap();
    let error = trainer.fit(&data(), self::fit().checkpoints(Checkpoints::new(&run))).unwrap_err();
    assert!(error.to_string().contains("is not a regular file"), "{error}");
    assert!(state(&trainer) == before);
}
