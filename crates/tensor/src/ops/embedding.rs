//! Rows of a table by index.

use super::per_sample::one_by_one;
use super::{
    Attribute, Attributes, Call, Cotangents, Op, Ops, SampleCotangents, Term, TermCall,
    TermCotangents,
};
use crate::element::Float;
use crate::error::{Error, Result};
use crate::kernels::parallel::{for_each_chunk, rows_per_chunk};
use crate::kernels::simd;
use crate::random::Rng;
use crate::shape::Shape;
use crate::tensor::Tensor;

/// For each index, the row of a table of shape `[rows, width]`.
///
/// The gradient of a row is the sum of the cotangents in the order in which the
/// row occurs, so it has the same bits for any number of threads.
#[derive(Clone, Debug)]
pub struct Embedding {
    /// The indices, of any shape.
    pub indices: Tensor<i64>,
    /// The index of a row that gets no gradient.
    pub padding_idx: Option<usize>,
    /// Whether the gradient of a row is divided by the number of its
    /// occurrences.
    pub scale_grad_by_freq: bool,
}

impl<T: Float> Op<T> for Embedding {
    type Saved = ();
    const NAME: &'static str = "embedding";

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        let &[rows, width] = &inputs[0][..] else {
            let message = format!("expected a table of shape [rows, width], got {}", inputs[0]);
            return Err(Error::shape("embedding", message));
        };
        if let Some(padding) = self.padding_idx.filter(|&padding| padding >= rows) {
            let message = format!("padding_idx is {padding}, the table has {rows} rows");
            return Err(Error::argument("embedding", message));
        }
        self.indices.with_slice(|indices| {
            let is_row = |index: &i64| (0..rows as i64).contains(index);
            match indices.iter().position(|index| !is_row(index)) {
                Some(position) => {
                    let message = format!(
                        "index {} at position {position} of {} is out of range \
                         for a table of {rows} rows",
                        indices[position],
                        self.indices.shape()
                    );
                    Err(Error::data("embedding", message))
                }
                None => Ok(self.indices.shape().iter().copied().chain([width]).collect()),
            }
        })
    }

    fn vjp_per_sample(
        &self,
        call: Call<'_, T, ()>,
        samples: usize,
    ) -> Result<Option<SampleCotangents<T>>> {
        let rows = self.indices.shape().first().copied().unwrap_or(0);
        if samples == 0 || rows % samples != 0 {
            return Ok(None);
        }
        let rows = rows / samples;
        let part = |sample: usize| {
            let indices = self.indices.narrow(0, sample * rows, rows);
            let indices = indices.expect("the part is in the indices");
            (Self { indices, ..self.clone() }, ())
        };
        Ok(one_by_one(self, call, samples, 0, part))
    }

    fn sample_norms(&self, call: Call<'_, T, ()>, samples: usize) -> Option<Cotangents<T>> {
        let rows = self.indices.shape().first().copied().unwrap_or(0);
        if samples == 0 || rows % samples != 0 || call.cotangent.is_empty() {
            return None;
        }
        let (indices, width) = (self.indices.to_vec(), call.inputs[0].shape()[1]);
        let length = indices.len() / samples;
        let norms = call.cotangent.with_slice(|g| {
            Tensor::from_fn([samples], |sample| {
                // The positions, sorted by row.
                let mut positions: Vec<usize> = (sample * length..(sample + 1) * length).collect();
                positions.sort_by_key(|&position| indices[position]);
                let same = positions.chunk_by(|&a, &b| indices[a] == indices[b]);
                let trained = same.filter(|positions| {
                    self.padding_idx.is_none_or(|padding| indices[positions[0]] != padding as i64)
                });
                let squares = trained.map(|positions| {
                    let count = if self.scale_grad_by_freq { positions.len() } else { 1 };
                    let count = T::from_f64(count as f64);
                    let sum = |i: usize| {
                        positions.iter().map(|&position| g[position * width + i]).sum::<T>()
                    };
                    (0..width).map(|i| sum(i) / count).map(|sum| sum * sum).sum::<T>()
                });
                squares.sum::<T>()
            })
        });
        Some([Some(norms)].into_iter().collect())
    }

    #[inline(never)]
    fn forward(&self, inputs: &[&Tensor<T>]) -> (Tensor<T>, ()) {
        let width = inputs[0].shape()[1];
        let shape: Shape = self.indices.shape().iter().copied().chain([width]).collect();
        let y = Tensor::build(shape, |out| {
            inputs[0].with_slice(|table| {
                self.indices.with_slice(|indices| {
                    let rows = rows_per_chunk(width);
                    for_each_chunk(out, rows * width, 1, |chunk, out| {
                        let indices = &indices[chunk * rows..];
                        for (out, &index) in out.chunks_exact_mut(width).zip(indices) {
                            out.copy_from_slice(&table[index as usize * width..][..width]);
                        }
                    });
                });
            });
        });
        (y, ())
    }

    #[inline(never)]
    fn vjp(&self, call: Call<'_, T, ()>) -> Cotangents<T> {
        let shape = call.inputs[0].shape();
        let [rows, width] = [shape[0], shape[1]];
        let indices = self.indices.to_vec();
        // The positions at which each row occurs, in order: a counting sort.
        let mut starts = vec![0; rows + 1];
        for &index in &indices {
            starts[index as usize + 1] += 1;
        }
        for row in 0..rows {
            starts[row + 1] += starts[row];
        }
        let mut next = starts.clone();
        let mut positions = vec![0; indices.len()];
        for (position, &index) in indices.iter().enumerate() {
            positions[next[index as usize]] = position;
            next[index as usize] += 1;
        }
        let appearances = indices.len() / rows.max(1) + 1;
        call.each(|_| {
            Tensor::build(shape, |out| {
                call.cotangent.with_slice(|g| {
                    let chunk = rows_per_chunk(width * appearances);
                    for_each_chunk(out, chunk * width, appearances, |index, out| {
                        simd::dispatch(
                            #[inline(always)]
                            || {
                                for (i, out) in out.chunks_exact_mut(width).enumerate() {
                                    let row = index * chunk + i;
                                    out.fill(T::ZERO);
                                    if self.padding_idx == Some(row) {
                                        continue;
                                    }
                                    for &position in &positions[starts[row]..starts[row + 1]] {
                                        let g = &g[position * width..][..width];
                                        for (sum, &g) in out.iter_mut().zip(g) {
                                            *sum += g;
                                        }
                                    }
                                    let appearances = starts[row + 1] - starts[row];
                                    if self.scale_grad_by_freq && appearances > 1 {
                                        let count = T::from_f64(appearances as f64);
                                        out.iter_mut().for_each(|sum| *sum /= count);
                                    }
                                }
                            },
                        );
                    });
                });
            })
        })
    }

    fn vjp_terms(&self, call: TermCall<'_, T, ()>) -> Result<TermCotangents<T>> {
        let shape = call.inputs[0].shape();
        let [rows, width] = [shape[0], shape[1]];
        let indices: Vec<usize> =
            self.indices.to_vec().into_iter().map(|index| index as usize).collect();
        let mut g = call.cotangent.reshape([indices.len(), width])?;
        if self.padding_idx.is_some() || self.scale_grad_by_freq {
            let mut appearances = vec![0; rows];
            indices.iter().for_each(|&row| appearances[row] += 1);
            let factors = Tensor::from_fn([indices.len(), 1], |position| match indices[position] {
                row if self.padding_idx == Some(row) => T::ZERO,
                row if self.scale_grad_by_freq => T::from_f64(1.0 / f64::from(appearances[row])),
                _ => T::ONE,
            });
            g = g * Term::constant(factors);
        }
        call.each(|_| Term::constant(Tensor::zeros(shape)).index_add(0, &indices, &g))
    }

    fn attributes(&self) -> Attributes {
        vec![
            ("indices", (&self.indices).into()),
            ("padding_idx", self.padding_idx.into()),
            ("scale_grad_by_freq", self.scale_grad_by_freq.into()),
        ]
    }

    fn with_setting(&self, name: &str, value: &Attribute) -> Option<Self> {
        let indices = value.to_indices().filter(|_| name == "indices")?;
        Some(Self { indices, ..self.clone() })
    }

    fn samples() -> Vec<(Self, Vec<Tensor<T>>)> {
        let mut rng = Rng::seed(18);
        let mut case = |indices, rows, padding_idx| {
            let table = Tensor::normal([rows, 3], 0.0, 1.0, &mut rng);
            (Embedding { indices, padding_idx, scale_grad_by_freq: false }, vec![table])
        };
        vec![
            case(Tensor::from([[1, 0, 3], [3, 3, 4]]), 6, None),
            case(Tensor::scalar(2), 4, None),
            case(Tensor::zeros([2, 0]), 4, None),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_padding_row_gets_no_gradient() {
        let indices = Tensor::from([2, 0, 2, 1]);
        let padding_idx = Some(0);
        let operation = Embedding { indices, padding_idx, scale_grad_by_freq: false };
        let table = Tensor::from([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0_f32]]);
        let (output, ()) = operation.forward(&[&table]);
        assert_eq!(output.to_vec(), [5.0, 6.0, 1.0, 2.0, 5.0, 6.0, 3.0, 4.0]);
        let cotangent = Tensor::from([[1.0, 2.0], [10.0, 20.0], [3.0, 4.0], [5.0, 6.0]]);
        let inputs = &[table][..];
        let (output, saved, needs) = (&output, &(), &[true][..]);
        let gradients = operation.vjp(Call { inputs, output, saved, needs, cotangent });
        assert_eq!(gradients[0].as_ref().unwrap().to_vec(), [0.0, 0.0, 5.0, 6.0, 4.0, 6.0]);
    }

    #[test]
    fn the_bits_are_the_same_for_any_number_of_threads() {
        let mut rng = Rng::seed(2);
        let indices = Tensor::from_fn([50, 400], |_| rng.below(97) as i64);
        let operation = Embedding { indices, padding_idx: None, scale_grad_by_freq: false };
        let table = Tensor::<f32>::normal([97, 33], 0.0, 1.0, &mut rng);
        let cotangent = Tensor::<f32>::normal([50, 400, 33], 0.0, 1.0, &mut rng);
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let (output, saved) = operation.forward(&[&table]);
                let (inputs, cotangent) = (&[table.clone()][..], cotangent.clone());
                let (output, saved, needs) = (&output, &saved, &[true][..]);
                operation.vjp(Call { inputs, output, saved, needs, cotangent })
            })
        };
        let once = run(1);
        assert!([2, 3, 7].into_iter().all(|threads| run(threads) == once));
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let table = Tensor::<f32>::zeros([4, 2]);
        let refuse = |indices: [i64; 3], padding| {
            table.embedding(&Tensor::from(indices), padding).unwrap_err().to_string()
        };
        assert_eq!(
            refuse([0, 4, 1], None),
            "embedding: index 4 at position 1 of [3] is out of range for a table of 4 rows"
        );
        assert!(refuse([0, -1, 1], None).contains("index -1 at position 1"));
        assert_eq!(refuse([0, 1, 1], Some(4)), "embedding: padding_idx is 4, the table has 4 rows");
    }
}
