//! Scaled dot-product attention.

use super::{Attribute, Attributes, Call, Cotangents, Op, Ops, Term, TermCall, TermCotangents};
use crate::element::Float;
use crate::error::{Error, Result};
use crate::kernels::attention::{Attend, Mask, batch};
use crate::kernels::dropout::Dropout;
use crate::kernels::matrices::{Matrices, readable};
use crate::random::Rng;
use crate::shape::Shape;
use crate::tensor::Tensor;

/// Which scores of an attention are used. A mask broadcasts to `[…, L, S]`.
#[derive(Clone, Debug, Default)]
pub enum AttentionMask<T: Float = f32> {
    /// All are used.
    #[default]
    None,
    /// Scores at which the mask is true are used, as with a boolean `attn_mask`
    /// in PyTorch.
    Keep(Tensor<bool>),
    /// The mask is added to the scores, with −∞ for those that are not used.
    /// The mask gets no gradient.
    Add(Tensor<T>),
}

/// The settings of [`scaled_dot_product_attention`].
///
/// [`scaled_dot_product_attention`]: super::Ops::scaled_dot_product_attention
#[derive(Clone, Debug)]
pub struct AttentionOptions<T: Float = f32> {
    /// Which scores are used (all).
    pub mask: AttentionMask<T>,
    /// Whether query i uses only the keys 0 to i (false).
    pub is_causal: bool,
    /// The factor of the products (1/√E).
    pub scale: Option<f64>,
    /// The probability with which a weight is dropped (0), and the random
    /// stream; the other weights are divided by 1 − p.
    pub dropout: Option<(f64, Rng)>,
}

impl<T: Float> Default for AttentionOptions<T> {
    fn default() -> Self {
        Self { mask: AttentionMask::None, is_causal: false, scale: None, dropout: None }
    }
}

/// y = softmax(q·kᵀ · scale + mask)·v for queries `[…, L, E]`, keys `[…, S, E]`
/// and values `[…, S, V]` with the same leading axes (Vaswani et al.,
/// "Attention is all you need", 2017). The output is `[…, L, V]`; a query
/// without a used score gets 0.
///
/// The scores are computed in tiles and never stored all at once (Dao et al.,
/// "FlashAttention", 2022).
#[derive(Clone, Debug)]
pub struct Attention<T: Float> {
    /// The settings.
    pub options: AttentionOptions<T>,
}

/// Queries, keys and values whose axes before the last two are broadcast to
/// each other. If they do not broadcast, they are returned unchanged, and the
/// shape rule refuses them.
pub(super) fn with_common_batch<X: Ops>(inputs: [&X; 3]) -> Result<[X; 3]> {
    let leading = inputs.map(|x| x.value().shape().split_last_chunk::<2>());
    let [Some((q, _)), Some((k, _)), Some((v, _))] = leading else {
        return Ok(inputs.map(X::clone));
    };
    let [q, k, v] = [q, k, v].map(Shape::from);
    let common = q.broadcast(&k, "").and_then(|both| both.broadcast(&v, ""));
    let Some(common) = common.ok().filter(|_| q != k || k != v) else {
        return Ok(inputs.map(X::clone));
    };
    let stretched = |x: &X| {
        let shape = x.value().shape();
        let shape: Shape = common.iter().chain(&shape[shape.len() - 2..]).copied().collect();
        x.broadcast_to(shape)
    };
    let [q, k, v] = inputs;
    Ok([stretched(q)?, stretched(k)?, stretched(v)?])
}

/// The mask, broadcast to the shape of the scores.
enum Stretched<T: Float> {
    None,
    Keep(Tensor<bool>),
    Add(Tensor<T>),
}

/// Whether the heads of queries `[N, heads, L, E]` are interleaved in memory,
/// position by position, as parts of a layer's output `[N, L, heads · E]`. The
/// results then get the same layout, so that the layers before and after copy
/// nothing.
fn heads_take_turns<T: Float>(q: &Tensor<T>) -> bool {
    q.rank() == 4 && q.strides()[1] < q.strides()[2]
}

/// The shape of a result in the order of its layout in memory.
fn in_memory<T: Float>(q: &Tensor<T>, shape: &Shape) -> Shape {
    let mut shape = shape.to_vec();
    if heads_take_turns(q) {
        shape.swap(1, 2);
    }
    shape.into()
}

