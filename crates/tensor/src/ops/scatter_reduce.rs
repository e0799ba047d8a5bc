//! Combining elements at positions given by an index: their sum, product, mean,
//! maximum or minimum.

use super::broadcast::zip;
use super::layout::sample;
use super::scan::doubled;
use super::scatter::{checked_axis, into_source, scattered, source_gradient_term, targets};
use super::{Attributes, Call, Cotangents, Op, Ops, Term, TermCall, TermCotangents};
use crate::element::{Element, Float};
use crate::error::Result;
use crate::shape::Shape;
use crate::tensor::Tensor;

/// How several elements at one position are combined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScatterReduction {
    /// Their sum.
    Sum,
    /// Their product.
    Prod,
    /// Their mean.
    Mean,
    /// The largest (PyTorch's `amax`); equal elements share the gradient.
    Max,
    /// The smallest (PyTorch's `amin`); equal elements share the gradient.
    Min,
}

/// Combines elements at the positions that an index gives along an axis. Other
/// positions are left as they are.
#[derive(Clone, Debug)]
pub struct ScatterReduce {
    /// The axis.
    pub axis: isize,
    /// For every element of the source its coordinate along the axis.
    pub index: Tensor<i64>,
    /// How several elements at one position are combined.
    pub reduction: ScatterReduction,
    /// Whether the element that is already there is included.
    pub include_self: bool,
}

const CHECKED: &str = "the shape rule accepted the inputs";

impl ScatterReduce {
    fn along(&self, shape: &Shape) -> usize {
        shape.along("scatter_reduce", self.axis).expect(CHECKED).0
    }

    /// The elements of `x`, with `value` at the positions of the index unless
    /// the elements there are included.
    fn start<T: Element>(&self, x: &Tensor<T>, value: T) -> Tensor<T> {
        match self.include_self {
            true => x.clone(),
            false => {
                let values = Tensor::scalar(value).stretched(self.index.shape().clone());
                x.scatter(self.axis, &self.index, &values).expect(CHECKED)
            }
        }
    }

    /// `start` combined with all elements of the source.
    fn fold<T: Element>(
        &self,
        start: &Tensor<T>,
        source: &Tensor<T>,
        fold: impl Fn(T, T) -> T,
    ) -> Tensor<T> {
        scattered(start, self.along(start.shape()), &self.index, source, fold)
    }

    /// The number of elements that are combined at each position.
    fn counts<T: Float>(&self, shape: &Shape) -> Tensor<T> {
        let one = Tensor::scalar(T::ONE);
        let start = self.start(&one.stretched(shape.clone()).contiguous(), T::ZERO);
        self.fold(&start, &one.stretched(self.index.shape().clone()), |sum, x| sum + x)
    }

    fn gather<T: Element>(&self, x: &Tensor<T>) -> Tensor<T> {
        x.gather(self.axis, &self.index).expect(CHECKED)
    }

    /// The elements of the source that the index covers.
    fn covered<T: Element>(&self, source: &Tensor<T>) -> Tensor<T> {
        let axes = self.index.shape().iter().enumerate();
        let covered = axes.fold(source.at_least_vector(), |source, (axis, &size)| {
            source.narrow(axis as isize, 0, size).expect(CHECKED)
        });
        covered.reshape(self.index.shape()).expect("the same elements")
    }

    /// The gradients of the tensor and of the covered part of the source.
    fn gradients<T: Float>(&self, call: &Call<'_, T, ()>) -> [Tensor<T>; 2] {
        let (x, g) = (&call.inputs[0], &call.cotangent);
        let source = self.covered(&call.inputs[1]);
        match self.reduction {
            ScatterReduction::Sum => [g.clone(), self.gather(g)],
            ScatterReduction::Mean => {
                let share = zip(g, &self.counts(x.shape()), g.shape(), |g, n| g / n);
                let gathered = self.gather(&share);
                [share, gathered]
            }
            ScatterReduction::Prod => self.product_gradients(x, &source, g),
            ScatterReduction::Max | ScatterReduction::Min => {
                let equal = |a: T, b: T| if a == b { T::ONE } else { T::ZERO };
                let own = self.start(&zip(x, call.output, x.shape(), equal), T::ZERO);
                let others = zip(&source, &self.gather(call.output), source.shape(), equal);
                let winners = self.fold(&own, &others, |sum, x| sum + x);
                // No element equals a NaN, so the share of each is NaN.
                let share = zip(g, &winners, g.shape(), |g, n| g / n);
                let gathered = self.gather(&share);
                [&own * &share, &others * &gathered]
            }
        }
    }

