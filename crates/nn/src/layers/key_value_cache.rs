//! Cached keys and values for generation.

use dendra_autograd::Var;
use dendra_tensor::{Float, Ops, Result, Tensor};

/// The keys and values of all positions generated so far, so that each new
/// position needs only one query.
#[derive(Clone, Debug, Default)]
pub struct KeyValueCache<T: Float = f32> {
    /// Keys and values, `[N, num_heads, S, E / num_heads]`.
    kept: Option<[Tensor<T>; 2]>,
}

impl<T: Float> KeyValueCache<T> {
    /// The number of positions so far.
    pub fn len(&self) -> usize {
        self.kept.as_ref().map_or(0, |[keys, _]| keys.shape()[2])
    }

    /// Whether there are no positions.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Removes all positions except the last `length`.
    ///
    /// # Errors
    ///
    /// Never in practice: the tensors of the cache always have four axes.
    pub fn keep_last(&mut self, length: usize) -> Result<()> {
        let first = self.len().saturating_sub(length);
        if let Some(kept) = self.kept.as_mut().filter(|_| first > 0) {
            for part in kept {
                *part = part.narrow(2, first, part.shape()[2] - first)?.contiguous();
            }
        }
        Ok(())
    }

    /// Keeps these samples of the batch, in this order. A sample may be kept
    /// several times, as in a beam search.
    ///
    /// # Errors
    ///
    /// When an index is not below the number of samples.
    pub fn select(&mut self, samples: &[usize]) -> Result<()> {
        for part in self.kept.iter_mut().flatten() {
            *part = part.index_select(0, samples)?;
        }
        Ok(())
    }

    /// Appends keys and values of new positions, `[N, heads, L, width]` each,
    /// and returns those of all positions.
    ///
    /// # Errors
    ///
    /// When batch, heads or width differ from those of the earlier positions.
    pub fn extend(&mut self, new: [Var<T>; 2]) -> Result<[Var<T>; 2]> {
        let all = match &self.kept {
            None => new,
            Some([keys, values]) => {
                let [new_keys, new_values] = &new;
                let join =
                    |old: &Tensor<T>, new: &Var<T>| Var::cat(&[&Var::new(old.clone()), new], 2);
                [join(keys, new_keys)?, join(values, new_values)?]
            }
        };
        self.kept = Some(all.each_ref().map(|part| part.value().clone()));
        Ok(all)
    }
}
