//! Transforms and loaders, timed by criterion: a call is a batch of 32 images,
//! or an epoch of a loader.
//!
//! Names are as in the group `kernels`. The figures are for all threads, those of `prefetch` for
//! its background threads. The throughput counts the bytes of the resulting images, as floats.

use std::hint::black_box;
use std::thread;
use std::time::Duration;

use criterion::{Criterion, Throughput};
use dendra::datasets::transforms::{
    ColorJitter, CutMix, ElasticTransform, GaussianNoise, LabelSmoothing, MixUp, Normalize,
    RandomAffine, RandomCrop, RandomErasing, RandomHorizontalFlip, RandomResizedCrop,
    RandomRotation, Resize, ToFloat, Transform,
};
use dendra::datasets::{DataLoader, Dataset, Draw, ImageDataset, TransformDataset, digits};
use dendra::tensor::{Rng, Tensor};

const BATCH_SIZE: usize = 32;

/// Channels and pixels along a side: digits, and photographs of the size of CIFAR's.
const IMAGES: [[usize; 2]; 2] = [[1, 28], [3, 32]];

/// The number of samples in an epoch of a loader.
const SAMPLES: usize = 4_096;

/// Images of noise, since the cost of a transform does not depend on the image.
fn pictures([channels, side]: [usize; 2]) -> ImageDataset {
    let mut rng = Rng::seed(0);
    let shape = [BATCH_SIZE, channels, side, side];
    let images = Tensor::from_fn(shape, |_| rng.next_u32() as u8);
    ImageDataset::new(images, Tensor::zeros([BATCH_SIZE]), 10).unwrap()
}

/// Gathers one batch repeatedly, with new random numbers each time.
fn batches<D: Dataset<Input = Tensor>>(
    criterion: &mut Criterion,
    name: &str,
    shape: &str,
    data: &D,
) {
    let indices: Vec<usize> = (0..BATCH_SIZE).collect();
    let pixels = BATCH_SIZE * data.input_shape().elements();
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Bytes((size_of::<f32>() * pixels) as u64));
    let mut epoch = 0;
    group.bench_function(shape, |bencher| {
        bencher.iter(|| {
            epoch += 1;
            black_box(data.batch_at(&indices, &Draw::new(0, epoch)).unwrap())
        });
    });
    group.finish();
}

fn transform<T>(criterion: &mut Criterion, name: &str, transform: T)
where
    T: Transform<u8, Output = u8> + Clone,
{
    for [channels, side] in IMAGES {
        let shape = format!("{BATCH_SIZE}x{channels}x{side}x{side}");
        let images = pictures([channels, side]).to_bytes();
        let data = TransformDataset::new(images, (transform.clone(), ToFloat)).unwrap();
        batches(criterion, name, &shape, &data);
    }
}

fn transforms(criterion: &mut Criterion) {
    transform(criterion, "to_float", ());
    transform(criterion, "random_crop", RandomCrop::new(28).padding(4));
    transform(criterion, "horizontal_flip", RandomHorizontalFlip::new(0.5));
    transform(criterion, "rotation", RandomRotation::new(15.0));
    let affine = RandomAffine::new(15.0).translate(0.1, 0.1).scale(0.9, 1.1).shear(-5.0, 5.0);
    transform(criterion, "affine", affine);
    transform(criterion, "elastic", ElasticTransform::new(34.0, 4.0));
    transform(criterion, "resize", Resize::new(20, 20));
    transform(criterion, "resized_crop", RandomResizedCrop::new(28, 28));
    let jitter = ColorJitter::new().brightness(0.2).contrast(0.2).saturation(0.2).hue(0.05);
    transform(criterion, "color_jitter", jitter);
    transform(criterion, "noise", GaussianNoise::new(0.1));
    transform(criterion, "erasing", RandomErasing::new(0.5));
}

fn mixtures(criterion: &mut Criterion) {
    for [channels, side] in IMAGES {
        let shape = format!("{BATCH_SIZE}x{channels}x{side}x{side}");
        let soft = || LabelSmoothing::new(pictures([channels, side]), 0.1).unwrap();
        batches(criterion, "label_smoothing", &shape, &soft());
        batches(criterion, "mix_up", &shape, &MixUp::new(soft(), 0.2).unwrap());
        batches(criterion, "cut_mix", &shape, &CutMix::new(soft(), 1.0).unwrap());
    }
}

/// A shuffled epoch of digits, plain and with the usual augmentation of digits.
fn loaders(criterion: &mut Criterion) {
    let plain = digits(SAMPLES, 7);
    let augment = (
        RandomCrop::new(28).padding(2),
        RandomRotation::new(10.0),
        RandomErasing::new(0.25),
        ToFloat,
        Normalize::new([0.1307], [0.3081]).unwrap(),
    );
    let augmented = TransformDataset::new(plain.to_bytes(), augment).unwrap();
    epochs(criterion, "loader", &plain);
    epochs(criterion, "augmented_loader", &augmented);
}

fn epochs<D: Dataset<Input = Tensor>>(criterion: &mut Criterion, name: &str, data: &D) {
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Bytes((size_of::<f32>() * SAMPLES * 28 * 28) as u64));
    let loader = DataLoader::new(data).batch_size(BATCH_SIZE).shuffle(0);
    let mut epoch = 0;
    group.bench_function(format!("samples={SAMPLES}"), |bencher| {
        bencher.iter(|| {
            epoch += 1;
            loader.epoch(epoch).for_each(|batch| drop(black_box(batch.unwrap())));
        });
    });
    for workers in [1, 2] {
        let loader = loader.clone().workers(workers);
        group.bench_function(format!("samples={SAMPLES},workers={workers}"), |bencher| {
            bencher.iter(|| {
                epoch += 1;
                thread::scope(|scope| {
                    let batches = loader.prefetch(scope, epoch);
                    batches.for_each(|batch| drop(black_box(batch.unwrap())));
                });
            });
        });
    }
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    for group in [transforms, mixtures, loaders] {
        group(&mut criterion);
    }
    criterion.final_summary();
}
