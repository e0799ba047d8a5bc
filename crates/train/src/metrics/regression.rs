//! Metrics of regressions, for outputs and targets of the same shape.

use dendra_tensor::{Error, Float, Result, Tensor};

use super::{Metric, check_same, numbers};

/// Defines metrics that are a function of a mean over all elements.
macro_rules! means {
    ($($(#[$doc:meta])* $metric:ident: $name:literal, |$error:ident| $each:expr, $of_mean:expr;)*)
        => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default)]
        pub struct $metric {
            sum: f64,
            count: u64,
        }

        impl $metric {
            /// An empty metric.
            pub fn new() -> Self {
                Self::default()
            }
        }

        impl<T: Float> Metric<Tensor<T>, Tensor<T>> for $metric {
            fn name(&self) -> String {
                $name.to_owned()
            }

            fn fresh(&self) -> Box<dyn Metric<Tensor<T>, Tensor<T>>> {
                Box::new(Self::new())
            }

            fn update(&mut self, output: &Tensor<T>, target: &Tensor<T>) -> Result<()> {
                check_same(stringify!($metric), output.shape(), target.shape())?;
                for (output, target) in output.to_vec().into_iter().zip(target.to_vec()) {
                    let $error = output.to_f64() - target.to_f64();
                    self.sum += $each;
                }
                self.count += output.len() as u64;
                Ok(())
            }

            fn value(&self) -> f64 {
                let of_mean: fn(f64) -> f64 = $of_mean;
                of_mean(self.sum / self.count as f64)
            }

            fn state(&self) -> Option<Vec<f64>> {
                Some(vec![self.sum, self.count as f64])
            }

            fn merge(&mut self, state: &[f64]) -> Result<()> {
                let [sum, count] = numbers(stringify!($metric), state)?;
                self.sum += sum;
                self.count += count as u64;
                Ok(())
            }
        }
    )*};
}

means! {
    /// The mean of |output − target|.
    MeanAbsoluteError: "mae", |error| error.abs(), |mean| mean;
    /// The mean of (output − target)².
    MeanSquaredError: "mse", |error| error * error, |mean| mean;
    /// The square root of the mean of (output − target)².
    RootMeanSquaredError: "rmse", |error| error * error, f64::sqrt;
}

/// R², the share of the targets' variance that the outputs explain: 1 minus the
/// sum of squared errors divided by the sum of squared deviations of the
/// targets from their mean.
///
/// It is 1 for exact outputs, 0 for the mean of the targets, and negative for
/// worse outputs. Outputs and targets have the shape `[batch, …]`. Each element
/// of a sample has its own R², and the value is their mean. As in scikit-learn,
/// R² is 1 or 0 for constant targets, and NaN for a single sample, which has no
/// variance.
#[derive(Clone, Debug, Default)]
pub struct R2Score {
    count: u64,
    columns: Vec<Column>,
}

/// The sums for one element of the samples.
#[derive(Clone, Copy, Debug, Default)]
struct Column {
    errors: f64,
    mean: f64,
    /// The sum of squared deviations from the running mean (Welford, 1962).
    spread: f64,
}

impl R2Score {
    /// An empty metric.
    pub fn new() -> Self {
        Self::default()
    }
}

impl<T: Float> Metric<Tensor<T>, Tensor<T>> for R2Score {
    fn name(&self) -> String {
        "r2".to_owned()
    }

    fn fresh(&self) -> Box<dyn Metric<Tensor<T>, Tensor<T>>> {
        Box::new(Self::new())
    }

    fn update(&mut self, output: &Tensor<T>, target: &Tensor<T>) -> Result<()> {
        check_same("R2Score", output.shape(), target.shape())?;
        let width = output.shape().get(1..).map_or(1, |sample| sample.iter().product());
        if self.count == 0 {
            self.columns = vec![Column::default(); width];
        } else if self.columns.len() != width {
            let message =
                format!("expected {} values a sample, as before, got {width}", self.columns.len());
            return Err(Error::shape("R2Score", message));
        }
        if width == 0 {
            return Ok(());
        }
        let (output, target) = (output.to_vec(), target.to_vec());
        for (output, target) in output.chunks_exact(width).zip(target.chunks_exact(width)) {
            self.count += 1;
            for ((column, &output), &target) in self.columns.iter_mut().zip(output).zip(target) {
                let (output, target) = (output.to_f64(), target.to_f64());
                column.errors += (output - target).powi(2);
                let before = target - column.mean;
                column.mean += before / self.count as f64;
                column.spread += before * (target - column.mean);
            }
        }
        Ok(())
    }

