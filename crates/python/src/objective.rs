//! Losses and metrics for any kind of target.

use dendra_autograd::Var;
use dendra_losses::Loss;
use dendra_tensor::{Error, Result, Tensor};
use dendra_train::Metric;

use crate::arguments::{Arguments, Refusal};
use crate::data::{Form, Values};

type LabelLoss = Box<dyn Loss<Tensor<i64>>>;
type FloatLoss = Box<dyn Loss<Tensor>>;

/// The kind of targets that a loss or a metric expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Targets {
    /// Class labels.
    Labels,
    /// Quantities or probabilities.
    Floats,
    /// Either, depending on the type of the array.
    Either,
}

/// A loss.
pub(crate) struct AnyLoss {
    labels: Option<LabelLoss>,
    floats: Option<FloatLoss>,
}

impl AnyLoss {
    pub(crate) fn labels(
        loss: impl Loss<Tensor<i64>> + 'static,
        _: &mut Arguments,
    ) -> Result<Self, Refusal> {
        Ok(Self { labels: Some(Box::new(loss)), floats: None })
    }

    pub(crate) fn floats(
        loss: impl Loss<Tensor> + 'static,
        _: &mut Arguments,
    ) -> Result<Self, Refusal> {
        Ok(Self { labels: None, floats: Some(Box::new(loss)) })
    }

    pub(crate) fn either(
        loss: impl Loss<Tensor<i64>> + Loss<Tensor> + Clone + 'static,
        _: &mut Arguments,
    ) -> Result<Self, Refusal> {
        Ok(Self { labels: Some(Box::new(loss.clone())), floats: Some(Box::new(loss)) })
    }

    pub(crate) fn targets(&self) -> Targets {
        match (&self.labels, &self.floats) {
            (Some(_), Some(_)) => Targets::Either,
            (Some(_), None) => Targets::Labels,
            (None, _) => Targets::Floats,
        }
    }
}

fn other_targets(context: &str, found: Form) -> Error {
    let (expected, found) = match found {
        Form::Floats => ("class labels", "floats"),
        Form::Integers => ("floats", "class labels"),
    };
    Error::data(context, format!("expected targets that are {expected}, got {found}"))
}

impl Loss<Values> for AnyLoss {
    fn forward(&self, output: &Var, target: &Values) -> Result<Var> {
        match (target, &self.labels, &self.floats) {
            (Values::Integers(labels), Some(loss), _) => loss.forward(output, labels),
            (Values::Floats(floats), _, Some(loss)) => loss.forward(output, floats),
            _ => Err(other_targets("loss", target.form())),
        }
    }

    fn divisor(&self, output: &Var, target: &Values, samples: usize) -> Option<f64> {
        match (target, &self.labels, &self.floats) {
            (Values::Integers(labels), Some(loss), _) => loss.divisor(output, labels, samples),
            (Values::Floats(floats), _, Some(loss)) => loss.divisor(output, floats, samples),
            _ => None,
        }
    }

    fn with_class_weights(&self, weights: &[f64]) -> Result<Box<dyn Loss<Values>>> {
        let labels = self.labels.as_ref().map(|loss| loss.with_class_weights(weights));
        let floats = self.floats.as_ref().map(|loss| loss.with_class_weights(weights));
        Ok(Box::new(Self { labels: labels.transpose()?, floats: floats.transpose()? }))
    }
}

type LabelMetric = Box<dyn Metric<Tensor<i64>, Tensor>>;
type FloatMetric = Box<dyn Metric<Tensor, Tensor>>;

/// A metric.
pub(crate) struct AnyMetric {
    labels: Option<LabelMetric>,
    floats: Option<FloatMetric>,
    /// Whether it was updated with targets that are floats.
    of_floats: bool,
}

impl AnyMetric {
    pub(crate) fn labels(
        metric: impl Metric<Tensor<i64>, Tensor> + 'static,
        _: &mut Arguments,
    ) -> Result<Self, Refusal> {
        Ok(Self { labels: Some(Box::new(metric)), floats: None, of_floats: false })
    }

    pub(crate) fn floats(
        metric: impl Metric<Tensor, Tensor> + 'static,
        _: &mut Arguments,
    ) -> Result<Self, Refusal> {
        Ok(Self { labels: None, floats: Some(Box::new(metric)), of_floats: true })
    }

    pub(crate) fn either(
        metric: impl Metric<Tensor<i64>, Tensor> + Metric<Tensor, Tensor> + Clone + 'static,
        _: &mut Arguments,
    ) -> Result<Self, Refusal> {
        let labels: LabelMetric = Box::new(metric.clone());
        Ok(Self { labels: Some(labels), floats: Some(Box::new(metric)), of_floats: false })
    }

    /// Checks that the metric accepts the targets, before a step is done.
    pub(crate) fn check(&self, targets: Form) -> Result<()> {
        let takes = match targets {
            Form::Integers => self.labels.is_some(),
            Form::Floats => self.floats.is_some(),
        };
        if takes { Ok(()) } else { Err(other_targets(&Metric::name(self), targets)) }
    }
}

impl Metric<Values, Tensor> for AnyMetric {
    fn name(&self) -> String {
        let of_labels = self.labels.as_ref().map(|metric| metric.name());
        of_labels.or_else(|| Some(self.floats.as_ref()?.name())).unwrap_or_default()
    }

    fn fresh(&self) -> Box<dyn Metric<Values, Tensor>> {
        Box::new(Self {
            labels: self.labels.as_ref().map(|metric| metric.fresh()),
            floats: self.floats.as_ref().map(|metric| metric.fresh()),
            of_floats: self.labels.is_none(),
        })
    }

    fn update(&mut self, output: &Tensor, target: &Values) -> Result<()> {
        match (target, &mut self.labels, &mut self.floats) {
            (Values::Integers(labels), Some(metric), _) => metric.update(output, labels),
            (Values::Floats(floats), _, Some(metric)) => {
                self.of_floats = true;
                metric.update(output, floats)
            }
            _ => Err(other_targets(&Metric::name(self), target.form())),
        }
    }

    fn value(&self) -> f64 {
        let value = match self.of_floats {
            true => self.floats.as_ref().map(|metric| metric.value()),
            false => self.labels.as_ref().map(|metric| metric.value()),
        };
        value.unwrap_or(f64::NAN)
    }
}
