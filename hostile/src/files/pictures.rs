//! PNG and JPEG pictures.

use std::io::Cursor;

use image::{DynamicImage, ImageFormat, Rgb, RgbImage};

use super::{Files, Hostile};

/// A small picture that is not of one colour.
fn picture(format: ImageFormat) -> Vec<u8> {
    let picture = RgbImage::from_fn(16, 16, |x, y| {
        let value = |factor: u32| ((x * factor + y * y) % 251) as u8;
        Rgb([value(3), value(7), value(31)])
    });
    let mut bytes = Cursor::new(Vec::new());
    DynamicImage::ImageRgb8(picture).write_to(&mut bytes, format).expect("a vector takes all");
    bytes.into_inner()
}

pub(super) fn files() -> Vec<Hostile> {
    let mut files = Files::of(&["image"]);
    let png = picture(ImageFormat::Png);
    files.truncated("a PNG", &png, (0..60).chain((60..png.len() - 12).step_by(37)));
    // Width and height, the kind of pixels, and the checksum of the header.
    for (place, bytes) in [
        (16, [0, 0, 0, 0]),
        (20, [0, 0, 0, 0]),
        (16, [0x7f, 0xff, 0xff, 0xff]),
        (20, [0xff; 4]),
        (24, [3, 2, 0, 0]),
        (24, [8, 5, 0, 0]),
        (29, [0; 4]),
        (33, [0xff; 4]),
        (33, [0x7f, 0xff, 0xff, 0xff]),
        (45, [0x55; 4]),
    ] {
        let mut changed = png.clone();
        changed[place..place + 4].copy_from_slice(&bytes);
        files.refused(format!("a PNG with {bytes:?} at {place}"), changed);
    }
    // Of 24 bits a pixel, of one bit, and of one bit with a palette.
    for (kind, extents) in [
        ([8, 2], [1_u32 << 10, 1 << 12, 1 << 14, 1 << 15, 1 << 20, u32::MAX >> 1]),
        ([1, 0], [1 << 11, 1 << 12, 1 << 13, 1 << 14, 1 << 15, u32::MAX >> 1]),
        ([1, 3], [1 << 11, 1 << 12, 1 << 13, 1 << 14, 1 << 15, u32::MAX >> 1]),
    ] {
        for extent in extents {
            let mut bomb = png.clone();
            bomb[16..20].copy_from_slice(&extent.to_be_bytes());
            bomb[20..24].copy_from_slice(&extent.to_be_bytes());
            bomb[24..26].copy_from_slice(&kind);
            let sum = checksum(&bomb[12..29]);
            bomb[29..33].copy_from_slice(&sum.to_be_bytes());
            files.refused(format!("a PNG of {kind:?} that claims {extent} pixels a side"), bomb);
        }
    }
    // Exif with offsets outside its data, and with cycles.
    for exif in [&b"MM\0*\xff\xff\xff\xff"[..], b"II*\0\0\0\0\0", b"MM\0*\0\0\0\x08\xff\xff", b"MM"]
    {
        let mut changed = png.clone();
        let chunk = [b"eXIf", exif].concat();
        let (length, sum) = ((exif.len() as u32).to_be_bytes(), checksum(&chunk).to_be_bytes());
        changed.splice(33..33, [&length[..], &chunk, &sum].concat());
        files.withstood(format!("a PNG with Exif {exif:?}"), changed);
    }
    let jpeg = picture(ImageFormat::Jpeg);
    files.truncated("a JPEG", &jpeg, [0, 1, 2, 3, 4, 10, 20, 21, 50, 100]);
    for length in (200..jpeg.len()).step_by(29) {
        // Decoders return the available part of a picture.
        files.withstood(format!("a JPEG cut off at {length}"), &jpeg[..length]);
    }
    if let Some(start) = jpeg.windows(2).position(|pair| pair == [0xff, 0xc0]) {
        for extents in [[0xff; 4], [0, 0, 0, 16], [0x40, 0, 0x40, 0]] {
            let mut bomb = jpeg.clone();
            bomb[start + 5..start + 9].copy_from_slice(&extents);
            files.withstood(format!("a JPEG that claims {extents:?}"), bomb);
        }
    }
    for (name, bytes) in [
        ("nothing", &b""[..]),
        ("a GIF", b"GIF89a\x01\0\x01\0"),
        ("a BMP", b"BM\0\0\0\0"),
        ("a TIFF", b"II*\0\x08\0\0\0"),
        ("an SVG", b"<svg xmlns=\"http://www.w3.org/2000/svg\"/>"),
        ("a web page", b"<!DOCTYPE html>"),
        ("a PNG's signature alone", b"\x89PNG\r\n\x1a\n"),
        ("a JPEG's marks alone", b"\xff\xd8\xff\xd9"),
    ] {
        files.refused(name, bytes);
    }
    files.files
}

/// The checksum at the end of each chunk of a PNG (CRC-32).
fn checksum(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |sum, &byte| {
        (0..8).fold(sum ^ u32::from(byte), |sum, _| {
            (sum >> 1) ^ (0xedb8_8320 & (sum & 1).wrapping_neg())
        })
    })
}
