//! What one looks at: event files, reports; and what is tried and taken back.

use crate::common::{data, state, trainer};
use dendra_train::LearningRates;

#[test]
fn what_is_tried_is_taken_back() {
    let mut one = trainer();
    let before = state(&one);
    let overfit = one.overfit_one_batch(&data(), 16, 80).unwrap();
    // The schedule ends after 60 steps, so by heart it is not learnt.
    assert!(overfit.losses[79] < 0.3 * overfit.losses[0], "{overfit}");
    assert_eq!(state(&one), before);
    let rates = LearningRates::between(1e-6, 1e3).steps(60).batch_size(16);
    let curve = one.find_learning_rate(&data(), rates).unwrap();
    assert_eq!(state(&one), before);
    assert!(curve.points.len() > 20 && curve.points.is_sorted_by_key(|(rate, _)| *rate));
    for wrong in [LearningRates::between(0.0, 1.0), LearningRates::between(2.0, 1.0)] {
        assert!(one.find_learning_rate(&data(), wrong).is_err());
    }
    assert!(one.find_learning_rate(&data(), LearningRates::default().steps(3)).is_err());
}

#[cfg(feature = "tensorboard")]
#[test]
fn an_event_file_holds_a_whole_run() {
    use dendra_train::{EventWriter, Fit, TensorBoard};

    let folder = tempfile::tempdir().unwrap();
    let fit = Fit::epochs(2).batch_size(8).validation_split(0.2).quiet();
    let board = TensorBoard::new(folder.path()).scalars_every(2).histograms_every(5);
    trainer().fit(&data(), fit.callback(board.setting("width", 12).setting("kind", "a"))).unwrap();
    // A second file beside that of the training.
    let mut writer = EventWriter::create(folder.path().join("training")).unwrap();
    writer.image("digit", &dendra_tensor::Tensor::zeros([1, 4, 4]), 0).unwrap();
    assert!(writer.image("digit", &dendra_tensor::Tensor::zeros([4, 4]), 0).is_err());
    writer.text("note", "a **note**", 0).unwrap();
    let input = dendra_tensor::Tensor::<f32>::zeros([2, 1, 28, 28]);
    writer.graph(&dendra_nn::Trace::of(trainer().model(), &input).unwrap()).unwrap();
    writer.flush().unwrap();

    let records = |run: &str| {
        let mut all = Vec::new();
        for entry in std::fs::read_dir(folder.path().join(run)).unwrap() {
            let bytes = std::fs::read(entry.unwrap().path()).unwrap();
            let mut rest = &bytes[..];
            // Each record: a length, its checksum, the data and theirs.
            while !rest.is_empty() {
                let length = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
                all.push(String::from_utf8_lossy(&rest[12..12 + length]).into_owned());
                rest = &rest[16 + length..];
            }
        }
        all
    };
    let (training, validation) = (records("training"), records("validation"));
    let count = |all: &[String], tag: &str| all.iter().filter(|one| one.contains(tag)).count();
    assert_eq!(count(&training, "brain.Event:2"), 2);
    // Seven steps an epoch.
    assert_eq!(count(&training, "batch/loss"), 7);
    for tag in ["epoch/loss", "epoch/accuracy"] {
        assert_eq!((count(&training, tag), count(&validation, tag)), (2, 2), "{tag}");
    }
    for tag in ["weights/1.weight", "gradients/1.weight", "gradients/5.bias"] {
        assert_eq!(count(&training, tag), 2, "{tag}");
    }
    for tag in ["digit", "a **note**", "_hparams_/session_start_info", "1/linear"] {
        assert_eq!(count(&training, tag), 1, "{tag}");
    }
}