    fn value(&self) -> f64 {
        let scores = self.columns.iter().map(|column| {
            if column.spread > 0.0 || column.errors.is_nan() {
                1.0 - column.errors / column.spread
            } else {
                f64::from(u8::from(column.errors == 0.0))
            }
        });
        if self.count < 2 {
            return f64::NAN;
        }
        scores.sum::<f64>() / self.columns.len() as f64
    }

    fn state(&self) -> Option<Vec<f64>> {
        let columns = self.columns.iter().flat_map(|x| [x.errors, x.mean, x.spread]);
        Some(std::iter::once(self.count as f64).chain(columns).collect())
    }

    fn merge(&mut self, state: &[f64]) -> Result<()> {
        let (count, columns) = match state {
            [count, columns @ ..] if columns.len() % 3 == 0 => (*count as u64, columns),
            _ => return Err(Error::data("R2Score", "the state is not one of this metric")),
        };
        if count == 0 {
            return Ok(());
        }
        if self.count == 0 {
            self.columns = vec![Column::default(); columns.len() / 3];
        } else if self.columns.len() != columns.len() / 3 {
            let (expected, found) = (self.columns.len(), columns.len() / 3);
            let message = format!("expected {expected} values a sample, as before, got {found}");
            return Err(Error::shape("R2Score", message));
        }
        // Chan, Golub and LeVeque's formula for the variance of two parts.
        let (before, more) = (self.count as f64, count as f64);
        for (column, other) in self.columns.iter_mut().zip(columns.chunks_exact(3)) {
            let difference = other[1] - column.mean;
            column.errors += other[0];
            column.mean += difference * more / (before + more);
            column.spread += other[2] + difference * difference * before * more / (before + more);
        }
        self.count += count;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values() {
        let (output, target) = (Tensor::from([1.0, 2.0, 6.0]), Tensor::from([1.0, 4.0, 4.0]));
        let mut metrics: [Box<dyn Metric<Tensor>>; 4] = [
            Box::new(MeanAbsoluteError::new()),
            Box::new(MeanSquaredError::new()),
            Box::new(RootMeanSquaredError::new()),
            Box::new(R2Score::new()),
        ];
        let values = metrics.each_mut().map(|metric| {
            assert!(metric.value().is_nan(), "{} of nothing", metric.name());
            metric.update(&output, &target).unwrap();
            assert!(metric.fresh().value().is_nan());
            metric.value()
        });
        let square: f64 = 8.0 / 3.0;
        let expected = [4.0 / 3.0, square, square.sqrt(), 1.0 - 8.0 / 6.0];
        for (found, expected) in values.into_iter().zip(expected) {
            assert!((found - expected).abs() < 1e-12, "{found} for {expected}");
        }
    }

    #[test]
    fn the_mean_explains_nothing_and_a_constant_needs_nothing_explained() {
        let of = |output: [f32; 2], target: [f32; 2]| {
            let mut metric = R2Score::new();
            metric.update(&Tensor::from(output), &Tensor::from(target)).unwrap();
            metric.value()
        };
        assert_eq!(of([2.0, 2.0], [1.0, 3.0]), 0.0);
        assert_eq!(of([5.0, 5.0], [5.0, 5.0]), 1.0);
        assert_eq!(of([5.0, 6.0], [5.0, 5.0]), 0.0);
        assert!(of([f32::NAN, 6.0], [5.0, 5.0]).is_nan());
        let mut one = R2Score::new();
        one.update(&Tensor::from([1.0]), &Tensor::from([1.0])).unwrap();
        assert!(one.value().is_nan());
    }

    #[test]
    fn shapes_must_fit_each_other_and_the_batches_before() {
        let mut metric = R2Score::new();
        metric.update(&Tensor::<f32>::zeros([2, 3]), &Tensor::ones([2, 3])).unwrap();
        let error =
            metric.update(&Tensor::<f32>::zeros([2, 4]), &Tensor::ones([2, 4])).unwrap_err();
        assert!(
            error.to_string().contains("expected 3 values a sample, as before, got 4"),
            "{error}"
        );
        let error =
            MeanAbsoluteError::new().update(&Tensor::<f32>::zeros([2, 1]), &Tensor::ones([2]));
        let error = error.unwrap_err().to_string();
        assert!(
            error.contains("expected targets of the output's shape [2, 1], got [2]"),
            "{error}"
        );
    }
}
