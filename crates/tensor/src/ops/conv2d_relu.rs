//! Convolution, ReLU and max pooling in one operation.

use super::conv2d::{Conv2d, Conv2dOptions};
use super::max_pool2d::{Pool2dOptions, image_indices, placed};
use super::per_sample::by_sample;
use super::{
    Attributes, Call, Cotangents, Op, Ops, SampleCotangents, Term, TermCall, TermCotangents,
};
use crate::buffer::Buffer;
use crate::element::Float;
use crate::error::Result;
use crate::kernels::convolution::{Convolution, add_up};
use crate::kernels::fold::fold_slice;
use crate::kernels::parallel::for_each_chunk;
use crate::kernels::quarters::{quarters_backward, quarters_forward};
use crate::kernels::simd;
use crate::shape::Shape;
use crate::tensor::Tensor;

/// `max_pool2d(relu(conv2d(x, W, b)))`, or without the pooling: the most
/// expensive part of a convolutional network.
///
/// All three are applied to each image while it is in a core's own cache, so
/// the output of the convolution, the largest tensor in such a network, is
/// never written to memory, nor is its gradient. The results are those of the
/// three separate operations, except that the gradient of the bias is summed in
/// another order.
#[derive(Clone, Copy, Debug, Default)]
pub struct Conv2dRelu {
    /// How the kernel moves.
    pub options: Conv2dOptions,
    /// Whether maxima over adjacent windows of 2×2 follow.
    pub max_pool: bool,
}

/// The saved value for a window whose largest element ReLU set to 0. Without
/// pooling, each window is one element.
const STOPPED: u8 = 4;

impl Conv2dRelu {
    fn conv2d(&self) -> Conv2d {
        Conv2d { options: self.options }
    }

    /// The convolution of inputs that match, and `[height, width]` of its
    /// output.
    fn problem(&self, inputs: &[&Shape]) -> (Convolution, [usize; 2]) {
        let (problem, shape) = self.conv2d().problem(inputs).expect("checked by the caller");
        (problem, [shape[2], shape[3]])
    }

    /// Applies ReLU and pooling to the images of a task.
    fn pool<T: Float>([height, width]: [usize; 2], x: &[T], y: &mut [T], maxima: &mut [u8]) {
        let (image, positions) = (height * width, (height / 2) * (width / 2));
        let outputs = y.chunks_exact_mut(positions).zip(maxima.chunks_exact_mut(positions));
        simd::dispatch(
            #[inline(always)]
            || {
                for (x, (y, maxima)) in x.chunks_exact(image).zip(outputs) {
                    quarters_forward(x, width, y, maxima);
                    for (y, maximum) in y.iter_mut().zip(maxima) {
                        *maximum = if *y <= T::ZERO { STOPPED } else { *maximum };
                        *y = y.max_nan(T::ZERO);
                    }
                }
            },
        );
    }

    /// Applies ReLU alone.
    fn relu<T: Float>(x: &[T], y: &mut [T], maxima: &mut [u8]) {
        simd::dispatch(
            #[inline(always)]
            || {
                for ((&x, y), maximum) in x.iter().zip(y).zip(maxima) {
                    *maximum = if x <= T::ZERO { STOPPED } else { 0 };
                    *y = x.max_nan(T::ZERO);
                }
            },
        );
    }

    /// The gradient of the convolution's output for some images, and its sums
    /// over each channel, which are computed while the images are in the
    /// first-level cache.
    fn unpool<T: Float>(
        &self,
        [height, width]: [usize; 2],
        g: &[T],
        maxima: &[u8],
        out: &mut [T],
        sums: &mut [T],
    ) {
        let image = height * width;
        let pooled = if self.max_pool { (height / 2) * (width / 2) } else { image };
        let outputs = maxima.chunks_exact(pooled).zip(g.chunks_exact(pooled));
        sums.fill(T::ZERO);
        simd::dispatch(
            #[inline(always)]
            || {
                for (index, (out, (maxima, g))) in
                    out.chunks_exact_mut(image).zip(outputs).enumerate()
                {
                    if self.max_pool {
                        quarters_backward(maxima, g, width, out);
                    } else {
                        for ((out, &maximum), &g) in out.iter_mut().zip(maxima).zip(g) {
                            *out = if maximum == STOPPED { T::ZERO } else { g };
                        }
                    }
                    sums[index % sums.len()] += fold_slice(
                        out,
                        T::ZERO,
                        #[inline(always)]
                        |a, b| a + b,
                    );
                }
            },
        );
    }
}

