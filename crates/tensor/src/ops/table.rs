//! The table of operations, with one row for each.

use smallvec::SmallVec;

use super::addmm::{self, addmm_functions};
use super::arithmetic::arithmetic_functions;
use super::attention::{self, Attention, AttentionOptions};
use super::batch_norm::NormStatistics;
use super::combinations::{self, combination_functions};
use super::conv_transpose2d::ConvTransposeOptions;
use super::conv2d::{Conv2dOptions, ConvOptions};
use super::cross_entropy::CrossEntropyOptions;
use super::div_rounded::{DivRounded, Rounding};
use super::embedding::Embedding;
use super::get::{self, Index, Indices, get_functions};
use super::grid_sample::{self, GridSample, GridSampleOptions};
use super::group_norm::GroupNorm;
use super::indexing::{self, accumulating_functions, indexing_functions};
use super::interpolate::Interpolate;
use super::layer_norm::{LayerNorm, RmsNorm};
use super::layout::{BroadcastTo, Permute, Reshape, Slice};
use super::lifted::batched;
use super::linear::Linear;
use super::matmul::MatMul;
use super::max_pool2d::{Pool2dOptions, PoolOptions};
use super::norm::Norm;
use super::order::order_functions;
use super::padding::{Pad, PadMode};
use super::products;
use super::quantile::{self, Interpolation, quantile_functions};
use super::recurrent::{Gru, Lstm, Recurrent, RecurrentOptions, Rnn};
use super::reduce::{self, Max, Min, Prod, Sum};
use super::scan::{CumProd, CumSum, LogCumSumExp};
use super::scatter::{IndexAdd, Scatter, ScatterAdd};
use super::scatter_reduce::{ScatterReduce, ScatterReduction};
use super::sections::{self, Sections, sections_functions};
use super::selection::{Gather, IndexSelect, Where};
use super::slicing::{self, slicing_functions};
use super::softmax::{LogSoftmax, Softmax};
use super::stacking::{self, stacking_functions};
use super::statistics::{self, statistics_functions};
use super::strided::{DiagEmbed, Diagonal, UnfoldAxis};
use super::unfold::{Fold, Unfold, UnfoldOptions};
use super::{
    Op, Row, activation, adaptive_pool2d, avg_pool2d, batch_norm, binary, conv_transpose2d, conv2d,
    conv2d_relu, cross_entropy, joining, lifted, max_pool2d, pixels, special, unary,
};
use crate::element::{Float, Number};
use crate::error::{Error, Result};
use crate::kernels::fold::largest;
use crate::shape::Shape;
use crate::tensor::Tensor;

