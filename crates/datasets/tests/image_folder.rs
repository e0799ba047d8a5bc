//! Folders of pictures.
#![cfg(feature = "images")]

use std::fs;
use std::io::Cursor;
use std::path::Path;

use dendra_datasets::transforms::ToFloat;
use dendra_datasets::{
    CachedDataset, DataLoader, Dataset, ImageFolder, TransformDataset, decode_image,
};
use dendra_tensor::Error;
use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use tempfile::TempDir;

/// A picture of one colour.
fn plain(width: u32, height: u32, colour: [u8; 3], format: ImageFormat) -> Vec<u8> {
    let picture = RgbImage::from_pixel(width, height, Rgb(colour));
    let mut bytes = Cursor::new(Vec::new());
    DynamicImage::ImageRgb8(picture).write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn put(root: &Path, name: &str, bytes: &[u8]) {
    let path = root.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// Two cats, one in a folder within, and a dog.
fn pets() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let png = |colour| plain(8, 6, colour, ImageFormat::Png);
    put(folder.path(), "cat/b/2.PNG", &png([30, 20, 10]));
    put(folder.path(), "cat/1.png", &png([10, 20, 30]));
    put(folder.path(), "dog/3.jpeg", &plain(16, 12, [200, 200, 200], ImageFormat::Jpeg));
    put(folder.path(), "dog/notes.txt", b"not a picture");
    put(folder.path(), "readme.png", b"not in a class");
    folder
}

#[test]
fn classes_are_folders_and_samples_their_pictures() {
    let folder = pets();
    let pets = ImageFolder::open(folder.path()).unwrap();
    assert_eq!(pets.class_names(), ["cat", "dog"]);
    assert_eq!((pets.len(), pets.classes(), pets.labels()), (3, Some(2), Some(vec![0, 0, 1])));
    assert!(pets.files()[1].ends_with("cat/b/2.PNG"));
    assert_eq!(pets.input_shape(), [3, 6, 8]);
    let (x, y) = pets.batch(&[2, 0]).unwrap();
    assert_eq!((x.shape(), y.to_vec()), (&[2, 3, 6, 8].into(), vec![1, 0]));
    let x = x.to_vec();
    assert!(x[..144].iter().all(|&pixel| pixel.abs_diff(200) <= 2), "{x:?}");
    assert_eq!(
        (&x[144..192], &x[192..240], &x[240..]),
        (&[10; 48][..], &[20; 48][..], &[30; 48][..])
    );
    assert!(pets.batch(&[3]).is_err());
}

#[test]
fn sizes_and_channels_can_be_set_and_samples_kept() {
    let folder = pets();
    let pets = ImageFolder::open(folder.path()).unwrap().size(5, 5).grey(true);
    let pets = CachedDataset::<_, u8, i64>::new(pets);
    let pets = TransformDataset::new(pets, ToFloat).unwrap();
    for _ in 0..2 {
        let batch = DataLoader::new(&pets).batch_size(3).epoch(0).next().unwrap().unwrap();
        assert_eq!(batch.0.shape(), &[3, 1, 5, 5]);
        assert!((batch.0.to_vec()[74] - 200.0 / 255.0).abs() < 0.01);
    }
}

#[test]
fn a_picture_is_cut_at_both_ends() {
    let folder = tempfile::tempdir().unwrap();
    let mut picture = RgbImage::from_pixel(6, 2, Rgb([0; 3]));
    (0..2).for_each(|y| (2..4).for_each(|x| picture.put_pixel(x, y, Rgb([9, 9, 9]))));
    let mut bytes = Cursor::new(Vec::new());
    DynamicImage::ImageRgb8(picture).write_to(&mut bytes, ImageFormat::Png).unwrap();
    put(folder.path(), "a/1.png", &bytes.into_inner());
    let folder = ImageFolder::open(folder.path()).unwrap().size(2, 2);
    assert_eq!(folder.batch(&[0]).unwrap().0.to_vec(), [9; 12]);
}

#[test]
fn what_is_no_folder_of_pictures_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let error = ImageFolder::open(folder.path()).unwrap_err().to_string();
    assert!(error.contains("a folder of pictures for each class, got none"), "{error}");
    fs::create_dir(folder.path().join("empty")).unwrap();
    let error = ImageFolder::open(folder.path()).unwrap_err().to_string();
    assert!(error.contains("empty: the class has no PNG or JPEG files"), "{error}");
    assert!(matches!(ImageFolder::open(folder.path().join("no")), Err(Error::Io { .. })));
    put(folder.path(), "empty/1.png", b"GIF89a");
    let error = ImageFolder::open(folder.path()).unwrap_err().to_string();
    assert!(error.contains("1.png: it is neither a PNG nor a JPEG"), "{error}");
}

#[test]
fn a_damaged_picture_is_named() {
    let folder = pets();
    let whole = plain(8, 6, [1, 2, 3], ImageFormat::Png);
    put(folder.path(), "dog/4.png", &whole[..whole.len() / 2]);
    let pets = ImageFolder::open(folder.path()).unwrap();
    let error = DataLoader::new(&pets).batch_size(9).epoch(0).next().unwrap().unwrap_err();
    assert!(matches!(&error, Error::File { path, .. } if path.ends_with("dog/4.png")), "{error}");
}

#[cfg(unix)]
#[test]
fn links_are_not_followed() {
    let folder = pets();
    std::os::unix::fs::symlink(folder.path(), folder.path().join("cat/loop")).unwrap();
    std::os::unix::fs::symlink(folder.path().join("cat"), folder.path().join("horse")).unwrap();
    let pets = ImageFolder::open(folder.path()).unwrap();
    assert_eq!((pets.class_names().len(), pets.len()), (2, 3));
}

#[test]
fn pictures_in_memory_are_decoded() {
    let png = plain(3, 2, [1, 2, 3], ImageFormat::Png);
    let image = decode_image(&png, false).unwrap();
    assert_eq!(image.shape(), [3, 2, 3]);
    assert_eq!(image.pixels()[6..12], [2; 6]);
    assert!(decode_image(&png[..20], false).is_err());
    assert!(decode_image(b"", true).unwrap_err().to_string().contains("neither a PNG"));
}
