//! Transforms: what each does, on bytes and on floats, and that seeds decide.

use dendra_datasets::transforms::*;
use dendra_datasets::{DataLoader, Dataset, Draw, ImageDataset, TransformDataset, digits};
use dendra_tensor::{Error, Result, Rng};

/// A smooth picture of bytes.
fn picture(shape: [usize; 3]) -> Image<u8> {
    let [channels, height, width] = shape;
    let value = |index: usize| {
        let (c, y, x) = (index / (height * width), index / width % height, index % width);
        (40 * c + 7 * y + 5 * x + (x * y) % 11) as u8
    };
    Image::new(shape, (0..channels * height * width).map(value).collect()).unwrap()
}

fn floats(image: &Image<u8>) -> Image<f32> {
    let pixels = image.pixels().iter().map(|&x| f32::from(x) / 255.0).collect();
    Image::new(image.shape(), pixels).unwrap()
}

fn seeded<P: Pixel, T: Transform<P>>(
    transform: &T,
    image: Image<P>,
    seed: u64,
) -> Image<T::Output> {
    transform.apply(image, &mut Rng::seed(seed))
}

/// A transform gives the same on bytes as on floats, up to rounding.
fn same_on_both<T>(name: &str, transform: T, shape: [usize; 3], steps: f32)
where
    T: Transform<u8, Output = u8> + Transform<f32, Output = f32>,
{
    for seed in 0..20 {
        let image = picture(shape);
        let expected = Transform::<u8>::output_shape(&transform, shape).unwrap();
        let bytes = seeded(&transform, image.clone(), seed);
        let floats = seeded(&transform, floats(&image), seed);
        assert_eq!((bytes.shape(), floats.shape()), (expected, expected), "{name}");
        for (byte, float) in bytes.pixels().iter().zip(floats.pixels()) {
            let error = (f32::from(*byte) - 255.0 * float.clamp(0.0, 1.0)).abs();
            assert!(error <= 0.5 * steps + 1e-3, "{name}, seed {seed}: {byte} but {float}");
        }
        assert_eq!(seeded(&transform, image.clone(), seed), bytes, "{name} is not repeatable");
    }
}

#[test]
fn bytes_and_floats_are_treated_alike() {
    let shape = [3, 12, 9];
    same_on_both("crop", RandomCrop::new(8).padding(3), shape, 0.0);
    same_on_both("reflected", RandomCrop::new(12).padding(5).border(Border::Reflect), shape, 0.0);
    same_on_both("centre", CenterCrop::new(7), shape, 0.0);
    same_on_both(
        "flip",
        (RandomHorizontalFlip::new(0.5), RandomVerticalFlip::new(0.5)),
        shape,
        0.0,
    );
    same_on_both("resize", Resize::new(6, 20), shape, 1.0);
    same_on_both("resized crop", RandomResizedCrop::new(6, 6), shape, 1.0);
    same_on_both("rotation", RandomRotation::new(40.0), shape, 1.0);
    let affine = RandomAffine::new(10.0).translate(0.1, 0.2).scale(0.8, 1.2).shear(-5.0, 5.0);
    same_on_both("affine", affine, shape, 1.0);
    same_on_both("elastic", ElasticTransform::new(8.0, 3.0), shape, 1.0);
    let jitter = ColorJitter::new().brightness(0.4).contrast(0.4).saturation(0.4).hue(0.1);
    same_on_both("jitter", jitter.clone(), shape, 1.1);
    same_on_both("jitter of grey", jitter, [1, 12, 9], 1.1);
    same_on_both("grey", Grayscale::new(), shape, 1.0);
    same_on_both("noise", GaussianNoise::new(0.2), shape, 1.0);
    same_on_both("erasing", RandomErasing::new(0.8), shape, 0.0);
    same_on_both("some", RandomApply::new(RandomHorizontalFlip::new(1.0), 0.5), shape, 0.0);
    same_on_both("none", (), shape, 0.0);
}

#[test]
fn a_crop_is_a_part_of_the_padded_image() {
    let image = picture([2, 5, 4]);
    let at = |c: usize, y: isize, x: isize| {
        let inside = (0..5).contains(&y) && (0..4).contains(&x);
        if inside { image.pixels()[c * 20 + y as usize * 4 + x as usize] } else { 0 }
    };
    let mut places = std::collections::BTreeSet::new();
    for seed in 0..300 {
        let found = seeded(&RandomCrop::new(3).padding(1), image.clone(), seed);
        let place = (-1..=3).flat_map(|top| (-1..=2).map(move |left| (top, left))).find(|&place| {
            let (top, left) = place;
            found.pixels().iter().enumerate().all(|(index, &x)| {
                let (c, y, column) = (index / 9, index / 3 % 3, index % 3);
                x == at(c, top + y as isize, left + column as isize)
            })
        });
        places.insert(place.expect("a crop must be a part of the image"));
    }
    assert_eq!(places.len(), 20, "every place must come up");
}