#[cfg(feature = "report")]
#[test]
fn a_report_shows_curves_classes_and_mistakes() {
    use dendra_train::{Classification, Fit, Report};

    let data = data();
    let mut one = trainer();
    let history = one.fit(&data, Fit::epochs(2).validate_on(&data).quiet()).unwrap();
    let found = Classification::of(&one, &data).unwrap();
    assert_eq!(found.samples(), 70);
    assert_eq!(found.accuracy(), one.evaluate(&data).unwrap().metric("accuracy").unwrap());
    let loss = one.evaluate(&data).unwrap().loss;
    assert!((found.loss - loss).abs() < 1e-5, "{} and {loss}", found.loss);
    assert!(found.worst.is_sorted_by_key(|mistake| mistake.of_truth));

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report.html");
    let report = Report::new("digits").history(&history).classification(found.clone());
    let report = report.section("Why <7>", "<b>these pixels</b>");
    report.summary(&one.model().summary()).setting("seed", 5).save(&path).unwrap();
    let page = std::fs::read_to_string(&path).unwrap();
    assert_eq!(page.matches("<svg").count(), 2, "loss and accuracy");
    assert_eq!(page.matches("data:image/png;base64,").count(), found.worst.len());
    assert!(page.contains("<h2>Why &lt;7&gt;</h2><div class=\"wide\"><b>these pixels</b></div>"));
    for part in ["Confusion matrix", "Worst mistakes", "precision", "784 → 12", "samples/s"] {
        assert!(page.contains(part), "{part}");
    }
}

#[test]
fn runs_keep_a_folder_each_and_are_compared() {
    use dendra_train::{Fit, RunFolder, compare_runs};

    let folder = tempfile::tempdir().unwrap();
    assert!(compare_runs(folder.path()).unwrap_err().to_string().contains("there is no run"));
    for (name, seed, epochs) in [("first", 1, 1), ("second", 2, 3)] {
        let path = folder.path().join(name);
        let run = RunFolder::new(&path).setting("seed", seed).setting("optimizer", "Adam");
        let fit = Fit::epochs(epochs).batch_size(8).seed(seed).validation_split(0.2).quiet();
        trainer().fit(&data(), fit.checkpoints(run.checkpoints()).callback(run)).unwrap();
        for file in ["settings.json", "history.csv", "history.json", "last.safetensors"] {
            assert!(path.join(file).is_file(), "{file}");
        }
        let table = std::fs::read_to_string(path.join("history.csv")).unwrap();
        assert_eq!(table.lines().count(), 1 + epochs as usize);
    }
    std::fs::create_dir(folder.path().join("something else")).unwrap();
    let compared = compare_runs(folder.path()).unwrap();
    assert_eq!(compared.runs.len(), 2);
    assert_eq!(compared.runs[0].name, "second", "it trained longer, so its loss is lower");
    let text = compared.to_string();
    let head = text.lines().next().unwrap();
    for part in ["run", "seed", "epochs", "best", "validation loss", "validation accuracy"] {
        assert!(head.contains(part), "{text}");
    }
    assert!(!head.contains("optimizer"), "a setting that all runs share is left out: {text}");
    #[cfg(feature = "report")]
    {
        assert!(folder.path().join("first/report.html").is_file());
        let page = folder.path().join("runs.html");
        compared.save(&page).unwrap();
        let page = std::fs::read_to_string(page).unwrap();
        assert!(page.matches("<svg").count() == 3 && page.contains("second"), "{page}");
    }
}

#[cfg(feature = "live")]
#[test]
fn a_live_page_changes_no_bit() {
    use dendra_train::Fit;

    let fit = || Fit::epochs(2).batch_size(8).seed(5).validation_split(0.2).quiet();
    let (mut watched, mut alone) = (trainer(), trainer());
    watched.fit(&data(), fit().live(0)).unwrap();
    alone.fit(&data(), fit()).unwrap();
    assert_eq!(state(&watched), state(&alone));
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let error = alone.fit(&data(), fit().live(port)).unwrap_err().to_string();
    assert!(error.contains(&format!("port {port}")), "{error}");
}
