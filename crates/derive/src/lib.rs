//! `#[derive(Parameters)]`: the state of a model, found field by field. Field
//! names are written once, in the struct, and become the names of state dicts,
//! of errors and of optimizer state.
//!
//! `#[derive(Setters)]`: the methods that change settings, written by the
//! crates of this workspace as fields with documentation and a default.

mod expand;
mod setters;
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
///   found, for those who depend on `dendra-nn` alone; else `::dendra`;
/// - `#[parameters(skip)]`: no field holds state.
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

/// Writes a setter for each field of a struct that has `#[set(...)]`, and the
/// constructor that gives these fields their defaults.
///
/// The setter has the name and the documentation of the field, to which the
/// default is added. It takes the settings by value and returns them.
///
/// ```ignore
/// #[derive(Setters)]
/// pub struct MaxPool<const D: usize> {
///     kernel_size: Sizes<D>,
///     /// Elements from one window to the next.
///     #[set(into, default = kernel_size)]
///     stride: Sizes<D>,
///     /// Whether the number of windows is rounded up.
///     #[set(default = false)]
///     ceil_mode: bool,
/// }
/// ```
///
/// A struct in which each field has a default implements `Default`. Otherwise a
/// private function `with_defaults` takes the others in the order of the fields,
/// and defaults may name them.
///
/// On a field:
///
/// - `#[set(default = EXPRESSION)]`: its default, which a field of the type
///   `Option` may leave out: `None`. Its setter takes the value without `Some`;
/// - `#[set(given)]`: it has a setter and no default;
/// - `#[set(into)]`: the setter takes `impl Into` of the type, and the default is
///   converted as well;
/// - `#[set(optional)]`: the setter of a field of the type `Option<X>` takes an
///   `X`, `Some(x)` or `None`;
/// - `#[set(skip)]`: the field has a default, that of its type if no other, and
///   no setter;
/// - `#[set(each(low, high))]`: the setter of an array or a tuple takes its
///   elements as arguments of these names.
///
/// On the type:
///
/// - `#[set(new)]`: a public function `new` without arguments returns the
///   defaults;
/// - `#[set(through = Descent::rule_mut)]`: the setters are methods of
///   `Descent<Self, T>` for each `T: Float`, whose method `rule_mut` returns the
///   struct.
#[proc_macro_derive(Setters, attributes(set))]
pub fn derive_setters(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    setters::setters(&input).unwrap_or_else(Error::into_compile_error).into()
}