#[test]
fn borders_are_what_they_say() {
    let row = Image::new([1, 1, 4], vec![1u8, 2, 3, 4]).unwrap();
    let whole = |border| {
        let crop = RandomCrop::new(1).size(1, 14).padding(5).border(border);
        // The padded row is as wide as the part, its three rows are alike or not.
        let rows = Image::new([1, 4, 4], row.pixels().repeat(4)).unwrap();
        (0..50).map(|seed| seeded(&crop, rows.clone(), seed).into_pixels()).max().unwrap()
    };
    assert_eq!(whole(Border::Replicate), [1, 1, 1, 1, 1, 1, 2, 3, 4, 4, 4, 4, 4, 4]);
    assert_eq!(whole(Border::Reflect), [2, 3, 4, 3, 2, 1, 2, 3, 4, 3, 2, 1, 2, 3]);
    assert_eq!(whole(Border::Constant(9.0)), [9; 14]);
}

#[test]
fn the_middle_is_cut_out_or_framed() {
    let image = picture([1, 4, 6]);
    let middle = seeded(&CenterCrop::new(2), image.clone(), 0);
    let expected: Vec<u8> = [8, 9, 14, 15].iter().map(|&i| image.pixels()[i]).collect();
    assert_eq!(middle.pixels(), expected);
    let framed = seeded(&CenterCrop::new(0).size(6, 8), image.clone(), 0);
    assert_eq!(framed.pixels()[..8], [0; 8]);
    assert_eq!(framed.pixels()[9..15], image.pixels()[..6]);
    assert_eq!(seeded(&CenterCrop::new(0).size(4, 6), image.clone(), 0), image);
}

#[test]
fn flips_come_as_often_as_asked_and_undo_themselves() {
    let image = picture([3, 5, 4]);
    let (across, down) = (RandomHorizontalFlip::new(0.3), RandomVerticalFlip::new(0.3));
    let flipped = (0..2_000).filter(|&seed| seeded(&across, image.clone(), seed) != image).count();
    assert!((500..700).contains(&flipped), "{flipped}");
    let flipped = (0..2_000).filter(|&seed| seeded(&down, image.clone(), seed) != image).count();
    assert!((500..700).contains(&flipped), "{flipped}");
    let both = (RandomHorizontalFlip::new(1.0), RandomVerticalFlip::new(1.0));
    let once = seeded(&both, image.clone(), 0);
    let mut reversed: Vec<u8> =
        image.planes().flat_map(|plane| plane.iter().rev()).copied().collect();
    assert_eq!(once.pixels(), reversed);
    reversed.clear();
    assert_eq!(seeded(&both, once, 0), image);
}

#[test]
fn a_quarter_turn_is_a_transposition() {
    let image = picture([2, 5, 5]);
    let turned = seeded(&RandomRotation::new(0.0).degrees(90.0, 90.0), image.clone(), 0);
    for (index, &x) in turned.pixels().iter().enumerate() {
        let (c, row, column) = (index / 25, index / 5 % 5, index % 5);
        // Counter-clockwise, the right column becomes the top row.
        assert_eq!(x, image.pixels()[c * 25 + column * 5 + 4 - row]);
    }
    let still = seeded(&RandomRotation::new(0.0), image.clone(), 0);
    assert_eq!(still, image);
}

