//! Background threads of the loader: the same batches, errors that name their
//! sample, no thread left behind.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use dendra_datasets::{Batch, DataLoader, Dataset, Draw};
use dendra_tensor::{Error, Result, Shape, Tensor};

/// What happens at one sample.
#[derive(Clone, Copy)]
enum Fault {
    Error,
    Panic,
    PanicOddly,
}

/// Samples that are their index and what a draw makes of it; counts the
/// batches and may fail at one sample.
struct Numbers {
    len: usize,
    fault: Option<(usize, Fault)>,
    pause: Duration,
    gathered: AtomicUsize,
}

fn numbers(len: usize) -> Numbers {
    Numbers { len, fault: None, pause: Duration::ZERO, gathered: 0.into() }
}

impl Dataset for Numbers {
    type Input = Tensor<i64>;
    type Target = Vec<u64>;

    fn len(&self) -> usize {
        self.len
    }

    fn input_shape(&self) -> Shape {
        Shape::scalar()
    }

    fn batch(&self, indices: &[usize]) -> Result<Batch<Self>> {
        self.batch_at(indices, &Draw::default())
    }

    fn batch_at(&self, indices: &[usize], draw: &Draw) -> Result<Batch<Self>> {
        self.gathered.fetch_add(1, Ordering::SeqCst);
        thread::sleep(self.pause);
        if let Some((_, fault)) = self.fault.filter(|(sample, _)| indices.contains(sample)) {
            match fault {
                Fault::Error => return Err(Error::data("numbers", "it is broken")),
                Fault::Panic => panic!("out of numbers: {}", indices.len()),
                Fault::PanicOddly => std::panic::panic_any(7),
            }
        }
        let values = indices.iter().map(|&index| index as i64).collect();
        let random = indices.iter().map(|&index| draw.rng(index).next_u64()).collect();
        Ok((Tensor::from_vec(values, [indices.len()])?, random))
    }
}

type Plain = Vec<Result<(Vec<i64>, Vec<u64>), String>>;

fn plain<B: Iterator<Item = Result<(Tensor<i64>, Vec<u64>)>>>(batches: B) -> Plain {
    let plain = |(x, random): (Tensor<i64>, _)| (x.to_vec(), random);
    batches.map(|batch| batch.map(plain).map_err(|error| error.to_string())).collect()
}

fn prefetched(loader: &DataLoader<'_, Numbers>, epoch: u64, skipped: usize) -> Plain {
    thread::scope(|scope| plain(loader.prefetch(scope, epoch).skip(skipped)))
}

#[test]
fn any_number_of_threads_gives_the_batches_of_none() {
    let data = numbers(103);
    let loader = DataLoader::new(&data).batch_size(8).shuffle(5);
    let expected = plain(loader.epoch(2));
    assert_eq!(expected.len(), 13);
    assert_ne!(expected, plain(loader.epoch(3)));
    for workers in [0, 1, 2, 3, 7, 40] {
        for ahead in [0, 1, 5] {
            let loader = loader.clone().workers(workers).prefetch_factor(ahead);
            assert_eq!(prefetched(&loader, 2, 0), expected, "{workers} threads");
            assert_eq!(prefetched(&loader, 2, 5), expected[5..], "{workers} threads");
        }
    }
    for batches in [plain(loader.clone().drop_last(true).epoch(2)), {
        prefetched(&loader.clone().drop_last(true).workers(3), 2, 0)
    }] {
        assert_eq!(batches, expected[..12]);
    }
}

#[test]
fn what_is_random_depends_on_seed_epoch_and_sample_alone() {
    let data = numbers(20);
    let of = |loader: DataLoader<'_, Numbers>, epoch| {
        let mut pairs: Vec<(i64, u64)> = Vec::new();
        for batch in loader.epoch(epoch) {
            let (x, random) = batch.unwrap();
            pairs.extend(x.to_vec().into_iter().zip(random));
        }
        pairs.sort_unstable();
        pairs
    };
    let loader = DataLoader::new(&data).batch_size(3);
    let expected = of(loader.clone().shuffle(9), 4);
    assert_eq!(expected, of(loader.clone().seed(9), 4), "the order must not matter");
    assert_eq!(expected, of(loader.clone().seed(9).batch_size(20), 4), "nor the batches");
    assert_ne!(expected, of(loader.clone().seed(9), 5));
    assert_ne!(expected, of(loader.seed(10), 4));
    let mut random: Vec<u64> = expected.into_iter().map(|(_, random)| random).collect();
    random.sort_unstable();
    random.dedup();
    assert_eq!(random.len(), 20);
}

