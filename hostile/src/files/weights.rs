//! Files of weights: PyTorch's, HDF5, GGUF and NumPy's.

use std::io::{Cursor, Write};

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::{Files, Hostile};

macro_rules! fixture {
    ($name:literal) => {
        include_bytes!(concat!("../../../crates/weights/tests/fixtures/", $name))
    };
}

pub(super) fn files() -> Vec<Hostile> {
    let mut files = pytorch();
    files.extend(hdf5());
    files.extend(gguf());
    files.extend(numpy());
    files
}

/// The file with one byte changed, at many places: it may still be sound.
fn flipped(files: &mut Files, what: &str, sound: &[u8], step: usize) {
    for at in (0..sound.len()).step_by(step) {
        for mask in [0x01, 0xff] {
            let mut bytes = sound.to_vec();
            bytes[at] ^= mask;
            files.withstood(format!("{what} with byte {at} changed by {mask}"), bytes);
        }
    }
}

/// The file with eight bytes replaced by a number that is far too large.
fn enlarged(files: &mut Files, what: &str, sound: &[u8], step: usize) {
    for at in (0..sound.len() - 8).step_by(step) {
        for number in [u64::MAX - 8, 1 << 40] {
            let mut bytes = sound.to_vec();
            bytes[at..at + 8].copy_from_slice(&number.to_le_bytes());
            files.withstood(format!("{what} with {number} at {at}"), bytes);
        }
    }
}

/// A pickle of protocol 2 in the format before PyTorch 1.6, with no storages.
fn legacy(object: &[u8]) -> Vec<u8> {
    let mut bytes = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.".to_vec();
    bytes.extend(b"\x80\x02M\xe9\x03.\x80\x02}.\x80\x02");
    bytes.extend(object);
    bytes.extend(b".\x80\x02].");
    bytes
}

/// A tensor of a storage `0` of floats.
fn tensor(offset: &[u8], sizes: &[u8], strides: &[u8]) -> Vec<u8> {
    let mut bytes =
        b"ctorch._utils\n_rebuild_tensor_v2\n((U\x07storagectorch\nFloatStorage\n".to_vec();
    bytes.extend(b"U\x010U\x03cpuK\x04tQ");
    for part in [offset, sizes, strides] {
        bytes.extend(part);
    }
    bytes.extend(b"\x89}tR");
    bytes
}

fn archive(method: CompressionMethod, members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, contents) in members {
        let options = SimpleFileOptions::default().compression_method(method);
        zip.start_file(*name, options).expect("a vector takes all");
        zip.write_all(contents).expect("a vector takes all");
    }
    zip.finish().expect("a vector takes all").into_inner()
}