    /// The gradient of a factor is the product of the factors before it and
    /// after it; the tensor's own element is the first factor. A quotient would
    /// fail where a factor or the product is 0, underflows or overflows.
    fn product_gradients<T: Float>(
        &self,
        x: &Tensor<T>,
        source: &Tensor<T>,
        g: &Tensor<T>,
    ) -> [Tensor<T>; 2] {
        let targets = targets(x.shape(), self.along(x.shape()), &self.index);
        let values = source.to_vec();
        let mut product = self.start(x, T::ONE).to_vec();
        let mut others = Vec::with_capacity(values.len());
        for (&target, &value) in targets.iter().zip(&values) {
            others.push(product[target]);
            product[target] *= value;
        }
        product.fill(T::ONE);
        for ((&target, &value), other) in targets.iter().zip(&values).zip(&mut others).rev() {
            *other *= product[target];
            product[target] *= value;
        }
        let [own, others] = [(product, x.shape()), (others, source.shape())]
            .map(|(values, shape)| Tensor::from_fn(shape, |i| values[i]));
        [&own * g, &others * &self.gather(g)]
    }
}

impl ScatterReduce {
    /// The products, composed of other operations: the factors of each position
    /// are put next to each other, and the last running product is the result.
    fn product<T: Float>(&self, x: &Term<T>, source: &Term<T>) -> Result<Term<T>> {
        let targets = targets(x.shape(), self.along(x.shape()), &self.index);
        let mut order: Vec<usize> = (0..targets.len()).collect();
        order.sort_by_key(|&position| targets[position]);
        let targets: Vec<usize> = order.iter().map(|&position| targets[position]).collect();

        let source = source.reshape(source.shape().at_least_vector())?;
        let mut axes = self.index.shape().iter().enumerate();
        let covered = axes
            .try_fold(source, |source, (axis, &length)| source.narrow(axis as isize, 0, length))?;
        let factors = covered.reshape([order.len()])?.index_select(0, &order)?;
        let one = Term::constant(Tensor::scalar(T::ONE));
        let products = doubled(&factors, 0, |early, late| {
            let pairs = targets.iter().zip(&targets[targets.len() - early.shape()[0]..]);
            let same: Vec<bool> = pairs.map(|(early, late)| early == late).collect();
            late.mul(&early.where_mask(&Tensor::from_fn([same.len()], |i| same[i]), &one)?)
        })?;

        let last = (0..targets.len()).filter(|&i| targets.get(i + 1) != Some(&targets[i]));
        let last: Vec<usize> = last.collect();
        let positions: Vec<usize> = last.iter().map(|&i| targets[i]).collect();
        let ones = Term::constant(Tensor::ones([x.shape().elements()]));
        let products = ones.index_copy(0, &positions, &products.index_select(0, &last)?)?;
        let products = products.reshape(x.shape().clone())?;
        match self.include_self {
            true => x.mul(&products),
            false => {
                let ones = Term::constant(Tensor::ones(self.index.shape()));
                x.scatter(self.axis, &self.index, &ones)?.mul(&products)
            }
        }
    }
}

