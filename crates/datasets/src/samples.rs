//! [`Samples`]: types that hold a batch of samples.

use dendra_tensor::{Element, Error, Result, Tensor};

use crate::sequences::Padded;

/// A batch of samples, as models take it and data sets return it: a tensor
/// whose first axis runs over the samples, a vector with one item per sample,
/// or a tuple of these.
///
/// A struct of your own implements it with its fields:
///
/// ```
/// use dendra_datasets::{Dataset, SampleDataset, Samples};
/// use dendra_tensor::{Result, Tensor};
///
/// /// Positions in a room, and the words spoken there.
/// struct Scenes {
///     places: Tensor<f32>,
///     words: Tensor<i64>,
/// }
///
/// impl Samples for Scenes {
///     fn count(&self) -> usize {
///         self.places.count()
///     }
///
///     fn choose(&self, indices: &[usize]) -> Result<Self> {
///         let (places, words) = (self.places.choose(indices)?, self.words.choose(indices)?);
///         Ok(Self { places, words })
///     }
///
///     fn join(parts: &[&Self]) -> Result<Self> {
///         let places: Vec<_> = parts.iter().map(|part| &part.places).collect();
///         let words: Vec<_> = parts.iter().map(|part| &part.words).collect();
///         Ok(Self { places: Samples::join(&places)?, words: Samples::join(&words)? })
///     }
/// }
///
/// let scenes = Scenes { places: Tensor::zeros([5, 3]), words: Tensor::zeros([5, 8]) };
/// let data = SampleDataset::new(scenes, Tensor::from([0, 1, 1, 0, 1_i64]))?;
/// let (scenes, labels) = data.batch(&[4, 0])?;
/// assert_eq!((scenes.words.shape(), labels.to_vec()), (&[2, 8].into(), vec![1, 0]));
/// # Ok::<(), dendra_tensor::Error>(())
/// ```
pub trait Samples: Sized {
    /// The number of samples.
    fn count(&self) -> usize;

    /// The samples with these indices, in this order. An index may occur
    /// several times.
    ///
    /// # Errors
    ///
    /// When an index is not below [`count`](Self::count).
    fn choose(&self, indices: &[usize]) -> Result<Self>;

    /// The samples of all parts, concatenated.
    ///
    /// # Errors
    ///
    /// When there is no part, or the parts do not match each other.
    fn join(parts: &[&Self]) -> Result<Self>;
}

/// A tensor without axes is one sample.
impl<E: Element> Samples for Tensor<E> {
    fn count(&self) -> usize {
        self.shape().first().copied().unwrap_or(1)
    }

    fn choose(&self, indices: &[usize]) -> Result<Self> {
        self.index_select(0, indices)
    }

    fn join(parts: &[&Self]) -> Result<Self> {
        match parts {
            [whole] => Ok((*whole).clone()),
            _ => Tensor::cat(parts, 0),
        }
    }
}

/// Each item is a sample.
impl<X: Clone> Samples for Vec<X> {
    fn count(&self) -> usize {
        self.len()
    }

    fn choose(&self, indices: &[usize]) -> Result<Self> {
        let item = |&index: &usize| {
            self.get(index).cloned().ok_or_else(|| {
                let message = format!("index {index} is not below the length {}", self.len());
                Error::argument("Samples::choose", message)
            })
        };
        indices.iter().map(item).collect()
    }

    fn join(parts: &[&Self]) -> Result<Self> {
        Ok(parts.iter().flat_map(|part| part.iter().cloned()).collect())
    }
}

/// When parts are joined, shorter sequences are padded with zeros.
impl<E: Element> Samples for Padded<E> {
    fn count(&self) -> usize {
        self.lengths.len()
    }

    fn choose(&self, indices: &[usize]) -> Result<Self> {
        let (values, lengths) = (self.values.choose(indices)?, self.lengths.choose(indices)?);
        Ok(Self { values, lengths })
    }

    fn join(parts: &[&Self]) -> Result<Self> {
        let longest = parts.iter().filter_map(|part| part.values.shape().get(1)).max();
        let longest = longest.copied().unwrap_or(0);
        let widened = |part: &&Self| {
            let mut shape = part.values.shape().to_vec();
            let missing = longest - shape.get(1).copied().unwrap_or(longest);
            if missing == 0 {
                return Ok(part.values.clone());
            }
            shape[1] = missing;
            Tensor::cat(&[&part.values, &Tensor::full(shape, E::default())], 1)
        };
        let values = parts.iter().map(widened).collect::<Result<Vec<_>>>()?;
        let lengths: Vec<_> = parts.iter().map(|part| &part.lengths).collect();
        Ok(Self {
            values: Samples::join(&values.iter().collect::<Vec<_>>())?,
            lengths: Samples::join(&lengths)?,
        })
    }
}

macro_rules! tuples {
    ($($name:ident $index:tt),*) => {
        /// The parts have the same number of samples.
        impl<$($name: Samples),*> Samples for ($($name,)*) {
            fn count(&self) -> usize {
                self.0.count()
            }

            fn choose(&self, indices: &[usize]) -> Result<Self> {
                Ok(($(self.$index.choose(indices)?,)*))
            }

            fn join(parts: &[&Self]) -> Result<Self> {
                Ok(($($name::join(&parts.iter().map(|part| &part.$index).collect::<Vec<_>>())?,)*))
            }
        }
    };
}
tuples! { A 0, B 1 }
tuples! { A 0, B 1, C 2 }
tuples! { A 0, B 1, C 2, D 3 }

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_tuple_stay_together() {
        let words = vec!["a".to_owned(), "b".to_owned(), "c".to_owned()];
        let all = (Tensor::from([[1_u8, 2], [3, 4], [5, 6]]), (Tensor::from([7, 8, 9]), words));
        assert_eq!(all.count(), 3);
        let (some, others) = (all.choose(&[2, 0]).unwrap(), all.choose(&[1]).unwrap());
        assert_eq!(some.0.to_vec(), [5, 6, 1, 2]);
        assert_eq!(
            (some.1.0.to_vec(), &some.1.1[..]),
            (vec![9, 7], &["c", "a"].map(String::from)[..])
        );
        let joined = Samples::join(&[&some, &others]).unwrap();
        assert_eq!(joined.0, all.0.choose(&[2, 0, 1]).unwrap());
        assert_eq!(joined.1.1.len(), 3);
        assert!(all.choose(&[3]).is_err() && all.1.1.choose(&[3]).is_err());
    }

    #[test]
    fn padded_parts_grow_to_the_longest() {
        let part = |values: Tensor<i64>, lengths: Tensor<i64>| Padded { values, lengths };
        let long = part(Tensor::from([[1, 2, 3]]), Tensor::from([3]));
        let short = part(Tensor::from([[4], [5]]), Tensor::from([1, 1]));
        let joined = Padded::join(&[&short, &long]).unwrap();
        assert_eq!(joined.values, Tensor::from([[4, 0, 0], [5, 0, 0], [1, 2, 3]]));
        assert_eq!(joined.lengths.to_vec(), [1, 1, 3]);
    }
}