/// The result in the order of its axes.
fn seen<T: Float>(q: &Tensor<T>, result: Tensor<T>) -> Tensor<T> {
    if heads_take_turns(q) { result.permuted(&[0, 2, 1, 3]) } else { result }
}

impl<T: Float> Attention<T> {
    /// Calls `f` with the arguments of the kernel.
    fn attend<R>(&self, inputs: [&Tensor<T>; 3], f: impl FnOnce(&Attend<'_, T>) -> R) -> R {
        let [q, k, v] = inputs.map(readable);
        let size = |x: &Tensor<T>, back: usize| x.shape()[x.rank() - back];
        let (queries, keys, width) = (size(&q, 2), size(&k, 2), size(&q, 1));
        let scores: Shape = batch(q.shape()).iter().copied().chain([queries, keys]).collect();
        let mask = match &self.options.mask {
            AttentionMask::None => Stretched::None,
            AttentionMask::Keep(keep) => Stretched::Keep(readable(&keep.stretched(scores))),
            AttentionMask::Add(add) => Stretched::Add(readable(&add.stretched(scores))),
        };
        let dropout = self.options.dropout.as_ref().filter(|(p, _)| *p > 0.0);
        f(&Attend {
            queries,
            keys,
            width,
            value_width: size(&v, 1),
            q: Matrices::of(&q),
            k: Matrices::of(&k),
            v: Matrices::of(&v),
            mask: match &mask {
                Stretched::None => Mask::None,
                Stretched::Keep(keep) => Mask::Keep(Matrices::of(keep)),
                Stretched::Add(add) => Mask::Add(Matrices::of(add)),
            },
            causal: self.options.is_causal,
            heads: if heads_take_turns(inputs[0]) { q.shape()[1] } else { 1 },
            scale: T::from_f64(self.options.scale.unwrap_or(1.0 / (width as f64).sqrt())),
            dropout: dropout.map(|(p, rng)| Dropout::new(*p, T::from_f64(1.0 / (1.0 - p)), rng)),
        })
    }
}

impl<T: Float> Attention<T> {
    /// The scores of this shape that are used; `None` for all.
    fn seen(&self, scores: &Shape) -> Result<Option<Tensor<bool>>> {
        let [.., queries, keys] = scores[..] else { unreachable!("scores are matrices") };
        let mask = match &self.options.mask {
            AttentionMask::None => None,
            AttentionMask::Keep(keep) => Some(keep.clone()),
            AttentionMask::Add(add) => Some(add.map(|add| add != T::LOWEST)),
        };
        let causal = self
            .options
            .is_causal
            .then(|| Tensor::from_fn([queries, keys], |place| place % keys <= place / keys));
        Ok(match (mask, causal) {
            (Some(mask), Some(causal)) => Some(mask.logical_and(&causal)?),
            (mask, causal) => mask.or(causal),
        })
    }

    /// The same operation on terms, with all scores at once.
    fn composed(&self, inputs: &[Term<T>]) -> Result<Term<T>> {
        let [q, k, v] = [&inputs[0], &inputs[1], &inputs[2]];
        let width = q.shape()[q.shape().len() - 1];
        let scale = self.options.scale.unwrap_or(1.0 / (width as f64).sqrt());
        let mut scores = q.matmul(&k.transpose(-1, -2)?)?.mul_scalar(scale);
        let shape = scores.shape().clone();
        if let AttentionMask::Add(add) = &self.options.mask {
            let finite = add.map(|add| if add == T::LOWEST { T::ZERO } else { add });
            scores = scores + Term::constant(finite);
        }
        let seen = self.seen(&shape)?.map(|seen| seen.broadcast_to(shape.clone())).transpose()?;
        if let Some(seen) = &seen {
            // A row in which no score is used is filled with 0 instead of −∞,
            // so that its weights are finite; they are dropped below.
            let any = seen.any_axes(&[-1], true)?;
            let fill = any.map(|any| if any { T::LOWEST } else { T::ZERO });
            scores = scores.where_mask(seen, &Term::constant(fill))?;
        }
        let mut weights = scores.softmax(-1)?;
        if let Some(seen) = seen {
            weights = weights.masked_fill(&seen.logical_not(), 0.0)?;
        }
        if let Some((p, rng)) = self.options.dropout.as_ref().filter(|(p, _)| *p > 0.0) {
            let dropout = Dropout::new(*p, T::from_f64(1.0 / (1.0 - p)), rng);
            let factors = Tensor::build(shape, |out| dropout.all_factors(out));
            weights = weights * Term::constant(factors);
        }
        weights.matmul(v)
    }
}

impl<T: Float> Op<T> for Attention<T> {
    /// The logarithm of the sum of each query's exponentials.
    type Saved = Vec<T>;
    const NAME: &'static str = "scaled_dot_product_attention";
    const PRODUCT_OPERANDS: u32 = 0b111;