#[test]
fn bending_moves_smoothly_and_keeps_a_plain_image() {
    let plain = Image::new([1, 20, 20], vec![0.7f32; 400]).unwrap();
    let bent = seeded(&ElasticTransform::new(10.0, 4.0).fill(0.7), plain, 3);
    assert!(bent.pixels().iter().all(|x| (x - 0.7).abs() < 1e-5));
    // A ramp shows how far each pixel has moved.
    let ramp = Image::new([1, 40, 40], (0..1600).map(|i| (i % 40) as f32).collect()).unwrap();
    let bent = seeded(&ElasticTransform::new(10.0, 4.0), ramp.clone(), 3);
    let moved = |y: usize, x: usize| bent.pixels()[y * 40 + x] - x as f32;
    let inner = || (8..32).flat_map(|y| (8..32).map(move |x| (y, x)));
    let largest = inner().map(|(y, x)| moved(y, x).abs()).fold(0.0, f32::max);
    let step = inner().map(|(y, x)| (moved(y, x) - moved(y, x + 1)).abs()).fold(0.0, f32::max);
    assert!((0.3..5.0).contains(&largest) && step < 0.4 * largest, "{largest} {step}");
    assert_eq!(seeded(&ElasticTransform::new(0.0, 4.0), ramp.clone(), 3), ramp);
}

#[test]
fn hues_turn_in_a_circle() {
    let red = Image::new([3, 1, 1], vec![200u8, 40, 40]).unwrap();
    // A third of a turn to 0.5 either way, so all hues come up.
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..200 {
        let turned = seeded(&ColorJitter::new().hue(0.5), red.clone(), seed);
        let (high, low) = (turned.pixels().iter().max(), turned.pixels().iter().min());
        assert_eq!((high, low), (Some(&200), Some(&40)), "value and saturation stay");
        seen.insert(turned.pixels().iter().position(|&x| x == 200));
    }
    assert_eq!(seen.len(), 3);
    let grey = Image::new([3, 1, 1], vec![90u8; 3]).unwrap();
    assert_eq!(seeded(&ColorJitter::new().hue(0.5).saturation(0.9), grey.clone(), 1), grey);
}

#[test]
fn saturation_and_contrast_keep_the_grey() {
    // Far enough from black and white that nothing is cut off.
    let mut image = picture([3, 6, 6]);
    image.pixels_mut().iter_mut().for_each(|x| *x = *x / 2 + 70);
    let grey = |image: &Image<u8>| seeded(&Grayscale::new(), image.clone(), 0);
    for seed in 0..10 {
        let changed = seeded(&ColorJitter::new().saturation(0.3), image.clone(), seed);
        for (before, after) in grey(&image).pixels().iter().zip(grey(&changed).pixels()) {
            assert!(before.abs_diff(*after) <= 1, "{before} {after}");
        }
        let changed = seeded(&ColorJitter::new().contrast(0.3), image.clone(), seed);
        let mean = |image: &Image<u8>| {
            let grey = grey(image);
            grey.pixels().iter().map(|&x| f64::from(x)).sum::<f64>() / 36.0
        };
        assert!((mean(&image) - mean(&changed)).abs() < 1.0);
    }
    let kept = seeded(&Grayscale::new().keep_channels(true), image.clone(), 0);
    assert!(kept.planes().all(|plane| plane == grey(&image).pixels()));
}

#[test]
fn noise_has_the_asked_moments() {
    let image = Image::new([1, 200, 200], vec![0.5f32; 40_000]).unwrap();
    let noisy = seeded(&GaussianNoise::new(0.1).mean(0.05).clip(false), image.clone(), 4);
    let mean = noisy.pixels().iter().map(|&x| f64::from(x)).sum::<f64>() / 40_000.0;
    let squares = noisy.pixels().iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>();
    assert!((mean - 0.55).abs() < 0.003, "{mean}");
    assert!(((squares / 40_000.0).sqrt() - 0.1).abs() < 0.002);
    assert!(noisy.is_finite());
    let clipped = seeded(&GaussianNoise::new(1.0), image, 4);
    assert!(clipped.pixels().iter().all(|x| (0.0..=1.0).contains(x)));
}

trait Finite {
    fn is_finite(&self) -> bool;
}

impl Finite for Image<f32> {
    fn is_finite(&self) -> bool {
        self.pixels().iter().all(|x| x.is_finite())
    }
}

#[test]
fn what_is_blotted_out_is_a_rectangle_of_the_asked_area() {
    let image = Image::new([2, 20, 30], vec![255u8; 1200]).unwrap();
    let mut erased = 0;
    for seed in 0..200 {
        let changed = seeded(&RandomErasing::new(0.5).value(7.0), image.clone(), seed);
        let plane = changed.planes().next().unwrap();
        assert_eq!(changed.planes().nth(1).unwrap(), plane);
        let spots: Vec<(usize, usize)> =
            (0..600).filter(|&i| plane[i] == 7).map(|i| (i / 30, i % 30)).collect();
        if spots.is_empty() {
            continue;
        }
        erased += 1;
        let span = |axis: fn(&(usize, usize)) -> usize| {
            spots.iter().map(axis).max().unwrap() - spots.iter().map(axis).min().unwrap() + 1
        };
        assert_eq!(span(|spot| spot.0) * span(|spot| spot.1), spots.len());
        assert!((8..=215).contains(&spots.len()), "{}", spots.len());
    }
    assert!((75..125).contains(&erased), "{erased}");
}

