//! `#[derive(Parameters)]`: a model's state, found field by field.
//!
//! Field names are written once, in the struct, and become the names of state
//! dicts, of errors and of optimizer state.

mod expand;
mod settings;

use proc_macro::TokenStream;
use syn::{DeriveInput, Error, parse_macro_input};

/// Implements `Parameters` for a struct or an enum, field by field.
///
/// A field's part of a path is its name, or its index in a tuple struct or
/// tuple variant. Of an enum, the fields of the present variant count; the
/// variant's name is no part of a path.
///
/// The element type is the type parameter that is bounded by `Float`, or `f32`
/// where there is none. A type without fields, or that skips all of them,
/// holds no state and implements `Parameters<T>` for every `T`.
///
/// ```ignore
/// #[derive(Parameters)]
/// struct Net<T: Float = f32> {
///     fc1: Linear<T>,                     // fc1.weight, fc1.bias
///     blocks: Vec<Block<T>>,              // blocks.0.conv.weight, ...
///     #[parameters(rename = "output")]
///     head: Linear<T>,                    // output.weight, output.bias
///     #[parameters(skip)]
///     labels: HashMap<u8, String>,
/// }
/// ```
///
/// On the type:
///
/// - `#[parameters(element = f64)]`: the element type;
/// - `#[parameters(crate = dendra_nn)]`: the path under which `Parameters` is
///   found, for those who depend on `dendra-nn` alone; else `::dendra`.
///
/// On a field:
///
/// - `#[parameters(skip)]`: it holds no state;
/// - `#[parameters(rename = "name")]`: its part of a path;
/// - `#[parameters(flatten)]`: it has no part in a path, as if its fields were
///   written here.
#[proc_macro_derive(Parameters, attributes(parameters))]
pub fn derive_parameters(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    expand::parameters(&input).unwrap_or_else(Error::into_compile_error).into()
}