    fn output_shape(&self, inputs: &[&Shape]) -> Result<Shape> {
        const PLACE: &str = "scaled_dot_product_attention";
        let [q, k, v] = [inputs[0], inputs[1], inputs[2]];
        let sizes = match (&q[..], &k[..], &v[..]) {
            ([qs @ .., l, e], [ks @ .., s, width], [vs @ .., values, out])
                if qs == ks && ks == vs && e == width && s == values && *e > 0 =>
            {
                Some((*l, *s, *out))
            }
            _ => None,
        };
        let Some((queries, keys, out)) = sizes else {
            let message = format!(
                "expected queries […, L, E], keys […, S, E] and values […, S, V] with the same \
                 leading axes, got {q}, {k} and {v}"
            );
            return Err(Error::shape(PLACE, message));
        };
        let leading = || batch(q).iter().copied();
        let scores: Shape = leading().chain([queries, keys]).collect();
        let mask = match &self.options.mask {
            AttentionMask::None => None,
            AttentionMask::Keep(keep) => Some(keep.shape()),
            AttentionMask::Add(add) => Some(add.shape()),
        };
        if let Some(mask) = mask
            && scores.broadcast(mask, PLACE).ok().as_ref() != Some(&scores)
        {
            let message = format!("a mask of shape {mask} does not broadcast to scores {scores}");
            return Err(Error::shape(PLACE, message));
        }
        if let Some((p, _)) = self.options.dropout.as_ref().filter(|(p, _)| !(0.0..1.0).contains(p))
        {
            let message = format!("expected a dropout probability in 0 .. 1, got {p}");
            return Err(Error::argument(PLACE, message));
        }
        Ok(leading().chain([queries, out]).collect())
    }

    #[inline(never)]
    fn forward(&self, inputs: &[&Tensor<T>]) -> (Tensor<T>, Vec<T>) {
        let [q, k, v] = [inputs[0], inputs[1], inputs[2]];
        let shapes = [q.shape(), k.shape(), v.shape()];
        let shape = self.output_shape(&shapes).expect("checked by the caller");
        let rows = shape[..shape.len() - 1].iter().product();
        let mut logarithms = vec![T::ZERO; rows];
        let y = Tensor::build(in_memory(q, &shape), |out| {
            self.attend([q, k, v], |attend| attend.forward(out, &mut logarithms));
        });
        (seen(q, y), logarithms)
    }

    #[inline(never)]
    fn vjp(&self, call: Call<'_, T, Vec<T>>) -> Cotangents<T> {
        let [q, k, v] = [&call.inputs[0], &call.inputs[1], &call.inputs[2]];
        let [out, g] = [call.output, &call.cotangent].map(|x| match x.strides().last() {
            Some(1) => readable(x),
            _ => x.contiguous(),
        });
        let [out, g] = [&out, &g].map(Matrices::of);
        let mut dv = None;
        let shapes = [q, k, v].map(|x| in_memory(q, x.shape()));
        let (dq, dk) = Tensor::build_pair(&shapes[0], &shapes[1], |dq, dk| {
            dv = Some(Tensor::build(&shapes[2], |dv| {
                self.attend([q, k, v], |attend| {
                    attend.backward([&out, &g], call.saved, [dq, dk, dv]);
                });
            }));
        });
        let gradients = [Some(dq), Some(dk), dv].map(|gradient| gradient.map(|x| seen(q, x)));
        call.each(|index| gradients[index].clone().expect("all three were built"))
    }

    fn vjp_terms(&self, call: TermCall<'_, T, Vec<T>>) -> Result<TermCotangents<T>> {
        call.compose(|inputs| self.composed(inputs))
    }

    fn attributes(&self) -> Attributes {
        let AttentionOptions { mask, is_causal, scale, dropout } = &self.options;
        let mask = match mask {
            AttentionMask::None => Attribute::None,
            AttentionMask::Keep(keep) => keep.into(),
            AttentionMask::Add(add) => Attribute::values(add),
        };
        let p = dropout.as_ref().map_or(0.0, |(p, _)| *p);
        vec![
            ("mask", mask),
            ("is_causal", (*is_causal).into()),
            ("scale", (*scale).into()),
            ("dropout", p.into()),
        ]
    }

