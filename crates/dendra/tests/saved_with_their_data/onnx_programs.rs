//! The examples that write, run and use ONNX models.

use std::env;
use std::path::Path;

use dendra::onnx::{Model, Value};
use dendra::prelude::*;

#[allow(dead_code, reason = "an example has a main function")]
#[path = "../../../../examples/onnx_export.rs"]
mod onnx_export;
#[allow(dead_code, reason = "an example has a main function")]
#[path = "../../../../examples/onnx_run.rs"]
mod onnx_run;
#[allow(dead_code, reason = "an example has a main function")]
#[path = "../../../../examples/read_text.rs"]
mod read_text;

use read_text::boxes::{Corners, boxes, placed};
use read_text::warp::Picture;

#[test]
fn a_saved_network_is_written_and_runs() {
    let folder = tempfile::tempdir().unwrap();
    let [saved, written] = ["net.safetensors", "net.onnx"].map(|name| folder.path().join(name));
    let network = Sequential::input([1, 12, 12]).conv2d(4, 3).relu().flatten().dense(5);
    let network = network.build(&mut Rng::seed(3)).unwrap();
    network.save(&saved).unwrap();
    assert_eq!(onnx_export::write(&saved, &written).unwrap(), [1, 12, 12]);

    let model = Model::load(&written).unwrap();
    let [input] = model.inputs().collect::<Vec<_>>()[..] else { panic!("one input") };
    assert_eq!(onnx_run::described(input.kind.as_ref()), "float32 [N, 1, 12, 12]");
    let value = onnx_run::random(input.kind.as_ref(), 3).unwrap();
    let inputs: [(&str, Value); 1] = [(&input.name, value.clone())];
    let times = onnx_run::Times::of(&model, &inputs, 2).unwrap();
    let batch = Tape::inference().input(value.to::<f32>().unwrap());
    let expected = network.forward(&batch).unwrap();
    let expected = expected.value();
    let found = times.outputs[0].to::<f32>().unwrap();
    assert_eq!(*found.shape(), [3, 5]);
    for (found, expected) in found.to_vec().into_iter().zip(expected.to_vec()) {
        assert!((found - expected).abs() < 1e-5, "{found} for {expected}");
    }

    // The convolution and the ReLU after it are one step.
    assert_eq!((times.nodes.len(), model.operators().count()), (3, 4));
    let sum: f64 = times.nodes.iter().map(|node| node.seconds).sum();
    assert!(times.whole > 0.0 && times.nodes.iter().all(|node| node.seconds <= times.whole));
    assert!(sum > 0.0);
    let shown = times.to_string();
    for line in ["1 × Conv+Relu\n", "1 × Gemm\n", "the slowest nodes\n"] {
        assert!(shown.contains(line), "{shown}");
    }
}

/// The map of a picture with two boxes: one along the axes, one turned by 20 degrees.
fn map(width: usize, height: usize) -> Vec<f32> {
    let (sine, cosine) = 20f32.to_radians().sin_cos();
    let is_text = |x: f32, y: f32| {
        let (along, across) = ((x - 110.0), (y - 90.0));
        let turned = (along * cosine + across * sine, across * cosine - along * sine);
        ((20.0..=100.0).contains(&x) && (10.0..=21.0).contains(&y))
            || (turned.0.abs() <= 40.0 && turned.1.abs() <= 6.0)
    };
    let probability = |index: usize| {
        let (x, y) = (index % width, index / width);
        // A spot that is too small, and a stain that is too faint.
        let (is_spot, is_stain) = (x < 2 && y < 2, (180..195).contains(&x) && y < 20);
        match (is_text(x as f32, y as f32), is_spot, is_stain) {
            (true, ..) => 0.9,
            (_, true, _) => 0.9,
            (.., true) => 0.4,
            _ => 0.1,
        }
    };
    (0..width * height).map(probability).collect()
}

#[track_caller]
fn close(found: &Corners, expected: &Corners, most: f32) {
    for (found, expected) in found.iter().flatten().zip(expected.iter().flatten()) {
        assert!((found - expected).abs() <= most, "{found} for {expected}");
    }
}

#[test]
fn boxes_lie_around_the_lines_of_a_map() {
    let found = boxes(&map(200, 140), 200);
    assert_eq!(found.len(), 2, "{found:?}");
    // The core, a pixel more below and to the right, is 81 by 12 pixels; the box is
    // wider by 1.6 · 81 · 12 / 186 on each side.
    let more = 1.6 * 81.0 * 12.0 / 186.0;
    let [left, top, right, bottom] = [20.0 - more, 10.0 - more, 101.0 + more, 22.0 + more];
    let expected = [[left, top], [right, top], [right, bottom], [left, bottom]];
    close(&found[0], &expected, 1e-3);
    let (sine, cosine) = 20f32.to_radians().sin_cos();
    let more = 1.6 * 81.0 * 13.0 / 188.0;
    let turned = [[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]].map(|[x, y]| {
        let (along, across) = (x * (40.0 + more), y * (6.0 + more));
        [110.5 + along * cosine - across * sine, 90.5 + along * sine + across * cosine]
    });
    close(&found[1], &turned, 1.5);

    // In a picture of twice the size, the second box first where it is above.
    let swapped = [found[1], found[0]];
    let places = placed(&swapped, [2.0, 2.0], [400, 280]);
    close(&places[0], &expected.map(|point| point.map(|x| (2.0 * x).clamp(0.0, 399.0))), 0.51);
    // Two boxes of nearly the same height are read from left to right.
    let row = |x: f32, y: f32| [[x, y], [x + 20.0, y], [x + 20.0, y + 9.0], [x, y + 9.0]];
    let lines = [row(70.0, 50.0), row(10.0, 53.0), row(40.0, 5.0)];
    let order: Vec<_> = placed(&lines, [1.0, 1.0], [200, 100]).iter().map(|line| line[0]).collect();
    assert_eq!(order, [[40.0, 5.0], [10.0, 53.0], [70.0, 50.0]]);
    assert_eq!(boxes(&[0.0; 100], 10), [[[0.0; 2]; 4]; 0]);
    assert_eq!(boxes(&[1.0; 1], 1), [[[0.0; 2]; 4]; 0]);
}

