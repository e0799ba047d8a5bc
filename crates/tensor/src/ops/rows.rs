//! The macros that make methods and the table of operations from rows.

/// Makes a row of the table from an operation's type, its method and its
/// documentation.
macro_rules! row {
    ($family:literal, $operation:ty, $name:ident, $($doc:literal)*) => {
        Row {
            name: stringify!($name),
            traced: <$operation as super::Op<f64>>::NAME,
            family: $family,
            documentation: concat!($($doc, "\n"),*),
            operation: std::any::type_name::<$operation>(),
            #[cfg(test)]
            samples: super::check::samples::<$operation, f64>,
            #[cfg(test)]
            single: {
                type T = f32;
                super::check::samples::<$operation, T>
            },
        }
    };
}

/// The method of a row without a body: a function of one element, with its
/// settings, or of two.
macro_rules! elementwise {
    (
        $(#[$doc:meta])*
        $name:ident = $module:ident::$operation:ident $({ $($setting:ident),* })?
    ) => {
        $(#[$doc])*
        fn $name(&self $($(, $setting: f64)*)?) -> Self {
            Self::apply($module::$operation { $($($setting),*)? }, &[self])
        }
    };
    ($(#[$doc:meta])* $name:ident($other:ident) = $module:ident::$operation:ident) => {
        $(#[$doc])*
        fn $name(&self, $other: &Self) -> Result<Self> {
            Self::try_apply($module::$operation, &[self, $other])
        }
    };
}

/// Makes an extension trait of [`Ops`], for functions behind a feature of this
/// crate, and its part of the table, from rows like those of [`operations`].
#[cfg(any(feature = "fft", feature = "linalg"))]
macro_rules! family {
    (
        $(#[$attribute:meta])*
        trait $family:ident = $family_name:literal;
        $(
            $operation:ty:
            $(#[doc = $doc:literal])*
            fn $name:ident $arguments:tt -> $result:ty $body:block
        )*
        => $($composed:tt)*
    ) => {
        $(#[$attribute])*
        pub trait $family: Ops {
            $($(#[doc = $doc])* fn $name $arguments -> $result $body)*

            $($composed)*
        }

        impl<V: Ops> $family for V {}

        /// The rows of this extension in the table of all operations.
        pub(super) fn rows() -> Vec<Row> {
            vec![$(row!($family_name, $operation, $name, $($doc)*)),*]
        }
    };
}

/// Makes the trait [`Ops`] and the table of operations. Each row gives an
/// operation's type and its method; after `=>` come methods that are composed
/// of others.
///
/// A row without a body is for an element-wise function: `name =
/// module::Operation { settings };` for one operand, with settings of the type
/// `f64`, or `name(other) = module::Operation;` for two that broadcast.
macro_rules! operations {
    (
        $(
            $(
                $(#[doc = $short_doc:literal])+
                $short:ident $(($other:ident))? =
                $module:ident::$elementwise:ident $({ $($setting:ident),* })?;
            )*
            $operation:ty:
            $(#[doc = $doc:literal])*
            fn $name:ident $arguments:tt -> $result:ty $body:block
        )*
        => $($composed:tt)*
    ) => {
        /// The differentiable functions, as methods of [`Tensor`] and of the
        /// variables of automatic differentiation.
        ///
        /// Axes are counted from the front, or from the back when negative. Two
        /// operands broadcast by NumPy's rule. A function whose arguments can
        /// be wrong returns a `Result`; the operators `+ - * /` panic instead,
        /// as the standard library's do.
        pub trait Ops: Sized + Clone {
            /// The number type.
            type Element: Float;

            /// The values.
            fn value(&self) -> &Tensor<Self::Element>;

            /// A value that needs no gradient.
            fn constant(value: Tensor<Self::Element>) -> Self;

            /// Applies an operation to inputs that its shape rule accepts and
            /// that [`ensure_together`](Self::ensure_together) accepts.
            /// [`try_apply`](Self::try_apply) checks both.
            fn apply<O: Op<Self::Element>>(operation: O, inputs: &[&Self]) -> Self;

            /// Checks that the inputs can be used in one operation.
            ///
            /// # Errors
            ///
            /// When they are recorded on different tapes.
            fn ensure_together(inputs: &[&Self]) -> Result<()>;

            /// Checks the inputs and applies an operation.
            ///
            /// # Errors
            ///
            /// When the operation's shape rule refuses the inputs, there is not
            /// enough memory for the output, or the inputs are recorded on
            /// different tapes.
            fn try_apply<O: Op<Self::Element>>(operation: O, inputs: &[&Self]) -> Result<Self> {
                let mut shapes: SmallVec<[&Shape; 4]> = SmallVec::new();
                for input in inputs {
                    shapes.push(input.value().shape());
                }
                let output = operation.output_shape(&shapes)?;
                output.check_memory::<Self::Element>(O::NAME)?;
                Self::ensure_together(inputs)?;
                Ok(Self::apply(operation, inputs))
            }

            $(
                $(elementwise! {
                    $(#[doc = $short_doc])+
                    $short $(($other))? = $module::$elementwise $({ $($setting),* })?
                })*
                $(#[doc = $doc])* fn $name $arguments -> $result $body
            )*

            $($composed)*
        }

        /// The rows that do not depend on a feature.
        pub(super) fn rows() -> Vec<Row> {
            #[allow(dead_code, reason = "rows of generic operations name it")]
            type T = f64;
            vec![$(
                $(row!("Ops", $module::$elementwise, $short, $($short_doc)+),)*
                row!("Ops", $operation, $name, $($doc)*),
            )*]
        }

        /// Makes the compiler instantiate every operation in this crate, instead of
        /// in each crate that uses it: `#[inline(never)]` functions are shared
        /// between crates. For `f32`, and for `f64` with the feature `compiled-f64`.
        #[doc(hidden)]
        pub fn compile_here() -> Vec<*const ()> {
            let each = [
                compile_for::<f32>(),
                #[cfg(feature = "compiled-f64")]
                compile_for::<f64>(),
            ];
            each.concat()
        }

        fn compile_for<T: Float>() -> Vec<*const ()> {
            vec![$(
                $(
                    <$module::$elementwise as Op<T>>::forward as *const (),
                    super::record::<T, $module::$elementwise> as *const (),
                )*
                <$operation as Op<T>>::forward as *const (),
                super::record::<T, $operation> as *const (),
            )*]
        }
    };
}