operations! {
    // Functions of one element.

    /// The larger of x and 0.
    relu = activation::Relu;
    /// x where it is positive, else `negative_slope · x`.
    leaky_relu = activation::LeakyRelu { negative_slope };
    /// x where it is positive, else `alpha · (exp(x) − 1)` (Clevert et al., 2015).
    elu = activation::Elu { alpha };
    /// x·Φ(x), with the exact normal distribution function Φ (Hendrycks and
    /// Gimpel, 2016).
    gelu = activation::Gelu;
    /// GELU in its approximation by a hyperbolic tangent (PyTorch's
    /// `approximate='tanh'`).
    gelu_tanh = activation::GeluTanh;
    /// x·σ(x), also called Swish (Ramachandran et al., 2017).
    silu = activation::Silu;
    /// ln(1 + exp(x)), a smooth ReLU.
    softplus = activation::Softplus;
    /// The logistic function 1 / (1 + exp(−x)).
    sigmoid = activation::Sigmoid;
    /// The logarithm of the logistic function, accurate for inputs of any size.
    log_sigmoid = activation::LogSigmoid;
    /// ln(1 + exp(beta · x)) / beta, and x where beta · x is above the threshold
    /// (PyTorch's defaults are 1 and 20).
    softplus_scaled = activation::SoftplusScaled { beta, threshold };
    /// x · min(max(x + 3, 0), 6) / 6 (Howard et al., 2019).
    hardswish = activation::Hardswish;
    /// min(max(x + 3, 0), 6) / 6.
    hardsigmoid = activation::Hardsigmoid;
    /// x limited to `low ..= high` (PyTorch's defaults are −1 and 1), like
    /// [`clamp`](Ops::clamp), except that NaN has a gradient.
    hardtanh = activation::Hardtanh { low, high };
    /// x where it is beyond ±`lambda`, else 0.
    hardshrink = activation::Hardshrink { lambda };
    /// x moved by `lambda` towards 0; 0 where |x| ≤ `lambda`.
    softshrink = activation::Softshrink { lambda };
    /// x − tanh(x).
    tanhshrink = activation::Tanhshrink;
    /// x / (1 + |x|).
    softsign = activation::Softsign;
    /// x where it is positive, else `alpha · (exp(x / alpha) − 1)` (Barron, 2017).
    celu = activation::Celu { alpha };
    /// ELU with the scale and alpha that keep mean 0 and variance 1 (Klambauer
    /// et al., 2017).
    selu = activation::Selu;
    /// x · tanh(ln(1 + exp(x))) (Misra, 2019).
    mish = activation::Mish;
    /// x where it is above the threshold, else `value`.
    threshold = activation::Threshold { threshold, value };
    /// The hyperbolic tangent.
    tanh = unary::Tanh;
    /// The exponential function.
    exp = unary::Exp;
    /// exp(x) − 1, accurate near 0.
    exp_m1 = unary::ExpM1;
    /// The natural logarithm; NaN below 0, −∞ at 0.
    ln = unary::Ln;
    /// ln(1 + x), accurate near 0.
    ln_1p = unary::Ln1p;
    /// 2 to the power of x.
    exp2 = unary::Exp2;
    /// The logarithm to the base 2.
    log2 = unary::Log2;
    /// The logarithm to the base 10.
    log10 = unary::Log10;
    /// The square root; NaN below 0.
    sqrt = unary::Sqrt;
    /// One over the square root.
    rsqrt = unary::Rsqrt;
    /// x·x.
    square = unary::Square;
    /// 1 / x.
    reciprocal = unary::Reciprocal;
    /// The absolute value; its gradient at 0 is 0.
    abs = unary::Abs;
    /// −x.
    neg = unary::Negate;
    /// The sine of an angle in radians.
    sin = unary::Sin;
    /// The cosine of an angle in radians.
    cos = unary::Cos;
    /// The tangent of an angle in radians.
    tan = unary::Tan;
    /// The angle in radians whose sine is x; NaN beyond ±1.
    asin = unary::Asin;
    /// The angle in radians whose cosine is x; NaN beyond ±1.
    acos = unary::Acos;
    /// The angle in radians whose tangent is x.
    atan = unary::Atan;
    /// The hyperbolic sine.
    sinh = unary::Sinh;
    /// The hyperbolic cosine.
    cosh = unary::Cosh;
    /// The inverse of the hyperbolic sine.
    asinh = unary::Asinh;
    /// The inverse of the hyperbolic cosine; NaN below 1.
    acosh = unary::Acosh;
    /// The inverse of the hyperbolic tangent; NaN beyond ±1.
    atanh = unary::Atanh;
    /// sin(πx) / (πx), and 1 at 0.
    sinc = unary::Sinc;
    /// The error function.
    erf = unary::Erf;
    /// 1 − erf(x), accurate where that is tiny.
    erfc = unary::Erfc;
    /// The inverse of the error function; NaN beyond ±1.
    erf_inv = special::ErfInv;
    /// The logarithm of the absolute value of the gamma function.
    lgamma = special::Lgamma;
    /// The derivative of [`lgamma`](Ops::lgamma).
    digamma = special::Digamma;
    /// 1 for positive numbers, −1 for negative ones, else 0; no gradient flows.
    sign = unary::Sign;
    /// The largest integer not above x; no gradient flows.
    floor = unary::Floor;
    /// The smallest integer not below x; no gradient flows.
    ceil = unary::Ceil;
    /// The nearest integer, of two the even one; no gradient flows.
    round = unary::Round;
    /// x rounded towards 0; no gradient flows.
    trunc = unary::Trunc;
    /// The fractional part x − trunc(x), which has the sign of x.
    frac = unary::Frac;
    /// x where it is finite; other numbers replace NaN, ∞ and −∞, without a
    /// gradient.
    nan_to_num = unary::NanToNum { nan, infinity, negative_infinity };

    unary::Powf:
    /// x to the power of a constant.
    fn powf(&self, exponent: f64) -> Self {
        match exponent {
            // As in PyTorch, this gives NaN for −∞ too.
            0.5 => self.sqrt(),
            2.0 => self.square(),
            _ => Self::apply(unary::Powf { exponent }, &[self]),
        }
    }

    /// x limited to `low ..= high`. The gradient is 0 at and beyond the bounds,
    /// and for NaN, which is kept. An infinite bound has no effect; if `low` is
    /// above `high`, all elements become `high`.
    clamp = unary::Clamp { low, high };

    unary::Logit:
    /// ln(x / (1 − x)), the inverse of [`sigmoid`](Ops::sigmoid), for x limited
    /// to `epsilon ..= 1 − epsilon` if given. The gradient is 0 outside these
    /// bounds; without `epsilon` it is NaN outside `0 ..= 1`.
    fn logit(&self, epsilon: Option<f64>) -> Self {
        let (low, high) = match epsilon {
            Some(epsilon) => (epsilon, 1.0 - epsilon),
            None => (f64::NEG_INFINITY, f64::INFINITY),
        };
        Self::apply(unary::Logit { low, high }, &[self])
    }

    /// `factor · x`.
    mul_scalar = unary::MulScalar { factor };
    /// `x + term`.
    add_scalar = unary::AddScalar { term };

    // Functions of two elements, which broadcast.

    /// The sum; `+` panics where this returns an error.
    add(other) = binary::Add;
    /// The difference; `-` panics where this returns an error.
    sub(other) = binary::Sub;
    /// The element-wise product; `*` panics where this returns an error.
    mul(other) = binary::Mul;
    /// The quotient; `/` panics where this returns an error.
    div(other) = binary::Div;

    DivRounded:
    /// The quotient rounded to a whole number; no gradient flows.
    fn div_rounded(&self, divisor: &Self, rounding: Rounding) -> Result<Self> {
        Self::try_apply(DivRounded { rounding }, &[self, divisor])
    }

    /// The larger element; NaN if either is NaN, and then both get the
    /// gradient. Equal elements share the gradient.
    maximum(other) = binary::Maximum;
    /// The smaller element; otherwise as [`maximum`](Ops::maximum).
    minimum(other) = binary::Minimum;
    /// `self` to the power of `exponent`, with gradients for both.
    pow(exponent) = binary::Pow;
    /// The angle in radians of the point (`x`, `self`), between −π and π. The
    /// gradient at the origin is 0.
    atan2(x) = binary::Atan2;
    /// √(self² + other²) without overflow. The gradient at the origin is 0,
    /// where PyTorch's is NaN.
    hypot(other) = binary::Hypot;
    /// The remainder of the division that rounds down, with the sign of the divisor
    /// (Python's `%`).
    remainder(divisor) = binary::Remainder;
    /// The remainder of the division that rounds towards 0, with the sign of `self`
    /// (Rust's and C's `%`).
    fmod(divisor) = binary::Fmod;
    /// `self · ln(other)`, and 0 where `self` is 0. The gradient by `other` is 0
    /// where both are 0; PyTorch's is NaN.
    xlogy(other) = binary::Xlogy;
    /// ln(exp(self) + exp(other)), without overflow. Equal elements, including
    /// equal infinities, share the gradient, where PyTorch's is NaN for
    /// infinities.
    logaddexp(other) = binary::LogAddExp;

    binary::Prelu:
    /// x where it is positive, else `weight · x` (He et al., 2015), with a weight of
    /// one element or one for each channel, which is axis 1.
    fn prelu(&self, weight: &Self) -> Result<Self> {
        let shape = self.value().shape();
        let channels = weight.value().len();
        if channels == 1 {
            return Self::try_apply(binary::Prelu, &[self, &weight.reshape([])?]);
        }
        if shape.get(1) != Some(&channels) || weight.value().rank() != 1 {
            let message = format!(
                "expected a weight for one or all channels of {shape}, got shape {}",
                weight.value().shape()
            );
            return Err(Error::shape("prelu", message));
        }
        let mut column = vec![1; shape.len() - 1];
        column[0] = channels;
        Self::try_apply(binary::Prelu, &[self, &weight.reshape(column)?])
    }

    // Reductions.

    Sum:
    /// The sum over some axes, which are kept with length 1 or removed.
    fn sum_axes(&self, axes: &[isize], keep: bool) -> Result<Self> {
        Self::try_apply(Sum { axes: axes.into(), keep }, &[self])
    }

    Prod:
    /// The product over some axes.
    fn prod_axes(&self, axes: &[isize], keep: bool) -> Result<Self> {
        Self::try_apply(Prod { axes: axes.into(), keep }, &[self])
    }

    Max:
    /// The maximum over some axes (PyTorch's `amax`); NaN when an element is
    /// NaN. Equal maxima share the gradient. An axis without elements is an
    /// error.
    fn max_axes(&self, axes: &[isize], keep: bool) -> Result<Self> {
        Self::try_apply(Max { axes: axes.into(), keep }, &[self])
    }

    Min:
    /// The minimum over some axes, as [`max_axes`](Ops::max_axes).
    fn min_axes(&self, axes: &[isize], keep: bool) -> Result<Self> {
        Self::try_apply(Min { axes: axes.into(), keep }, &[self])
    }

    Norm:
    /// (Σ |x|ᵖ)^(1/p) over some axes; for p = 0 the number of elements that are
    /// not 0, for ±∞ the largest or smallest magnitude. At kinks the gradient
    /// is 0. For ±∞ and negative p an axis without elements is an error.
    fn norm_axes(&self, p: f64, axes: &[isize], keep: bool) -> Result<Self> {
        match p {
            // The sign of a NaN is 0, but a NaN counts as an element that is
            // not 0.
            0.0 => self.masked_fill(&self.value().isnan(), 1.0)?.abs().sign().sum_axes(axes, keep),
            1.0 => self.abs().sum_axes(axes, keep),
            f64::INFINITY => self.abs().max_axes(axes, keep),
            f64::NEG_INFINITY => self.abs().min_axes(axes, keep),
            _ => Self::try_apply(Norm { p, axes: axes.into(), keep }, &[self]),
        }
    }

    CumSum:
    /// The running sum along an axis.
    fn cumsum(&self, axis: isize) -> Result<Self> { Self::try_apply(CumSum { axis }, &[self]) }

    CumProd:
    /// The running product along an axis.
    fn cumprod(&self, axis: isize) -> Result<Self> { Self::try_apply(CumProd { axis }, &[self]) }

    LogCumSumExp:
    /// The logarithm of the running sum of exponentials along an axis, without
    /// overflow.
    fn logcumsumexp(&self, axis: isize) -> Result<Self> {
        Self::try_apply(LogCumSumExp { axis }, &[self])
    }

    Softmax:
    /// exp(x) divided by its sum along an axis.
    fn softmax(&self, axis: isize) -> Result<Self> {
        Self::try_apply(Softmax { axis }, &[self])
    }

    LogSoftmax:
    /// The logarithm of the softmax along an axis, accurate for tiny softmax
    /// values.
    fn log_softmax(&self, axis: isize) -> Result<Self> {
        Self::try_apply(LogSoftmax { axis }, &[self])
    }

    // Products.

    MatMul:
    /// The matrix product of `[…, m, k]` and `[…, k, n]`, with leading axes
    /// that broadcast. A vector counts as one row on the left and as one column
    /// on the right, and that axis is removed from the result.
    fn matmul(&self, other: &Self) -> Result<Self> {
        let left = if self.value().rank() == 1 { self.unsqueeze(0)? } else { self.clone() };
        let right = if other.value().rank() == 1 { other.unsqueeze(1)? } else { other.clone() };
        let mut product = Self::try_apply(MatMul, &[&left, &right])?;
        if other.value().rank() == 1 {
            product = product.squeeze(-1)?;
        }
        if self.value().rank() == 1 {
            product = product.squeeze(if other.value().rank() == 1 { -1 } else { -2 })?;
        }
        Ok(product)
    }

    Linear:
    /// `x · weightᵀ + bias` for x of shape `[…, in]`, a weight of shape
    /// `[out, in]` and a bias of shape `[out]`. A weight `[in]` with a scalar bias
    /// gives `[…]`.
    fn linear(&self, weight: &Self, bias: Option<&Self>) -> Result<Self> {
        if weight.value().rank() == 1 {
            let bias = bias.map(|bias| bias.reshape([1])).transpose()?;
            return self.linear(&weight.unsqueeze(0)?, bias.as_ref())?.squeeze(-1);
        }
        match bias {
            Some(bias) => Self::try_apply(Linear, &[self, weight, bias]),
            None => Self::try_apply(Linear, &[self, weight]),
        }
    }

    // Windows over images. As in PyTorch, an image without the batch axis, [C,
    // height, width], gives a result without it.

    conv2d::Conv2d:
    /// The convolution of images `[N, in, height, width]` with a weight `[out,
    /// in / groups, kernel height, kernel width]`, plus a bias `[out]`.
    ///
    /// Here, and in all convolutions and poolings, the batch axis N may be
    /// missing: one image `[in, height, width]` gives one image.
    fn conv2d(
        &self,
        weight: &Self,
        bias: Option<&Self>,
        options: Conv2dOptions,
    ) -> Result<Self> {
        batched(self, 4, |x| match bias {
            Some(bias) => Self::try_apply(conv2d::Conv2d { options }, &[x, weight, bias]),
            None => Self::try_apply(conv2d::Conv2d { options }, &[x, weight]),
        })
    }

    conv2d_relu::Conv2dRelu:
    /// [`conv2d`](Ops::conv2d) followed by [`relu`](Ops::relu) and, with
    /// `max_pool`, the maximum of each 2×2 window, in one pass.
    fn conv2d_relu(
        &self,
        weight: &Self,
        bias: Option<&Self>,
        options: Conv2dOptions,
        max_pool: bool,
    ) -> Result<Self> {
        let operation = conv2d_relu::Conv2dRelu { options, max_pool };
        batched(self, 4, |x| match bias {
            Some(bias) => Self::try_apply(operation, &[x, weight, bias]),
            None => Self::try_apply(operation, &[x, weight]),
        })
    }

    conv_transpose2d::ConvTranspose2d:
    /// The transposed convolution of images `[N, in, height, width]` with a
    /// weight `[in, out / groups, kernel height, kernel width]`, plus a bias
    /// `[out]`. It is the gradient of [`conv2d`](Ops::conv2d) with respect to
    /// its input.
    fn conv_transpose2d(
        &self,
        weight: &Self,
        bias: Option<&Self>,
        options: ConvTransposeOptions<2>,
    ) -> Result<Self> {
        let (options, zeros) = options.within_stride();
        if zeros != [0; 2] && matches!(self.value().rank(), 3 | 4) {
            let ends = [zeros[1], zeros[0]].map(|zeros| [0, zeros as isize]);
            return self.pad(&ends, PadMode::Constant(0.0))?.conv_transpose2d(weight, bias, options);
        }
        let operation = conv_transpose2d::ConvTranspose2d { options };
        batched(self, 4, |x| match bias {
            Some(bias) => Self::try_apply(operation, &[x, weight, bias]),
            None => Self::try_apply(operation, &[x, weight]),
        })
    }

    max_pool2d::MaxPool2d:
    /// The maximum of each window over images `[N, C, height, width]`; NaN when
    /// an element is NaN. Of equal elements the first gets the gradient.
    fn max_pool2d(&self, options: Pool2dOptions) -> Result<Self> {
        batched(self, 4, |x| Self::try_apply(max_pool2d::MaxPool2d { options }, &[x]))
    }

    avg_pool2d::AvgPool2d:
    /// The mean of each window over images `[N, C, height, width]`; with
    /// `count_include_pad` the padding counts as zeros, otherwise it is
    /// ignored.
    fn avg_pool2d(&self, options: Pool2dOptions, count_include_pad: bool) -> Result<Self> {
        let divisor_override = None;
        let operation = avg_pool2d::AvgPool2d { options, count_include_pad, divisor_override };
        batched(self, 4, |x| Self::try_apply(operation, &[x]))
    }

    adaptive_pool2d::AdaptiveAvgPool2d:
    /// The mean of each of `[rows, columns]` windows that cover images `[N, C,
    /// height, width]` of any size.
    fn adaptive_avg_pool2d(&self, output_size: [usize; 2]) -> Result<Self> {
        let operation = adaptive_pool2d::AdaptiveAvgPool2d { output_size };
        batched(self, 4, |x| Self::try_apply(operation, &[x]))
    }

    adaptive_pool2d::AdaptiveMaxPool2d:
    /// The maximum of each of `[rows, columns]` windows that cover images `[N,
    /// C, height, width]`; NaN when an element is NaN.
    fn adaptive_max_pool2d(&self, output_size: [usize; 2]) -> Result<Self> {
        let operation = adaptive_pool2d::AdaptiveMaxPool2d { output_size };
        batched(self, 4, |x| Self::try_apply(operation, &[x]))
    }

    // Normalisation and losses.

    batch_norm::BatchNorm<T>:
    /// Normalises each channel of a batch `[N, C, …]` to mean 0 and variance 1,
    /// then multiplies it by a weight `[C]` and adds a bias `[C]`;
    /// [`NormStatistics`] says which mean and variance are used.
    fn batch_norm(
        &self,
        weight: Option<&Self>,
        bias: Option<&Self>,
        statistics: NormStatistics<Self::Element>,
        epsilon: f64,
    ) -> Result<Self> {
        let operation = batch_norm::BatchNorm { statistics, epsilon };
        if weight.is_none() && bias.is_none() {
            return Self::try_apply(operation, &[self]);
        }
        let constant = |value| {
            let channels = self.value().shape().get(1).copied().unwrap_or(0);
            Self::constant(Tensor::full([channels], value))
        };
        let weight = weight.cloned().unwrap_or_else(|| constant(Number::ONE));
        let bias = bias.cloned().unwrap_or_else(|| constant(Number::ZERO));
        Self::try_apply(operation, &[self, &weight, &bias])
    }

    LayerNorm:
    /// Normalises the last axes, of lengths `normalized_shape`, to mean 0 and
    /// variance 1, then multiplies by a weight and adds a bias of that shape.
    fn layer_norm(
        &self,
        normalized_shape: impl Into<Shape>,
        weight: Option<&Self>,
        bias: Option<&Self>,
        epsilon: f64,
    ) -> Result<Self> {
        let normalized_shape = normalized_shape.into();
        let ones = match (weight, bias) {
            (None, Some(_)) => Some(Self::constant(Tensor::ones(&normalized_shape))),
            _ => None,
        };
        let inputs = [Some(self), weight.or(ones.as_ref()), bias];
        let operation = LayerNorm { normalized_shape, epsilon };
        Self::try_apply(operation, &inputs.into_iter().flatten().collect::<Vec<_>>())
    }

    RmsNorm:
    /// Divides the last axes, of lengths `normalized_shape`, by the root of
    /// their mean square, and multiplies by a weight of that shape.
    fn rms_norm(
        &self,
        normalized_shape: impl Into<Shape>,
        weight: Option<&Self>,
        epsilon: f64,
    ) -> Result<Self> {
        let operation = RmsNorm { normalized_shape: normalized_shape.into(), epsilon };
        match weight {
            Some(weight) => Self::try_apply(operation, &[self, weight]),
            None => Self::try_apply(operation, &[self]),
        }
    }

    GroupNorm:
    /// Normalises each group of channels of each sample `[N, C, …]` to mean 0
    /// and variance 1, then multiplies by a weight `[C]` and adds a bias `[C]`.
    fn group_norm(
        &self,
        groups: usize,
        weight: Option<&Self>,
        bias: Option<&Self>,
        epsilon: f64,
    ) -> Result<Self> {
        let channels = self.value().shape().get(1).copied().unwrap_or(0);
        let ones = match (weight, bias) {
            (None, Some(_)) => Some(Self::constant(Tensor::ones([channels]))),
            _ => None,
        };
        let inputs = [Some(self), weight.or(ones.as_ref()), bias];
        let operation = GroupNorm { groups, epsilon };
        Self::try_apply(operation, &inputs.into_iter().flatten().collect::<Vec<_>>())
    }

    cross_entropy::CrossEntropy<T>:
    /// The cross-entropy of logits `[N, C, …]` with labels `[N, …]`, which are
    /// class indices from 0; see [`CrossEntropyOptions`].
    fn cross_entropy(
        &self,
        target: &Tensor<i64>,
        options: CrossEntropyOptions<Self::Element>,
    ) -> Result<Self> {
        Self::try_apply(cross_entropy::CrossEntropy { target: target.clone(), options }, &[self])
    }

    // Sequences.

    Embedding:
    /// The rows of this table `[rows, width]` at the indices, as `[…, width]`;
    /// the row `padding_idx` gets no gradient.
    fn embedding(&self, indices: &Tensor<i64>, padding_idx: Option<usize>) -> Result<Self> {
        let (indices, scale_grad_by_freq) = (indices.clone(), false);
        Self::try_apply(Embedding { indices, padding_idx, scale_grad_by_freq }, &[self])
    }

    Recurrent<Lstm>:
    /// An LSTM layer over a sequence `[L, N, input]`: the outputs of all steps,
    /// then the last state and the last cell state, as `[L + 2, N, hidden]`.
    fn lstm(
        &self,
        state: [&Self; 2],
        weights: [&Self; 2],
        biases: Option<[&Self; 2]>,
        options: RecurrentOptions,
    ) -> Result<Self> {
        let biases = biases.as_slice().as_flattened();
        let inputs = [&[self][..], &state, &weights, biases].concat();
        Self::try_apply(Recurrent { cell: Lstm, options }, &inputs)
    }

    Recurrent<Gru>:
    /// A GRU layer over a sequence `[L, N, input]`: the outputs of all steps,
    /// then the last state, as `[L + 1, N, hidden]`.
    fn gru(
        &self,
        state: &Self,
        weights: [&Self; 2],
        biases: Option<[&Self; 2]>,
        options: RecurrentOptions,
    ) -> Result<Self> {
        let inputs = [&[self, state][..], &weights, biases.as_slice().as_flattened()].concat();
        Self::try_apply(Recurrent { cell: Gru, options }, &inputs)
    }

    Recurrent<Rnn>:
    /// A plain recurrent layer over a sequence `[L, N, input]`, with tanh or
    /// max(x, 0). The output is like that of [`gru`](Ops::gru).
    fn rnn(
        &self,
        state: &Self,
        weights: [&Self; 2],
        biases: Option<[&Self; 2]>,
        relu: bool,
        options: RecurrentOptions,
    ) -> Result<Self> {
        let inputs = [&[self, state][..], &weights, biases.as_slice().as_flattened()].concat();
        Self::try_apply(Recurrent { cell: Rnn { relu }, options }, &inputs)
    }

    Attention<T>:
    /// softmax(self·keyᵀ · scale + mask)·value over the last two axes, for
    /// queries `[…, L, E]`, keys `[…, S, E]` and values `[…, S, V]`, whose other
    /// axes broadcast; see [`AttentionOptions`].
    fn scaled_dot_product_attention(
        &self,
        key: &Self,
        value: &Self,
        options: AttentionOptions<Self::Element>,
    ) -> Result<Self> {
        let [query, key, value] = attention::with_common_batch([self, key, value])?;
        Self::try_apply(Attention { options }, &[&query, &key, &value])
    }

    // Functions of shape and position.

    Reshape:
    /// The same elements in row-major order with another shape.
    fn reshape(&self, shape: impl Into<Shape>) -> Result<Self> {
        Self::try_apply(Reshape { shape: shape.into() }, &[self])
    }

    Permute:
    /// The axes in another order: axis `i` of the result is axis `axes[i]`.
    fn permute(&self, axes: &[isize]) -> Result<Self> {
        Self::try_apply(Permute { axes: axes.into() }, &[self])
    }

    Slice:
    /// Every `step`-th index of an axis; see [`Tensor::slice`].
    fn slice(&self, axis: isize, start: isize, end: Option<isize>, step: isize) -> Result<Self> {
        Self::try_apply(Slice { axis, start, end, step }, &[self])
    }

    BroadcastTo:
    /// Broadcasts to a shape by NumPy's rule.
    fn broadcast_to(&self, shape: impl Into<Shape>) -> Result<Self> {
        Self::try_apply(BroadcastTo { shape: shape.into() }, &[self])
    }

    joining::Cat:
    /// Joins values along an axis.
    fn cat(values: &[&Self], axis: isize) -> Result<Self> {
        Self::try_apply(joining::Cat { axis }, values)
    }

    Gather:
    /// The elements at the positions that `index` gives along an axis; see
    /// [`Tensor::gather`].
    fn gather(&self, axis: isize, index: &Tensor<i64>) -> Result<Self> {
        Self::try_apply(Gather { axis, index: index.clone() }, &[self])
    }

    IndexSelect:
    /// The elements at some indices of an axis, in the given order.
    fn index_select(&self, axis: isize, indices: &[usize]) -> Result<Self> {
        Self::try_apply(IndexSelect { axis, indices: indices.into() }, &[self])
    }

    Where:
    /// `self` where the mask is true, else `other`; all three broadcast.
    fn where_mask(&self, mask: &Tensor<bool>, other: &Self) -> Result<Self> {
        Self::try_apply(Where { mask: mask.clone() }, &[self, other])
    }

    Scatter:
    /// A copy in which elements are replaced by those of `source` at the
    /// positions that `index` gives along an axis; see [`Tensor::scatter`].
    fn scatter(&self, axis: isize, index: &Tensor<i64>, source: &Self) -> Result<Self> {
        Self::try_apply(Scatter { axis, index: index.clone() }, &[self, source])
    }

    ScatterAdd:
    /// A copy to which elements of `source` are added at the positions that
    /// `index` gives along an axis.
    fn scatter_add(&self, axis: isize, index: &Tensor<i64>, source: &Self) -> Result<Self> {
        Self::try_apply(ScatterAdd { axis, index: index.clone() }, &[self, source])
    }

    ScatterReduce:
    /// A copy with the sum, product, mean, maximum or minimum of the elements
    /// of `source` at each position that `index` gives along an axis; with
    /// `include_self` the element at that position is included.
    fn scatter_reduce(
        &self,
        axis: isize,
        index: &Tensor<i64>,
        source: &Self,
        reduction: ScatterReduction,
        include_self: bool,
    ) -> Result<Self> {
        let operation = ScatterReduce { axis, index: index.clone(), reduction, include_self };
        Self::try_apply(operation, &[self, source])
    }

    IndexAdd:
    /// A copy with the slices of `source` added at some indices of an axis.
    fn index_add(&self, axis: isize, indices: &[usize], source: &Self) -> Result<Self> {
        Self::try_apply(IndexAdd { axis, indices: indices.into() }, &[self, source])
    }

    Pad:
    /// Adds elements before and after each axis, from the last axis towards the
    /// first, or removes them where the number is negative; see [`PadMode`].
    fn pad(&self, padding: &[[isize; 2]], mode: PadMode) -> Result<Self> {
        Self::try_apply(Pad { padding: padding.into(), mode }, &[self])
    }

    Diagonal:
    /// A diagonal of the matrices formed by two axes, as the last axis; see
    /// [`Tensor::diagonal`].
    fn diagonal(&self, offset: isize, rows: isize, columns: isize) -> Result<Self> {
        Self::try_apply(Diagonal { offset, rows, columns }, &[self])
    }

    DiagEmbed:
    /// Matrices with the elements of the last axis on a diagonal, `offset`
    /// above the main diagonal, and zeros elsewhere.
    fn diag_embed(&self, offset: isize) -> Result<Self> {
        Self::try_apply(DiagEmbed { offset }, &[self])
    }

    UnfoldAxis:
    /// Windows that slide along an axis, with their elements as a new last axis
    /// (the method `unfold` of PyTorch's tensors).
    fn unfold_axis(&self, axis: isize, size: usize, step: usize) -> Result<Self> {
        Self::try_apply(UnfoldAxis { axis, size, step }, &[self])
    }

    Unfold:
    /// Each window over images `[N, C, height, width]` as a column of `[N, C · taps,
    /// windows]` (im2col).
    fn unfold(&self, options: UnfoldOptions) -> Result<Self> {
        batched(self, 4, |x| Self::try_apply(Unfold { options }, &[x]))
    }

    Fold:
    /// Adds columns like those of [`unfold`](Ops::unfold) up to images of
    /// `output_size` (col2im).
    fn fold(&self, output_size: [usize; 2], options: UnfoldOptions) -> Result<Self> {
        batched(self, 3, |x| Self::try_apply(Fold { output_size, options }, &[x]))
    }

    Interpolate:
    /// Resizes the axes after `[N, C]`; see [`Interpolate`].
    fn interpolate(&self, to: &Interpolate) -> Result<Self> {
        Self::try_apply(to.clone(), &[self])
    }

    GridSample:
    /// The elements of images `[N, C, H, W]` at the coordinates of a grid `[N,
    /// rows, columns, 2]`, whose x and y range from −1 to 1, or of volumes `[N,
    /// C, D, H, W]` at those of a grid `[N, slices, rows, columns, 3]`; see
    /// [`GridSampleOptions`].
    fn grid_sample(&self, grid: &Self, options: GridSampleOptions) -> Result<Self> {
        Self::try_apply(GridSample { options }, &[self, grid])
    }

    // Composed of other operations, so they have no gradients of their own.
    =>

    /// x limited to 0 ..= 6.
    fn relu6(&self) -> Self { self.hardtanh(0.0, 6.0) }

    /// The larger of x and a bound; where the bound is taken, the gradient is
    /// 0.
    fn clamp_min(&self, low: f64) -> Self { self.clamp(low, f64::INFINITY) }

    /// The smaller of x and a bound; where the bound is taken, the gradient is
    /// 0.
    fn clamp_max(&self, high: f64) -> Self { self.clamp(f64::NEG_INFINITY, high) }

    /// The first half of an axis times the logistic function of the second
    /// (Dauphin et al., 2017).
    fn glu(&self, axis: isize) -> Result<Self> {
        let shape = self.value().shape();
        let length = shape[shape.axis("glu", axis)?];
        if !length.is_multiple_of(2) {
            let message = format!("expected an even length of axis {axis}, got shape {shape}");
            return Err(Error::shape("glu", message));
        }
        let gate = self.narrow(axis, length / 2, length / 2)?.sigmoid();
        self.narrow(axis, 0, length / 2)?.mul(&gate)
    }

    /// [`softmax`](Ops::softmax) of −x.
    fn softmin(&self, axis: isize) -> Result<Self> { self.neg().softmax(axis) }

    /// `self + weight · (end − self)`.
    fn lerp(&self, end: &Self, weight: f64) -> Result<Self> {
        self.add(&end.sub(self)?.mul_scalar(weight))
    }

    /// `self + value · a · b`.
    fn addcmul(&self, a: &Self, b: &Self, value: f64) -> Result<Self> {
        self.add(&a.mul(b)?.mul_scalar(value))
    }

    /// `self + value · a / b`.
    fn addcdiv(&self, a: &Self, b: &Self, value: f64) -> Result<Self> {
        self.add(&a.div(b)?.mul_scalar(value))
    }

    /// The sum of all elements, as a scalar.
    fn sum(&self) -> Self {
        Self::apply(Sum { axes: self.value().shape().all_axes(), keep: false }, &[self])
    }

    /// The mean of all elements, as a scalar; NaN for no elements.
    fn mean(&self) -> Self {
        self.sum().mul_scalar(1.0 / self.value().len() as f64)
    }

    /// The mean over some axes.
    fn mean_axes(&self, axes: &[isize], keep: bool) -> Result<Self> {
        let count = self.value().shape().count("mean_axes", axes)?;
        Ok(self.sum_axes(axes, keep)?.mul_scalar(1.0 / count as f64))
    }

    /// The variance over some axes: the sum of squared distances from the mean,
    /// divided by their number less `correction` (1 for the unbiased estimate,
    /// 0 for the plain mean, or any other number). The divisor is at least 0.
    fn var_axes(
        &self,
        axes: &[isize],
        correction: impl Into<f64>,
        keep: bool,
    ) -> Result<Self> {
        let count = self.value().shape().count("var_axes", axes)? as f64 - correction.into();
        let squares = self.sub(&self.mean_axes(axes, true)?)?.square();
        Ok(squares.sum_axes(axes, keep)?.mul_scalar(1.0 / count.max(0.0)))
    }

    /// The sum over some axes of the elements that are not NaN.
    fn nansum_axes(&self, axes: &[isize], keep: bool) -> Result<Self> {
        self.masked_fill(&self.value().isnan(), 0.0)?.sum_axes(axes, keep)
    }

    /// The sum of all elements that are not NaN, as a scalar.
    fn nansum(&self) -> Self { self.over_all(Self::nansum_axes) }

    /// The mean over some axes of the elements that are not NaN; NaN if there
    /// are none.
    fn nanmean_axes(&self, axes: &[isize], keep: bool) -> Result<Self> {
        let numbers = self.value().isnan().logical_not().cast::<Self::Element>();
        self.nansum_axes(axes, keep)?.div(&Self::constant(numbers.sum_axes(axes, keep)?))
    }

    /// The mean of all elements that are not NaN, as a scalar.
    fn nanmean(&self) -> Self { self.over_all(Self::nanmean_axes) }

    /// The product of all elements, as a scalar.
    fn prod(&self) -> Self { self.over_all(Self::prod_axes) }

    /// The largest element, as a scalar; equal ones share the gradient. An
    /// error for no elements.
    fn max(&self) -> Result<Self> { self.max_axes(&self.value().shape().all_axes(), false) }

    /// The smallest element, as a scalar; equal ones share the gradient. An
    /// error for no elements.
    fn min(&self) -> Result<Self> { self.min_axes(&self.value().shape().all_axes(), false) }

    /// The variance of all elements; see [`var_axes`](Ops::var_axes).
    fn var(&self, correction: impl Into<f64>) -> Self {
        let correction = correction.into();
        self.over_all(|x, axes, keep| x.var_axes(axes, correction, keep))
    }

    /// The standard deviation over some axes, the root of the variance; where
    /// it is 0, its gradient is 0.
    fn std_axes(
        &self,
        axes: &[isize],
        correction: impl Into<f64>,
        keep: bool,
    ) -> Result<Self> {
        let count = self.value().shape().count("std_axes", axes)? as f64 - correction.into();
        let distance = self.sub(&self.mean_axes(axes, true)?)?.norm_axes(2.0, axes, keep)?;
        Ok(distance.mul_scalar(1.0 / count.max(0.0).sqrt()))
    }

    /// The standard deviation of all elements; see [`std_axes`](Ops::std_axes).
    fn std(&self, correction: impl Into<f64>) -> Self {
        let correction = correction.into();
        self.over_all(|x, axes, keep| x.std_axes(axes, correction, keep))
    }

    /// The norm of all elements, taken as one vector; see
    /// [`norm_axes`](Ops::norm_axes).
    fn norm(&self, p: f64) -> Result<Self> {
        self.norm_axes(p, &self.value().shape().all_axes(), false)
    }

    /// A reduction over all axes, for reductions that are defined for no
    /// elements.
    #[doc(hidden)]
    fn over_all(&self, reduction: impl Fn(&Self, &[isize], bool) -> Result<Self>) -> Self {
        let axes = self.value().shape().all_axes();
        reduction(self, &axes, false).expect("a tensor has all of its axes")
    }

    /// Divides by the norm along an axis, or by `epsilon` if that is larger.
    fn normalize(&self, p: f64, axis: isize, epsilon: f64) -> Result<Self> {
        self.div(&self.norm_axes(p, &[axis], true)?.clamp_min(epsilon))
    }

    /// The cosine of the angle between vectors along an axis of the shape that
    /// both broadcast to; norms below `epsilon` count as `epsilon`.
    fn cosine_similarity(&self, other: &Self, axis: isize, epsilon: f64) -> Result<Self> {
        let shape = self.value().shape().broadcast(other.value().shape(), "cosine_similarity")?;
        shape.along("cosine_similarity", axis)?;
        let unit = |x: &Self| x.broadcast_to(shape.clone())?.normalize(2.0, axis, epsilon);
        unit(self)?.mul(&unit(other)?)?.sum_axes(&[axis], false)
    }

    order_functions! {}

    quantile_functions! {}

    statistics_functions! {}

    /// A sum over products (Einstein's summation convention). The equation,
    /// such as `"bij,bjk->bik"`, names the axes of all operands and of the
    /// result, and the sum is over the names that are not in the result. A name
    /// that occurs twice in an operand means its diagonal, and `...` stands for
    /// axes without a name. Without `->`, the names that occur once are those
    /// of the result, in alphabetical order.
    ///
    /// ```
    /// use dendra_tensor::{Ops, Tensor};
    ///
    /// let x = Tensor::from([[1.0, 2.0], [3.0, 4.0_f32]]);
    /// assert_eq!(Tensor::einsum("ii->", &[&x]).unwrap(), Tensor::scalar(5.0));
    /// assert_eq!(Tensor::einsum("ij,kj->ik", &[&x, &x]).unwrap().to_vec(), [5., 11., 11., 25.]);
    /// ```
    fn einsum(equation: &str, operands: &[&Self]) -> Result<Self> {
        products::einsum(equation, operands)
    }

    /// The sum over pairs of axes, each of one axis of `self` and one of
    /// `other`.
    fn tensordot(&self, other: &Self, axes: &[isize], others: &[isize]) -> Result<Self> {
        products::tensordot(self, other, axes, others)
    }

    /// The Kronecker product: each element of `self` times all of `other`.
    fn kron(&self, other: &Self) -> Result<Self> { products::kron(self, other) }

    /// The products of each element of one vector with each element of another.
    fn outer(&self, other: &Self) -> Result<Self> {
        products::check_ranks("outer", [self, other], [1; 2])?;
        self.unsqueeze(1)?.mul(other)
    }

    /// The scalar product of two vectors.
    fn dot(&self, other: &Self) -> Result<Self> {
        products::check_ranks("dot", [self, other], [1; 2])?;
        self.matmul(other)
    }

    /// The products of the matrices of two batches `[N, m, k]` and `[N, k, n]`:
    /// [`matmul`](Ops::matmul) without broadcasting.
    fn bmm(&self, other: &Self) -> Result<Self> {
        products::check_ranks("bmm", [self, other], [3; 2])?;
        let [a, b] = [self, other].map(|x| x.value().shape());
        if a[0] != b[0] {
            return Err(Error::shape("bmm", format!("the batches of {a} and {b} differ")));
        }
        self.matmul(other)
    }

    /// The sum of a matrix's main diagonal.
    fn trace(&self) -> Result<Self> {
        products::check_ranks("trace", [self, self], [2; 2])?;
        Ok(self.diagonal(0, 0, 1)?.sum())
    }

    /// The cross product along an axis of length 3.
    fn cross(&self, other: &Self, axis: isize) -> Result<Self> {
        let [a, b] = [self, other].map(|x| x.value().shape());
        if a[a.axis("cross", axis)?] != 3 || b[b.axis("cross", axis)?] != 3 {
            let message = format!("expected length 3 for axis {axis} of {a} and {b}");
            return Err(Error::shape("cross", message));
        }
        let turned = |x: &Self, shift| x.roll(shift, axis);
        let forth = turned(self, -1)?.mul(&turned(other, -2)?)?;
        forth.sub(&turned(self, -2)?.mul(&turned(other, -1)?)?)
    }

    /// The distances, in the p-norm, from each row of `[…, n, d]` to each row
    /// of `[…, m, d]`.
    fn cdist(&self, other: &Self, p: f64) -> Result<Self> {
        let distances = self.unsqueeze(-2)?.sub(&other.unsqueeze(-3)?)?;
        // Rows without elements have the distance 0, which only a sum gives.
        let p = if distances.value().shape().last() == Some(&0) { 1.0 } else { p };
        distances.norm_axes(p, &[-1], false)
    }

    /// The distances, in the p-norm, between all pairs of rows of `[n, d]`:
    /// from the first row to each later one, then from the second, n·(n − 1) /
    /// 2 in all.
    fn pdist(&self, p: f64) -> Result<Self> {
        products::check_ranks("pdist", [self, self], [2; 2])?;
        let rows = self.value().shape()[0];
        let pairs = (0..rows).flat_map(|i| (i + 1..rows).map(move |j| (i, j)));
        let (first, second): (Vec<usize>, Vec<usize>) = pairs.unzip();
        let differences = self.index_select(0, &first)?.sub(&self.index_select(0, &second)?)?;
        differences.norm_axes(p, &[-1], false)
    }

    /// ln Σ exp(x) along an axis, without overflow; −∞ for no elements.
    fn logsumexp(&self, axis: isize, keep: bool) -> Result<Self> {
        self.value().shape().along("logsumexp", axis)?;
        let max = reduce::forward(self.value(), &[axis], true, Number::LOWEST, largest());
        let max = Self::constant(max.map(|x| if x.is_finite() { x } else { Number::ZERO }));
        let sum = self.sub(&max)?.exp().sum_axes(&[axis], true)?.ln().add(&max)?;
        if keep { Ok(sum) } else { sum.squeeze(axis) }
    }

    /// The convolution of sequences `[N, in, length]` with a weight `[out,
    /// in / groups, kernel]`, plus a bias `[out]`.
    fn conv1d(
        &self,
        weight: &Self,
        bias: Option<&Self>,
        options: ConvOptions<1>,
    ) -> Result<Self> {
        lifted::conv(self, weight, bias, options)
    }

    /// The convolution of volumes `[N, in, depth, height, width]` with a weight
    /// `[out, in / groups, kernel depth, height, width]`, plus a bias `[out]`.
    fn conv3d(
        &self,
        weight: &Self,
        bias: Option<&Self>,
        options: ConvOptions<3>,
    ) -> Result<Self> {
        lifted::conv(self, weight, bias, options)
    }

    /// [`conv_transpose2d`](Ops::conv_transpose2d) of sequences `[N, in,
    /// length]` with a weight `[in, out / groups, kernel]`.
    fn conv_transpose1d(
        &self,
        weight: &Self,
        bias: Option<&Self>,
        options: ConvTransposeOptions<1>,
    ) -> Result<Self> {
        lifted::conv_transpose(self, weight, bias, options)
    }

    /// [`conv_transpose2d`](Ops::conv_transpose2d) of volumes `[N, in, depth,
    /// height, width]` with a weight `[in, out / groups, kernel depth, height,
    /// width]`.
    fn conv_transpose3d(
        &self,
        weight: &Self,
        bias: Option<&Self>,
        options: ConvTransposeOptions<3>,
    ) -> Result<Self> {
        lifted::conv_transpose(self, weight, bias, options)
    }

    /// [`max_pool2d`](Ops::max_pool2d) of sequences `[N, C, length]`.
    fn max_pool1d(&self, options: PoolOptions<1>) -> Result<Self> {
        lifted::max_pool(self, options)
    }

    /// [`avg_pool2d`](Ops::avg_pool2d) of sequences `[N, C, length]`.
    fn avg_pool1d(&self, options: PoolOptions<1>, count_include_pad: bool) -> Result<Self> {
        lifted::avg_pool(self, options, count_include_pad, None)
    }

    /// [`max_pool2d`](Ops::max_pool2d) of volumes `[N, C, depth, height, width]`.
    fn max_pool3d(&self, options: PoolOptions<3>) -> Result<Self> {
        lifted::max_pool(self, options)
    }

    /// [`avg_pool2d`](Ops::avg_pool2d) of volumes `[N, C, depth, height, width]`.
    fn avg_pool3d(&self, options: PoolOptions<3>, count_include_pad: bool) -> Result<Self> {
        lifted::avg_pool(self, options, count_include_pad, None)
    }

    /// [`adaptive_avg_pool2d`](Ops::adaptive_avg_pool2d) of volumes `[N, C,
    /// depth, height, width]`.
    fn adaptive_avg_pool3d(&self, output_size: [usize; 3]) -> Result<Self> {
        lifted::adaptive_avg_pool(self, output_size)
    }

    /// [`adaptive_max_pool2d`](Ops::adaptive_max_pool2d) of volumes `[N, C,
    /// depth, height, width]`.
    fn adaptive_max_pool3d(&self, output_size: [usize; 3]) -> Result<Self> {
        lifted::adaptive_max_pool(self, output_size)
    }

    /// [`adaptive_avg_pool2d`](Ops::adaptive_avg_pool2d) of sequences `[N, C,
    /// length]`.
    fn adaptive_avg_pool1d(&self, output_size: usize) -> Result<Self> {
        lifted::adaptive_avg_pool(self, [output_size])
    }

    /// [`adaptive_max_pool2d`](Ops::adaptive_max_pool2d) of sequences `[N, C,
    /// length]`.
    fn adaptive_max_pool1d(&self, output_size: usize) -> Result<Self> {
        lifted::adaptive_max_pool(self, [output_size])
    }

    /// The grid of [`grid_sample`](Ops::grid_sample) that maps images of
    /// `[height, width]` by these matrices `[N, 2, 3]`, as `[N, height, width,
    /// 2]`: (x, y, 1) of each pixel times the matrix. Volumes of `[depth, height,
    /// width]` take matrices `[N, 3, 4]`, for (x, y, z, 1).
    fn affine_grid(&self, output_size: impl AsRef<[usize]>, align_corners: bool) -> Result<Self> {
        grid_sample::affine_grid(self, output_size.as_ref(), align_corners)
    }

    /// Distributes channels over squares of `factor` × `factor` pixels: `[…, C ·
    /// factor², H, W]` becomes `[…, C, H · factor, W · factor]`.
    fn pixel_shuffle(&self, factor: usize) -> Result<Self> {
        pixels::shuffle(self, factor)
    }

    /// The inverse of [`pixel_shuffle`](Ops::pixel_shuffle).
    fn pixel_unshuffle(&self, factor: usize) -> Result<Self> {
        pixels::unshuffle(self, factor)
    }

    /// Reorders the channels of `[N, C, …]`, so that each of `groups` groups of
    /// adjacent channels then has channels of all previous groups (Zhang et
    /// al., "ShuffleNet", 2018).
    fn channel_shuffle(&self, groups: usize) -> Result<Self> {
        pixels::shuffle_channels(self, groups)
    }

    /// Swaps two axes.
    fn transpose(&self, first: isize, second: isize) -> Result<Self> {
        let shape = self.value().shape();
        let (first, _) = shape.along("transpose", first)?;
        let (second, _) = shape.along("transpose", second)?;
        if first == second {
            return Ok(self.clone());
        }
        let mut axes = shape.all_axes();
        axes.swap(first, second);
        self.permute(&axes)
    }

    /// Merges the axes from `start` to `end` (inclusive) into one.
    fn flatten(&self, start: isize, end: isize) -> Result<Self> {
        self.reshape(self.value().shape().flattened(start, end)?)
    }

    /// Removes an axis of length 1.
    fn squeeze(&self, axis: isize) -> Result<Self> {
        self.reshape(self.value().squeeze(axis)?.shape())
    }

    /// Inserts a new axis of length 1 before `axis`; −1 appends it.
    fn unsqueeze(&self, axis: isize) -> Result<Self> {
        self.reshape(self.value().unsqueeze(axis)?.shape())
    }

    /// The `length` indices of an axis from `start` on.
    fn narrow(&self, axis: isize, start: usize, length: usize) -> Result<Self> {
        self.value().narrow(axis, start, length)?;
        self.slice(axis, start as isize, Some((start + length) as isize), 1)
    }

    slicing_functions! {}

    get_functions! {}

    arithmetic_functions! {}

    addmm_functions! {}

    indexing_functions! {}

    accumulating_functions! {}

    stacking_functions! {}

    sections_functions! {}

    combination_functions! {}

    /// Replaces elements by a value where a mask is true; both broadcast.
    fn masked_fill(&self, mask: &Tensor<bool>, value: f64) -> Result<Self> {
        Self::constant(Tensor::scalar(Number::from_f64(value))).where_mask(mask, self)
    }

    /// Replaces elements by a value at some indices of an axis.
    fn index_fill(&self, axis: isize, indices: &[usize], value: f64) -> Result<Self> {
        let shape = self.value().shape();
        let (_, slices) = shape.selected("index_fill", axis, indices)?;
        let values = Self::constant(Tensor::full(slices, Number::from_f64(value)));
        self.index_copy(axis, indices, &values)
    }

    /// A copy with the sum, product, mean, maximum or minimum of the slices of
    /// `source` at each index of an axis; with `include_self` the slice at that
    /// index is included.
    fn index_reduce(
        &self,
        axis: isize,
        indices: &[usize],
        source: &Self,
        reduction: ScatterReduction,
        include_self: bool,
    ) -> Result<Self> {
        let shape = self.value().shape();
        let (along, slices) = shape.selected("index_reduce", axis, indices)?;
        indexing::check_source("index_reduce", &slices, source.value().shape())?;
        let index = indexing::column(along, indices, &slices)?;
        self.scatter_reduce(axis, &index, source, reduction, include_self)
    }

    /// Joins values of one shape along a new axis.
    fn stack(values: &[&Self], axis: isize) -> Result<Self> {
        let Some(first) = values.first() else {
            return Err(Error::argument("stack", "expected at least one value, got none"));
        };
        let axis = first.value().unsqueezed_axis("stack", axis)? as isize;
        let unsqueezed: Vec<Self> =
            values.iter().map(|value| value.unsqueeze(axis)).collect::<Result<_>>()?;
        Self::cat(&unsqueezed.iter().collect::<Vec<_>>(), axis)
    }
}

impl Shape {
    /// The number of elements that a reduction over `axes` combines.
    fn count(&self, context: &str, axes: &[isize]) -> Result<usize> {
        Ok(self.axes(context, axes)?.iter().map(|&axis| self[axis]).product())
    }
}