#[test]
fn a_fault_is_an_error_that_names_its_sample_within_a_second() {
    let message = |fault| match fault {
        Fault::Error => "sample 77: numbers: it is broken",
        Fault::Panic => "sample 77: the data set: panicked: out of numbers: 1",
        Fault::PanicOddly => "sample 77: the data set: panicked: without a message",
    };
    for fault in [Fault::Error, Fault::Panic, Fault::PanicOddly] {
        let data = Numbers { fault: Some((77, fault)), ..numbers(103) };
        let loader = DataLoader::new(&data).batch_size(8).shuffle(1);
        let expected = plain(loader.epoch(0));
        let errors: Vec<_> = expected.iter().filter_map(|batch| batch.as_ref().err()).collect();
        assert_eq!(errors, [message(fault)]);
        for workers in [1, 3] {
            let start = Instant::now();
            assert_eq!(prefetched(&loader.clone().workers(workers), 0, 0), expected);
            assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
        }
        // The data set can be used further.
        assert_eq!(
            DataLoader::new(&data).batch_size(70).epoch(0).next().unwrap().unwrap().1.len(),
            70
        );
    }
}

#[test]
fn a_fault_of_a_whole_batch_names_the_batch() {
    struct Crowded;
    impl Dataset for Crowded {
        type Input = ();
        type Target = ();
        fn len(&self) -> usize {
            10
        }
        fn input_shape(&self) -> Shape {
            Shape::scalar()
        }
        fn batch(&self, indices: &[usize]) -> Result<Batch<Self>> {
            assert!(indices.len() < 3, "too many");
            Ok(((), ()))
        }
    }
    let errors: Vec<_> = DataLoader::new(&Crowded)
        .batch_size(4)
        .epoch(0)
        .filter_map(|batch| batch.err().map(|error| error.to_string()))
        .collect();
    assert_eq!(errors.len(), 2);
    assert_eq!(errors[1], "a batch of samples 4 to 7: the data set: panicked: too many");
}

#[test]
fn the_queue_is_bounded() {
    let data = numbers(1000);
    let loader = DataLoader::new(&data).batch_size(1).workers(2).prefetch_factor(3);
    thread::scope(|scope| {
        let mut batches = loader.prefetch(scope, 0);
        assert_eq!(data.gathered.load(Ordering::SeqCst), 0, "nothing runs before the first");
        batches.next().unwrap().unwrap();
        thread::sleep(Duration::from_millis(100));
        // Each thread has three batches ready and one in its hands; one went out.
        assert!(data.gathered.load(Ordering::SeqCst) <= 2 * 4 + 1);
    });
}

/// Waits until this process has so many threads of the loader, which carry its
/// name: a thread names itself only once it runs, and is listed for a moment
/// after its end.
#[cfg(target_os = "linux")]
fn assert_loader_threads(expected: usize, moment: &str) {
    let count = || {
        let names = std::fs::read_dir("/proc/self/task")
            .unwrap()
            .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
        names.filter(|name| name.starts_with("dendra loader")).count()
    };
    let start = Instant::now();
    while count() != expected && start.elapsed() < Duration::from_secs(1) {
        thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(count(), expected, "{moment}");
}

/// Alone in its process: it counts threads, which the other tests start, too.
#[cfg(target_os = "linux")]
#[test]
#[ignore = "runs within no_thread_is_left"]
fn threads_end_with_the_batches() {
    for fault in [None, Some((40, Fault::Error)), Some((40, Fault::Panic))] {
        let data = Numbers { fault, pause: Duration::from_millis(1), ..numbers(1000) };
        let loader = DataLoader::new(&data).batch_size(4).workers(3);
        thread::scope(|scope| {
            for taken in [0, 1, 7, 15] {
                let mut batches = loader.prefetch(scope, 0);
                batches.by_ref().take(taken).for_each(drop);
                assert_loader_threads(if taken == 0 { 0 } else { 3 }, "in the middle");
                let start = Instant::now();
                drop(batches);
                assert!(start.elapsed() < Duration::from_secs(1));
                assert_loader_threads(0, &format!("dropped after {taken} batches"));
            }
            let mut batches = loader.prefetch(scope, 0);
            while batches.next().is_some() {}
            assert_loader_threads(0, "at the end, before the drop");
        });
        // A panic of the caller's own, in the middle of the epoch.
        let caught = std::panic::catch_unwind(|| {
            thread::scope(|scope| {
                let mut batches = loader.prefetch(scope, 0);
                batches.next();
                panic!("the caller's own");
            });
        });
        assert!(caught.is_err());
        assert_loader_threads(0, "after a panic of the caller");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn no_thread_is_left() {
    let alone = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "threads_end_with_the_batches", "--ignored"])
        .output()
        .unwrap();
    assert!(alone.status.success(), "{}", String::from_utf8_lossy(&alone.stdout));
}
