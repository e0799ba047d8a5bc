//! The operators. Each has a row in the table of its file and a function, which
//! also handles the differences between versions of the operator.

use std::collections::HashMap;
use std::sync::OnceLock;

use dendra_tensor::{Error, Result};

use crate::call::Call;
use crate::plan::Node;
use crate::tensor::TypedTensor;
use crate::value::Value;

mod arithmetic;
mod attention;
mod cast;
mod control;
mod conv;
mod creation;
mod detection;
mod indexing;
mod integers;
mod linear;
mod logic;
mod loss;
mod machine_learning;
mod normalisation;
mod pool;
mod quantise;
mod recurrent;
mod reduce;
mod resize;
mod sequence;
mod shape;
mod signal;
mod text;
mod training;
mod unary;

pub(crate) use quantise::QGEMM;
pub(crate) use recurrent::{reordered_weights, with_reordered_weights};

/// An operator.
#[derive(Debug)]
pub(crate) struct Operator {
    /// The domain; empty for the standard operators.
    pub(crate) domain: &'static str,
    pub(crate) name: &'static str,
    pub(crate) run: Run,
}

impl Operator {
    /// Whether the operator is a standard one.
    pub(crate) fn is_standard(&self) -> bool {
        self.domain.is_empty()
    }
}

/// The function of an operator.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Run {
    /// A function with one output, a tensor.
    One(fn(&Call<'_>) -> Result<TypedTensor>),
    /// A function with any outputs.
    Many(fn(&Call<'_>) -> Result<Vec<Value>>),
}

/// A standard operator with one output, a tensor.
const fn one(name: &'static str, run: fn(&Call<'_>) -> Result<TypedTensor>) -> Operator {
    Operator { domain: "", name, run: Run::One(run) }
}

/// A standard operator with any outputs.
const fn many(name: &'static str, run: fn(&Call<'_>) -> Result<Vec<Value>>) -> Operator {
    Operator { domain: "", name, run: Run::Many(run) }
}

/// The same operator in another domain.
const fn of(domain: &'static str, operator: Operator) -> Operator {
    Operator { domain, ..operator }
}

const TABLES: [&[Operator]; 24] = [
    arithmetic::TABLE,
    attention::TABLE,
    cast::TABLE,
    control::TABLE,
    conv::TABLE,
    creation::TABLE,
    detection::TABLE,
    indexing::TABLE,
    linear::TABLE,
    logic::TABLE,
    loss::TABLE,
    machine_learning::TABLE,
    normalisation::TABLE,
    pool::TABLE,
    quantise::TABLE,
    recurrent::TABLE,
    reduce::TABLE,
    resize::TABLE,
    sequence::TABLE,
    shape::TABLE,
    signal::TABLE,
    text::TABLE,
    training::TABLE,
    unary::TABLE,
];

/// The operator of this domain and name.
pub(crate) fn find(domain: &str, name: &str) -> Option<&'static Operator> {
    static ALL: OnceLock<HashMap<(&str, &str), &Operator>> = OnceLock::new();
    let all = ALL.get_or_init(|| {
        let rows = TABLES.into_iter().flatten();
        rows.map(|operator| ((operator.domain, operator.name), operator)).collect()
    });
    all.get(&(domain, name)).copied()
}

/// Whether an input of an operator is a setting rather than a weight.
pub(crate) fn is_setting(operator: &str, input: usize) -> bool {
    match operator {
        "BatchNormalization" => input >= 3,
        "Clip" | "Dropout" | "Pad" | "Resize" | "Upsample" | "QuantizeLinear"
        | "DequantizeLinear" => input >= 1,
        "OneHot" => input == 2,
        "QLinearConv" | "QLinearMatMul" | "Range" => true,
        _ => false,
    }
}

/// The value of a `Constant`.
pub(crate) fn constant(node: &Node) -> Result<TypedTensor> {
    creation::constant(node)
        .ok_or_else(|| Error::argument("Constant", "expected a value of a supported type"))
}
