//! IDX files, good and hostile.

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use dendra_datasets::{parse_idx_as, read_idx, read_idx_as};
use dendra_tensor::Error;
use flate2::Compression;
use flate2::write::GzEncoder;
use tempfile::TempDir;

/// An IDX file: `lengths` in the header, whatever `elements` after it.
fn idx(lengths: &[u32], elements: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, lengths.len() as u8];
    bytes.extend(lengths.iter().flat_map(|length| length.to_be_bytes()));
    bytes.extend(elements);
    bytes
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn written(bytes: &[u8]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("train-images-idx3-ubyte.gz");
    fs::write(&path, bytes).unwrap();
    (folder, path)
}

/// The message of the error that the contents give, without the path that it
/// must start with.
#[track_caller]
fn refused(bytes: &[u8]) -> String {
    let (_folder, path) = written(bytes);
    match read_idx(&path).unwrap_err() {
        error @ Error::File { .. } => {
            let message = error.to_string();
            let path = path.display().to_string();
            message.strip_prefix(&path).expect("the error must name the path").to_string()
        }
        error => panic!("expected an error about the file's contents, got {error}"),
    }
}

#[test]
fn plain_and_gzipped_arrays_of_any_rank_are_read() {
    let bytes: Vec<u8> = (0..24).collect();
    for lengths in [&[24][..], &[2, 12], &[2, 3, 4], &[1, 2, 3, 4], &[1; 24]] {
        let count = lengths.iter().product::<u32>() as usize;
        let file = idx(lengths, &bytes[..count]);
        for contents in [file.clone(), gzip(&file)] {
            let (_folder, path) = written(&contents);
            let array = read_idx(path).unwrap();
            assert!(array.shape().iter().zip(lengths).all(|(&a, &b)| a == b as usize));
            assert_eq!(array.rank(), lengths.len());
            assert_eq!(array.to_vec(), bytes[..count]);
        }
    }
}

#[test]
fn an_array_larger_than_every_buffer_survives() {
    let elements: Vec<u8> = (0..1_000_003u64).map(|i| ((i * i) >> 7) as u8).collect();
    let (_folder, path) = written(&gzip(&idx(&[1_000_003], &elements)));
    assert_eq!(read_idx(path).unwrap().to_vec(), elements);
}

#[test]
fn gzip_members_may_follow_each_other() {
    let file = idx(&[6], &[1, 2, 3, 4, 5, 6]);
    let (_folder, path) = written(&[gzip(&file[..9]), gzip(&file[9..])].concat());
    assert_eq!(read_idx(path).unwrap().to_vec(), [1, 2, 3, 4, 5, 6]);
}

#[test]
fn an_array_without_elements_is_one() {
    let (_folder, path) = written(&idx(&[0, 28, 28], &[]));
    assert_eq!(read_idx(path).unwrap().shape(), &[0, 28, 28]);
}

#[test]
fn an_empty_file_is_refused() {
    assert!(refused(&[]).contains("empty"));
}

#[test]
fn a_truncated_header_is_refused() {
    let file = idx(&[2, 2], &[1, 2, 3, 4]);
    for length in 1..12 {
        assert!(refused(&file[..length]).contains("truncated"), "{length}");
        assert!(refused(&gzip(&file[..length])).contains("truncated"), "{length}");
    }
}

#[test]
fn truncated_contents_are_refused() {
    let file = idx(&[2, 2], &[1, 2, 3]);
    let message = refused(&gzip(&file));
    assert!(message.contains("states [2, 2] bytes, but it contains 3"), "{message}");
    assert!(refused(&idx(&[20], &[0; 19])).contains("truncated"));
}

#[test]
fn a_truncated_gzip_is_refused_wherever_it_ends() {
    let elements: Vec<u8> = (0..2000u32).map(|i| ((i * i) >> 5) as u8).collect();
    let whole = gzip(&idx(&[2000], &elements));
    for length in 2..whole.len() {
        let message = refused(&whole[..length]);
        assert!(message.contains("truncated"), "{length} of {}: {message}", whole.len());
    }
}

#[test]
fn a_damaged_gzip_is_refused() {
    let elements: Vec<u8> = (0..2000u32).map(|i| ((i * i) >> 5) as u8).collect();
    let whole = gzip(&idx(&[2000], &elements));
    // Within the deflate stream or its checksum; the header's time and system
    // carry no meaning.
    for byte in (10..whole.len()).step_by(7) {
        let mut damaged = whole.clone();
        damaged[byte] ^= 0x55;
        let _ = refused(&damaged);
    }
}

