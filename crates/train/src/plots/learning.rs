//! Curves of figures over the epochs.

use dendra_tensor::{Error, Result};

use super::{Chart, Svg};
use crate::history::{History, is_percent};
use crate::monitor::Goal;

/// Draws a figure over the epochs, in training and in validation: `loss`, or
/// the name of a metric. The best epoch is marked, that of the validation if
/// there is one.
///
/// # Errors
///
/// When no epoch has the figure.
pub fn learning_curve(history: &History, figure: &str) -> Result<Svg> {
    let finite = |name: &str| {
        let points = history.curve(name).into_iter().map(|(epoch, value)| (epoch as f64, value));
        points.filter(|(_, value)| value.is_finite()).collect::<Vec<_>>()
    };
    let (training, validation) = (finite(figure), finite(&format!("validation {figure}")));
    let watched = if validation.is_empty() { &training } else { &validation };
    let better = |a: f64, b: f64| match Goal::of(figure) {
        Goal::Lowest => a < b,
        Goal::Highest => a > b,
    };
    let best = watched.iter().copied().reduce(|a, b| if better(b.1, a.1) { b } else { a });
    let Some(best) = best else {
        return Err(Error::argument(
            "learning_curve",
            format!("no epoch has the figure `{figure}`"),
        ));
    };
    let mut chart = Chart::new("epoch", figure).percent(is_percent(figure));
    let several = watched.len() > 1;
    chart = chart.line("training", training);
    if !validation.is_empty() {
        chart = chart.line("validation", validation);
    }
    if several {
        chart = chart.mark(format!("best: epoch {}", best.0), best);
    }
    chart.to_svg()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{EpochReport, Evaluation};

    fn history() -> History {
        let epochs = (1..=5).map(|number| {
            let loss = if number == 3 { f64::NAN } else { 1.0 / number as f64 };
            let training = Evaluation { loss, metrics: vec![("accuracy".into(), 0.9)] };
            EpochReport {
                number,
                validation: (number > 2).then(|| training.clone()),
                training,
                seconds: 1.0,
                samples_per_second: 1.0,
                learning_rate: 1e-3,
            }
        });
        History { epochs: epochs.collect(), ..History::default() }
    }

    #[test]
    fn curves_are_drawn_and_values_that_are_not_finite_left_out() {
        for figure in ["loss", "accuracy"] {
            let svg = learning_curve(&history(), figure).unwrap().to_string();
            assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"), "{svg}");
            for part in ["training", "validation", "epoch", figure, "#2563EB", "#EA580C"] {
                assert!(svg.contains(part), "{part}");
            }
            assert!(!svg.contains("NaN"));
        }
        assert!(learning_curve(&history(), "loss").unwrap().to_string().contains("best: epoch 5"));
        let one = History { epochs: history().epochs[..1].to_vec(), ..History::default() };
        learning_curve(&one, "loss").unwrap();
        let error = learning_curve(&history(), "f1").unwrap_err().to_string();
        assert!(error.contains("`f1`"), "{error}");
    }
}
