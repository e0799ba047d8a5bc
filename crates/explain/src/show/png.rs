//! Heat maps as PNG.

use std::path::Path;

use dendra_nn::write_whole;
use dendra_tensor::{Error, Result};

use super::HeatMap;

/// The side of an element in pixels.
const SIDE: usize = 12;
/// The distance between maps in pixels.
const GAP: usize = 8;
/// The largest side of an image in pixels.
const LONGEST: usize = 1 << 15;

/// Writes maps of one size, with this many in a row.
pub(super) fn save(maps: &[HeatMap], in_a_row: usize, path: &Path) -> Result<()> {
    let refuse = |message: &str| Err(Error::argument("HeatMap", message));
    let Some(first) = maps.first().filter(|_| in_a_row > 0) else {
        return refuse("expected at least one map and one map in a row");
    };
    let (rows, columns) = (first.rows, first.columns);
    if maps.iter().any(|map| (map.rows, map.columns) != (rows, columns)) {
        return refuse("expected maps of the same size");
    }
    let across = maps.len().min(in_a_row);
    let down = maps.len().div_ceil(across);
    let along = |maps: usize, elements: usize| {
        elements.checked_mul(SIDE)?.checked_add(GAP)?.checked_mul(maps)?.checked_add(GAP)
    };
    let sizes = along(across, columns).zip(along(down, rows));
    let Some((width, height)) = sizes.filter(|(w, h)| *w.max(h) <= LONGEST) else {
        return refuse("the maps are too many or too large for one image");
    };
    let mut pixels = vec![255; width * height * 3];
    for (index, map) in maps.iter().enumerate() {
        let left = GAP + index % across * (columns * SIDE + GAP);
        let top = GAP + index / across * (rows * SIDE + GAP);
        for y in 0..rows * SIDE {
            for x in 0..columns * SIDE {
                let at = ((top + y) * width + left + x) * 3;
                pixels[at..at + 3].copy_from_slice(&map.colour(y / SIDE, x / SIDE));
            }
        }
    }
    write_whole(path, |file| {
        let mut encoder = png::Encoder::new(file, width as u32, height as u32);
        encoder.set_color(png::ColorType::Rgb);
        let written = encoder.write_header().and_then(|mut w| w.write_image_data(&pixels));
        written.map_err(std::io::Error::other)
    })
}