#[test]
fn what_is_neither_idx_nor_gzip_is_refused_and_shown() {
    let message = refused(b"<!DOCTYPE html>\n<title>Not found</title>");
    assert!(message.contains("neither an IDX nor a gzip file"), "{message}");
    assert!(message.contains("<!DOCTYPE html>"), "{message}");
    assert!(refused(&gzip(b"hello, world")).contains("magic number 0x68656c6c"));
}

#[test]
fn a_wrong_magic_number_is_refused() {
    let message = refused(&[0, 1, 8, 1, 0, 0, 0, 1, 7]);
    assert!(message.contains("magic number 0x00010801"), "{message}");
    assert!(refused(&[0, 0, 8, 0, 7]).contains("magic number"));
    let message = refused(&[0, 0, 0x0d, 1, 0, 0, 0, 1, 0, 0, 0, 0]);
    assert!(message.contains("32-bit floats, expected unsigned bytes"), "{message}");
}

#[test]
fn a_product_that_overflows_is_refused() {
    for lengths in [&[u32::MAX; 2][..], &[u32::MAX; 3], &[1 << 16; 4], &[1 << 16; 255]] {
        for contents in [idx(lengths, &[0; 100]), gzip(&idx(lengths, &[0; 100]))] {
            assert!(refused(&contents).contains("its header states"));
        }
    }
}

#[test]
fn a_count_beyond_the_data_is_refused_without_allocating_it() {
    // A header for 2 GiB, more than the file could inflate to.
    let message = refused(&gzip(&idx(&[1 << 31], &[0; 1000])));
    assert!(message.contains("can contain at most"), "{message}");
    let message = refused(&idx(&[60_000, 28, 28], &[0; 1000]));
    assert!(message.contains("states [60000, 28, 28] bytes"), "{message}");
}

#[test]
fn data_after_the_array_is_refused() {
    for contents in [idx(&[2, 2], &[0; 5]), gzip(&idx(&[2, 2], &[0; 5]))] {
        let message = refused(&contents);
        assert!(message.contains("has data after the [2, 2] elements"), "{message}");
    }
    for garbage in ["some garbage at the end", "\0\0\0some garbage at the end"] {
        let trailing = [&gzip(&idx(&[2], &[0; 2])), garbage.as_bytes()].concat();
        let message = refused(&trailing);
        assert!(message.contains("followed by \"some garbage at \""), "{message}");
        assert!(!message.contains("truncated"), "{message}");
    }
}

#[test]
fn zeros_that_pad_a_gzip_file_are_no_part_of_it() {
    let padded = [gzip(&idx(&[2], &[7, 8])), vec![0; 70_000]].concat();
    let (_folder, path) = written(&padded);
    assert_eq!(read_idx(path).unwrap().to_vec(), [7, 8]);
}

/// An IDX file of elements of any type.
fn typed(kind: u8, count: u32, elements: &[u8]) -> Vec<u8> {
    let mut bytes = idx(&[count], elements);
    bytes[2] = kind;
    bytes
}

#[test]
fn all_element_types_are_read() {
    let i16s: Vec<u8> = [-1i16, 258, i16::MIN].iter().flat_map(|x| x.to_be_bytes()).collect();
    let i32s: Vec<u8> = [-1i32, 258, i32::MAX].iter().flat_map(|x| x.to_be_bytes()).collect();
    let f32s: Vec<u8> = [0.1f32, f32::NAN, -1e30].iter().flat_map(|x| x.to_be_bytes()).collect();
    let f64s: Vec<u8> = [0.1f64, 3.0, -1e300].iter().flat_map(|x| x.to_be_bytes()).collect();
    let bytes = typed(9, 3, &[1, 0xff, 0x80]);
    for bytes in [bytes.clone(), gzip(&bytes)] {
        assert_eq!(parse_idx_as::<i64>(&bytes).unwrap().to_vec(), [1, -1, -128]);
    }
    let i16s = typed(0x0b, 3, &i16s);
    assert_eq!(parse_idx_as::<i32>(&i16s).unwrap().to_vec(), [-1, 258, -32768]);
    assert_eq!(parse_idx_as::<f32>(&i16s).unwrap().to_vec(), [-1.0, 258.0, -32768.0]);
    let (_folder, path) = written(&typed(0x0c, 3, &i32s));
    assert_eq!(read_idx_as::<i32>(&path).unwrap().to_vec(), [-1, 258, i32::MAX]);
    let floats = parse_idx_as::<f32>(&typed(0x0d, 3, &f32s)).unwrap().to_vec();
    assert!(floats[0] == 0.1 && floats[1].is_nan() && floats[2] == -1e30);
    let f64s = typed(0x0e, 3, &f64s);
    assert_eq!(parse_idx_as::<f64>(&f64s).unwrap().to_vec(), [0.1, 3.0, -1e300]);
    assert_eq!(parse_idx_as::<f32>(&f64s).unwrap().to_vec(), [0.1, 3.0, f32::NEG_INFINITY]);
    // More than are converted at once.
    let many = typed(0x0b, 10_000, &[1, 2].repeat(10_000));
    assert_eq!(parse_idx_as::<i64>(&many).unwrap().to_vec(), vec![258; 10_000]);
}

