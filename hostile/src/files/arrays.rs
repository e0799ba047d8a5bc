//! IDX arrays, gzipped or not, and the records of CIFAR.

use super::{Files, Hostile, gzip};

/// An IDX file with `extents` in the header, followed by any `elements`.
fn idx(extents: &[u32], elements: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, extents.len() as u8];
    bytes.extend(extents.iter().flat_map(|extent| extent.to_be_bytes()));
    bytes.extend(elements);
    bytes
}

pub(super) fn files() -> Vec<Hostile> {
    let mut files = idx_files();
    files.extend(cifar_files());
    files
}

fn idx_files() -> Vec<Hostile> {
    let mut files = Files::of(&["idx"]);
    let sound = idx(&[2, 3], &[1, 2, 3, 4, 5, 6]);
    files.truncated("an array", &sound, 0..sound.len());
    files.truncated("a gzipped array", &gzip(&sound), 1..1000);
    for length in [0, 3, 4, 11, 12, 17] {
        files
            .refused(format!("a cut-off array of {length} bytes, gzipped"), gzip(&sound[..length]));
    }
    for kind in [0, 7, 9, 0x0b, 0x0c, 0x0d, 0x0e, 0xff] {
        let mut bytes = sound.clone();
        bytes[2] = kind;
        files.refused(format!("element type {kind}"), bytes.clone());
        files.refused(format!("element type {kind}, gzipped"), gzip(&bytes));
        bytes[4] = 0xff;
        files.refused(format!("very many of element type {kind}, gzipped"), gzip(&bytes));
    }
    for (place, value) in [(0, 1), (1, 1), (3, 0), (3, 255), (3, 1), (3, 3)] {
        let mut bytes = sound.clone();
        bytes[place] = value;
        files.refused(format!("byte {place} is {value}"), bytes);
    }
    for extents in [
        &[u32::MAX][..],
        &[u32::MAX; 2],
        &[u32::MAX; 3],
        &[1 << 16; 4],
        &[1 << 31, 2],
        &[1 << 16; 255],
        &[60_000, 28, 28],
        &[0, u32::MAX, u32::MAX, u32::MAX],
    ] {
        let shape = &extents[..extents.len().min(4)];
        files.refused(format!("extents {shape:?}"), idx(extents, &[0; 100]));
        files.refused(format!("extents {shape:?}, gzipped"), gzip(&idx(extents, &[0; 100])));
    }
    files.refused("more than announced", idx(&[4], &[0; 5]));
    files.refused("more than announced, gzipped", gzip(&idx(&[4], &[0; 5])));
    let huge = [u32::MAX, u32::MAX, u32::MAX, 0];
    files.withstood("no elements, but lengths whose product is too large", idx(&huge, &[]));
    files.refused("something behind no elements", idx(&[0, 28, 28], &[7]));
    files.refused("a bomb", gzip(&idx(&[4], &vec![0; 20 << 20])));
    files.refused("a bomb in a bomb", gzip(&gzip(&idx(&[4], &vec![0; 20 << 20]))));
    files.refused("a second member of garbage", [gzip(&sound), b"garbage".to_vec()].concat());
    files.refused("garbage behind zeros", [gzip(&sound), b"\0\0garbage".to_vec()].concat());
    files.refused("a second member cut off", [&gzip(&sound)[..], &[0x1f, 0x8b, 8]].concat());
    files.withstood("a megabyte of zeros behind", [gzip(&sound), vec![0; 1 << 20]].concat());
    files.withstood("many empty members", [gzip(&sound), gzip(&[]).repeat(10_000)].concat());
    files.refused("the array twice", [sound.clone(), sound.clone()].concat());
    files.refused("the array gzipped twice", gzip(&gzip(&sound)));
    files.refused("a web page", b"<!DOCTYPE html><title>Log in</title>");
    files.refused("a zip", b"PK\x03\x04 and so on");
    files.refused("zeros", vec![0; 4096]);
    files.refused("a gzip header alone", [0x1f, 0x8b]);
    let whole = gzip(&sound);
    for place in [2, 3, 10, 12, whole.len() - 8, whole.len() - 4, whole.len() - 1] {
        let mut bytes = whole.clone();
        bytes[place] ^= 0x55;
        files.refused(format!("a gzipped array with byte {place} flipped"), bytes);
    }
    files.files
}

fn cifar_files() -> Vec<Hostile> {
    const RECORD: usize = 3073;
    let mut files = Files::of(&["cifar"]);
    let sound: Vec<u8> = [[3].as_slice(), &[9; 3072], &[7], &[8; 3072]].concat();
    let ends = [0, 1, 2, 1024, 3072, RECORD - 1, RECORD + 1, RECORD + 2, 2 * RECORD - 1];
    files.truncated("two records", &sound, ends);
    files.refused("a byte too many", [sound.clone(), vec![0]].concat());
    for (place, label) in [(0, 10), (0, 255), (RECORD, 10), (RECORD, 255)] {
        let mut bytes = sound.clone();
        bytes[place] = label;
        files.refused(format!("label {label} at {place}"), bytes);
    }
    files.refused("records of two labels", vec![1; 3074]);
    files.refused("a gzipped file", gzip(&sound));
    files.refused("a web page", b"<!DOCTYPE html>");
    files.files
}