fn pytorch() -> Vec<Hostile> {
    let mut files = Files::of(&["pytorch"]);
    let (zip, old) = (fixture!("zip.pt"), fixture!("legacy.pth"));
    files.truncated("an archive", zip, [4, 30, 500, 3000, 7000]);
    files.truncated("an old file", old, [2, 14, 40, 700, 1200, 1900]);
    flipped(&mut files, "an archive", zip, 149);
    flipped(&mut files, "an old file", old, 29);
    enlarged(&mut files, "an archive", &zip[..], 293);
    enlarged(&mut files, "an old file", &old[..], 97);

    files.refused("a pickle that calls os.system", *b"\x80\x02cos\nsystem\nU\x02lstR.");
    let calls: [(&str, &[u8]); 4] = [
        ("os.system", b"cos\nsystem\n(U\x02lstR"),
        ("eval", b"c__builtin__\neval\n(U\x011tR"),
        ("a text", b"U\x01x(tR"),
        ("the result of a call", b"ctorch\ndevice\n(tR(tR"),
    ];
    for (name, object) in calls {
        files.refused(format!("an old file that calls {name}"), legacy(object));
        let pickle = [b"\x80\x02", object, b"."].concat();
        let members: [(&str, &[u8]); 1] = [("x/data.pkl", &pickle)];
        let bytes = archive(CompressionMethod::Stored, &members);
        files.refused(format!("an archive that calls {name}"), bytes);
    }
    let opcodes: [(&str, &[u8]); 12] = [
        ("a memo that is not there", b"h\x07"),
        ("an empty stack", b"R"),
        ("a mark that is not there", b"t"),
        ("a dict with half a pair", b"(K\x01d"),
        ("a list that is a number", b"K\x01K\x01a"),
        ("a text of 4 GiB", b"X\xff\xff\xff\xff"),
        ("a text of 16 EiB", b"\x8d\xff\xff\xff\xff\xff\xff\xff\xff"),
        ("bytes of 16 EiB", b"\x8e\xff\xff\xff\xff\xff\xff\xff\xff"),
        ("a number that is none", b"Ix\n"),
        ("a storage that is none", b"(U\x01xtQ"),
        ("an opcode that is unknown", b"\xff"),
        ("an extension", b"\x82\x01"),
    ];
    for (name, object) in opcodes {
        files.refused(format!("a pickle with {name}"), legacy(object));
    }
    files.withstood("a memo of a large number", legacy(b"]r\xff\xff\xff\xff"));

    let many = 50_000;
    let deep = [vec![b']'; many], vec![b'a'; many - 1]].concat();
    files.refused("lists that are nested deep", legacy(&deep));
    files.refused("a list that contains itself", legacy(b"]q\x00h\x00a"));
    files.withstood("a state dict that contains itself", legacy(b"}q\x00U\x05modelh\x00s"));
    files.withstood("many marks", legacy(&vec![b'('; many]));
    let mut laughs = b"]q\x00K\x01a".to_vec();
    for i in 0..60_u8 {
        // A list with ten times the list before.
        laughs.extend([b'0', b']', b'q', i + 1]);
        laughs.extend([b'h', i, b'a'].repeat(10));
    }
    files.refused("a billion laughs", legacy(&laughs));
    let copies = b"ctorch\nSize\n(h\x00tRq\x00".repeat(20);
    files.withstood("a list that is copied", legacy(&[&b"(K\x01tq\x00"[..], &copies].concat()));

    let one: &[u8] = b"(K\x01t";
    let tensors: [(&str, &[u8], &[u8], &[u8]); 6] = [
        ("a negative offset", b"J\xff\xff\xff\xff", one, one),
        ("a negative size", b"K\x00", b"(J\xff\xff\xff\xfft", one),
        ("a negative stride", b"K\x00", b"(K\x02t", b"(J\xff\xff\xff\xfft"),
        ("too few strides", b"K\x00", b"(K\x02K\x02t", one),
        ("huge sizes", b"K\x00", b"(J\xff\xff\xff\x7fJ\xff\xff\xff\x7ft", b"(K\x00K\x00t"),
        ("a huge stride", b"K\x00", b"(K\x02t", b"(\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7ft"),
    ];
    for (name, offset, sizes, strides) in tensors {
        let tensor = tensor(offset, sizes, strides);
        files.refused(format!("an old file, a tensor with {name}"), legacy(&tensor));
        let pickle = [b"\x80\x02", &tensor[..], b"."].concat();
        let members: [(&str, &[u8]); 2] = [("x/data.pkl", &pickle), ("x/data/0", &[0; 16])];
        let bytes = archive(CompressionMethod::Stored, &members);
        files.refused(format!("an archive, a tensor with {name}"), bytes);
    }
    let zeros = vec![0; 1 << 20];
    let members: [(&str, &[u8]); 1] = [("x/data.pkl", &zeros)];
    files.refused("a bomb", archive(CompressionMethod::Deflated, &members));
    let lists = [&b"\x80\x02"[..], &vec![b']'; 1 << 16], b"."].concat();
    let members: [(&str, &[u8]); 1] = [("x/data.pkl", &lists)];
    files.withstood("a bomb of lists", archive(CompressionMethod::Deflated, &members));
    files.files
}

fn hdf5() -> Vec<Hostile> {
    let mut files = Files::of(&["hdf5"]);
    let (old, latest) = (fixture!("old.h5"), fixture!("latest.h5"));
    for (name, sound) in [("an old file", &old[..]), ("a new file", &latest[..])] {
        let end = sound.len() - 1;
        files.truncated(name, sound, [8, 20, 60, 96, 500, 2000, 8000, 12_000, end]);
        flipped(&mut files, name, sound, 601);
        enlarged(&mut files, name, sound, 808);
        // Every address refers to the root group.
        for at in (0..sound.len() - 8).step_by(808) {
            let mut bytes = sound.to_vec();
            bytes[at..at + 8].copy_from_slice(&96_u64.to_le_bytes());
            files.withstood(format!("{name} with the root at {at}"), bytes);
        }
    }
    files.files
}

