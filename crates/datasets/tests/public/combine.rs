//! Data sets made of others, and sequences of different lengths.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dendra_datasets::{
    Batch, CachedDataset, ConcatDataset, DataLoader, Dataset, Draw, MapDataset, SequenceDataset,
    TensorDataset, pad_sequence,
};
use dendra_tensor::{Error, Result, Shape, Tensor};

/// `n` samples `[first]`, `[first + 1]`, … of class 0 and 1 in turn.
fn counted(first: usize, n: usize) -> TensorDataset<i64> {
    let inputs = Tensor::from_fn([n, 1], |index| (first + index) as f32);
    TensorDataset::classification(inputs, Tensor::from_fn([n], |i| i as i64 % 2), 2).unwrap()
}

#[test]
fn data_sets_follow_one_another() {
    let all = ConcatDataset::new(vec![counted(0, 3), counted(10, 0), counted(20, 4)]).unwrap();
    assert_eq!((all.len(), all.classes(), all.parts().len()), (7, Some(2), 3));
    let (x, y) = all.batch(&[6, 0, 3, 2, 0]).unwrap();
    assert_eq!(x.to_vec(), [23.0, 0.0, 20.0, 2.0, 0.0]);
    assert_eq!(y.to_vec(), [1, 0, 0, 0, 0]);
    assert_eq!(all.labels().unwrap(), [0, 1, 0, 0, 1, 0, 1]);
    assert_eq!(all.batch(&[]).unwrap().0.shape(), &[0, 1]);
    assert_eq!(all.batch(&[4, 5]).unwrap().0.to_vec(), [21.0, 22.0]);
    assert!(all.batch(&[7]).is_err());
}

#[test]
fn data_sets_that_do_not_fit_are_refused() {
    let wide = TensorDataset::classification(Tensor::<f32>::zeros([2, 3]), Tensor::zeros([2]), 2);
    let more = TensorDataset::classification(Tensor::<f32>::zeros([2, 1]), Tensor::zeros([2]), 5);
    let refused = |part| ConcatDataset::new(vec![counted(0, 2), part]).unwrap_err().to_string();
    assert!(refused(wide.unwrap()).contains("shape [1], got [3] in part 1"));
    assert!(refused(more.unwrap()).contains("part 1 Some(5)"));
    assert!(ConcatDataset::<TensorDataset<i64>>::new(vec![]).is_err());
}

/// Samples that are what their draw gives; counts the samples gathered.
struct Random(usize, AtomicUsize);

impl Dataset for Random {
    type Input = Tensor<u64>;
    type Target = Tensor<i64>;

    fn len(&self) -> usize {
        self.0
    }

    fn input_shape(&self) -> Shape {
        Shape::scalar()
    }

    fn batch(&self, indices: &[usize]) -> Result<Batch<Self>> {
        self.batch_at(indices, &Draw::default())
    }

    fn batch_at(&self, indices: &[usize], draw: &Draw) -> Result<Batch<Self>> {
        self.1.fetch_add(indices.len(), Ordering::SeqCst);
        let values = indices.iter().map(|&index| draw.rng(index).next_u64()).collect();
        Ok((Tensor::from_vec(values, [indices.len()])?, Tensor::zeros([indices.len()])))
    }
}

#[test]
fn a_draw_reaches_the_innermost_data_set() {
    let all = || ConcatDataset::new(vec![Random(3, 0.into()), Random(3, 0.into())]).unwrap();
    let draw = Draw::new(4, 5);
    let direct = Random(3, 0.into()).batch_at(&[1, 2], &draw).unwrap().0.to_vec();
    let (x, _) = all().batch_at(&[1, 2, 4, 5], &draw).unwrap();
    assert_eq!(x.to_vec()[..2], direct);
    assert_ne!(x.to_vec()[2..], direct, "the parts must not be random alike");
    let wrapped = MapDataset::new(Arc::new(Random(3, 0.into())), Ok);
    let boxed: Box<dyn Dataset<Input = _, Target = _>> = Box::new(wrapped);
    assert_eq!(boxed.take(3).batch_at(&[1, 2], &draw).unwrap().0.to_vec(), direct);
    let loaded = DataLoader::new(&*boxed).seed(4).batch_size(3).epoch(5).next().unwrap();
    assert_eq!(loaded.unwrap().0.to_vec()[1..], direct);
}

