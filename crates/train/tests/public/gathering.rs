//! Batches gathered ahead are the batches that are gathered when they are
//! needed, and so are the errors.

use crate::common::{data, state, trainer};
use dendra_datasets::transforms::{GaussianNoise, Image, RandomCrop, RandomRotation, Transform};
use dendra_datasets::{
    Batch, Dataset, Draw, ImageDataset, TensorDataset, TransformDataset, digits,
};
use dendra_tensor::{Error, Result, Rng, Shape, Tensor};
use dendra_train::{BatchReport, Callback, Checkpoints, Fit, Moment, StopFlag};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

fn fit<'a>() -> Fit<'a> {
    Fit::epochs(2).batch_size(8).seed(5).quiet()
}

/// Digits that are changed at random.
fn augmented() -> impl Dataset<Input = Tensor, Target = Tensor<i64>> {
    let change =
        (RandomCrop::new(28).padding(2), RandomRotation::new(10.0), GaussianNoise::new(0.1));
    TransformDataset::new(data(), change).unwrap()
}

/// Asks to stop after a step.
struct StopAt(u64, StopFlag);

impl Callback for StopAt {
    fn on_batch(&mut self, now: &mut Moment<'_>, _: &BatchReport<'_>) -> Result<()> {
        if now.step == self.0 {
            self.1.set();
        }
        Ok(())
    }
}

#[test]
fn the_number_of_background_threads_changes_nothing() {
    let data = augmented();
    let mut plain = trainer();
    let history = plain.fit(&data, fit().workers(0)).unwrap();
    for fit in [|| fit().workers(1), || fit().workers(3), fit] {
        let mut ahead = trainer();
        assert_eq!(ahead.fit(&data, fit()).unwrap().losses(), history.losses());
        assert_eq!(state(&ahead), state(&plain));
        for step in [1, 8, 9, 13] {
            let folder = tempfile::tempdir().unwrap();
            let flag = StopFlag::new();
            let stopped = fit().stop_when(&flag).callback(StopAt(step, flag.clone()));
            let stopped = stopped.checkpoints(Checkpoints::new(folder.path()));
            let error = trainer().fit(&data, stopped).unwrap_err();
            assert!(matches!(error, Error::Interrupted { .. }), "{error}");
            let mut resumed = trainer();
            resumed.fit(&data, fit().resume(folder.path())).unwrap();
            assert_eq!(state(&resumed), state(&plain), "interrupted after step {step}");
        }
    }
}

#[test]
fn what_is_drawn_depends_on_the_seed_without_shuffling_too() {
    let weights = |seed| {
        let mut trainer = trainer();
        trainer.fit(&augmented(), fit().max_steps(1).shuffle(false).seed(seed)).unwrap();
        // Dropout draws by the seed, too, but does not reach the statistics of
        // the batch that enters it.
        state(&trainer).0.typed::<f32>("2.running_mean").unwrap().to_vec()
    };
    assert_ne!(weights(1), weights(2));
}

/// Digits that come slowly; remembers the threads that asked for them.
struct Slow {
    digits: ImageDataset,
    threads: Mutex<Vec<String>>,
}

impl Dataset for Slow {
    type Input = Tensor;
    type Target = Tensor<i64>;

    fn len(&self) -> usize {
        self.digits.len()
    }

    fn input_shape(&self) -> Shape {
        self.digits.input_shape()
    }

    fn batch(&self, indices: &[usize]) -> Result<Batch<Self>> {
        thread::sleep(Duration::from_millis(10));
        let name = thread::current().name().unwrap_or_default().to_owned();
        self.threads.lock().unwrap().push(name);
        self.digits.batch(indices)
    }
}

