//! The loader: batches, order, ends.

use dendra_datasets::{Batch, DataLoader, Dataset};
use dendra_tensor::{Error, Result, Shape};

/// The numbers below a limit; counts the batches gathered.
struct Numbers(usize, std::sync::atomic::AtomicUsize);

fn numbers(n: usize) -> Numbers {
    Numbers(n, 0.into())
}

impl Dataset for Numbers {
    type Input = Vec<usize>;
    type Target = ();

    fn len(&self) -> usize {
        self.0
    }

    fn input_shape(&self) -> Shape {
        Shape::scalar()
    }

    fn batch(&self, indices: &[usize]) -> Result<Batch<Self>> {
        self.1.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Ok((indices.to_vec(), ()))
    }
}

fn epoch(loader: &DataLoader<'_, Numbers>, epoch: u64) -> Vec<Vec<usize>> {
    loader.epoch(epoch).map(|batch| batch.unwrap().0).collect()
}

#[test]
fn unshuffled_batches_come_in_order_and_the_last_is_ragged() {
    let data = numbers(7);
    let loader = DataLoader::new(&data).batch_size(3);
    assert_eq!(epoch(&loader, 0), [vec![0, 1, 2], vec![3, 4, 5], vec![6]]);
    assert_eq!(epoch(&loader, 5), epoch(&loader, 0));
    let full = loader.clone().drop_last(true);
    assert_eq!(epoch(&full, 0), [[0, 1, 2], [3, 4, 5]]);
    assert_eq!(epoch(&DataLoader::new(&data), 0).len(), 7);
}

#[test]
fn lengths_are_exact() {
    for samples in [0, 1, 5, 6, 7] {
        let data = numbers(samples);
        for drop_last in [false, true] {
            for batch_size in [1, 3, 6, usize::MAX] {
                let loader = DataLoader::new(&data).batch_size(batch_size).drop_last(drop_last);
                let mut batches = loader.epoch(0);
                assert_eq!(batches.len(), loader.len());
                assert_eq!(epoch(&loader, 0).len(), loader.len());
                assert_eq!(loader.is_empty(), batches.next().is_none());
                assert_eq!(batches.len(), loader.len().saturating_sub(1));
            }
        }
    }
}

#[test]
fn an_epoch_is_a_permutation_that_seed_and_epoch_decide() {
    let data = numbers(1000);
    let order = |seed, number, batch_size| {
        let loader = DataLoader::new(&data).batch_size(batch_size).shuffle(seed);
        epoch(&loader, number).concat()
    };
    let first = order(1, 0, 32);
    assert_eq!(first, order(1, 0, 32));
    assert_eq!(first, order(1, 0, 7), "the batch size must not change the order");
    let others = [order(1, 1, 32), order(2, 0, 32), (0..1000).collect()];
    assert!(!others.contains(&first));
    for mut order in [first, order(1, 1, 32), order(2, 0, 32)] {
        // A shuffle leaves about one sample in its place; fifty would be none.
        assert!(order.iter().enumerate().filter(|&(place, &sample)| place == sample).count() < 50);
        order.sort_unstable();
        assert!(order.into_iter().eq(0..1000));
    }
}

#[test]
fn skipping_goes_on_where_an_epoch_was_left_and_gathers_nothing() {
    let data = numbers(100);
    let loader = DataLoader::new(&data).batch_size(8).shuffle(3);
    let whole = epoch(&loader, 2);
    for skipped in 0..=14 {
        let before = data.1.load(std::sync::atomic::Ordering::Relaxed);
        let rest: Vec<_> = loader.epoch(2).skip(skipped).map(|batch| batch.unwrap().0).collect();
        assert_eq!(rest, whole[skipped.min(13)..]);
        let gathered = data.1.load(std::sync::atomic::Ordering::Relaxed) - before;
        assert_eq!(gathered, rest.len());
    }
    assert!(loader.epoch(0).nth(usize::MAX).is_none());
}

#[test]
fn a_batch_size_of_zero_is_an_error_not_an_endless_loop() {
    let data = numbers(10);
    let loader = DataLoader::new(&data).batch_size(0);
    let items: Vec<_> = loader.epoch(0).collect();
    assert_eq!(items.len(), loader.len());
    assert!(matches!(&items[..], [Err(Error::Argument { .. })]));
}

#[test]
fn the_loader_knows_the_sizes_of_its_batches() {
    let data = numbers(10);
    let sizes = |loader: &DataLoader<'_, Numbers>| -> Vec<usize> {
        (0..5).map(|index| loader.batch_len(index)).collect()
    };
    let loader = DataLoader::new(&data).batch_size(4).shuffle(1);
    assert_eq!(sizes(&loader), [4, 4, 2, 0, 0]);
    assert_eq!(sizes(&loader.clone().drop_last(true)), [4, 4, 0, 0, 0]);
    assert_eq!(sizes(&loader.samples(5)), [4, 1, 0, 0, 0]);
    assert_eq!(sizes(&DataLoader::new(&data).batch_size(0)), [0; 5]);
}