#[test]
fn steps_of_a_line_become_characters() {
    let characters = ["", "a", "b", " "].map(str::to_owned);
    let step = |best: usize, probability: f32| {
        let mut step = [(1.0 - probability) / 3.0; 4];
        step[best] = probability;
        step
    };
    // A character that is seen twice is one; one that is seen again after none is another.
    let steps = [(0, 0.9), (1, 0.8), (1, 0.9), (0, 0.9), (1, 0.6), (3, 0.7), (2, 0.5), (0, 0.9)];
    let steps: Vec<f32> = steps.into_iter().flat_map(|(best, p)| step(best, p)).collect();
    let (text, confidence) = read_text::decode(&steps, &characters);
    assert_eq!(text, "aa b");
    assert!((confidence - (0.8 + 0.6 + 0.7 + 0.5) / 4.0).abs() < 1e-6, "{confidence}");
    assert_eq!(read_text::decode(&step(0, 0.9), &characters), (String::new(), 0.0));
}

#[test]
fn parts_of_a_picture_are_cut_out() {
    // Red grows to the right, green downwards.
    let (width, height) = (20, 10);
    let plane = |value: fn(usize, usize) -> usize| {
        (0..width * height).map(move |index| value(index % 20, index / 20) as u8)
    };
    let planes = plane(|x, _| 10 * x).chain(plane(|_, y| 20 * y)).chain(plane(|_, _| 255));
    let mut picture = Picture { planes: planes.collect(), height, width };
    let whole = picture.input([10, 20], 20);
    let at = |tensor: &Tensor, y: usize, x: usize| {
        let [height, width] = [tensor.shape()[2], tensor.shape()[3]];
        let values = tensor.to_vec();
        [0, 1, 2].map(|plane| ((values[(plane * height + y) * width + x] + 1.0) * 127.5).round())
    };
    assert_eq!(at(&whole, 0, 0), [255.0, 0.0, 0.0]);
    assert_eq!(at(&whole, 9, 19), [255.0, 180.0, 190.0]);
    // Turned by a quarter, and filled up with grey.
    let corners = [[12.0, 2.0], [12.0, 6.0], [4.0, 6.0], [4.0, 2.0]];
    let turned = picture.cut(&corners);
    assert_eq!([turned.height, turned.width], [8, 4]);
    let turned = turned.input([8, 4], 6);
    assert_eq!(*turned.shape(), [1, 3, 8, 6]);
    assert_eq!(at(&turned, 0, 0), [255.0, 40.0, 120.0]);
    assert_eq!(at(&turned, 7, 3), [255.0, 100.0, 50.0]);
    assert_eq!(at(&turned, 0, 4), [128.0, 128.0, 128.0]);
    // Between pixels of a slope, cubic interpolation is linear.
    let between = picture.cut(&[[4.5, 2.5], [6.5, 2.5], [6.5, 4.5], [4.5, 4.5]]);
    assert_eq!(at(&between.input([2, 2], 2), 0, 0), [255.0, 50.0, 45.0]);
    picture.outline(&corners);
    assert_eq!([0, 1, 2].map(|plane| picture.planes[plane * 200 + 2 * 20 + 8]), [230, 30, 30]);
}

#[test]
fn a_folder_without_the_networks_says_what_to_get() {
    let folder = tempfile::tempdir().unwrap();
    let error = read_text::Reader::load(folder.path()).err().unwrap().to_string();
    assert!(error.contains("rapidocr-onnxruntime") && error.contains("_rec_"), "{error}");
}

/// Needs the networks of PP-OCR and what `fixtures/reading.py` makes: a picture, and a
/// file with the lines that rapidocr reads.
#[test]
#[ignore = "needs networks of 16 MB"]
fn text_is_read_as_python_reads_it() {
    let named = |name: &str| env::var(name).unwrap_or_else(|_| panic!("set {name}"));
    let reader = read_text::Reader::load(Path::new(&named("PP_OCR"))).unwrap();
    let picture = read_text::open(Path::new(&named("PP_OCR_PICTURE"))).unwrap();
    let lines = reader.read(&picture).unwrap();
    // Whether a narrow gap is a space depends on fractions of a pixel.
    let found: Vec<String> = lines.iter().map(|line| line.text.replace(' ', "")).collect();
    let expected = std::fs::read_to_string(named("PP_OCR_TEXT")).unwrap().replace(' ', "");
    assert_eq!(found, expected.lines().collect::<Vec<_>>(), "{lines:?}");
}
