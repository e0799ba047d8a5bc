//! Malformed files. Reading each one returns an error that contains the path, and
//! uses no more memory than the size of the file.

use std::fs;
use std::path::PathBuf;

use dendra_nn::autograd::StateDict;
use dendra_nn::tensor::{Error, Rng, Tensor};
use dendra_nn::{Parameters, Sequential, StateFile, load};
use tempfile::TempDir;

/// A temporary folder with one file.
struct Place {
    _folder: TempDir,
    path: PathBuf,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        Self { _folder: folder, path }
    }

    fn with(bytes: &[u8]) -> Self {
        let place = Self::new();
        fs::write(&place.path, bytes).unwrap();
        place
    }
}

/// Returns a file with this header and these values.
fn file(header: &str, values: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), values].concat()
}

/// Reads the bytes and returns the error message, which must contain the path.
fn refusal(bytes: &[u8]) -> String {
    let place = Place::with(bytes);
    let error = StateFile::read(&place.path).unwrap_err();
    assert!(matches!(error, Error::File { .. }), "{error:?}");
    let message = error.to_string();
    let in_memory = StateFile::from_bytes(bytes, &place.path).unwrap_err();
    assert_eq!(in_memory.to_string(), message);
    let path = place.path.display().to_string();
    message.strip_prefix(&path).unwrap_or_else(|| panic!("{message} names no path")).to_owned()
}

