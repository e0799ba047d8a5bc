//! Which samples an epoch has: weights, balance, numbers; and parts of data
//! sets class by class.

use std::collections::BTreeMap;

use dendra_datasets::{DataLoader, Dataset, Subset, TensorDataset, friedman};
use dendra_tensor::{Error, Rng, Tensor};

/// Samples that are their index, of the classes that the counts say.
fn classes(counts: &[usize]) -> TensorDataset<i64> {
    let labels: Vec<i64> =
        counts.iter().zip(0..).flat_map(|(&count, label)| vec![label; count]).collect();
    let n = labels.len();
    let labels = Tensor::from_vec(labels, [n]).unwrap();
    TensorDataset::classification(Tensor::arange(n), labels, counts.len()).unwrap()
}

/// The samples of an epoch and how often each class came.
fn epoch(loader: &DataLoader<'_, TensorDataset<i64>>, epoch: u64) -> (Vec<usize>, Vec<usize>) {
    let (mut samples, mut counts) = (Vec::new(), vec![0; 3]);
    for batch in loader.epoch(epoch) {
        let (x, y) = batch.unwrap();
        samples.extend(x.to_vec().into_iter().map(|index| index as usize));
        y.to_vec().into_iter().for_each(|label| counts[label as usize] += 1);
    }
    (samples, counts)
}

#[test]
fn weights_decide_how_often_a_sample_comes() {
    let data = classes(&[4, 0, 0]);
    let loader = DataLoader::new(&data).batch_size(100).samples(40_000);
    let loader = loader.weighted(&[1.0, 0.0, 5.0, 2.0], 3).unwrap();
    assert_eq!(loader.len(), 400);
    let mut counts = [0.0_f64; 4];
    epoch(&loader, 0).0.into_iter().for_each(|index| counts[index] += 1.0);
    for (count, share) in counts.iter().zip([0.125, 0.0, 0.625, 0.25]) {
        assert!((count / 40_000.0 - share).abs() < 0.01, "{counts:?}");
    }
    assert_eq!(counts[1], 0.0);
    assert_eq!(epoch(&loader, 1), epoch(&loader, 1));
    assert_ne!(epoch(&loader, 1).0, epoch(&loader, 2).0);
}

#[test]
fn balance_makes_rare_classes_as_frequent_as_others() {
    let data = classes(&[9_000, 900, 100]);
    let (samples, counts) = epoch(&DataLoader::new(&data).batch_size(64).balanced(1).unwrap(), 0);
    assert_eq!(samples.len(), 10_000);
    assert!(counts.iter().all(|count| count.abs_diff(3_333) < 200), "{counts:?}");
}

#[test]
fn an_epoch_can_be_shorter() {
    let data = classes(&[50, 30, 20]);
    let loader = DataLoader::new(&data).batch_size(7);
    assert_eq!(epoch(&loader.clone().samples(10), 0).0, (0..10).collect::<Vec<_>>());
    let whole = epoch(&loader.clone().shuffle(4), 0).0;
    assert_eq!(epoch(&loader.clone().shuffle(4).samples(30), 0).0, whole[..30]);
    assert_eq!(loader.samples(1_000).len(), 15);
}

#[test]
fn weights_that_make_no_sense_are_refused() {
    let data = classes(&[2, 0, 0]);
    let refused = |weights: &[f64]| {
        let error = DataLoader::new(&data).weighted(weights, 0).unwrap_err();
        assert!(matches!(error, Error::Argument { .. }), "{error}");
        error.to_string()
    };
    assert!(refused(&[1.0]).contains("expected 2 weights"));
    assert!(refused(&[1.0, -1.0]).contains("sample 1 has weight -1"));
    assert!(refused(&[f64::NAN, 1.0]).contains("sample 0 has weight NaN"));
    assert!(refused(&[0.0, 0.0]).contains("add up to 0"));
    assert!(refused(&[f64::MAX, f64::MAX]).contains("add up to inf"));
    let error = DataLoader::new(&friedman(5, 1)).balanced(0).unwrap_err().to_string();
    assert!(error.contains("does not know the classes"), "{error}");
    assert!(DataLoader::new(&classes(&[0, 0, 0])).balanced(0).is_err());
}

/// How many samples of each class.
fn counts(part: &Subset<&TensorDataset<i64>>) -> Vec<usize> {
    let mut counts = BTreeMap::new();
    part.labels().unwrap().into_iter().for_each(|label| *counts.entry(label).or_insert(0) += 1);
    counts.into_values().collect()
}

#[test]
fn a_stratified_split_keeps_the_proportions() {
    let data = classes(&[500, 333, 17]);
    for fraction in [0.8, 0.5, 0.1] {
        let (first, second) = data.split_stratified(fraction, &mut Rng::seed(1)).unwrap();
        assert_eq!(first.len(), (850.0 * fraction).round() as usize);
        for ((found, other), whole) in
            counts(&first).iter().zip(counts(&second)).zip([500, 333, 17])
        {
            assert_eq!(found + other, whole);
            assert!((*found as f64 - whole as f64 * fraction).abs() <= 1.0, "{found} of {whole}");
        }
        let mut all = [first.indices(), second.indices()].concat();
        assert!(!first.indices().is_sorted());
        all.sort_unstable();
        assert!(all.into_iter().eq(0..850));
    }
    let error = data.split_stratified(0.0005, &mut Rng::seed(1)).unwrap_err().to_string();
    assert!(error.contains("divides 850 samples into 0 and 850"), "{error}");
    assert!(data.split_stratified(1.5, &mut Rng::seed(1)).is_err());
    // A third of a class in each of which nothing is rounded up.
    let few = classes(&[1, 1, 1, 1]);
    for fraction in [0.2, 0.3, 1.0 / 8.0] {
        let (first, second) = few.split_stratified(fraction, &mut Rng::seed(1)).unwrap();
        assert_eq!((first.len(), second.len()), (1, 3), "{fraction}");
    }
    let other = data.split_stratified(0.5, &mut Rng::seed(2)).unwrap().0;
    let same = data.split_stratified(0.5, &mut Rng::seed(1)).unwrap().0;
    assert_ne!(same.indices(), other.indices());
    assert!(friedman(5, 1).split_stratified(0.5, &mut Rng::seed(1)).is_err());
}