#[test]
fn a_resized_crop_stays_in_the_range_of_the_image() {
    let image = picture([3, 30, 20]);
    let transform = RandomResizedCrop::new(16, 16).scale(0.2, 0.5);
    let outcomes: Vec<_> = (0..20).map(|seed| seeded(&transform, image.clone(), seed)).collect();
    assert!(outcomes.iter().all(|image| image.shape() == [3, 16, 16]));
    assert!(outcomes.windows(2).any(|pair| pair[0] != pair[1]));
    let whole = RandomResizedCrop::new(30, 20).scale(1.0, 1.0).ratio(2.0 / 3.0, 2.0 / 3.0);
    assert_eq!(seeded(&whole, image.clone(), 1), image);
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    let shape = [3, 8, 8];
    let of = |outcome: Result<[usize; 3]>| outcome.unwrap_err().to_string();
    fn shaped(transform: impl Transform<u8>, shape: [usize; 3]) -> Result<[usize; 3]> {
        transform.output_shape(shape)
    }
    assert!(of(shaped(RandomCrop::new(20).padding(5), shape)).contains("20×20 pixels from 8×8"));
    assert!(of(shaped(RandomCrop::new(2).padding(usize::MAX), shape)).contains("cannot crop"));
    for p in [-0.1, 1.1, f64::NAN] {
        assert!(shaped(RandomHorizontalFlip::new(p), shape).is_err());
        assert!(shaped(RandomVerticalFlip::new(p), shape).is_err());
        assert!(shaped(RandomErasing::new(p), shape).is_err());
        assert!(shaped(RandomApply::new((), p), shape).is_err());
    }
    let errors = [
        shaped(RandomRotation::new(f64::NAN), shape),
        shaped(RandomRotation::new(-5.0), shape),
        shaped(RandomAffine::new(0.0).scale(0.0, 1.0), shape),
        shaped(RandomAffine::new(0.0).shear(-90.0, 90.0), shape),
        shaped(RandomAffine::new(0.0).translate(2.0, 0.0), shape),
        shaped(ElasticTransform::new(1.0, -1.0), shape),
        shaped(ElasticTransform::new(f64::INFINITY, 1.0), shape),
        shaped(ColorJitter::new().hue(0.6), shape),
        shaped(ColorJitter::new().brightness(f64::NAN), shape),
        shaped(GaussianNoise::new(-1.0), shape),
        shaped(GaussianNoise::new(0.1).mean(f64::NAN), shape),
        shaped(RandomErasing::new(0.5).scale(0.5, 0.1), shape),
        shaped(RandomResizedCrop::new(4, 4).ratio(0.0, 1.0), shape),
        shaped(RandomApply::new(Resize::new(2, 2), 0.5), shape),
    ];
    for error in errors {
        assert!(matches!(error, Err(Error::Argument { .. })), "{error:?}");
    }
    for shape in [[2, 8, 8], [0, 8, 8], [4, 8, 8]] {
        assert!(shaped(ColorJitter::new(), shape).is_err());
        assert!(shaped(Grayscale::new(), shape).is_err());
    }
    assert!(shaped(Resize::new(4, 4), [3, 0, 8]).is_err());
    assert!(Normalize::new([0.5], [0.0]).is_err());
    assert!(Normalize::new([0.5, 0.5], [1.0]).is_err());
    assert!(Normalize::new([0.5], [1.0]).unwrap().output_shape(shape).is_err());
}

#[test]
fn the_smallest_images_are_fine() {
    let all = (
        RandomCrop::new(1).padding(1).border(Border::Reflect),
        RandomRotation::new(30.0),
        ElasticTransform::new(3.0, 2.0),
        ColorJitter::new().brightness(0.5).contrast(0.5),
        GaussianNoise::new(0.1),
        RandomErasing::new(1.0),
        (RandomVerticalFlip::new(0.5), Resize::new(3, 2), ToFloat),
    );
    for seed in 0..20 {
        let image = Image::new([1, 1, 1], vec![9u8]).unwrap();
        assert_eq!(seeded(&all, image, seed).shape(), [1, 3, 2]);
    }
    let empty = Image::new([3, 0, 5], Vec::<u8>::new()).unwrap();
    let rest = (RandomHorizontalFlip::new(1.0), RandomVerticalFlip::new(1.0), all.4, all.5, all.1);
    assert_eq!(seeded(&rest, empty, 0).shape(), [3, 0, 5]);
}