impl<T: Float> Op<T> for ScatterReduce {
    type Saved = ();
    const NAME: &'static str = "scatter_reduce";

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        checked_axis("scatter_reduce", inputs[0], self.axis, &self.index, inputs[1])?;
        Ok(inputs[0].clone())
    }

    #[inline(never)]
    fn forward(&self, inputs: &[&Tensor<T>]) -> (Tensor<T>, ()) {
        let (x, source) = (inputs[0], inputs[1]);
        let from = |identity| self.start(x, identity);
        let result = match self.reduction {
            ScatterReduction::Sum => self.fold(&from(T::ZERO), source, |a, b| a + b),
            ScatterReduction::Prod => self.fold(&from(T::ONE), source, |a, b| a * b),
            ScatterReduction::Mean => {
                let sum = self.fold(&from(T::ZERO), source, |a, b| a + b);
                zip(&sum, &self.counts(x.shape()), x.shape(), |sum, n| sum / n)
            }
            ScatterReduction::Max => self.fold(&from(T::LOWEST), source, T::max_nan),
            ScatterReduction::Min => self.fold(&from(T::HIGHEST), source, T::min_nan),
        };
        (result, ())
    }

    #[inline(never)]
    fn vjp(&self, call: Call<'_, T, ()>) -> Cotangents<T> {
        let [own, source] = self.gradients(&call);
        call.each(|input| match input {
            // The tensor's own elements are not included at the positions of
            // the index.
            0 => self.start(&own, T::ZERO),
            _ => into_source(call.inputs[1].shape(), &source),
        })
    }

    fn vjp_terms(&self, call: TermCall<'_, T, ()>) -> Result<TermCotangents<T>> {
        if self.reduction == ScatterReduction::Prod {
            return call.compose(|inputs| self.product(&inputs[0], &inputs[1]));
        }
        // The share of each element is piecewise constant.
        let [x, source] = [0, 1].map(|input| call.inputs[input].value().clone());
        let cotangent = Tensor::ones(x.shape());
        let (inputs, output, needs) = (&[x, source][..], call.output.value(), call.needs);
        let weights = Call { inputs, output, saved: &(), needs, cotangent };
        let [own, others] = self.gradients(&weights);
        let g = call.cotangent;
        call.each(|input| match input {
            0 => g.mul(&Term::constant(self.start(&own, T::ZERO))),
            _ => {
                let weights = Term::constant(into_source(call.inputs[1].shape(), &others));
                let shape = call.inputs[1].shape();
                source_gradient_term(shape, self.axis, &self.index, g)?.mul(&weights)
            }
        })
    }

    fn attributes(&self) -> Attributes {
        let reduction = match self.reduction {
            ScatterReduction::Sum => "sum",
            ScatterReduction::Prod => "prod",
            ScatterReduction::Mean => "mean",
            ScatterReduction::Max => "amax",
            ScatterReduction::Min => "amin",
        };
        vec![
            ("axis", self.axis.into()),
            ("index", (&self.index).into()),
            ("reduction", reduction.into()),
            ("include_self", self.include_self.into()),
        ]
    }

    fn samples() -> Vec<(Self, Vec<Tensor<T>>)> {
        use ScatterReduction::*;
        // No two elements at the same position are equal.
        let other = |x: Tensor<T>| x.map(|x| x * T::from_f64(0.7) + T::from_f64(0.3));
        let pair = |a: &[usize], b: &[usize]| {
            sample(a).into_iter().chain(sample(b).into_iter().map(other)).collect()
        };
        let twice = Tensor::from([[2, 2, 0], [1, 3, 1_i64]]);
        let mut samples = Vec::new();
        for reduction in [Sum, Prod, Mean, Max, Min] {
            for include_self in [true, false] {
                let case = |axis, index| Self { axis, index, reduction, include_self };
                samples.push((case(1, twice.clone()), pair(&[3, 4], &[2, 4])));
                samples.push((case(0, twice.clone()), pair(&[4, 3], &[2, 3])));
                samples.push((case(0, Tensor::zeros([0, 2])), pair(&[3, 2], &[0, 2])));
                samples.push((case(0, Tensor::scalar(0)), pair(&[], &[])));
                samples.push((case(0, Tensor::zeros([1])), pair(&[], &[])));
            }
        }
        samples
    }
}

#[cfg(test)]
mod tests {
    use super::super::Ops;
    use super::*;

