//! Every metric against scikit-learn, gathered over uneven batches.

use dendra_tensor::Tensor;
use dendra_train::{
    Accuracy, Average, AveragePrecision, BalancedAccuracy, BinaryAccuracy, BinaryF1,
    BinaryPrecision, BinaryRecall, CohenKappa, ConfusionMatrix, F1, MatthewsCorrelation,
    MeanAbsoluteError, MeanSquaredError, Metric, Perplexity, Precision, R2Score, Recall, RocAuc,
    RootMeanSquaredError, TopKAccuracy,
};
use serde_json::Value;

fn cases(kind: &str) -> Vec<Value> {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/metrics.json");
    let all: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    all[kind].as_object().unwrap().values().cloned().collect()
}

/// Numbers of a list, or of a list of rows.
fn tensor(list: &Value) -> Tensor {
    let numbers = |list: &Value| -> Vec<f32> {
        list.as_array().unwrap().iter().map(|x| x.as_f64().unwrap() as f32).collect()
    };
    let rows = list.as_array().unwrap();
    if !rows[0].is_array() {
        return Tensor::from_vec(numbers(list), [rows.len()]).unwrap();
    }
    let values: Vec<Vec<f32>> = rows.iter().map(numbers).collect();
    Tensor::from_vec(values.concat(), [rows.len(), values[0].len()]).unwrap()
}

/// Takes everything in by batches of 1, 2, 3, … samples.
fn gather<Y>(metric: &mut dyn Metric<Y>, output: &Tensor, target: impl Fn(usize, usize) -> Y) {
    let (samples, mut start, mut size) = (output.shape()[0], 0, 1);
    while start < samples {
        let length = size.min(samples - start);
        metric.update(&output.narrow(0, start, length).unwrap(), &target(start, length)).unwrap();
        start += length;
        size += 1;
    }
}

#[track_caller]
fn assert_close(what: &str, found: f64, expected: &Value) {
    // JSON knows no NaN.
    let Some(expected) = expected.as_f64() else {
        assert!(expected.is_null() && found.is_nan(), "{what}: {found} for {expected}");
        return;
    };
    let close = (found - expected).abs() <= 1e-6 * expected.abs().max(1e-3);
    assert!(close, "{what}: {found} for {expected}");
}

/// Makes a metric of classes with an average.
type Make = fn(Average) -> Box<dyn Metric>;

#[test]
fn figures_of_classes() {
    for case in cases("classes") {
        let (output, labels) = (tensor(&case["output"]), tensor(&case["labels"]).cast::<i64>());
        let batch = |start, length| labels.narrow(0, start, length).unwrap();
        let values = &case["values"];
        let value = |mut metric: Box<dyn Metric>| {
            gather(metric.as_mut(), &output, batch);
            metric.value()
        };
        let of_name = |name: &str, metric: Box<dyn Metric>| {
            assert_close(name, value(metric), &values[name]);
        };
        of_name("accuracy", Box::new(Accuracy::new()));
        of_name("balanced accuracy", Box::new(BalancedAccuracy::new()));
        of_name("kappa", Box::new(CohenKappa::new()));
        of_name("mcc", Box::new(MatthewsCorrelation::new()));
        of_name("perplexity", Box::new(Perplexity::new()));
        of_name("roc auc", Box::new(RocAuc::new()));
        of_name("average precision", Box::new(AveragePrecision::new()));
        let figures: [(&str, Make); 3] = [
            ("precision", |average| Box::new(Precision::new().average(average))),
            ("recall", |average| Box::new(Recall::new().average(average))),
            ("f1", |average| Box::new(F1::new().average(average))),
        ];
        let averages =
            [("macro", Average::Macro), ("micro", Average::Micro), ("weighted", Average::Weighted)];
        for (figure, make) in figures {
            for (name, average) in averages {
                of_name(&format!("{name} {figure}"), make(average));
            }
            let each = values[format!("{figure} of classes")].as_array().unwrap();
            for (class, expected) in each.iter().enumerate() {
                assert_close(figure, value(make(Average::Class(class))), expected);
            }
        }
        let mut matrix = ConfusionMatrix::new();
        matrix.update(&output, &labels).unwrap();
        assert_eq!(matrix.counts(), tensor(&case["confusion"]).cast());
        // One of all classes is always the right one.
        let all = value(Box::new(TopKAccuracy::new(output.shape()[1])));
        assert_eq!(all, 1.0);
    }
}

#[test]
fn figures_of_two_sides() {
    for case in cases("binary") {
        let (output, target) = (tensor(&case["output"]), tensor(&case["target"]));
        let metrics: [Box<dyn Metric<Tensor>>; 6] = [
            Box::new(BinaryAccuracy::new()),
            Box::new(BinaryPrecision::new()),
            Box::new(BinaryRecall::new()),
            Box::new(BinaryF1::new()),
            Box::new(RocAuc::new()),
            Box::new(AveragePrecision::new()),
        ];
        for mut metric in metrics {
            gather(metric.as_mut(), &output, |start, n| target.narrow(0, start, n).unwrap());
            assert_close(&metric.name(), metric.value(), &case["values"][metric.name()]);
        }
    }
}

#[test]
fn figures_of_quantities() {
    for case in cases("regression") {
        let (output, target) = (tensor(&case["output"]), tensor(&case["target"]));
        let metrics: [Box<dyn Metric<Tensor>>; 4] = [
            Box::new(MeanAbsoluteError::new()),
            Box::new(MeanSquaredError::new()),
            Box::new(RootMeanSquaredError::new()),
            Box::new(R2Score::new()),
        ];
        for mut metric in metrics {
            gather(metric.as_mut(), &output, |start, n| target.narrow(0, start, n).unwrap());
            assert_close(&metric.name(), metric.value(), &case["values"][metric.name()]);
        }
    }
}