impl Conv2dRelu {
    /// The gradient of the convolution's output.
    fn before_relu<T: Float>(&self, call: &Call<'_, T, Tensor<u8>>) -> Tensor<T> {
        let shapes: Vec<&Shape> = call.inputs.iter().map(Tensor::shape).collect();
        let (_, sizes) = self.problem(&shapes);
        let channels = shapes[1][0];
        call.cotangent.with_slice(|g| {
            call.saved.with_slice(|maxima| {
                let shape = [shapes[0][0], channels, sizes[0], sizes[1]];
                Tensor::build(shape, |out| {
                    self.unpool(sizes, g, maxima, out, &mut vec![T::ZERO; channels]);
                })
            })
        })
    }
}

impl<T: Float> Op<T> for Conv2dRelu {
    /// For each window, the index of its largest element, or `STOPPED`, as
    /// one byte. This replaces reading the output again.
    type Saved = Tensor<u8>;
    const NAME: &'static str = "conv2d_relu";
    const PRODUCT_OPERANDS: u32 = 0b11;

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        let shape = Op::<T>::output_shape(&self.conv2d(), inputs)?;
        if !self.max_pool {
            return Ok(shape);
        }
        Ok(Pool2dOptions::new([2, 2]).windows("conv2d_relu", &shape)?.1)
    }

    fn vjp_per_sample(
        &self,
        call: Call<'_, T, Tensor<u8>>,
        samples: usize,
    ) -> Result<Option<SampleCotangents<T>>> {
        let g = self.before_relu(&call);
        Ok(self.conv2d().sample_gradients(call.inputs, call.needs, &g, samples))
    }

    fn sample_norms(&self, call: Call<'_, T, Tensor<u8>>, samples: usize) -> Option<Cotangents<T>> {
        if call.needs[0] || by_sample(&call.cotangent, samples)?.is_empty() {
            return None;
        }
        let shapes: Vec<&Shape> = call.inputs.iter().map(Tensor::shape).collect();
        let (problem, sizes) = self.problem(&shapes);
        let (channels, length) = (shapes[1][0], shapes[1].elements());
        let images = problem.images / samples;
        let image = channels * sizes[0] * sizes[1];
        let [x, g] = [&call.inputs[0], &call.cotangent].map(Tensor::contiguous);
        let [x, g] = [&x, &g].map(|tensor| tensor.as_slice().expect("made contiguous"));
        let maxima = call.saved.as_slice().expect("made contiguous");
        let (of_x, of_y) = (x.len() / samples, g.len() / samples);
        // The gradient of the convolution's output for a sample stays in the cache.
        let norms = Tensor::build([samples, 2], |norms| {
            let cost = images * image * problem.cost();
            for_each_chunk(norms, 2, cost, |sample, norms| {
                let part = |length: usize| sample * length..(sample + 1) * length;
                let mut buffer = Buffer::new(images * image + length + channels);
                let (cotangent, sums) = buffer.as_mut_slice().split_at_mut(images * image);
                let (weight, bias) = sums.split_at_mut(length);
                self.unpool(sizes, &g[part(of_y)], &maxima[part(of_y)], cotangent, bias);
                if call.needs[1] {
                    let problem = problem.of_images(images);
                    problem.weight_gradient_part(&x[part(of_x)], cotangent, 0..images, weight);
                }
                for (norm, sums) in norms.iter_mut().zip([weight, bias]) {
                    *norm = sums.iter().map(|&x| x * x).sum();
                }
            });
        });
        let column = |(index, &needed): (usize, &bool)| match needed {
            true => Some(Some(norms.narrow(1, index - 1, 1).ok()?.squeeze(1).ok()?)),
            false => Some(None),
        };
        call.needs.iter().enumerate().map(column).collect()
    }

    #[inline(never)]
    fn forward(&self, inputs: &[&Tensor<T>]) -> (Tensor<T>, Tensor<u8>) {
        let shapes: Vec<&Shape> = inputs.iter().map(|input| input.shape()).collect();
        let shape = Op::<T>::output_shape(self, &shapes).expect("checked by the caller");
        let (problem, sizes) = self.problem(&shapes);
        let inputs: Vec<Tensor<T>> = inputs.iter().map(|input| input.contiguous()).collect();
        let slices: Vec<&[T]> =
            inputs.iter().map(|input| input.as_slice().expect("made contiguous")).collect();
        let (operands, bias) = ([slices[0], slices[1]], slices.get(2).copied());
        Tensor::build_pair(&shape, &shape, |y, maxima| {
            problem.forward_through(operands, bias, (y, maxima), &|x, y, maxima| {
                if self.max_pool {
                    Self::pool(sizes, x, y, maxima);
                } else {
                    Self::relu(x, y, maxima);
                }
            });
        })
    }

    #[inline(never)]
    fn vjp(&self, call: Call<'_, T, Tensor<u8>>) -> Cotangents<T> {
        let shapes: Vec<&Shape> = call.inputs.iter().map(Tensor::shape).collect();
        let (problem, sizes) = self.problem(&shapes);
        let (channels, positions) = (shapes[1][0], sizes[0] * sizes[1]);
        let image = channels * positions;
        let [x, weight, g] =
            [&call.inputs[0], &call.inputs[1], &call.cotangent].map(Tensor::contiguous);
        let [x, weight, g] =
            [&x, &weight, &g].map(|tensor| tensor.as_slice().expect("made contiguous"));
        let maxima = call.saved.as_slice().expect("made contiguous");
        let (x_image, y_image) = (x.len() / problem.images.max(1), g.len() / problem.images.max(1));

        // Each part of the images is processed completely while it is in the
        // cache.
        let images = problem.images_per_part();
        let length = weight.len() + channels;
        let mut sums = Buffer::new(problem.images.div_ceil(images) * length);
        let mut x_gradient = call.needs[0].then(|| Tensor::zeros(shapes[0]));
        let mut x_parts =
            x_gradient.as_mut().map(|x| x.make_mut().chunks_mut((images * x_image).max(1)));
        let sum_parts = sums.as_mut_slice().chunks_exact_mut(length.max(1));
        let mut tasks: Vec<_> =
            sum_parts.map(|sum| (sum, x_parts.as_mut().and_then(Iterator::next))).collect();
        let cost = images * image * problem.cost();
        for_each_chunk(&mut tasks, 1, cost, |index, task| {
            let (sum, x_part) = &mut task[0];
            let (weight_sum, bias_sum) = sum.split_at_mut(weight.len());
            let range = index * images..problem.images.min((index + 1) * images);
            let problem = problem.of_images(range.len());
            let of_x = range.start * x_image..range.end * x_image;
            let of_y = range.start * y_image..range.end * y_image;
            let (g, maxima) = (&g[of_y.clone()], &maxima[of_y]);
            let mut cotangent = Buffer::new(range.len() * image);
            let cotangent = cotangent.as_mut_slice();
            self.unpool(sizes, g, maxima, cotangent, bias_sum);
            if call.needs[1] {
                problem.weight_gradient_part(&x[of_x], cotangent, 0..range.len(), weight_sum);
            }
            if let Some(x_part) = x_part {
                problem.input_gradient(weight, cotangent, x_part);
            }
        });
        drop(tasks);
        let mut total = Buffer::new(length);
        let total = total.as_mut_slice();
        match sums.as_slice() {
            [] => total.fill(T::ZERO),
            sums => add_up(sums, total),
        }
        let (weight_total, bias_total) = total.split_at(weight.len());
        let copied =
            |shape: &Shape, from: &[T]| Tensor::build(shape, |out| out.copy_from_slice(from));
        let mut gradients = Cotangents::new();
        gradients.push(x_gradient);
        gradients.push(call.needs[1].then(|| copied(shapes[1], weight_total)));
        if let Some(&needed) = call.needs.get(2) {
            gradients.push(needed.then(|| copied(shapes[2], bias_total)));
        }
        gradients
    }

    fn vjp_terms(&self, call: TermCall<'_, T, Tensor<u8>>) -> Result<TermCotangents<T>> {
        let shapes: Vec<&Shape> = call.inputs.iter().map(Term::shape).collect();
        let (_, convolved) = self.conv2d().problem(&shapes)?;
        let cotangent = if self.max_pool {
            let (windows, shape) = Pool2dOptions::new([2, 2]).windows("conv2d_relu", &convolved)?;
            let taps = call.saved.map(u32::from).to_vec();
            placed(call.cotangent, &image_indices(&windows, shape, &taps), &convolved)?
        } else {
            let stopped = call.saved.map(|maximum| maximum == STOPPED);
            call.cotangent.masked_fill(&stopped, 0.0)?
        };
        let (inputs, output, needs) = (call.inputs, call.output, call.needs);
        let call = TermCall { inputs, output, saved: &(), needs, cotangent: &cotangent };
        self.conv2d().vjp_terms(call)
    }

    fn attributes(&self) -> Attributes {
        let mut attributes = self.options.attributes();
        attributes.push(("max_pool", self.max_pool.into()));
        attributes
    }

    fn multiply_adds(&self, inputs: &[&Shape], _: &Shape) -> u64 {
        let conv2d = self.conv2d();
        Op::<T>::output_shape(&conv2d, inputs)
            .map_or(0, |output| Op::<T>::multiply_adds(&conv2d, inputs, &output))
    }

    fn samples() -> Vec<(Self, Vec<Tensor<T>>)> {
        let convolutions = <Conv2d as Op<T>>::samples();
        let with = |max_pool| {
            move |(Conv2d { options }, inputs): (Conv2d, Vec<Tensor<T>>)| {
                (Self { options, max_pool }, inputs)
            }
        };
        let pooled = <Conv2d as Op<T>>::samples().into_iter().map(with(true));
        let fits = |(operation, inputs): &(Self, Vec<Tensor<T>>)| {
            let shapes: Vec<&Shape> = inputs.iter().map(Tensor::shape).collect();
            Op::<T>::output_shape(operation, &shapes).is_ok()
        };
        convolutions.into_iter().map(with(false)).chain(pooled.filter(fits)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Ops;
    use super::*;
    use crate::random::Rng;

    /// Output and gradients by the one operation.
    fn run<O: Op<f32>>(operation: &O, inputs: &[Tensor], cotangent: &Tensor) -> Vec<Tensor> {
        let references: Vec<&Tensor> = inputs.iter().collect();
        let (output, saved) = operation.forward(&references);
        let gradients = operation.vjp(Call {
            inputs,
            output: &output,
            saved: &saved,
            needs: &vec![true; inputs.len()],
            cotangent: cotangent.clone(),
        });
        let gradients = gradients.into_iter().map(|gradient| gradient.expect("all are needed"));
        [output].into_iter().chain(gradients).collect()
    }

    /// The same by three separate operations.
    fn one_by_one(operation: &Conv2dRelu, inputs: &[Tensor], cotangent: &Tensor) -> Vec<Tensor> {
        use super::super::activation::Relu;
        use super::super::max_pool2d::MaxPool2d;

        let references: Vec<&Tensor> = inputs.iter().collect();
        let (convolved, ()) = operation.conv2d().forward(&references);
        let positive = convolved.relu();
        let mut g = cotangent.clone();
        let mut output = positive.clone();
        if operation.max_pool {
            let pool = MaxPool2d { options: Pool2dOptions::new([2, 2]) };
            let mut results = run(&pool, &[positive], &g);
            (g, output) = (results.remove(1), results.remove(0));
        }
        let g = run(&Relu, &[convolved], &g).remove(1);
        let mut results = run(&operation.conv2d(), inputs, &g);
        results[0] = output;
        results
    }

    /// Inputs and a cotangent, for shapes that use every method.
    #[rustfmt::skip]
    fn cases() -> Vec<(Conv2dRelu, Vec<Tensor>, Tensor)> {
        let plain = Conv2dOptions::default();
        let shapes = [
            ([5, 1, 28, 28], [6, 1, 3, 3], plain),
            ([40, 1, 9, 11], [3, 1, 3, 3], plain),
            ([3, 8, 12, 12], [9, 8, 3, 3], Conv2dOptions { padding: [1, 1], ..plain }),
            ([2, 4, 15, 16], [6, 2, 3, 2], Conv2dOptions { stride: [2, 3], groups: 2, ..plain }),
            ([20, 6, 4, 4], [4, 6, 1, 1], plain),
        ];
        let mut rng = Rng::seed(4);
        let mut cases = Vec::new();
        for (x, weight, options) in shapes {
            for max_pool in [false, true] {
                let operation = Conv2dRelu { options, max_pool };
                let shapes = [&x[..], &weight, &weight[..1]].map(Shape::from);
                let output = Op::<f32>::output_shape(&operation, &shapes.each_ref()).unwrap();
                let mut normal = |shape: &Shape| Tensor::normal(shape, 0.0, 1.0, &mut rng);
                cases.push((operation, shapes.iter().map(&mut normal).collect(), normal(&output)));
            }
        }
        cases
    }

    #[test]
    fn one_pass_gives_what_three_give() {
        for (operation, inputs, cotangent) in cases() {
            let results = run(&operation, &inputs, &cotangent);
            let expected = one_by_one(&operation, &inputs, &cotangent);
            // The output and the gradients of input and weight have the same
            // bits; the gradient of the bias is summed in another order.
            assert!(results[..3] == expected[..3], "{operation:?} of {}", inputs[0].shape());
            let differences = results[3].to_vec().into_iter().zip(expected[3].to_vec());
            for (a, b) in differences {
                assert!((a - b).abs() <= 1e-4 * b.abs().max(1.0), "{operation:?}: {a}, {b}");
            }
        }
    }

    #[test]
    fn the_bits_are_the_same_for_any_number_of_threads() {
        for (operation, inputs, cotangent) in cases() {
            let with = |threads| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                pool.install(|| run(&operation, &inputs, &cotangent))
            };
            let alone = with(1);
            for threads in [2, 3, 7] {
                assert!(with(threads) == alone, "{operation:?}, {threads} threads");
            }
        }
    }

    #[test]
    fn what_is_not_a_number_stays_so() {
        let x = Tensor::from_fn([1, 1, 4, 4], |i| if i == 5 { f32::NAN } else { -1.0 });
        let weight = Tensor::ones([1, 1, 1, 1]);
        for max_pool in [false, true] {
            let y = x.conv2d_relu(&weight, None, Conv2dOptions::default(), max_pool).unwrap();
            assert_eq!(y.to_vec().iter().filter(|y| y.is_nan()).count(), 1);
        }
    }

    #[test]
    fn an_image_too_small_to_pool_is_refused() {
        let (x, weight) = (Tensor::<f32>::zeros([1, 1, 3, 3]), Tensor::zeros([1, 1, 3, 3]));
        let error = x.conv2d_relu(&weight, None, Conv2dOptions::default(), true).unwrap_err();
        assert!(error.to_string().starts_with("conv2d_relu: "), "{error}");
    }
}
