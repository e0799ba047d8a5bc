//! Named arguments from Python for a layer, an optimizer, a loss and so on.

use std::fmt::Display;

use pyo3::PyErr;
use pyo3::exceptions::{PyTypeError, PyValueError};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

/// The reason why arguments are invalid.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// A missing, unknown or repeated name: a `TypeError`.
    Name(String),
    /// An invalid value: a `ValueError`.
    Value(String),
}

impl Refusal {
    pub(crate) fn unknown(what: &str, name: &str) -> Self {
        Self::Name(format!("the {what} {name:?} does not exist"))
    }

    pub(crate) fn value(context: &str, name: &str, message: impl Display) -> Self {
        Self::Value(format!("{context}: {name}: {message}"))
    }
}

impl From<Refusal> for PyErr {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Name(message) => PyTypeError::new_err(message),
            Refusal::Value(message) => PyValueError::new_err(message),
        }
    }
}

impl From<dendra_tensor::Error> for Refusal {
    fn from(error: dendra_tensor::Error) -> Self {
        Self::Value(error.to_string())
    }
}

/// Arguments by name, each of which is read once.
pub(crate) struct Arguments {
    /// The owner of the arguments, for messages.
    pub(crate) context: String,
    given: Map<String, Value>,
    /// The names that were requested.
    known: Vec<&'static str>,
    /// The number used for a missing argument, whatever its type.
    sample: Option<u8>,
}

impl Arguments {
    /// The arguments in a JSON object, without its entry `name`, which names
    /// their owner.
    pub(crate) fn of_object(what: &str, object: Value) -> Result<Self, Refusal> {
        let Value::Object(mut given) = object else {
            return Err(Refusal::Name(format!("expected a {what}, got {object}")));
        };
        match given.remove("name") {
            Some(Value::String(context)) => Ok(Self::new(context, given)),
            _ => Err(Refusal::Name(format!("expected a {what} with a name"))),
        }
    }

    pub(crate) fn new(context: String, given: Map<String, Value>) -> Self {
        Self { context, given, known: Vec::new(), sample: None }
    }

    /// Arguments that all have this number, to obtain the settings that a
    /// constructor derives from them.
    pub(crate) fn sample(context: &str, number: u8) -> Self {
        Self { sample: Some(number), ..Self::new(context.to_owned(), Map::new()) }
    }

    /// A required argument.
    pub(crate) fn take<T: DeserializeOwned>(&mut self, name: &'static str) -> Result<T, Refusal> {
        if let Some(number) = self.sample {
            let value =
                samples(number).into_iter().find_map(|value| serde_json::from_value(value).ok());
            return value.ok_or_else(|| Refusal::value(&self.context, name, "has no sample"));
        }
        match self.optional(name)? {
            Some(value) => Ok(value),
            None => Err(Refusal::Name(format!("{}: `{name}` is missing", self.context))),
        }
    }

    /// An optional argument.
    pub(crate) fn optional<T: DeserializeOwned>(
        &mut self,
        name: &'static str,
    ) -> Result<Option<T>, Refusal> {
        self.known.push(name);
        let Some(value) = self.given.remove(name) else { return Ok(None) };
        match first_fitting(&value, |value| serde_json::from_value(value)) {
            Ok(value) => Ok(Some(value)),
            Err(error) => Err(Refusal::value(&self.context, name, error)),
        }
    }

    /// All arguments as one value.
    pub(crate) fn whole<T: DeserializeOwned>(&mut self) -> Result<T, Refusal> {
        let given = match self.sample.is_some() {
            true => json!({ "branches": [], "join": "sum" }),
            false => Value::Object(std::mem::take(&mut self.given)),
        };
        serde_json::from_value(given)
            .map_err(|error| Refusal::Name(format!("{}: {error}", self.context)))
    }

    /// The arguments that were not read.
    pub(crate) fn rest(&mut self) -> Map<String, Value> {
        std::mem::take(&mut self.given)
    }

    /// Checks that all arguments were read.
    pub(crate) fn finish(&self) -> Result<(), Refusal> {
        match self.given.keys().next() {
            None => Ok(()),
            Some(name) => {
                let known = self.known.join("`, `");
                let message = format!("{} has no setting `{name}`, only `{known}`", self.context);
                Err(Refusal::Name(message))
            }
        }
    }
}

/// Values, one for each type of argument.
fn samples(n: u8) -> [Value; 9] {
    [
        json!(n),
        json!([]),
        json!([n]),
        json!([n, n]),
        json!([n, n, n]),
        json!([[n, n]]),
        json!([[n, n], [n, n]]),
        json!([[n, n], [n, n], [n, n]]),
        Value::Null,
    ]
}

/// Parses a value, or one of the longer forms that it may abbreviate: a number
/// stands for one, two or three axes and their ends, and a list of numbers for
/// pairs. The error is that of the value itself.
pub(crate) fn first_fitting<R, E>(
    value: &Value,
    mut read: impl FnMut(Value) -> Result<R, E>,
) -> Result<R, E> {
    let error = match read(value.clone()) {
        Ok(result) => return Ok(result),
        Err(error) => error,
    };
    let longer: Vec<Value> = match value {
        Value::Number(_) => (1..=3)
            .flat_map(|axes| [json!(vec![value; axes]), json!(vec![[value, value]; axes])])
            .collect(),
        Value::Array(numbers) if numbers.len() % 2 == 0 => {
            vec![json!(numbers.chunks(2).collect::<Vec<_>>())]
        }
        _ => Vec::new(),
    };
    for value in longer {
        if let Ok(result) = read(value) {
            return Ok(result);
        }
    }
    Err(error)
}
