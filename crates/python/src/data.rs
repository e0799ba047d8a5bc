//! NumPy arrays as data sets: batches are gathered from the memory of the
//! arrays without copying them first.

use dendra_datasets::{Batch, Dataset};
use dendra_tensor::{Element, Error, Result, Shape, Tensor};
use numpy::{PyArrayDyn, PyArrayMethods, PyReadonlyArrayDyn, PyUntypedArrayMethods};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;

/// A batch of inputs or targets.
pub(crate) enum Values {
    Floats(Tensor),
    Integers(Tensor<i64>),
}

impl Values {
    pub(crate) fn form(&self) -> Form {
        match self {
            Self::Floats(_) => Form::Floats,
            Self::Integers(_) => Form::Integers,
        }
    }
}

/// Whether samples are converted to floats or integers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Floats,
    Integers,
}

macro_rules! arrays {
    ($($variant:ident $type:ty: $name:literal, |$x:ident| $float:expr, $integer:expr;)*) => {
        /// An array that is locked against writes from Rust.
        pub(crate) enum Array<'py> {
            $($variant(PyReadonlyArrayDyn<'py, $type>),)*
        }

        /// The elements of an array.
        #[derive(Clone, Copy)]
        enum Elements<'a> {
            $($variant(&'a [$type]),)*
        }

        impl<'py> Array<'py> {
            /// The array, if its element type is supported and it is in
            /// row-major order.
            pub(crate) fn of(array: &Bound<'py, PyAny>) -> PyResult<Self> {
                $(if let Ok(array) = array.cast::<PyArrayDyn<$type>>() {
                    if !array.is_c_contiguous() {
                        return Err(PyTypeError::new_err("expected an array in row-major order"));
                    }
                    return Ok(Self::$variant(array.try_readonly()?));
                })*
                let found = match array.getattr("dtype") {
                    Ok(found) => format!("an array of {found}"),
                    Err(_) => array.get_type().to_string(),
                };
                let names = [$($name),*].join(", ");
                let message = format!("expected an array of {names}, got {found}");
                Err(PyTypeError::new_err(message))
            }

            fn shape(&self) -> &[usize] {
                match self { $(Self::$variant(array) => array.shape(),)* }
            }

            fn elements(&self) -> PyResult<Elements<'_>> {
                Ok(match self {
                    $(Self::$variant(array) => Elements::$variant(array.as_slice()?),)*
                })
            }

            fn is_integer(&self) -> bool {
                match self { $(Self::$variant(_) => $integer,)* }
            }
        }

        impl Column<'_> {
            /// The samples at these indices as floats.
            fn floats(&self, indices: &[usize]) -> Tensor {
                match self.elements {
                    $(Elements::$variant(all) => self.gather(all, indices, |$x| $float),)*
                }
            }

            /// The samples at these indices as integers.
            fn integers(&self, indices: &[usize]) -> Tensor<i64> {
                match self.elements {
                    $(Elements::$variant(all) => self.gather(all, indices, |x| x as i64),)*
                }
            }
        }
    };
}

arrays! {
    F32 f32: "float32", |x| x, false;
    F64 f64: "float64", |x| x as f32, false;
    U8 u8: "uint8", |x| f32::from(x), true;
    I8 i8: "int8", |x| f32::from(x), true;
    I16 i16: "int16", |x| f32::from(x), true;
    U16 u16: "uint16", |x| f32::from(x), true;
    I32 i32: "int32", |x| x as f32, true;
    U32 u32: "uint32", |x| x as f32, true;
    I64 i64: "int64", |x| x as f32, true;
    U64 u64: "uint64", |x| x as f32, true;
    Bool bool: "bool", |x| f32::from(u8::from(x)), true;
}

/// The samples of an array along its first axis.
pub(crate) struct Column<'a> {
    elements: Elements<'a>,
    samples: usize,
    /// The shape of a sample, and its number of elements.
    shape: Shape,
    size: usize,
    /// The type to which samples are converted.
    form: Form,
}

impl<'a> Column<'a> {
    /// The samples of an array in this form; by default the form of its
    /// elements.
    pub(crate) fn new(name: &str, array: &'a Array<'_>, form: Option<Form>) -> PyResult<Self> {
        let [samples, shape @ ..] = array.shape() else {
            let message = format!("{name}: expected an axis over the samples, got a number");
            return Err(pyo3::exceptions::PyValueError::new_err(message));
        };
        let shape = Shape::from(shape);
        let own = if array.is_integer() { Form::Integers } else { Form::Floats };
        if (own, form) == (Form::Floats, Some(Form::Integers)) {
            let message = format!("{name}: expected integers, got floats");
            return Err(pyo3::exceptions::PyValueError::new_err(message));
        }
        Ok(Self {
            elements: array.elements()?,
            samples: *samples,
            size: shape.iter().product(),
            shape,
            form: form.unwrap_or(own),
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.samples
    }

    fn gather<S: Copy, T: Element>(
        &self,
        all: &[S],
        indices: &[usize],
        convert: impl Fn(S) -> T,
    ) -> Tensor<T> {
        let shape: Shape = [indices.len()].into_iter().chain(self.shape.iter().copied()).collect();
        Tensor::build(shape, |gathered| {
            if self.size == 0 {
                return;
            }
            for (sample, &index) in gathered.chunks_exact_mut(self.size).zip(indices) {
                let from = &all[index * self.size..][..self.size];
                sample.iter_mut().zip(from).for_each(|(to, from)| *to = convert(*from));
            }
        })
    }

    /// The samples at these indices, which must be below `len`.
    pub(crate) fn batch(&self, indices: &[usize]) -> Values {
        match self.form {
            Form::Floats => Values::Floats(self.floats(indices)),
            Form::Integers => Values::Integers(self.integers(indices)),
        }
    }
}

/// Inputs with their targets.
pub(crate) struct Pairs<'a> {
    inputs: Column<'a>,
    targets: Column<'a>,
}

impl<'a> Pairs<'a> {
    pub(crate) fn new(inputs: Column<'a>, targets: Column<'a>) -> Result<Self> {
        if inputs.len() != targets.len() {
            let (x, y) = (inputs.len(), targets.len());
            let message = format!("expected as many targets as inputs, got {y} for {x}");
            return Err(Error::shape("y", message));
        }
        Ok(Self { inputs, targets })
    }

    /// The form of the targets.
    pub(crate) fn targets(&self) -> Form {
        self.targets.form
    }
}

impl Dataset for Pairs<'_> {
    type Input = Values;
    type Target = Values;

    fn len(&self) -> usize {
        self.inputs.len()
    }

    fn input_shape(&self) -> Shape {
        self.inputs.shape.clone()
    }

    fn batch(&self, indices: &[usize]) -> Result<Batch<Self>> {
        if let Some(index) = indices.iter().find(|&&index| index >= self.len()) {
            let message = format!("expected an index below {}, got {index}", self.len());
            return Err(Error::argument("batch", message));
        }
        Ok((self.inputs.batch(indices), self.targets.batch(indices)))
    }
}