fn sound() -> Vec<u8> {
    file(r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#, &[0; 8])
}

#[test]
fn the_sound_file_is_read() {
    let place = Place::with(&sound());
    let state = StateFile::read(&place.path).unwrap().state;
    assert_eq!(state.typed::<f32>("a").unwrap().to_vec(), [0.0, 0.0]);
    assert_eq!(StateFile::from_bytes(&sound(), "memory").unwrap().state, state);
}

#[test]
fn every_truncation_is_refused() {
    let sound = sound();
    for length in 0..sound.len() {
        let message = refusal(&sound[..length]);
        assert!(message.contains("safetensors") || message.contains("truncated"), "{message}");
    }
}

#[test]
fn every_flipped_bit_is_refused_or_read() {
    let sound = sound();
    for place in 0..sound.len() {
        for bit in 0..8 {
            let mut bytes = sound.clone();
            bytes[place] ^= 1 << bit;
            let place = Place::with(&bytes);
            if let Err(error) = StateFile::read(&place.path) {
                assert!(matches!(error, Error::File { .. }), "{error:?}");
            }
        }
    }
}

/// The checksum detects every flipped bit, except those in the key of its own
/// entry: the result is a valid file without a checksum.
#[test]
fn every_flipped_bit_of_a_file_with_a_checksum_is_told() {
    let model = Sequential::input([2]).dense(1).build(&mut Rng::seed(0)).unwrap();
    let place = Place::new();
    model.save(&place.path).unwrap();
    let (sound, before) = (fs::read(&place.path).unwrap(), StateFile::read(&place.path).unwrap());
    assert_eq!(Sequential::<f32>::from_bytes(&sound).unwrap().state_dict(), model.state_dict());
    let entry = sound.windows(15).position(|key| key == b"dendra.checksum").unwrap();
    assert!(!before.metadata.contains_key("dendra.checksum"));
    for index in 0..sound.len() {
        for bit in 0..8 {
            let mut bytes = sound.clone();
            bytes[index] ^= 1 << bit;
            fs::write(&place.path, &bytes).unwrap();
            match StateFile::read(&place.path) {
                Err(error) => assert!(matches!(error, Error::File { .. }), "{error:?}"),
                Ok(file) => {
                    assert!((entry..entry + 15).contains(&index), "byte {index}, bit {bit}");
                    assert_eq!(file.state, before.state);
                }
            }
        }
    }
    let mut bytes = sound;
    *bytes.last_mut().unwrap() ^= 1;
    assert!(refusal(&bytes).contains("damaged: its checksum is "));
}

#[test]
fn something_else_than_safetensors_is_refused() {
    assert!(refusal(b"").contains("not a safetensors file: 0 bytes"));
    assert!(refusal(&[0xff; 64]).contains("declares a header of"));
    for of_torch in
        [&b"PK\x03\x04 a zip of pickles"[..], b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."]
    {
        assert!(refusal(of_torch).contains("safetensors.torch.save_file"), "{of_torch:?}");
    }
    for json in ["", "[]", "3", "{", "{}{}", "null", "\"a\"", "\u{feff}{}"] {
        assert!(refusal(&file(json, &[])).contains("invalid safetensors header"), "{json}");
    }
    assert!(refusal(&file("{\"\u{0}\":", &[])).contains("header"));
    let mut invalid = file("{\"ab\":1}", &[]);
    invalid[10] = 0xff;
    assert!(refusal(&invalid).contains("header"));
}

/// A declared header of 100 MB or of 2⁶⁴ bytes is longer than the file.
#[test]
fn a_lying_header_length_is_refused() {
    for length in [9, 1 << 20, 100_000_000, 100_000_001, u64::MAX / 2, u64::MAX] {
        let mut bytes = sound();
        bytes[..8].copy_from_slice(&length.to_le_bytes());
        refusal(&bytes);
    }
}

#[test]
fn lying_offsets_and_shapes_are_refused() {
    let one = |entry: &str, values: usize| {
        refusal(&file(&format!(r#"{{"a":{entry}}}"#), &vec![0; values]))
    };
    let cases = [
        // Offsets that are too far apart, too close, shifted or reversed.
        (r#"{"dtype":"F32","shape":[2],"data_offsets":[0,12]}"#, 12),
        (r#"{"dtype":"F32","shape":[2],"data_offsets":[0,4]}"#, 8),
        (r#"{"dtype":"F32","shape":[2],"data_offsets":[8,16]}"#, 16),
        (r#"{"dtype":"F32","shape":[2],"data_offsets":[8,0]}"#, 8),
        (r#"{"dtype":"F32","shape":[2],"data_offsets":[0,8]}"#, 4),
        (r#"{"dtype":"F32","shape":[2],"data_offsets":[0,8]}"#, 9),
        (r#"{"dtype":"F32","shape":[2],"data_offsets":[0,18446744073709551615]}"#, 8),
        // Terabytes of values, and numbers of elements that overflow.
        (r#"{"dtype":"F32","shape":[1099511627776],"data_offsets":[0,4398046511104]}"#, 8),
        (r#"{"dtype":"F32","shape":[4294967296,4294967296,2],"data_offsets":[0,0]}"#, 0),
        (r#"{"dtype":"F32","shape":[9223372036854775807,2],"data_offsets":[0,8]}"#, 8),
        (r#"{"dtype":"F32","shape":[0,4294967296,4294967296],"data_offsets":[0,0]}"#, 0),
        // Invalid shapes, types and entries.
        (r#"{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}"#, 4),
        (r#"{"dtype":"F32","shape":[1.5],"data_offsets":[0,4]}"#, 4),
        (r#"{"dtype":"F33","shape":[1],"data_offsets":[0,4]}"#, 4),
        (r#"{"dtype":"F4","shape":[1],"data_offsets":[0,1]}"#, 1),
        (r#"{"shape":[1],"data_offsets":[0,4]}"#, 4),
        ("7", 4),
        ("null", 0),
        // Valid entries with element types that tensors do not support.
        (r#"{"dtype":"C64","shape":[1],"data_offsets":[0,8]}"#, 8),
        (r#"{"dtype":"F8_E8M0","shape":[1],"data_offsets":[0,1]}"#, 1),
    ];
    for (entry, values) in cases {
        one(entry, values);
    }
    let bytes = file(r#"{"a":{"dtype":"BOOL","shape":[2],"data_offsets":[0,2]}}"#, &[1, 2]);
    assert!(refusal(&bytes).contains("tensor \"a\": expected 0 or 1 for a boolean, got 2"));
}

#[test]
fn overlaps_gaps_and_doubles_are_refused() {
    let entry = |name: &str, from: usize, to: usize| {
        let elements = (to - from) / 4;
        format!(r#""{name}":{{"dtype":"F32","shape":[{elements}],"data_offsets":[{from},{to}]}}"#)
    };
    let two =
        |a: &str, b: &str, values: usize| refusal(&file(&format!("{{{a},{b}}}"), &vec![0; values]));
    two(&entry("a", 0, 8), &entry("b", 4, 12), 12);
    two(&entry("a", 0, 8), &entry("b", 0, 8), 8);
    two(&entry("a", 0, 8), &entry("b", 12, 16), 16);
    let double = two(&entry("a", 0, 8), &entry("a", 8, 16), 16);
    assert!(double.contains("duplicate name \"a\""), "{double}");
    let metadata = r#""__metadata__":{}"#;
    assert!(two(metadata, metadata, 0).contains("duplicate name"));
    two(r#""__metadata__":{"a":1}"#, &entry("a", 0, 8), 8);
}

#[test]
fn nested_json_does_not_overflow_the_stack() {
    let deep = format!(r#"{{"a":{}1{}}}"#, "[".repeat(200_000), "]".repeat(200_000));
    refusal(&file(&deep, &[]));
    let long = format!(
        r#"{{"a":{{"dtype":"F32","shape":[{}1],"data_offsets":[0,4]}}}}"#,
        "1,".repeat(10_000)
    );
    let place = Place::with(&file(&long, &[0; 4]));
    assert_eq!(StateFile::read(&place.path).unwrap().state.get("a").unwrap().shape().len(), 10_001);
}

#[test]
fn a_missing_file_and_a_folder_are_told_by_path() {
    let place = Place::new();
    let error = StateFile::read(&place.path).unwrap_err();
    assert!(matches!(error, Error::Io { .. }), "{error:?}");
    assert!(error.to_string().starts_with(&place.path.display().to_string()), "{error}");
    fs::create_dir(&place.path).unwrap();
    let error = StateFile::read(&place.path).unwrap_err().to_string();
    assert!(error.ends_with("expected a file"), "{error}");
}

/// A device without an end is refused before it is read.
#[test]
#[cfg(unix)]
fn a_device_is_refused() {
    let error = StateFile::read("/dev/zero").unwrap_err().to_string();
    assert_eq!(error, "/dev/zero: expected a file");
}

/// The end of the header does not have to be aligned.
#[test]
fn unaligned_values_are_read() {
    let header = r#"{"d":{"dtype":"F64","shape":[],"data_offsets":[1,9]},
        "b":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#;
    for padding in 0..8 {
        let header = format!("{header}{}", " ".repeat(padding));
        let values = [&[7][..], &2.5_f64.to_le_bytes()].concat();
        let state = StateFile::read(Place::with(&file(&header, &values)).path).unwrap().state;
        assert_eq!(state.typed::<u8>("b").unwrap().to_vec(), [7]);
        assert_eq!(state.typed::<f64>("d").unwrap().item().unwrap(), 2.5);
    }
}

#[test]
fn a_state_that_does_not_fit_changes_nothing_and_is_told_whole() {
    let place = Place::new();
    let mut state = StateDict::new();
    state.insert("0.weight", Tensor::<i32>::zeros([2, 3]));
    state.insert("0.bias", Tensor::<f32>::zeros([5]));
    state.insert("extra", Tensor::from([1_i64]));
    StateFile { state, metadata: Default::default() }.write(&place.path).unwrap();
    let builder = Sequential::input([3]).dense(2).dense(1);
    let mut model = builder.build(&mut Rng::seed(0)).unwrap();
    let before = model.state_dict();
    let error = load(&mut model, &place.path).unwrap_err().to_string();
    for part in [
        &place.path.display().to_string(),
        "missing: 1.weight, 1.bias",
        "unexpected: extra",
        "0.weight (expected f32 [2, 3], found i32 [2, 3])",
        "0.bias (expected f32 [2], found f32 [5])",
    ] {
        assert!(error.contains(part), "{error}");
    }
    assert_eq!(model.state_dict(), before);
}
