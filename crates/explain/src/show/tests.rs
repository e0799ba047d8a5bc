//! Colours, maps, words, bars and the file of several maps.

use super::*;

use dendra_tensor::Tensor;

#[test]
fn red_is_for_and_blue_against_the_target() {
    assert_eq!(blended(1.0, [255; 3]), FOR);
    assert_eq!(blended(-1.0, [0; 3]), AGAINST);
    assert_eq!(blended(0.0, [9; 3]), [9; 3]);
    assert_eq!(relative([2.0, -4.0, f64::NAN, f64::INFINITY]), [0.5, -1.0, 0.0, 0.0]);
    assert_eq!(relative([0.0]), [0.0]);
}

#[test]
fn a_map_has_the_colours_of_its_elements() {
    let map = HeatMap::new(&Tensor::from([[[1.0, 0.0]], [[1.0, -1.0]]])).unwrap();
    // The channels are added: 2 and −1.
    let svg = map.to_svg();
    let half = hexadecimal(blended(-0.5, [255; 3]));
    assert!(svg.contains("fill=\"#d62f27\"") && svg.contains(&half), "{svg}");
    assert_eq!(map.to_string(), "\x1b[38;2;214;47;39m▀\x1b[0m\x1b[38;2;149;182;216m▀\x1b[0m\n");
    let error = map.over(&Tensor::from([[1.0_f32]])).unwrap_err().to_string();
    assert!(error.contains("expected an image of 1×2, got [1, 1]"), "{error}");
    let error = HeatMap::new(&Tensor::from([1.0_f32])).unwrap_err().to_string();
    assert!(error.contains("expected [height, width]"), "{error}");
}

#[test]
fn words_and_bars_need_as_many_attributions() {
    let values = Tensor::from([1.0_f32, -2.0]);
    let words = Words::new(&["good", "bad"], &values).unwrap();
    let expected = hexadecimal(blended(-0.8, [255; 3]));
    assert!(words.to_html().contains(&format!("background:{expected}")), "{}", words.to_html());
    assert!(words.to_string().ends_with("bad\x1b[0m"));
    assert!(Words::new(&["one"], &values).is_err());
    assert!(Bars::new(&["one"], &values).is_err());
    let bars = Bars::new(&["small & <low>", "large"], &values).unwrap().sorted();
    let svg = bars.to_svg();
    assert!(svg.find("large").unwrap() < svg.find("small &amp; &lt;low&gt;").unwrap(), "{svg}");
}

#[test]
#[cfg(feature = "png")]
fn a_sheet_of_maps_is_a_png() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("why.png");
    let map = HeatMap::new(&Tensor::from([[1.0_f32, -1.0]])).unwrap();
    HeatMap::save_sheet_png(&[map.clone(), map.clone()], 2, &path).unwrap();
    let file = std::io::BufReader::new(std::fs::File::open(&path).unwrap());
    let mut reader = ::png::Decoder::new(file).read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut pixels).unwrap();
    assert_eq!([info.width, info.height], [2 * 24 + 3 * 8, 12 + 2 * 8]);
    let at = (8 * info.width as usize + 8) * 3;
    assert_eq!(pixels[at..at + 3], FOR);
    let other = HeatMap::new(&Tensor::from([[1.0_f32]])).unwrap();
    assert!(HeatMap::save_sheet_png(&[map, other], 2, &path).is_err());
    assert!(HeatMap::save_sheet_png(&[], 2, &path).is_err());
}