    #[test]
    fn elements_that_meet_are_reduced() {
        use ScatterReduction::*;
        let x = Tensor::from([5.0, 1.0, -3.0, 7.0]);
        let index = Tensor::from([0, 0, 2_i64]);
        let source = Tensor::from([2.0, 6.0, -4.0]);
        let reduce = |reduction, include_self| {
            x.scatter_reduce(0, &index, &source, reduction, include_self).unwrap().to_vec()
        };
        assert_eq!(reduce(Sum, true), [13.0, 1.0, -7.0, 7.0]);
        assert_eq!(reduce(Sum, false), [8.0, 1.0, -4.0, 7.0]);
        assert_eq!(reduce(Prod, true), [60.0, 1.0, 12.0, 7.0]);
        assert_eq!(reduce(Prod, false), [12.0, 1.0, -4.0, 7.0]);
        assert_eq!(reduce(Mean, true), [13.0 / 3.0, 1.0, -3.5, 7.0]);
        assert_eq!(reduce(Mean, false), [4.0, 1.0, -4.0, 7.0]);
        assert_eq!(reduce(Max, true), [6.0, 1.0, -3.0, 7.0]);
        assert_eq!(reduce(Max, false), [6.0, 1.0, -4.0, 7.0]);
        assert_eq!(reduce(Min, true), [2.0, 1.0, -4.0, 7.0]);
        let nan = Tensor::from([f64::NAN, 6.0, -4.0]);
        assert!(x.scatter_reduce(0, &index, &nan, Max, true).unwrap().to_vec()[0].is_nan());
        let error = x.scatter_reduce(0, &index, &Tensor::zeros([2]), Sum, true).unwrap_err();
        assert!(error.to_string().starts_with("scatter_reduce: an index of shape [3]"), "{error}");
    }

    /// The gradients of the results of elements 0, 1 and 2, 3 of the source with the
    /// first two elements of x.
    fn gradients<T: Float>(
        reduction: ScatterReduction,
        x: Tensor<T>,
        source: [T; 4],
    ) -> [Vec<T>; 2] {
        let index = Tensor::from([0, 0, 1, 1_i64]);
        let operation = ScatterReduce { axis: 0, index, reduction, include_self: true };
        let inputs = [x, Tensor::from(source)];
        let (output, ()) = operation.forward(&inputs.each_ref());
        let cotangent = Tensor::ones(output.shape());
        let needs = &[true, true];
        let call = Call { inputs: &inputs, output: &output, saved: &(), needs, cotangent };
        let gradients = operation.vjp(call);
        [0, 1].map(|input| gradients[input].as_ref().unwrap().to_vec())
    }

    #[test]
    fn equal_extremes_share_the_gradient() {
        let x = Tensor::from([2.0, 5.0]);
        let [of_x, of_source] = gradients(ScatterReduction::Max, x, [1.0, 2.0, 7.0, 7.0]);
        assert_eq!((of_x, of_source), (vec![0.5, 0.0], vec![0.0, 0.5, 0.5, 0.5]));
    }

    /// A product's gradient where factors are 0, by its definition.
    #[test]
    fn a_factor_of_zero_has_the_gradient_of_the_others() {
        let found =
            gradients(ScatterReduction::Prod, Tensor::from([3.0, 5.0]), [0.0, 2.0, 0.0, 0.0]);
        assert_eq!(found[0], [0.0, 0.0]);
        assert_eq!(found[1], [6.0, 0.0, 0.0, 0.0]);
    }

    /// Neither the product nor one over a factor is representable here.
    #[test]
    fn the_gradient_of_a_product_does_not_divide() {
        let x = Tensor::from([2.0, 1e-30_f32, 7.0]);
        let [of_x, of_source] = gradients(ScatterReduction::Prod, x, [1e-39, 3.0, 1e-30, 1e20]);
        let near = |found: Vec<f32>, expected: &[f32]| {
            let near = |(a, b): (f32, &f32)| (a - b).abs() <= 1e-5 * b.abs();
            assert!(found.iter().copied().zip(expected).all(near), "{found:?}, {expected:?}");
        };
        near(of_x, &[3e-39, 1e-10, 1.0]);
        near(of_source, &[6.0, 2e-39, 1e-10, 0.0]);
    }
}
