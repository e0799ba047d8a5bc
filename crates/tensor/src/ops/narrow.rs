//! Calls under autocast: operands of products are rounded to half precision, and values that half
//! precision holds exactly are kept in it for the gradient.

use std::sync::OnceLock;

use smallvec::SmallVec;

use super::{Attribute, Attributes, Parents, Recipe, Recorded};
#[cfg(feature = "gradients")]
use super::{Cotangents, SampleCotangents, Term, TermCotangents};
use crate::element::Float;
use crate::error::Result;
use crate::half::{Half, HalfPrecision, bf16, f16};
use crate::kernels::{parallel, simd};
use crate::shape::Shape;
use crate::tensor::Tensor;

/// The elements that are compared at a time.
const CHUNK: usize = 4096;

/// A tensor of half precision.
#[derive(Clone, Debug)]
pub enum HalfTensor {
    /// Elements of type [`f16`](struct@f16).
    F16(Tensor<f16>),
    /// Elements of type [`bf16`].
    BF16(Tensor<bf16>),
}

impl HalfTensor {
    /// The rounded elements.
    pub fn of<T: Float>(x: &Tensor<T>, precision: HalfPrecision) -> Self {
        match precision {
            HalfPrecision::F16 => Self::F16(x.cast()),
            HalfPrecision::BF16 => Self::BF16(x.cast()),
        }
    }

    /// The same elements; `None` if rounding changes one of them.
    pub fn exactly<T: Float>(x: &Tensor<T>, precision: HalfPrecision) -> Option<Self> {
        fn keeps<T: Float, H: Half>(x: &[T]) -> bool {
            simd::dispatch(
                #[inline(always)]
                || {
                    let mut keeps = true;
                    // No early exit, which would prevent vectorisation.
                    for x in x {
                        let x = x.to_f64();
                        let single = x as f32;
                        // Zeros of different sign count as different values.
                        let same = H::from_f32(single).to_f32().to_bits() == single.to_bits();
                        keeps &= same & (f64::from(single) == x) | x.is_nan();
                    }
                    keeps
                },
            )
        }
        let keeps = match precision {
            HalfPrecision::F16 => keeps::<T, f16>,
            HalfPrecision::BF16 => keeps::<T, bf16>,
        };
        x.with_slice(|x| {
            // Most tensors that do not fit are found out at their beginning.
            let chunks = x.len().div_ceil(CHUNK);
            let chunk = |index: usize| keeps(&x[index * CHUNK..x.len().min((index + 1) * CHUNK)]);
            let others = || parallel::map(chunks - 1, CHUNK, |index| chunk(index + 1));
            x.is_empty() || chunk(0) && others().into_iter().all(|keeps| keeps)
        })
        .then(|| Self::of(x, precision))
    }

    /// The elements in another number type.
    pub fn widened<T: Float>(&self) -> Tensor<T> {
        match self {
            Self::F16(x) => x.cast(),
            Self::BF16(x) => x.cast(),
        }
    }

    /// The type of the elements.
    pub fn precision(&self) -> HalfPrecision {
        match self {
            Self::F16(_) => HalfPrecision::F16,
            Self::BF16(_) => HalfPrecision::BF16,
        }
    }

    /// The elements, which are contiguous, under another shape.
    fn with_shape(&self, shape: &Shape) -> Self {
        match self {
            Self::F16(x) => Self::F16(x.with_shape(shape.clone())),
            Self::BF16(x) => Self::BF16(x.with_shape(shape.clone())),
        }
    }
}

/// A tensor with all elements rounded to half precision.
fn rounded<T: Float>(x: &Tensor<T>, precision: HalfPrecision) -> Tensor<T> {
    HalfTensor::of(x, precision).widened()
}

/// The inputs of a call under autocast.
#[derive(Debug)]
pub struct NarrowInputs<T: Float> {
    /// The precision to which operands are rounded.
    pub precision: HalfPrecision,
    /// [`Op::PRODUCT_OPERANDS`](super::Op::PRODUCT_OPERANDS) of the operation.
    pub operands: u32,
    /// The values, the operands of products rounded.
    pub values: SmallVec<[Tensor<T>; 4]>,
    /// The same values in half precision, for those that are known to fit.
    pub halves: SmallVec<[Option<HalfTensor>; 4]>,
}

