//! [`Answer`]: the prediction for one sample.

use std::fmt;
use std::sync::Arc;

use dendra_datasets::Prediction;
use dendra_tensor::{AnyTensor, Error, Float, Result, Tensor};
use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::value::Value;

/// The prediction for one sample.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Answer {
    /// The class and the probabilities, for a network with class names.
    Class(Prediction),
    /// The outputs for the sample in row-major order, for any other network.
    Numbers(Vec<f64>),
}

impl Answer {
    /// The answers from the outputs of a network, one for each sample. They are
    /// in the first float output.
    pub(crate) fn of(outputs: &[Value], classes: &Arc<[String]>) -> Result<Vec<Self>> {
        let answers = outputs.iter().find_map(|output| match output {
            Value::Tensor(AnyTensor::F32(output)) => Some(answers(output, classes)),
            Value::Tensor(AnyTensor::F64(output)) => Some(answers(output, classes)),
            _ => None,
        });
        answers.unwrap_or_else(|| {
            Err(Error::argument("Network::predict", "expected an output of floats, found none"))
        })
    }

    /// The class, if the answer is a class.
    pub fn class(&self) -> Option<&Prediction> {
        match self {
            Self::Class(prediction) => Some(prediction),
            Self::Numbers(_) => None,
        }
    }
}

fn answers<T: Float>(output: &Tensor<T>, classes: &Arc<[String]>) -> Result<Vec<Answer>> {
    if !classes.is_empty() {
        return Ok(Prediction::of(output, classes)?.into_iter().map(Answer::Class).collect());
    }
    let Some((&samples, sample)) = output.shape().split_first() else {
        let message = "expected an output with a batch axis, got a scalar";
        return Err(Error::shape("Network::predict", message));
    };
    let numbers: Vec<f64> = output.to_vec().into_iter().map(T::to_f64).collect();
    let each: usize = sample.iter().product();
    let of = |index: usize| Answer::Numbers(numbers[index * each..(index + 1) * each].to_vec());
    Ok((0..samples).map(of).collect())
}

/// Prints `cat (97.1%)`, or the numbers separated by commas.
impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Class(prediction) => prediction.fmt(f),
            Self::Numbers(numbers) => {
                let numbers: Vec<String> = numbers.iter().map(f64::to_string).collect();
                f.write_str(&numbers.join(", "))
            }
        }
    }
}

/// Serialises as
/// `{"class": "cat", "probability": 0.971, "ranked": [["cat", 0.971], …]}` or
/// `{"numbers": [0.5]}`, in which numbers that are not finite are `null`.
impl Serialize for Answer {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match self {
            Self::Class(prediction) => {
                map.serialize_entry("class", prediction.class())?;
                map.serialize_entry("probability", &prediction.probability())?;
                map.serialize_entry("ranked", &prediction.ranked())?;
            }
            Self::Numbers(numbers) => map.serialize_entry("numbers", numbers)?,
        }
        map.end()
    }
}