/// A data set of random pictures with much done to them.
fn augmented() -> TransformDataset<ImageDataset, impl Transform<f32, Output = f32>> {
    let transform = (
        RandomCrop::new(28).padding(3),
        RandomAffine::new(10.0).scale(0.9, 1.1),
        ElasticTransform::new(10.0, 4.0),
        GaussianNoise::new(0.05),
        RandomErasing::new(0.5),
    );
    TransformDataset::new(digits(64, 7), transform).unwrap()
}

#[test]
fn a_sample_depends_on_seed_epoch_and_index_alone() {
    let data = augmented();
    let draw = Draw::new(3, 1);
    let (all, _) = data.batch_at(&(0..64).collect::<Vec<_>>(), &draw).unwrap();
    for index in [0, 17, 63] {
        let (one, _) = data.batch_at(&[index], &draw).unwrap();
        assert_eq!(one, all.narrow(0, index, 1).unwrap().contiguous());
    }
    let (twice, _) = data.batch_at(&[5, 5], &draw).unwrap();
    assert_eq!(twice.narrow(0, 0, 1).unwrap(), twice.narrow(0, 1, 1).unwrap());
    for other in [Draw::new(3, 2), Draw::new(4, 1)] {
        assert_ne!(data.batch_at(&[5], &other).unwrap().0, data.batch_at(&[5], &draw).unwrap().0);
    }
    let loader = DataLoader::new(&data).batch_size(10).shuffle(3);
    let direct: Vec<_> = loader.epoch(1).map(|batch| batch.unwrap().0.to_vec()).collect();
    for workers in [1, 3] {
        let ahead: Vec<_> = std::thread::scope(|scope| {
            let batches = loader.clone().workers(workers).prefetch(scope, 1);
            batches.map(|batch| batch.unwrap().0.to_vec()).collect()
        });
        assert_eq!(ahead, direct);
    }
    for threads in [1, 2, 7] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let found: Vec<_> =
            pool.install(|| loader.epoch(1).map(|batch| batch.unwrap().0.to_vec()).collect());
        assert_eq!(found, direct, "{threads} threads");
    }
}

#[test]
fn what_is_chosen_at_run_time_is_what_is_written_down() {
    let image = picture([3, 9, 9]);
    let chosen: Vec<Box<dyn Transform<u8, Output = u8>>> =
        vec![Box::new(RandomCrop::new(7)), Box::new(RandomHorizontalFlip::new(0.5))];
    let written = (RandomCrop::new(7), RandomHorizontalFlip::new(0.5));
    for seed in 0..10 {
        assert_eq!(seeded(&chosen, image.clone(), seed), seeded(&written, image.clone(), seed));
    }
    assert_eq!(chosen.output_shape([3, 9, 9]).unwrap(), [3, 7, 7]);
}

/// Announces another shape than it gives, or panics.
struct Broken(bool);

impl<P: Pixel> Transform<P> for Broken {
    type Output = P;

    fn output_shape(&self, shape: [usize; 3]) -> Result<[usize; 3]> {
        Ok(if self.0 { shape } else { [shape[0], 2, 2] })
    }

    fn apply(&self, image: Image<P>, rng: &mut Rng) -> Image<P> {
        assert!(!self.0 || rng.uniform() < 0.9, "an unlucky image");
        image
    }
}

#[test]
fn a_broken_transform_is_an_error() {
    let data = TransformDataset::new(digits(64, 7).to_bytes(), Broken(false)).unwrap();
    let error = data.batch(&[0]).unwrap_err().to_string();
    assert!(error.contains("another shape than its `output_shape`"), "{error}");
    let data = TransformDataset::new(digits(64, 7).to_bytes(), Broken(true)).unwrap();
    let error = DataLoader::new(&data).batch_size(64).epoch(0).next().unwrap().unwrap_err();
    let error = error.to_string();
    assert!(error.starts_with("sample ") && error.ends_with("an unlucky image"), "{error}");
    let flat = dendra_datasets::moons(5, 0.1, 1).unwrap();
    assert!(TransformDataset::new(flat, ()).is_err());
}