#[test]
fn numbers_that_a_type_does_not_hold_are_named() {
    let refused = |bytes: &[u8]| parse_idx_as::<u8>(bytes).unwrap_err().to_string();
    let message = refused(&typed(0x0b, 2, &[0, 7, 1, 0]));
    assert!(message.contains("element 1 is 256, which is not a u8"), "{message}");
    assert!(refused(&typed(9, 1, &[0xff])).contains("element 0 is -1"));
    assert!(refused(&typed(0x0d, 1, &0.5f32.to_be_bytes())).contains("element 0 is 0.5"));
    assert!(refused(&typed(0x0d, 1, &f32::NAN.to_be_bytes())).contains("element 0 is NaN"));
    assert_eq!(parse_idx_as::<u8>(&typed(0x0c, 1, &[0, 0, 0, 255])).unwrap().to_vec(), [255]);
    let message = refused(&typed(0x0c, 5, &[0; 10]));
    assert!(message.contains("states [5] 32-bit integers, but it can contain"), "{message}");
    let message = refused(&gzip(&typed(0x0c, 2, &[0, 0, 0, 9, 0, 0])));
    assert!(message.contains("states [2] 32-bit integers, but it contains 1"), "{message}");
    assert!(refused(&typed(0x0c, 1, &[0; 5])).contains("has data after the [1] elements"));
    assert!(refused(&typed(0x0a, 1, &[0; 5])).contains("magic number 0x00000a01"));
}

#[test]
fn a_gzip_bomb_is_not_inflated() {
    // A header for four bytes, followed by a hundred megabytes of zeros.
    let mut bomb = GzEncoder::new(Vec::new(), Compression::fast());
    bomb.write_all(&idx(&[4], &[])).unwrap();
    for _ in 0..100 {
        bomb.write_all(&[0; 1 << 20]).unwrap();
    }
    let bomb = bomb.finish().unwrap();
    assert!(bomb.len() < 1 << 20);
    assert!(refused(&bomb).contains("has data after the [4] elements"));
}

#[test]
fn more_than_the_cap_is_refused_whatever_the_file_could_hold() {
    // A gzip file large enough to inflate to 3 GiB, as its header states.
    let mut contents = gzip(&idx(&[3 << 30], &[]));
    contents.resize((3 << 30) / 1032 + 4096, 0);
    let message = refused(&contents);
    assert!(message.contains("it can contain at most 2147483648 bytes"), "{message}");
}

#[test]
fn a_missing_file_and_a_folder_are_named() {
    let folder = tempfile::tempdir().unwrap();
    for path in [folder.path().join("nothing-here"), folder.path().to_path_buf()] {
        let error = read_idx(&path).unwrap_err();
        assert!(matches!(error, Error::Io { .. }), "{error:?}");
        assert!(error.to_string().contains(&path.display().to_string()), "{error}");
    }
}

#[cfg(unix)]
#[test]
fn a_path_need_not_be_utf_8() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(OsStr::from_bytes(b"digits-\xff\xfe"));
    if fs::write(&path, idx(&[1], &[7])).is_err() {
        println!("skipped: this file system takes no such name");
        return;
    }
    assert_eq!(read_idx(&path).unwrap().to_vec(), [7]);
    fs::write(&path, "x").unwrap();
    assert!(read_idx(&path).unwrap_err().to_string().contains("digits-"));
}