    fn with_setting(&self, name: &str, value: &Attribute) -> Option<Self> {
        let mask = AttentionMask::Keep(value.to_mask().filter(|_| name == "mask")?);
        Some(Self { options: AttentionOptions { mask, ..self.options.clone() } })
    }

    fn multiply_adds(&self, inputs: &[&Shape], output: &Shape) -> u64 {
        // The products of queries and keys, and those of weights and values.
        let (Some(&width), &[.., keys, _]) = (inputs[0].last(), &inputs[1][..]) else { return 0 };
        let rows = inputs[0].elements() / width.max(1);
        rows as u64 * keys as u64 * width as u64 + output.elements() as u64 * keys as u64
    }

    fn samples() -> Vec<(Self, Vec<Tensor<T>>)> {
        let mut rng = Rng::seed(20);
        let mut inputs = |batch: &[usize], [l, s, e, v]: [usize; 4]| {
            let sizes = [[l, e], [s, e], [s, v]];
            let shapes = sizes.map(|size| [batch, &size[..]].concat());
            shapes.map(|shape| Tensor::normal(shape, 0.0, 1.0, &mut rng)).to_vec()
        };
        let plain = AttentionOptions::default;
        let keep = Tensor::from([[true, false, true], [true, true, false]]);
        let add = Tensor::<T>::normal([2, 1, 1, 4], 0.0, 1.0, &mut Rng::seed(21));
        let cases = [
            (plain(), inputs(&[], [3, 4, 5, 2])),
            (
                AttentionOptions { mask: AttentionMask::Keep(keep), ..plain() },
                inputs(&[2], [2, 3, 4, 4]),
            ),
            (
                AttentionOptions { mask: AttentionMask::Add(add), scale: Some(0.7), ..plain() },
                inputs(&[2, 3], [3, 4, 2, 3]),
            ),
            (AttentionOptions { is_causal: true, ..plain() }, inputs(&[2], [5, 5, 3, 3])),
            (
                AttentionOptions { dropout: Some((0.4, Rng::seed(3))), ..plain() },
                inputs(&[2], [4, 6, 3, 3]),
            ),
            // More than one tile along both axes.
            (AttentionOptions { is_causal: true, ..plain() }, inputs(&[], [70, 140, 2, 2])),
            (plain(), inputs(&[0], [3, 4, 5, 2])),
            (plain(), inputs(&[2], [3, 0, 5, 2])),
        ];
        cases.map(|(options, inputs)| (Attention { options }, inputs)).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The formula, with the whole matrix of scores.
    fn naive(q: &Tensor<f64>, k: &Tensor<f64>, v: &Tensor<f64>, mask: &Tensor<f64>) -> Tensor<f64> {
        let scores = q.matmul(&k.transpose(-1, -2).unwrap()).unwrap();
        let scale = 1.0 / (q.shape()[q.rank() - 1] as f64).sqrt();
        let scores = scores.mul_scalar(scale).add(mask).unwrap();
        scores.softmax(-1).unwrap().matmul(v).unwrap()
    }

    fn inputs([l, s, e]: [usize; 3]) -> [Tensor<f64>; 3] {
        let mut rng = Rng::seed(1);
        [l, s, s].map(|rows| Tensor::normal([2, 3, rows, e], 0.0, 2.0, &mut rng))
    }

    #[test]
    fn leading_axes_broadcast() {
        let mut rng = Rng::seed(9);
        let mut of = |shape: &[usize]| Tensor::<f64>::normal(shape, 0.0, 1.0, &mut rng);
        let (q, k, v) = (of(&[4, 3, 8]), of(&[2, 4, 6, 8]), of(&[1, 6, 5]));
        let plain = AttentionOptions::default;
        let y = q.scaled_dot_product_attention(&k, &v, plain()).unwrap();
        let q = q.broadcast_to([2, 4, 3, 8]).unwrap();
        let v = v.broadcast_to([2, 4, 6, 5]).unwrap();
        assert_eq!(y, q.scaled_dot_product_attention(&k, &v, plain()).unwrap());
    }

    #[test]
    fn tiles_give_what_the_whole_matrix_does() {
        for [l, s] in [[1, 1], [64, 128], [65, 129], [130, 300], [5, 257]] {
            let [q, k, v] = inputs([l, s, 7]);
            let causal = Tensor::from_fn([l, s], |place| match place % s <= place / s {
                true => 0.0,
                false => f64::NEG_INFINITY,
            });
            let add = Tensor::normal([l, s], 0.0, 3.0, &mut Rng::seed(2));
            let plain = AttentionOptions::default;
            let cases = [
                (plain(), Tensor::zeros([l, s])),
                (AttentionOptions { is_causal: true, ..plain() }, causal.clone()),
                (AttentionOptions { mask: AttentionMask::Add(add.clone()), ..plain() }, add),
                (
                    AttentionOptions {
                        mask: AttentionMask::Keep(causal.map(|x: f64| x == 0.0)),
                        ..plain()
                    },
                    causal,
                ),
            ];
            for (options, mask) in cases {
                let found = q.scaled_dot_product_attention(&k, &v, options).unwrap().to_vec();
                let expected = naive(&q, &k, &v, &mask).to_vec();
                for (found, expected) in found.into_iter().zip(expected) {
                    assert!((found - expected).abs() < 1e-12, "{l}×{s}: {found}, {expected}");
                }
            }
        }
    }

    #[test]
    fn a_query_that_sees_nothing_gets_0_and_no_gradient() {
        let [q, k, v] = inputs([3, 4, 5]);
        let keep = Tensor::from_fn([3, 4], |place| place / 4 != 1);
        let options = AttentionOptions { mask: AttentionMask::Keep(keep), ..Default::default() };
        let operation = Attention { options };
        let inputs = [q, k, v];
        let (output, saved) = operation.forward(&inputs.each_ref());
        assert!(output.is_finite());
        assert_eq!(output.narrow(2, 1, 1).unwrap().to_vec(), [0.0; 30]);
        let (needs, cotangent) = (&[true; 3], Tensor::ones(output.shape()));
        let call = Call { inputs: &inputs, output: &output, saved: &saved, needs, cotangent };
        let gradients = operation.vjp(call);
        assert!(gradients.iter().flatten().all(Tensor::is_finite));
        let dq = gradients[0].as_ref().unwrap();
        assert_eq!(dq.narrow(2, 1, 1).unwrap().to_vec(), [0.0; 30]);
    }

    #[test]
    fn dropout_leaves_the_right_share_out_and_keeps_the_mean() {
        let zeros = Tensor::<f32>::zeros([1, 200, 4]);
        let keys = Tensor::<f32>::zeros([1, 500, 4]);
        let ones = Tensor::<f32>::ones([1, 500, 1]);
        let run = |stream| {
            let options =
                AttentionOptions { dropout: Some((0.3, Rng::seed(stream))), ..Default::default() };
            zeros.scaled_dot_product_attention(&keys, &ones, options).unwrap()
        };
        let mean = run(1).mean().item().unwrap();
        assert!((mean - 1.0).abs() < 0.01, "{mean}");
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
    }

    #[test]
    fn the_bits_are_the_same_for_any_number_of_threads() {
        let mut rng = Rng::seed(6);
        let inputs =
            [150, 260, 260].map(|rows| Tensor::<f32>::normal([2, 2, rows, 16], 0.0, 1.0, &mut rng));
        let options = AttentionOptions { dropout: Some((0.2, Rng::seed(4))), ..Default::default() };
        let operation = Attention { options };
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let (output, saved) = operation.forward(&inputs.each_ref());
                let (needs, cotangent) = (&[true; 3], output.clone());
                let call =
                    Call { inputs: &inputs, output: &output, saved: &saved, needs, cotangent };
                (operation.vjp(call), output)
            })
        };
        let once = run(1);
        assert!([2, 3, 7].into_iter().all(|threads| run(threads) == once));
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let [q, k, v] = inputs([3, 4, 5]);
        let error = q.scaled_dot_product_attention(&v, &q, AttentionOptions::default());
        assert_eq!(
            error.unwrap_err().to_string(),
            "scaled_dot_product_attention: expected queries […, L, E], keys […, S, E] and values \
             […, S, V] with the same leading axes, got [2, 3, 3, 5], [2, 3, 4, 5] and [2, 3, 3, 5]"
        );
        let mask = AttentionMask::Keep(Tensor::full([4, 3], true));
        let options = AttentionOptions { mask, ..Default::default() };
        assert_eq!(
            q.scaled_dot_product_attention(&k, &v, options).unwrap_err().to_string(),
            "scaled_dot_product_attention: a mask of shape [4, 3] does not broadcast to scores \
             [2, 3, 3, 4]"
        );
    }
}
