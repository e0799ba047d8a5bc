//! State dicts in the safetensors format.

use super::{Files, Hostile};

/// A file of this header and these values.
fn file(header: &str, values: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), values].concat()
}

/// A header of one tensor, `a`.
fn entry(dtype: &str, shape: &str, from: &str, to: &str) -> String {
    format!(r#"{{"a":{{"dtype":"{dtype}","shape":[{shape}],"data_offsets":[{from},{to}]}}}}"#)
}

pub(super) fn files() -> Vec<Hostile> {
    let mut files = Files::of(&["safetensors"]);
    let sound = file(&entry("F32", "2", "0", "8"), &[0; 8]);
    files.truncated("a tensor", &sound, 0..sound.len());
    for length in [0, 1, 9, 1 << 20, 100_000_001, u64::MAX / 2, u64::MAX] {
        let mut bytes = sound.clone();
        bytes[..8].copy_from_slice(&length.to_le_bytes());
        files.refused(format!("a header of {length} bytes"), bytes);
    }
    for (dtype, shape, from, to, values) in [
        ("F32", "2", "0", "12", 12),
        ("F32", "2", "0", "4", 8),
        ("F32", "2", "8", "16", 16),
        ("F32", "2", "8", "0", 8),
        ("F32", "2", "0", "8", 9),
        ("F32", "2", "0", "18446744073709551615", 8),
        ("F32", "1099511627776", "0", "4398046511104", 8),
        ("F32", "4294967296,4294967296,2", "0", "0", 0),
        ("F32", "9223372036854775807,2", "0", "8", 8),
        ("F32", "-1", "0", "4", 4),
        ("F32", "1.5", "0", "4", 4),
        ("F33", "1", "0", "4", 4),
        ("C64", "1", "0", "8", 8),
        ("F8_E8M0", "1", "0", "1", 1),
    ] {
        let name = format!("{dtype} [{shape}] from {from} to {to} of {values}");
        files.refused(name, file(&entry(dtype, shape, from, to), &vec![0; values]));
    }
    files.refused("a boolean of 2", file(&entry("BOOL", "2", "0", "2"), &[1, 2]));
    let two = |first: [usize; 2], second: [usize; 2], names: [&str; 2], values: usize| {
        let entries = [(names[0], first), (names[1], second)].map(|(name, [from, to])| {
            let elements = (to - from) / 4;
            format!(
                r#""{name}":{{"dtype":"F32","shape":[{elements}],"data_offsets":[{from},{to}]}}"#
            )
        });
        file(&format!("{{{},{}}}", entries[0], entries[1]), &vec![0; values])
    };
    files.refused("tensors that overlap", two([0, 8], [4, 12], ["a", "b"], 12));
    files.refused("tensors in one place", two([0, 8], [0, 8], ["a", "b"], 8));
    files.refused("a gap", two([0, 8], [12, 16], ["a", "b"], 16));
    files.refused("a name twice", two([0, 8], [8, 16], ["a", "a"], 16));
    for json in
        ["", "[]", "3", "{", "null", "\"a\"", "{}{}", "\u{feff}{}", "{\"a\":7}", "{\"a\":null}"]
    {
        files.refused(format!("the header {json:?}"), file(json, &[]));
    }
    let deep = format!(r#"{{"a":{}1{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    files.refused("a deep header", file(&deep, &[]));
    files.refused("metadata twice", file(r#"{"__metadata__":{},"__metadata__":{}}"#, &[]));
    files.refused("metadata of numbers", file(r#"{"__metadata__":{"a":1}}"#, &[]));
    files.refused("a pickle", b"\x80\x02}q\0.");
    files.refused("a zip of pickles", b"PK\x03\x04 as torch.save writes");
    files.refused("all bytes set", [0xff; 64]);
    let mut invalid = file("{\"ab\":1}", &[]);
    invalid[10] = 0xff;
    files.refused("a header that is no UTF-8", invalid);
    files.files
}
