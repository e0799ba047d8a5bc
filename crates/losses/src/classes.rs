//! What losses by labels have in common: where the classes lie, and which of
//! them count how much.

use dendra_tensor::{Error, Float, Reduction, Result, Shape, Tensor};

/// The settings of losses by labels.
#[derive(Clone, Debug)]
pub(crate) struct LabelSettings {
    pub(crate) class_weights: Option<Vec<f64>>,
    pub(crate) ignore_index: i64,
    pub(crate) reduction: Reduction,
}

impl Default for LabelSettings {
    fn default() -> Self {
        Self { class_weights: None, ignore_index: -100, reduction: Reduction::Mean }
    }
}

impl LabelSettings {
    /// The weights of the classes, of shape `[classes]`, where they are set.
    ///
    /// # Errors
    ///
    /// When they are not as many as the classes, or one is not a finite number
    /// or negative.
    pub(crate) fn weights<T: Float>(
        &self,
        place: &str,
        classes: usize,
    ) -> Result<Option<Tensor<T>>> {
        let Some(weights) = &self.class_weights else { return Ok(None) };
        if weights.len() != classes {
            let message = format!("{} class weights for {classes} classes", weights.len());
            return Err(Error::argument(place, message));
        }
        if let Some(bad) = weights.iter().find(|weight| !(weight.is_finite() && **weight >= 0.0)) {
            let message = format!("class weights must be finite and not negative, got {bad}");
            return Err(Error::argument(place, message));
        }
        Ok(Some(Tensor::from_fn([classes], |class| T::from_f64(weights[class]))))
    }
}

/// Gives losses by labels the methods of their settings.
macro_rules! label_settings {
    ($($loss:ident)*) => {$(
        impl $loss {
            /// What becomes of the losses of the samples; their mean unless
            /// set.
            #[must_use]
            pub fn reduction(mut self, reduction: dendra_tensor::Reduction) -> Self {
                self.settings.reduction = reduction;
                self
            }

            /// A weight for every class.
            #[must_use]
            pub fn class_weights(mut self, weights: impl Into<Vec<f64>>) -> Self {
                self.settings.class_weights = Some(weights.into());
                self
            }

            /// The label of samples that do not count; −100 unless set.
            #[must_use]
            pub fn ignore_index(mut self, label: i64) -> Self {
                self.settings.ignore_index = label;
                self
            }
        }
    )*};
}
pub(crate) use label_settings;

/// The axis of the classes: the second one of `[n, classes, …]`, the only one
/// of `[classes]`.
pub(crate) fn class_axis(place: &str, shape: &Shape) -> Result<usize> {
    match shape.len() {
        0 => Err(Error::shape(place, "expected [classes] or [n, classes, …], got a scalar")),
        1 => Ok(0),
        _ => Ok(1),
    }
}