fn gguf() -> Vec<Hostile> {
    let mut files = Files::of(&["gguf"]);
    let sound = fixture!("all.gguf");
    files.truncated("a file", sound, [3, 4, 8, 20, 24, 100, 500, 1200, 3000]);
    flipped(&mut files, "a file", sound, 59);
    enlarged(&mut files, "a file", &sound[..1200], 24);
    let begin = |version: u32, tensors: u64, entries: u64| {
        [&b"GGUF"[..], &version.to_le_bytes(), &tensors.to_le_bytes(), &entries.to_le_bytes()]
            .concat()
    };
    for version in [0, 1, 4, u32::MAX, 3_u32.swap_bytes()] {
        files.refused(format!("version {version}"), begin(version, 0, 0));
    }
    files.withstood("nothing", begin(3, 0, 0));
    files.refused("too many tensors", begin(3, u64::MAX, 0));
    files.refused("too many entries", begin(3, 0, 1 << 60));
    let entry = |kind: u32, value: &[u8]| {
        let key = [&4_u64.to_le_bytes()[..], b"name", &kind.to_le_bytes(), value].concat();
        [begin(3, 0, 1), key, vec![0; 32]].concat()
    };
    files.refused("a text of 16 EiB", entry(8, &[0xff; 8]));
    files.refused("a text that is none", entry(8, &[1, 0, 0, 0, 0, 0, 0, 0, 0xff]));
    files.refused("an unknown type", entry(77, &[0; 8]));
    let array = |kind: u32, length: u64| [&kind.to_le_bytes()[..], &length.to_le_bytes()].concat();
    files.refused("an array of 16 EiB", entry(9, &array(0, u64::MAX)));
    files.refused("an array of an unknown type", entry(9, &array(77, 1)));
    let nested = array(9, 1).repeat(10_000);
    files.refused("arrays that are nested deep", entry(9, &nested));
    let alignment = |value: u32| {
        let key = [&17_u64.to_le_bytes()[..], b"general.alignment", &4_u32.to_le_bytes()].concat();
        [begin(3, 0, 1), key, value.to_le_bytes().to_vec()].concat()
    };
    files.refused("an alignment of zero", alignment(0));
    files.refused("an alignment of three", alignment(3));
    let tensor = |sizes: &[u64], kind: u32, offset: u64| {
        let sizes: Vec<u8> = sizes.iter().flat_map(|size| size.to_le_bytes()).collect();
        let rank = (sizes.len() as u32 / 8).to_le_bytes();
        let name = [&1_u64.to_le_bytes()[..], b"x", &rank, &sizes].concat();
        let kind = [&kind.to_le_bytes()[..], &offset.to_le_bytes(), &[0; 256]].concat();
        [begin(3, 1, 0), name, kind].concat()
    };
    files.withstood("a tensor", tensor(&[4], 0, 0));
    files.refused("an unknown kind", tensor(&[4], 5, 0));
    files.refused("a row that is no block", tensor(&[33], 8, 0));
    files.refused("a scalar of blocks", tensor(&[], 8, 0));
    files.refused("a tensor behind the end", tensor(&[4], 0, 1 << 62));
    files.refused("a tensor whose offset wraps", tensor(&[4], 0, u64::MAX - 64));
    files.refused("a tensor of huge sizes", tensor(&[1 << 40, 1 << 40], 0, 0));
    files.refused("a tensor of many axes", tensor(&[1; 100], 0, 0));
    files.refused("blocks of huge sizes", tensor(&[1 << 58], 12, 0));
    files.files
}

fn numpy() -> Vec<Hostile> {
    let mut files = Files::of(&["numpy"]);
    let array = fixture!("matrix.npy");
    files.truncated("an array", array, [6, 8, 10, 50, 128, 175]);
    flipped(&mut files, "an array", array, 3);
    for (name, sound) in [
        ("an archive", &fixture!("stored.npz")[..]),
        ("a compressed archive", &fixture!("packed.npz")[..]),
    ] {
        files.truncated(name, sound, [4, 40, 400, 1000, 1800]);
        flipped(&mut files, name, sound, 101);
        enlarged(&mut files, name, sound, 149);
    }
    let npy = |dict: &str, values: &[u8]| {
        let length = (dict.len() as u16).to_le_bytes();
        [&b"\x93NUMPY\x01\x00"[..], &length, dict.as_bytes(), values].concat()
    };
    let huge = "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,), }";
    let dicts = [
        ("a huge shape", huge),
        (
            "a shape that overflows",
            "{'descr':'<f4','fortran_order':True,'shape':(9999999999,9999999999)}",
        ),
        ("objects", "{'descr': '|O', 'fortran_order': False, 'shape': (2,), }"),
        ("records", "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,), }"),
        ("an expression", "__import__('os').system('ls')"),
    ];
    for (name, dict) in dicts {
        let bytes = npy(dict, &[0; 8]);
        files.refused(format!("an array of {name}"), bytes.clone());
        for method in [CompressionMethod::Stored, CompressionMethod::Deflated] {
            let members: [(&str, &[u8]); 1] = [("x.npy", &bytes)];
            files.refused(format!("an archive of {name}, {method}"), archive(method, &members));
        }
    }
    // What is announced is what is there, though it is packed well.
    let sound = "{'descr': '<f4', 'fortran_order': False, 'shape': (65536,), }";
    let members: [(&str, &[u8]); 1] = [("x.npy", &npy(sound, &[0; 1 << 18]))];
    files.withstood("zeros", archive(CompressionMethod::Deflated, &members));
    // The length of the member in the archive is that of the array; the data is shorter.
    let dict = "{'descr': '<f4', 'fortran_order': False, 'shape': (9,), }";
    let members: [(&str, &[u8]); 1] = [("x.npy", &npy(dict, &[0; 32]))];
    files.refused("an array that is too short", archive(CompressionMethod::Deflated, &members));
    let members: [(&str, &[u8]); 2] = [("a.npy", array), ("b.npy", array)];
    let mut overlapping = archive(CompressionMethod::Stored, &members);
    let place = overlapping.windows(4).rposition(|bytes| bytes == b"PK\x01\x02").unwrap_or(0);
    // The second member is where the first is.
    overlapping[place + 42..place + 46].fill(0);
    files.refused("members that overlap", overlapping);
    files.files
}
