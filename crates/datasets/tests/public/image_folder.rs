//! Folders of pictures.
#![cfg(feature = "images")]

use std::fs;
use std::io::{Cursor, Write};
use std::path::Path;

use dendra_datasets::transforms::{Grayscale, ToFloat, Transform};
use dendra_datasets::{
    CachedDataset, DataLoader, Dataset, ImageFolder, TransformDataset, decode_image,
};
use dendra_tensor::{Error, Rng};
use flate2::write::ZlibEncoder;
use flate2::{Compression, Crc};
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
    let pets = CachedDataset::new(pets);
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
fn links_are_followed() {
    use std::os::unix::fs::symlink;

    let (folder, elsewhere) = (pets(), tempfile::tempdir().unwrap());
    let picture = elsewhere.path().join("far.png");
    fs::write(&picture, plain(8, 6, [7, 8, 9], ImageFormat::Png)).unwrap();
    symlink(&picture, folder.path().join("dog/near.png")).unwrap();
    // A class may be a link; what it leads to counts once in a class.
    symlink(elsewhere.path(), folder.path().join("horse")).unwrap();
    symlink(folder.path().join("cat/b"), folder.path().join("cat/c")).unwrap();
    let pets = ImageFolder::open(folder.path()).unwrap();
    assert_eq!(pets.class_names(), ["cat", "dog", "horse"]);
    assert_eq!(pets.labels(), Some(vec![0, 0, 1, 1, 2]));
    assert_eq!(pets.batch(&[3]).unwrap().0.to_vec()[..48], [7; 48]);
}

#[cfg(unix)]
#[test]
fn links_that_lead_back_or_nowhere_are_named() {
    use std::os::unix::fs::symlink;

    for (link, to) in [("cat/b/loop", "cat"), ("cat/loop", ""), ("cat/b/loop", "cat/b")] {
        let folder = pets();
        symlink(folder.path().join(to), folder.path().join(link)).unwrap();
        let error = ImageFolder::open(folder.path()).unwrap_err();
        assert!(matches!(&error, Error::File { path, .. } if path.ends_with(link)), "{error}");
        assert!(error.to_string().contains("the link leads back to"), "{error}");
    }
    for link in ["cat/nowhere.png", "nowhere"] {
        let folder = pets();
        symlink("/nothing/here", folder.path().join(link)).unwrap();
        let error = ImageFolder::open(folder.path()).unwrap_err();
        assert!(matches!(&error, Error::Io { path, .. } if path.ends_with(link)), "{error}");
    }
}

#[test]
fn deeply_nested_folders_are_named() {
    let folder = pets();
    put(folder.path(), &format!("cat/{}1.png", "in/".repeat(40)), b"");
    let error = ImageFolder::open(folder.path()).unwrap_err().to_string();
    assert!(error.contains("folders are nested more than 32 deep"), "{error}");
}

#[test]
fn names_that_begin_with_a_dot_are_left_out() {
    let folder = pets();
    for name in [".git/1.png", "cat/._1.png", "cat/.thumbnails/1.png", "cat/.DS_Store"] {
        put(folder.path(), name, b"no picture");
    }
    let pets = ImageFolder::open(folder.path()).unwrap();
    assert_eq!((pets.class_names().len(), pets.len()), (2, 3));
    assert!(pets.batch(&[0, 1, 2]).is_ok());
}

#[test]
fn a_picture_that_would_be_left_out_is_named() {
    let folder = pets();
    put(folder.path(), "dog/5.WebP", b"RIFF");
    let error = ImageFolder::open(folder.path()).unwrap_err().to_string();
    assert!(error.contains("5.WebP: pictures of this format are not read"), "{error}");
}

/// A PNG of these rows, each with its filter byte; `chunks` come before them.
fn png(header: ([u32; 2], [u8; 2]), chunks: &[(&[u8; 4], &[u8])], rows: &[u8]) -> Vec<u8> {
    let ([width, height], [depth, kind]) = header;
    let mut zlib = ZlibEncoder::new(Vec::new(), Compression::best());
    zlib.write_all(rows).unwrap();
    let sizes = [width.to_be_bytes(), height.to_be_bytes()].concat();
    let start = [&sizes[..], &[depth, kind, 0, 0, 0]].concat();
    let rows = zlib.finish().unwrap();
    let mut bytes = b"\x89PNG\r\n\x1a\n".to_vec();
    let all = [(b"IHDR", &start[..])].into_iter().chain(chunks.iter().copied());
    for (name, contents) in all.chain([(b"IDAT", &rows[..]), (b"IEND", &[][..])]) {
        let mut sum = Crc::new();
        sum.update(name);
        sum.update(contents);
        bytes.extend((contents.len() as u32).to_be_bytes());
        bytes.extend([name, contents].concat());
        bytes.extend(sum.sum().to_be_bytes());
    }
    bytes
}