impl<T: Float> NarrowInputs<T> {
    /// Rounds the operands of an operation. Each input is given with its elements in half precision
    /// if these are known.
    pub fn of<'a>(
        precision: HalfPrecision,
        operands: u32,
        inputs: impl Iterator<Item = (&'a Tensor<T>, Option<HalfTensor>)>,
    ) -> Self {
        let (mut values, mut halves) = (SmallVec::new(), SmallVec::new());
        for (index, (value, half)) in inputs.enumerate() {
            let is_operand = operands >> index & 1 == 1;
            let fits = half.as_ref().is_some_and(|half| half.precision() == precision);
            if is_operand && !fits {
                let half = HalfTensor::of(value, precision);
                values.push(half.widened());
                halves.push(Some(half));
            } else {
                values.push(value.clone());
                halves.push(half);
            }
        }
        Self { precision, operands, values, halves }
    }

    /// The call that was recorded for these inputs, which keeps what it can in half precision, and
    /// its output. The output of a product is rounded.
    #[inline(never)]
    pub fn keep(self, call: Box<dyn Recorded<T>>) -> (Box<dyn Recorded<T>>, Tensor<T>) {
        let (narrow, output) = Narrow::of(call, self.precision, self.operands, Some(&self.halves));
        (Box::new(narrow), output)
    }
}

/// A value that a call keeps for its gradient.
enum Kept<T: Float> {
    Whole(Tensor<T>),
    Half(HalfTensor),
    /// The output of an element-wise operation, which follows from the inputs.
    Recomputed,
}

impl<T: Float> Kept<T> {
    fn value(&self) -> Option<Tensor<T>> {
        match self {
            Self::Whole(value) => Some(value.clone()),
            Self::Half(half) => Some(half.widened()),
            Self::Recomputed => None,
        }
    }
}

/// A call whose values are kept in half precision where that loses nothing.
struct Narrow<T: Float> {
    /// The call without its values.
    call: Box<dyn Recorded<T>>,
    precision: HalfPrecision,
    operands: u32,
    inputs: SmallVec<[Kept<T>; 3]>,
    output: Kept<T>,
    /// The values, for whoever asks for them other than the gradient.
    values: OnceLock<(Vec<Tensor<T>>, Tensor<T>)>,
}

impl<T: Float> Narrow<T> {
    /// A call with rounded operands. With `halves`, the values of its inputs that are known in half
    /// precision, it keeps no value that half precision holds too.
    fn of(
        mut call: Box<dyn Recorded<T>>,
        precision: HalfPrecision,
        operands: u32,
        halves: Option<&[Option<HalfTensor>]>,
    ) -> (Self, Tensor<T>) {
        let (inputs, mut output) = call.take_values();
        if operands != 0 {
            output = rounded(&output, precision);
        }
        let kept_output = match halves {
            None => Kept::Whole(output.clone()),
            Some(halves) => {
                let all_fit = halves.iter().all(Option::is_some);
                let same = inputs.first().zip(halves.first()).and_then(|(input, half)| {
                    let is_view = input.is_contiguous()
                        && output.is_contiguous()
                        && input.len() == output.len()
                        && output.offset_in(input) == Some(0);
                    Some(half.as_ref().filter(|_| is_view)?.with_shape(output.shape()))
                });
                match same.or_else(|| HalfTensor::exactly(&output, precision)) {
                    Some(half) => Kept::Half(half),
                    None if all_fit && call.is_elementwise() => Kept::Recomputed,
                    None => Kept::Whole(output.clone()),
                }
            }
        };
        let mut halves = halves.unwrap_or_default().iter();
        let inputs = inputs.into_iter().map(|input| match halves.next() {
            Some(Some(half)) => Kept::Half(half.clone()),
            _ => Kept::Whole(input),
        });
        let inputs = inputs.collect();
        let narrow = Self {
            call,
            precision,
            operands,
            inputs,
            output: kept_output,
            values: OnceLock::new(),
        };
        (narrow, output)
    }

    /// The values of inputs and output.
    fn widened(&self) -> (Vec<Tensor<T>>, Tensor<T>) {
        let inputs: Vec<Tensor<T>> = self.inputs.iter().filter_map(Kept::value).collect();
        let output = self.output.value().unwrap_or_else(|| self.again(&inputs).output().clone());
        (inputs, output)
    }

    fn values(&self) -> &(Vec<Tensor<T>>, Tensor<T>) {
        self.values.get_or_init(|| self.widened())
    }

    /// The call with its values, computed again.
    fn again(&self, inputs: &[Tensor<T>]) -> Box<dyn Recorded<T>> {
        let inputs: SmallVec<[&Tensor<T>; 4]> = inputs.iter().collect();
        self.call.recipe().apply(&inputs, self.call.parents().into())
    }

