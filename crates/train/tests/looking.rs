//! What one looks at: event files, reports; and what is tried and taken back.

mod common;

use common::{data, state, trainer};
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
    trainer().fit(&data(), fit.callback(board)).unwrap();
    // A second file in the same folder.
    let mut writer = EventWriter::create(folder.path()).unwrap();
    writer.image("digit", &dendra_tensor::Tensor::zeros([1, 4, 4]), 0).unwrap();
    assert!(writer.image("digit", &dendra_tensor::Tensor::zeros([4, 4]), 0).is_err());
    writer.flush().unwrap();

    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        let mut rest = &bytes[..];
        // Each record: a length, its checksum, the data and theirs.
        while !rest.is_empty() {
            let length = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
            all.push(String::from_utf8_lossy(&rest[12..12 + length]).into_owned());
            rest = &rest[16 + length..];
        }
    }
    let count = |tag: &str| all.iter().filter(|record| record.contains(tag)).count();
    assert_eq!(count("brain.Event:2"), 2);
    // Seven steps an epoch.
    assert_eq!(count("loss/batch"), 7);
    for tag in ["loss/training", "loss/validation", "accuracy/training", "accuracy/validation"] {
        assert_eq!(count(tag), 2, "{tag}");
    }
    for tag in ["weights/1.weight", "gradients/1.weight", "gradients/5.bias"] {
        assert_eq!(count(tag), 2, "{tag}");
    }
    assert_eq!(count("digit"), 1);
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
    report.summary(&one.model().summary()).setting("seed", 5).save(&path).unwrap();
    let page = std::fs::read_to_string(&path).unwrap();
    assert_eq!(page.matches("<svg").count(), 2, "loss and accuracy");
    assert_eq!(page.matches("data:image/png;base64,").count(), found.worst.len());
    for part in ["Confusion matrix", "Worst mistakes", "precision", "784 → 12", "samples/s"] {
        assert!(page.contains(part), "{part}");
    }
}