#[test]
fn slow_data_is_gathered_ahead_unasked() {
    if thread::available_parallelism().map_or(1, usize::from) == 1 {
        return;
    }
    let slow = || Slow { digits: digits(160, 9), threads: Mutex::default() };
    let count = |data: &Slow, ahead: bool| {
        let threads = data.threads.lock().unwrap();
        threads.iter().filter(|name| name.starts_with("dendra loader") == ahead).count()
    };
    let (given, none) = (slow(), slow());
    trainer().fit(&given, fit()).unwrap();
    // All but the first few of the forty, whose time was taken.
    assert_eq!((count(&given, false), count(&given, true)), (9, 31));
    trainer().fit(&none, fit().workers(0)).unwrap();
    assert_eq!((count(&none, false), count(&none, true)), (40, 0));
    // So it is with validation.
    trainer().evaluate(&none).unwrap();
    assert_eq!((count(&none, false), count(&none, true)), (42, 0));
}

/// Digits of which one cannot be read, in one way or another.
struct Broken {
    digits: ImageDataset,
    panics: bool,
}

impl Dataset for Broken {
    type Input = Tensor;
    type Target = Tensor<i64>;

    fn len(&self) -> usize {
        self.digits.len()
    }

    fn input_shape(&self) -> Shape {
        self.digits.input_shape()
    }

    fn batch(&self, indices: &[usize]) -> Result<Batch<Self>> {
        self.batch_at(indices, &Draw::default())
    }

    fn batch_at(&self, indices: &[usize], draw: &Draw) -> Result<Batch<Self>> {
        if draw.epoch() == 1 && indices.contains(&42) {
            assert!(!self.panics, "the picture is upside down");
            return Err(Error::data("Broken", "the picture is gone"));
        }
        self.digits.batch(indices)
    }
}

#[test]
fn a_fault_on_a_background_thread_is_an_error_that_names_the_sample() {
    for (panics, reason) in [(false, "the picture is gone"), (true, "the picture is upside down")] {
        let broken = Broken { digits: data(), panics };
        let [here, ahead] = [0, 2].map(|workers| {
            let mut trainer = trainer();
            let start = Instant::now();
            let error = trainer.fit(&broken, fit().workers(workers)).unwrap_err();
            assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
            let message = error.to_string();
            for part in ["epoch 2, batch ", "sample 42", reason] {
                assert!(message.contains(part), "{part}: {message}");
            }
            // The steps before were done, and the trainer goes on with sound data.
            let state = state(&trainer);
            trainer.fit(&broken.digits, fit().workers(workers)).unwrap();
            (message, state)
        });
        assert_eq!(here, ahead);
    }
}

/// Refuses pictures of which the first pixel is far too bright, by a panic.
#[derive(Clone, Debug)]
struct Fussy;

impl Transform<f32> for Fussy {
    type Output = f32;

    fn output_shape(&self, shape: [usize; 3]) -> Result<[usize; 3]> {
        Ok(shape)
    }

    fn apply(&self, image: Image<f32>, _: &mut Rng) -> Image<f32> {
        assert!(image.pixels()[0] < 9.0, "far too bright");
        image
    }
}

#[test]
fn a_panic_in_a_transform_leaves_pool_and_trainer_usable() {
    let (pixels, labels) = data().batch(&(0..70).collect::<Vec<_>>()).unwrap();
    let mut pixels = pixels.to_vec();
    pixels[42 * 784] = 10.0;
    let pixels = Tensor::from_vec(pixels, [70, 1, 28, 28]).unwrap();
    let data = TensorDataset::classification(pixels, labels, 10).unwrap();
    let data = TransformDataset::new(data, Fussy).unwrap();
    for workers in [0, 2] {
        let mut trainer = trainer();
        let error = trainer.fit(&data, fit().workers(workers)).unwrap_err();
        assert!(matches!(error, Error::Panic { .. }), "{error}");
        for part in ["sample 42", "far too bright"] {
            assert!(error.to_string().contains(part), "{part}: {error}");
        }
        trainer.fit(&augmented(), fit().workers(workers)).unwrap();
    }
}
