//! Tests of the C API from Rust, with the errors that C programs can make. The
//! program `tests/embedding.c` tests it from C.

use std::ffi::{CStr, CString};
use std::path::PathBuf;
use std::{fs, ptr, thread};

use dendra_nn::{Module, Sequential};
use dendra_tensor::{Rng, Tensor};

use super::*;

fn model() -> Sequential {
    Sequential::input([4]).dense(8).relu().dense(3).build(&mut Rng::seed(1)).unwrap()
}

fn input() -> Tensor {
    Tensor::normal([2, 4], 0.0, 1.0, &mut Rng::seed(2))
}

fn expected() -> Vec<f32> {
    model().forward(&input().into()).unwrap().value().to_vec()
}

/// A model in memory.
fn bytes() -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    model().save(&path).unwrap();
    fs::read(path).unwrap()
}

/// A loaded network, which is freed at the end.
struct Loaded(*mut Network);

// SAFETY: any thread may use a network.
unsafe impl Sync for Loaded {}

impl Loaded {
    fn new() -> Self {
        let (bytes, mut network) = (bytes(), ptr::null_mut());
        // SAFETY: the slice has this length, and `network` can be written.
        let status =
            unsafe { dendra_network_from_bytes(bytes.as_ptr(), bytes.len(), &mut network) };
        assert_eq!(status, Status::Ok, "{}", last_error());
        Self(network)
    }

    fn predict(&self, input: &[f32], output: &mut [f32]) -> (Status, usize) {
        let mut written = 0;
        let (length, capacity) = (input.len(), output.len());
        let (input, output) = (input.as_ptr(), output.as_mut_ptr());
        // SAFETY: the buffers have these lengths.
        let status =
            unsafe { dendra_predict_f32(self.0, input, length, output, capacity, &mut written) };
        (status, written)
    }
}

impl Drop for Loaded {
    fn drop(&mut self) {
        // SAFETY: it is not used afterwards.
        unsafe { dendra_network_free(self.0) };
    }
}

fn last_error() -> String {
    // SAFETY: the text is valid until the next error.
    unsafe { CStr::from_ptr(dendra_last_error()) }.to_str().unwrap().to_owned()
}

#[test]
fn a_network_in_memory_predicts() {
    let network = Loaded::new();
    let mut output = [0.0; 6];
    assert_eq!(network.predict(&input().to_vec(), &mut output), (Status::Ok, 6));
    assert_eq!(output[..], expected());
}

#[test]
fn threads_share_a_network() {
    let network = Loaded::new();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut output = [0.0; 6];
                assert_eq!(network.predict(&input().to_vec(), &mut output), (Status::Ok, 6));
                assert_eq!(output[..], expected());
            });
        }
    });
}

#[test]
fn wrong_lengths_are_refused() {
    let network = Loaded::new();
    let mut output = [7.0; 5];
    let (status, written) = network.predict(&input().to_vec(), &mut output);
    assert_eq!((status, written, output), (Status::BufferTooShort, 6, [7.0; 5]));
    assert!(last_error().contains("a buffer of 6 elements, got 5"), "{}", last_error());
    let (status, _) = network.predict(&[0.0; 7], &mut output);
    assert_eq!(status, Status::InvalidArgument);
    assert!(last_error().contains("expected 4 elements for each sample, got 7"));
    // SAFETY: the length is rejected before anything is read.
    let status = unsafe {
        dendra_predict_f32(
            network.0,
            output.as_ptr(),
            usize::MAX - 3,
            output.as_mut_ptr(),
            5,
            ptr::null_mut(),
        )
    };
    assert_eq!(status, Status::InvalidArgument);
    assert!(last_error().contains("exceeds the memory"), "{}", last_error());
}

#[test]
fn a_run_refuses_what_lies() {
    static SHAPE: [usize; 2] = [2, 4];
    static TURNED: [usize; 2] = [4, 2];
    static ONE: [usize; 2] = [1, 4];
    static ENDLESS: [usize; 2] = [usize::MAX, 4];
    let network = Loaded::new();
    let values = input().to_vec();
    let sound = Input {
        name: c"input".as_ptr(),
        element: ElementType::F32 as i32,
        data: values.as_ptr().cast(),
        length: 8,
        shape: SHAPE.as_ptr(),
        rank: 2,
    };
    let run = |input: Input| {
        let mut outputs = ptr::null_mut();
        // SAFETY: errors of the input are detected before anything is read.
        let status = unsafe { dendra_run(network.0, &input, 1, &mut outputs) };
        (status, outputs)
    };
    let (status, outputs) = run(sound);
    assert_eq!(status, Status::Ok, "{}", last_error());
    let mut output = nothing();
    // SAFETY: `outputs` is from the run, and `output` is writable.
    unsafe {
        assert_eq!(dendra_outputs_count(outputs), 1);
        assert_eq!(dendra_outputs_get(outputs, 0, &mut output), Status::Ok);
        assert_eq!((output.element, output.length, output.rank), (ElementType::F32, 6, 2));
        let found = std::slice::from_raw_parts(output.data.cast::<f32>(), output.length);
        assert_eq!(found, expected());
        assert_eq!(dendra_outputs_get(outputs, 1, &mut output), Status::InvalidArgument);
        dendra_outputs_free(outputs);
    }
    let odd: *const f32 = (values.as_ptr() as usize + 1) as *const f32;
    for (input, message) in [
        (Input { name: ptr::null(), ..sound }, "null"),
        (Input { name: c"other".as_ptr(), ..sound }, "no input \"other\""),
        (Input { element: 99, ..sound }, "F32 or I64, got 99"),
        (Input { element: ElementType::I64 as i32, ..sound }, "f32 [batch, 4], got i64"),
        (Input { data: ptr::null(), ..sound }, "null"),
        (Input { data: odd.cast(), ..sound }, "aligned"),
        (Input { length: 9, ..sound }, "as many elements as shape [2, 4] has, got 9"),
        (Input { shape: ptr::null(), ..sound }, "null"),
        (Input { shape: ENDLESS.as_ptr(), ..sound }, "as many elements"),
        (Input { shape: TURNED.as_ptr(), ..sound }, "got f32 [4, 2]"),
    ] {
        // The data for `i64` would be twice as long.
        let input = match input.element {
            3 => Input { length: 4, shape: ONE.as_ptr(), ..input },
            _ => input,
        };
        let (status, outputs) = run(input);
        assert_eq!((status, outputs), (Status::InvalidArgument, ptr::null_mut()), "{message}");
        assert!(last_error().contains(message), "{} lacks {message}", last_error());
    }
}

