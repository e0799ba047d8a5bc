//! Tar archives, gzipped or not.

use tar::{Builder, EntryType, Header};

use super::{Files, Hostile, gzip};

/// An entry of an archive; the header's fields are written as given.
struct Entry<'a> {
    name: &'a [u8],
    kind: EntryType,
    link: &'a str,
    /// The size that the header claims.
    size: u64,
    contents: &'a [u8],
}

fn file<'a>(name: &'a str, contents: &'a [u8]) -> Entry<'a> {
    let (name, size) = (name.as_bytes(), contents.len() as u64);
    Entry { name, kind: EntryType::Regular, link: "", size, contents }
}

fn header(entry: &Entry<'_>) -> Header {
    let mut header = Header::new_gnu();
    let fields = header.as_gnu_mut().expect("it was made as one");
    let length = entry.name.len().min(fields.name.len());
    fields.name[..length].copy_from_slice(&entry.name[..length]);
    fields.linkname[..entry.link.len()].copy_from_slice(entry.link.as_bytes());
    header.set_entry_type(entry.kind);
    header.set_size(entry.size);
    header.set_mode(0o644);
    header.set_cksum();
    header
}

/// The entries with their contents, and the end of the archive.
fn archive(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in entries {
        bytes.extend(header(entry).as_bytes());
        bytes.extend(entry.contents);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    }
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

/// An entry of another kind without contents.
fn special(kind: EntryType, link: &str) -> Vec<u8> {
    archive(&[Entry { kind, link, ..file("a", b"") }])
}

/// A header of this kind with these contents, followed by a file.
fn extended(kind: EntryType, contents: &[u8]) -> Vec<u8> {
    archive(&[Entry { kind, ..file("././@LongLink", contents) }, file("a", b"1")])
}

/// A line of a pax header.
fn pax(key: &str, value: &str) -> Vec<u8> {
    let rest = format!(" {key}={value}\n");
    let length = (1..).find(|length: &usize| length.to_string().len() + rest.len() == *length);
    format!("{}{rest}", length.expect("some length is its own")).into_bytes()
}

pub(super) fn files() -> Vec<Hostile> {
    let mut files = Files::of(&["tar", "tar_unpack"]);
    let sound = archive(&[file("a/1.bin", &[7; 700]), file("a/2.bin", &[9; 30])]);
    damaged(&mut files, &sound);
    for name in [
        "../a",
        "..",
        "a/../../b",
        "a/..",
        "./../a",
        "/etc/passwd",
        "//a",
        "/",
        "a\\..\\..\\b",
        "..\\a",
        "C:\\a",
        "c:a",
        "a\nb",
        "a\u{7f}",
        "\u{1b}[2J",
        "",
        ".",
        "./",
    ] {
        files.refused(
            format!("the name {:?}", name.replace('/', "|")),
            archive(&[file(name, b"1")]),
        );
        if !name.is_empty() && !name.contains('\n') {
            let entries = extended(EntryType::XHeader, &pax("path", name));
            files.refused(format!("the pax name {:?}", name.replace('/', "|")), entries);
            let entries = extended(EntryType::GNULongName, name.as_bytes());
            files.refused(format!("the long name {:?}", name.replace('/', "|")), entries);
        }
    }
    for name in [&b"\xff\xfe"[..], b"a\xc0\xafb", b"\xed\xa0\x80"] {
        let entry = Entry { name, ..file("", b"1") };
        files.refused(format!("the name {}", name.escape_ascii()), archive(&[entry]));
    }
    for (kind, link, name) in [
        (EntryType::Symlink, "/etc", "a link"),
        (EntryType::Symlink, "../outside", "a link up"),
        (EntryType::Symlink, "b", "a link within"),
        (EntryType::Link, "/etc/passwd", "a hard link"),
        (EntryType::Link, "a", "a hard link to itself"),
        (EntryType::Char, "", "a character device"),
        (EntryType::Block, "", "a block device"),
        (EntryType::Fifo, "", "a pipe"),
        (EntryType::GNUSparse, "", "a sparse file"),
        (EntryType::GNULongLink, "", "a long link"),
        (EntryType::new(b'Z'), "", "an unknown entry kind"),
    ] {
        files.refused(name, special(kind, link));
    }
    let through = [
        Entry { kind: EntryType::Symlink, link: "../outside", ..file("door", b"") },
        file("door/a", b"1"),
    ];
    files.refused("a file through a link", archive(&through));
    for [first, second] in
        [["a", "a"], ["a", "./a"], ["a", "A"], ["a", "a/b"], ["a/b", "a"], ["a/B/c", "a/b"]]
    {
        let name = format!("{first} and then {second}").replace('/', "|");
        files.refused(name, archive(&[file(first, b"1"), file(second, b"2")]));
    }
    let folder = Entry { kind: EntryType::Directory, ..file("a/", b"") };
    files.refused("a folder and a file of one name", archive(&[folder, file("a", b"1")]));
    extensions(&mut files);
    files.files
}

/// Archives that are truncated, have wrong sizes or contain too much.
fn damaged(files: &mut Files, sound: &[u8]) {
    files.truncated("an archive", sound, (0..sound.len() - 1024).step_by(128));
    files.truncated("an archive", sound, [1, 511, 513, 1023, 1025, 1212, 1535, 1537, 2047, 2049]);
    files.truncated("a gzipped archive", &gzip(sound), (2..1000).step_by(9));
    // Up to 1,536 the padding and the end of the archive would count as
    // contents.
    for size in [2048, 2560, 4096, 1 << 30, u64::MAX >> 1, u64::MAX] {
        let entry = Entry { size, ..file("a", &[7; 700]) };
        files.refused(format!("a size of {size}"), archive(&[entry]));
    }
    for place in [0, 124, 130, 148, 150, 156, 257] {
        let mut bytes = sound.to_vec();
        bytes[place] ^= 0x15;
        files.refused(format!("a header with byte {place} changed"), bytes);
    }
    let mut bytes = sound.to_vec();
    bytes[124..136].copy_from_slice(b"no number\0\0\0");
    let sum: u32 =
        (0..512).map(|i| if (148..156).contains(&i) { 32 } else { bytes[i].into() }).sum();
    bytes[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    files.refused("a size that is no number", bytes);
    files.refused("too large a file", archive(&[file("a", &vec![0; (1 << 20) + 1])]));
    let half = vec![0; 600 << 10];
    files.refused("too much together", archive(&[file("a", &half), file("b", &half)]));
    files.refused("a bomb", gzip(&archive(&[file("a", &vec![0; 20 << 20])])));
    let behind = [sound.to_vec(), vec![1; 4 << 20]].concat();
    files.refused("a bomb behind the end", gzip(&behind));
    let many: Vec<String> = (0..300).map(|i| format!("{i}")).collect();
    let mut twice: Vec<_> = many.iter().map(|name| file(name, b"")).collect();
    twice.push(file("299", b""));
    files.refused("many entries, the last twice", archive(&twice));
    files.refused("nothing", b"");
    files.refused("the end alone", vec![0; 1024]);
    files.refused("zeros", vec![0; 10_240]);
    files.refused("a web page", b"<!DOCTYPE html><title>Log in</title>".repeat(40));
    files.refused("a gzipped web page", gzip(b"<!DOCTYPE html>"));
    files.refused("a gzipped gzip", gzip(&gzip(sound)));
    files.refused("all bytes set", vec![0xff; 2048]);
    // An archive written by a library is valid; with its parts exchanged it is
    // not.
    let mut builder = Builder::new(Vec::new());
    let mut header = Header::new_ustar();
    header.set_size(3);
    builder.append_data(&mut header, "a", &b"abc"[..]).expect("a vector takes all");
    let written = builder.into_inner().expect("a vector takes all");
    files.refused("contents before the header", [&written[512..1024], &written[..512]].concat());
}

/// Headers that describe the next entry.
fn extensions(files: &mut Files) {
    let deep = "a/".repeat(3000) + "a";
    files.refused("a long name of folders", extended(EntryType::GNULongName, deep.as_bytes()));
    files.refused("a pax name of folders", extended(EntryType::XHeader, &pax("path", &deep)));
    for kind in [EntryType::GNULongName, EntryType::XHeader, EntryType::XGlobalHeader] {
        let name = format!("an extension of type {} ", char::from(kind.as_byte()));
        files.refused(name.clone() + "of a megabyte", extended(kind, &vec![b'a'; 1 << 20]));
        let entry = Entry { kind, size: 1 << 40, ..file("x", b"") };
        files.refused(name.clone() + "of a terabyte", archive(&[entry]));
        let cut = extended(kind, &[b'a'; 300]);
        files.refused(name + "cut off", &cut[..700]);
    }
    for (name, line) in [
        ("a pax line without a length", &b"path=a\n"[..]),
        ("a pax line longer than its header", b"99 path=a\n"),
        ("a pax line of length 0", b"0 path=a\n"),
        ("a pax line without a value", b"8 path\n"),
        ("a pax line that is binary", b"\xff\xff\xff\xff"),
    ] {
        files.refused(name, extended(EntryType::XHeader, line));
    }
    for size in ["-1", "x", "99", "18446744073709551616", ""] {
        let entries = extended(EntryType::XHeader, &pax("size", size));
        files.refused(format!("a pax size of {size:?}"), entries);
    }
}