#[test]
fn a_function_changes_batches_and_says_what_it_changed() {
    let wide = MapDataset::new(counted(0, 4), |(x, y): (Tensor, Tensor<i64>)| {
        Ok((Tensor::cat(&[&x, &x], 1)?, y.map(|label| label + 3)))
    });
    assert_eq!((wide.input_shape(), wide.classes()), (Shape::from([1]), None));
    let wide = wide.with_input_shape([2]).with_classes(5);
    assert_eq!((wide.input_shape(), wide.classes()), (Shape::from([2]), Some(5)));
    let (x, y) = wide.batch(&[3]).unwrap();
    assert_eq!((x.to_vec(), y.to_vec()), (vec![3.0, 3.0], vec![4]));
    let failing =
        MapDataset::new(counted(0, 4), |_| -> Result<((), ())> { Err(Error::data("mine", "no")) });
    assert_eq!(failing.batch(&[0]).unwrap_err().to_string(), "mine: no");
}

#[test]
fn a_cache_gathers_each_sample_once() {
    let data = CachedDataset::new(Random(10, 0.into()));
    let of = |indices: &[usize]| data.batch(indices).unwrap().0.to_vec();
    let first = of(&[3, 1, 3]);
    assert_eq!((first[0], data.cached()), (first[2], 2));
    assert_eq!(of(&[1, 2, 3])[2], first[0]);
    assert_eq!(data.cached(), 3);
    assert_eq!(data.batch(&[]).unwrap().0.shape(), &[0]);
    for _ in 0..2 {
        for batch in DataLoader::new(&data).batch_size(4).shuffle(1).epoch(0) {
            batch.unwrap();
        }
    }
    assert_eq!(data.cached(), 10);
    assert!(data.batch(&[10]).is_err());
}

#[test]
fn sequences_are_padded_to_the_longest_of_their_batch() {
    let steps = |length: usize| Tensor::from_fn([length, 2], |i| i as f32 + 1.0);
    let data =
        SequenceDataset::new(vec![steps(3), steps(0), steps(1)], Tensor::<f32>::zeros([3, 1]));
    let data = data.unwrap().padding(-1.0);
    assert_eq!((data.len(), data.input_shape()), (3, Shape::from([2])));
    let (x, _) = data.batch(&[2, 1]).unwrap();
    assert_eq!(x.values.shape(), &[2, 1, 2]);
    assert_eq!(x.values.to_vec(), [1.0, 2.0, -1.0, -1.0]);
    assert_eq!(x.lengths.to_vec(), [1, 0]);
    let (x, _) = data.batch(&[2, 0]).unwrap();
    assert_eq!(x.values.to_vec()[..6], [1.0, 2.0, -1.0, -1.0, -1.0, -1.0]);
    assert_eq!(x.mask().to_vec(), [true, false, false, true, true, true]);
    assert_eq!(data.batch(&[1]).unwrap().0.values.shape(), &[1, 0, 2]);
}

#[test]
fn sequences_that_do_not_fit_are_refused() {
    let (flat, wide) = (Tensor::<f32>::zeros([3]), Tensor::<f32>::zeros([3, 2]));
    assert!(pad_sequence(&[&flat, &wide], 0.0).unwrap_err().to_string().contains("number 1"));
    assert!(pad_sequence(&[&Tensor::scalar(1.0f32)], 0.0).is_err());
    assert!(pad_sequence::<f32>(&[], 0.0).is_err());
    let targets = || Tensor::<i64>::zeros([2]);
    assert!(SequenceDataset::new(vec![flat.clone(), wide], targets()).is_err());
    assert!(SequenceDataset::new(vec![flat.clone()], targets()).is_err());
    assert!(
        SequenceDataset::classification(vec![flat.clone(), flat], Tensor::from([0i64, 7]), 2)
            .is_err()
    );
}