/// An output before it is written.
fn nothing() -> Output {
    Output {
        name: ptr::null(),
        element: ElementType::Other,
        data: ptr::null(),
        length: 0,
        shape: ptr::null(),
        rank: 0,
    }
}

#[test]
fn null_is_refused_or_nothing() {
    let null = ptr::null_mut();
    let mut network = null;
    // SAFETY: null is rejected.
    unsafe {
        assert_eq!(dendra_network_load(ptr::null(), &mut network), Status::InvalidArgument);
        assert_eq!(
            dendra_network_load(c"model".as_ptr(), ptr::null_mut()),
            Status::InvalidArgument
        );
        assert_eq!(
            dendra_network_from_bytes(ptr::null(), 3, &mut network),
            Status::InvalidArgument
        );
        assert_eq!((dendra_input_count(null), dendra_class_count(null)), (0, 0));
        assert!(dendra_class_name(null, 0).is_null());
        assert_eq!(dendra_input_info(null, 0, ptr::null_mut()), Status::InvalidArgument);
        dendra_network_free(null);
        dendra_outputs_free(ptr::null_mut());
    }
    assert_eq!(dendra_set_num_threads(0), Status::InvalidArgument);
}

#[test]
fn files_that_are_no_models_have_their_status() {
    let mut network = ptr::null_mut();
    let missing = CString::new("/nowhere/model.safetensors").unwrap();
    // SAFETY: the text ends with a zero byte, and the slice has this length.
    unsafe {
        assert_eq!(dendra_network_load(missing.as_ptr(), &mut network), Status::Io);
        assert!(last_error().contains("/nowhere/model.safetensors"), "{}", last_error());
        let status = dendra_network_from_bytes(b"no model".as_ptr(), 8, &mut network);
        assert_eq!((status, network), (Status::InvalidFile, ptr::null_mut()));
    }
    let sound = bytes();
    for length in [0, 7, 60, sound.len() - 1] {
        // SAFETY: the slice is longer.
        let status = unsafe { dendra_network_from_bytes(sound.as_ptr(), length, &mut network) };
        assert_eq!((status, network), (Status::InvalidFile, ptr::null_mut()), "{length} bytes");
    }
}

#[test]
fn a_panic_is_a_status() {
    assert_eq!(boundary::guard(|| panic!("oh")), Status::Internal);
    assert_eq!(last_error(), "dendra: panicked: oh");
}

#[test]
fn a_network_is_described() {
    let network = Loaded::new();
    let mut info =
        TensorInfo { name: ptr::null(), element: ElementType::Other, rank: 0, axes: ptr::null() };
    // SAFETY: `info` can be written, and what it points to lives as the network does.
    unsafe {
        assert_eq!((dendra_input_count(network.0), dendra_output_count(network.0)), (1, 1));
        assert_eq!(dendra_output_info(network.0, 0, &mut info), Status::Ok);
        assert_eq!(CStr::from_ptr(info.name), c"output");
        assert_eq!((info.element, info.rank), (ElementType::F32, 2));
        assert_eq!(std::slice::from_raw_parts(info.axes, 2), [-1, 3]);
        assert_eq!(dendra_output_info(network.0, 1, &mut info), Status::InvalidArgument);
    }
}

/// Writes the files for the program in C, if the environment variable is set:
/// models, an input, and the outputs in Rust.
#[test]
fn models_for_the_program_in_c() {
    let Some(folder) = std::env::var_os("DENDRA_C_MODELS").map(PathBuf::from) else { return };
    let write = |name: &str, values: &[f32]| {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        fs::write(folder.join(name), bytes).unwrap();
    };
    model().save(folder.join("model.safetensors")).unwrap();
    dendra_onnx::export(&model(), &input(), folder.join("model.onnx")).unwrap();
    write("input.f32", &input().to_vec());
    write("output.f32", &expected());
    let words = Sequential::tokens([5]).embedding(7, 4).flatten().dense(2);
    let words = words.build(&mut Rng::seed(3)).unwrap();
    words.save(folder.join("words.safetensors")).unwrap();
    let ids = Tensor::from([[0_i64, 6, 3, 2, 1]]);
    write("words.f32", &words.forward_tokens(&ids, None).unwrap().value().to_vec());
}