    /// The gradient of the output, which is an operand of the products of the gradient.
    #[cfg(feature = "gradients")]
    fn rounded(&self, cotangent: Tensor<T>) -> Tensor<T> {
        if self.operands == 0 { cotangent } else { rounded(&cotangent, self.precision) }
    }
}

impl<T: Float> Recorded<T> for Narrow<T> {
    fn name(&self) -> &'static str {
        self.call.name()
    }

    fn attributes(&self) -> Attributes {
        self.call.attributes()
    }

    fn multiply_adds(&self) -> u64 {
        self.call.multiply_adds()
    }

    fn inputs(&self) -> &[Tensor<T>] {
        &self.values().0
    }

    fn parents(&self) -> &[Option<usize>] {
        self.call.parents()
    }

    fn output(&self) -> &Tensor<T> {
        &self.values().1
    }

    fn half_output(&self) -> Option<&HalfTensor> {
        match &self.output {
            Kept::Half(half) => Some(half),
            _ => None,
        }
    }

    fn rounds_input(&self, index: usize) -> bool {
        self.operands >> index & 1 == 1
    }

    fn take_values(&mut self) -> (Vec<Tensor<T>>, Tensor<T>) {
        self.values.take().unwrap_or_else(|| self.widened())
    }

    #[cfg(feature = "gradients")]
    fn vjp(&self, needs: &[bool], cotangent: Tensor<T>) -> Cotangents<T> {
        let values;
        let (inputs, output) = match self.values.get() {
            Some(values) => values,
            None => {
                values = self.widened();
                &values
            }
        };
        self.call.vjp_of((inputs, output), needs, self.rounded(cotangent))
    }

    #[cfg(feature = "gradients")]
    fn vjp_of(
        &self,
        values: (&[Tensor<T>], &Tensor<T>),
        needs: &[bool],
        cotangent: Tensor<T>,
    ) -> Cotangents<T> {
        self.call.vjp_of(values, needs, self.rounded(cotangent))
    }

    #[cfg(feature = "gradients")]
    fn add_vjp(&self, cotangent: &Tensor<T>, sum: &mut Tensor<T>) -> bool {
        self.call.add_vjp(cotangent, sum)
    }

    #[cfg(feature = "gradients")]
    fn vjp_terms(
        &self,
        inputs: &[Term<T>],
        output: &Term<T>,
        needs: &[bool],
        cotangent: &Term<T>,
    ) -> Result<TermCotangents<T>> {
        self.call.vjp_terms(inputs, output, needs, cotangent)
    }

    fn replay_with(
        &self,
        settings: &[(&'static str, Attribute)],
        inputs: &[&Tensor<T>],
        parents: Parents,
    ) -> Result<Box<dyn Recorded<T>>> {
        self.call.replay_with(settings, inputs, parents)
    }

    fn recipe(&self) -> Box<dyn Recipe<T>> {
        let Self { precision, operands, .. } = *self;
        Box::new(NarrowRecipe { recipe: self.call.recipe(), precision, operands })
    }

    #[cfg(feature = "gradients")]
    fn vjp_per_sample(
        &self,
        needs: &[bool],
        cotangent: Tensor<T>,
        samples: usize,
    ) -> Result<Option<SampleCotangents<T>>> {
        let call = self.again(&self.values().0);
        call.vjp_per_sample(needs, self.rounded(cotangent), samples)
    }

    #[cfg(feature = "gradients")]
    fn sample_norms(
        &self,
        needs: &[bool],
        cotangent: Tensor<T>,
        samples: usize,
    ) -> Option<Cotangents<T>> {
        let call = self.again(&self.values().0);
        call.sample_norms(needs, self.rounded(cotangent), samples)
    }

    fn is_elementwise(&self) -> bool {
        self.call.is_elementwise()
    }
}

/// An operation under autocast, without the values of a call.
struct NarrowRecipe<T: Float> {
    recipe: Box<dyn Recipe<T>>,
    precision: HalfPrecision,
    operands: u32,
}

impl<T: Float> Recipe<T> for NarrowRecipe<T> {
    fn apply(&self, inputs: &[&Tensor<T>], parents: Parents) -> Box<dyn Recorded<T>> {
        let inputs = inputs.iter().map(|&input| (input, None));
        let inputs = NarrowInputs::of(self.precision, self.operands, inputs);
        let values: SmallVec<[&Tensor<T>; 4]> = inputs.values.iter().collect();
        let call = self.recipe.apply(&values, parents);
        Box::new(Narrow::of(call, self.precision, self.operands, None).0)
    }
}