#[test]
fn large_pictures_of_few_bits_a_pixel_are_read() {
    // A mask of one colour and a scan: 590 bytes and 1,133 bytes.
    for (size, [depth, kind], value) in [
        ([2048, 2048], [1, 0], 255),
        ([2480, 3508], [1, 0], 255),
        ([2048, 2048], [2, 0], 255),
        ([2048, 2048], [1, 3], 9),
        ([2048, 2048], [4, 3], 9),
    ] {
        let colours: Vec<u8> = [[7; 3], [9; 3]].concat().into_iter().cycle().take(48).collect();
        let palette = [(b"PLTE", &colours[..3 << depth]), (b"tRNS", &[255, 0])];
        let width = (size[0] as usize * usize::from(depth)).div_ceil(8);
        let row = [&[0][..], &vec![0xff; width]].concat();
        let chunks = if kind == 3 { &palette[..] } else { &[] };
        let bytes = png((size, [depth, kind]), chunks, &row.repeat(size[1] as usize));
        assert!(bytes.len() < 6000);
        let picture = decode_image(&bytes, true).unwrap();
        assert_eq!(picture.shape(), [1, size[1] as usize, size[0] as usize]);
        assert!(picture.pixels().iter().all(|&pixel| pixel == value));
    }
}

#[test]
fn more_pixels_than_a_file_can_hold_are_refused() {
    let row = [0, 0xff];
    let bytes = png(([8, 1], [1, 0]), &[], &row);
    assert!(decode_image(&bytes, false).is_ok());
    let mut bomb = png(([2048, 1024], [1, 0]), &[], &row);
    let message = decode_image(&bomb, false).unwrap_err().to_string();
    assert!(message.contains("2048×1024 pixels are more than"), "{message}");
    bomb[16] = 1;
    assert!(decode_image(&bomb, false).is_err());
}

#[test]
fn kinds_of_pixels_become_bytes_of_colour_or_grey() {
    for (kind, row, colour) in [
        ([16, 0], &[0, 0x80, 0x12][..], [128; 3]),
        ([8, 4], &[0, 77, 3], [77; 3]),
        ([8, 6], &[0, 1, 2, 3, 128], [1, 2, 3]),
        ([16, 6], &[0, 10, 0, 20, 0, 30, 0, 0, 0], [10, 20, 30]),
        ([4, 0], &[0, 0x30], [51; 3]),
        ([2, 3], &[0, 0x80], [4, 5, 6]),
    ] {
        let palette = [(b"PLTE", &[1, 2, 3, 1, 2, 3, 4, 5, 6][..])];
        let bytes = png(([1, 1], kind), if kind[1] == 3 { &palette } else { &[] }, row);
        assert_eq!(decode_image(&bytes, false).unwrap().pixels(), colour, "{kind:?}");
    }
}

#[test]
fn grey_is_what_the_transform_makes() {
    let colours = [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255; 3], [17, 99, 230], [128; 3]];
    for (colour, grey) in colours.into_iter().zip([76, 150, 29, 255, 89, 128]) {
        let bytes = plain(1, 1, colour, ImageFormat::Png);
        assert_eq!(decode_image(&bytes, true).unwrap().pixels(), [grey]);
        let transformed =
            Grayscale::new().apply(decode_image(&bytes, false).unwrap(), &mut Rng::seed(0));
        assert_eq!(transformed.pixels(), [grey]);
    }
}

#[test]
fn pictures_are_turned_as_their_orientation_asks() {
    // Two rows of three pixels, and how people see them.
    let rows = [0, 1, 2, 3, 0, 4, 5, 6];
    for (orientation, shape, seen) in [
        (1, [1, 2, 3], [1, 2, 3, 4, 5, 6]),
        (2, [1, 2, 3], [3, 2, 1, 6, 5, 4]),
        (3, [1, 2, 3], [6, 5, 4, 3, 2, 1]),
        (4, [1, 2, 3], [4, 5, 6, 1, 2, 3]),
        (5, [1, 3, 2], [1, 4, 2, 5, 3, 6]),
        (6, [1, 3, 2], [4, 1, 5, 2, 6, 3]),
        (7, [1, 3, 2], [6, 3, 5, 2, 4, 1]),
        (8, [1, 3, 2], [3, 6, 2, 5, 1, 4]),
        (9, [1, 2, 3], [1, 2, 3, 4, 5, 6]),
    ] {
        let mut exif = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\0\0\0\0\0\0\0".to_vec();
        exif[19] = orientation;
        let bytes = png(([3, 2], [8, 0]), &[(b"eXIf", &exif)], &rows);
        let picture = decode_image(&bytes, true).unwrap();
        assert_eq!((picture.shape(), picture.pixels()), (shape, &seen[..]), "{orientation}");
        // A JPEG has it in its first segment.
        let mut jpeg = plain(16, 8, [9; 3], ImageFormat::Jpeg);
        let segment = [b"Exif\0\0", &exif[..]].concat();
        let length = (segment.len() as u16 + 2).to_be_bytes();
        jpeg.splice(2..2, [&[0xff, 0xe1][..], &length, &segment].concat());
        let is_turned = (5..=8).contains(&orientation);
        let expected = if is_turned { [3, 16, 8] } else { [3, 8, 16] };
        assert_eq!(decode_image(&jpeg, false).unwrap().shape(), expected, "{orientation}");
    }
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
