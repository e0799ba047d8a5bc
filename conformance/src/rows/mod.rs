//! The mapping from functions of PyTorch to those of Dendra: one row for an entry, or for several
//! entries with the same effect. A row has the form of the signature of PyTorch's function,
//! followed by the call of Dendra's function.

use dendra_tensor::Float;

use crate::call::{Call, Stop};
use crate::output::Output;

mod assignment;
mod decompositions;
mod elementwise;
mod fourier;
mod functional;
mod images;
mod indexing;
mod linear_algebra;
mod losses;
mod modules;
mod optimizers;
mod reductions;
mod schedules;
mod sequences;
mod shapes;
mod statistics;

/// Calls the counterpart.
type Run<T> = fn(&Call<'_, T>) -> Result<Vec<Output<T>>, Stop>;

/// A parameter of a row.
pub(crate) struct Parameter {
    pub(crate) name: &'static str,
    /// Whether it must be given.
    pub(crate) required: bool,
    /// Whether it is a number that gets no gradient.
    pub(crate) constant: bool,
    /// Whether it is a parameter of the layer that the row makes.
    pub(crate) state: bool,
}

/// Entries of PyTorch's tables and their counterpart.
pub(crate) struct Row<T: Float> {
    pub(crate) entries: &'static [&'static str],
    /// The parameters in PyTorch's order.
    pub(crate) parameters: &'static [Parameter],
    pub(crate) run: Run<T>,
}

/// Makes rows: `"entry" | "entry" (parameter: type = default, …) => call;`, after the name of the
/// [`Call`] in the calls.
macro_rules! rows {
    ($call:ident: $(
        $($entry:literal)|+ ($($name:ident: $type:ty $(= $default:expr)?),* $(,)?) => $body:expr;
    )*) => {
        vec![$($crate::rows::Row {
            entries: &[$($entry),+],
            parameters: const {
                &[$($crate::rows::Parameter {
                    name: stringify!($name),
                    required: $crate::rows::rows!(@required $($default)?),
                    constant: <$type as $crate::argument::Argument<T>>::CONSTANT,
                    state: <$type as $crate::argument::Argument<T>>::STATE,
                }),*]
            },
            run: |$call| {
                $(let $name: $type = $call.argument(
                    stringify!($name),
                    $crate::rows::rows!(@default $($default)?),
                )?;)*
                let mut outputs = Vec::new();
                $crate::output::Outputs::append($body, &mut outputs)?;
                Ok(outputs)
            },
        }),*]
    };
    (@required) => { true };
    (@required $default:expr) => { false };
    (@default) => { None };
    (@default $default:expr) => { Some($default) };
}
use rows;

/// The implementation for the number of axes at the end of the entry's name, such as `2` in
/// `nn.Conv2d`.
macro_rules! spatial {
    ($call:ident, $d:ident => $body:expr) => {
        match $call.axes() {
            1 => {
                const $d: usize = 1;
                $body
            }
            2 => {
                const $d: usize = 2;
                $body
            }
            _ => {
                const $d: usize = 3;
                $body
            }
        }
    };
}
use spatial;

/// All rows, by family.
pub(crate) fn families<T: Float>() -> Vec<(&'static str, Vec<Row<T>>)> {
    vec![
        ("elementwise", elementwise::rows()),
        ("reductions", reductions::rows()),
        ("shapes", shapes::rows()),
        ("indexing", indexing::rows()),
        ("indexing", assignment::rows()),
        ("statistics", statistics::rows()),
        ("linear algebra", linear_algebra::rows()),
        ("linear algebra", decompositions::rows()),
        ("Fourier transforms", fourier::rows()),
        ("nn.functional", functional::rows()),
        ("images", images::rows()),
        ("losses", losses::rows()),
        ("modules", modules::rows()),
        ("sequences", sequences::rows()),
        ("optimizers", optimizers::rows()),
        ("schedules", schedules::rows()),
    ]
}
