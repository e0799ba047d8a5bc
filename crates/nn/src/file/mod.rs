//! Models on disk: state dicts as safetensors files, exchangeable with PyTorch.
//!
//! The format (<https://huggingface.co/docs/safetensors>) consists of the length
//! of a JSON header, the header, and the values in little-endian order.

mod atomic;
mod checksum;
mod header;
mod stored;
mod values;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use dendra_autograd::{Differences, Parameters, StateDict};
use dendra_tensor::{Error, Float, Result, Shape};

pub use atomic::{check_writable, remove_unfinished, write_whole};
use checksum::Checksum;
use header::Header;
pub use stored::{Dtype, Stored, StoredTensors, tensor_from_bytes};

/// Writes the state of a model, its parameters and buffers by name, to a
/// safetensors file. PyTorch's `safetensors.torch.load_file` can read the file.
///
/// The file is written under a temporary name and renamed when it is complete.
///
/// # Errors
///
/// Returns an error if the file cannot be written. An existing file is then
/// unchanged.
///
/// ```
/// use dendra_nn::tensor::Rng;
/// use dendra_nn::{Linear, Parameters, load, save};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("net.safetensors");
/// let trained = Linear::new(3, 2).init(&mut Rng::seed(1))?;
/// save(&trained, &path)?;
///
/// let mut net = Linear::new(3, 2).init(&mut Rng::seed(2))?;
/// load(&mut net, &path)?;
/// assert_eq!(net.state_dict(), trained.state_dict());
/// # Ok(())
/// # }
/// ```
pub fn save<T: Float>(model: &(impl Parameters<T> + ?Sized), path: impl AsRef<Path>) -> Result<()> {
    StateFile { state: model.state_dict(), metadata: BTreeMap::new() }.write(path)
}

/// Loads the state of a model from a safetensors file, written by [`save`] or by
/// PyTorch's `safetensors.torch.save_file`, or from a checkpoint of a training
/// run.
///
/// Floats of any precision, including 16 and 8 bits, are converted to the float type of
/// the model. A counter that is missing in the file, such as
/// `num_batches_tracked`, keeps its value.
///
/// # Errors
///
/// Returns an error if the file cannot be read or is not a valid safetensors
/// file, or if names, shapes or element types differ from those of the model.
/// The error lists all differences, and the model is unchanged.
/// [`load_matching`] loads only the tensors that match.
pub fn load<T: Float>(
    model: &mut (impl Parameters<T> + ?Sized),
    path: impl AsRef<Path>,
) -> Result<()> {
    let path = path.as_ref();
    let state = StateFile::read(path)?.into_model_state();
    model.load_state_dict(&state).map_err(|error| error.within(path.display().to_string()))
}

/// Like [`load`], but loads only the tensors that the model and the file have in
/// common. A tensor of the file is skipped if the model has no tensor with its
/// name and shape. A parameter that is not in the file is unchanged. Returns
/// what was skipped.
///
/// If the names in the file differ from those in the model, read the file with
/// [`StateFile::read`], rename its state with [`StateDict::renamed`] or extract a
/// part of it with [`StateDict::split_off`], and load the result with
/// [`Parameters::load_matching`].
///
/// # Errors
///
/// Returns an error if the file cannot be read or is not a valid safetensors
/// file, or if nothing in it matches the model.
///
/// ```
/// use dendra_nn::tensor::Rng;
/// use dendra_nn::{Parameters, Sequential, load_matching, save};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("net.safetensors");
/// let rng = &mut Rng::seed(1);
/// let body = || Sequential::input([8]).dense(16).relu();
/// save(&body().dense(10).named("old_head").build(rng)?, &path)?;
///
/// let mut model = body().dense(3).named("new_head").build(rng)?;
/// let skipped = load_matching(&mut model, &path)?;
/// assert_eq!(skipped.missing, ["new_head.weight", "new_head.bias"]);
/// assert_eq!(skipped.unexpected, ["old_head.bias", "old_head.weight"]);
/// # Ok(())
/// # }
/// ```
pub fn load_matching<T: Float>(
    model: &mut (impl Parameters<T> + ?Sized),
    path: impl AsRef<Path>,
) -> Result<Differences> {
    let path = path.as_ref();
    let state = StateFile::read(path)?.into_model_state();
    model.load_matching(&state).map_err(|error| error.within(path.display().to_string()))
}

/// The metadata key that marks a file as a checkpoint of a training run. The
/// names of the model's tensors in a checkpoint start with `model.`.
pub const CHECKPOINT_KEY: &str = "dendra.checkpoint";

/// The contents of a safetensors file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StateFile {
    /// The tensors.
    pub state: StateDict,
    /// The other metadata of the file: texts by key.
    pub metadata: BTreeMap<String, String>,
}

impl StateFile {
    /// Reads a file. The memory used is about the size of the file, whatever its
    /// header claims. Floats of 8 bits are converted to `f32`; those of 16 bits keep
    /// their type, and are converted when a model loads them.
    ///
    /// A file written by [`write`](Self::write) contains a checksum, which is
    /// verified. Files of other programs have none and are not verified.
    ///
    /// # Errors
    ///
    /// Returns an error if the file cannot be read, is not a valid safetensors
    /// file, contains elements of an unsupported type, or does not match its
    /// checksum.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        Self::read_path(path.as_ref())
    }

    fn read_path(path: &Path) -> Result<Self> {
        let failed = |error| Error::io(path, error);
        let wrong = |message: String| Error::file(path, message);
        let about = fs::metadata(path).map_err(failed)?;
        if !about.is_file() {
            return Err(wrong("expected a file".to_owned()));
        }
        let mut file = File::open(path).map_err(failed)?;
        let header = Header::read(&mut file, about.len(), path)?;
        Self::with_values(header, path, &mut |length| {
            let mut bytes = vec![0; length];
            file.read_exact(&mut bytes)?;
            Ok(bytes.into())
        })
    }

    /// Like [`read`](Self::read), of the bytes of a file: of a model that is part
    /// of a program by [`include_bytes`], or that came over a network. Errors
    /// name `path`.
    ///
    /// # Errors
    ///
    /// Like [`read`](Self::read).
    pub fn from_bytes(bytes: &[u8], path: impl AsRef<Path>) -> Result<Self> {
        let mut rest = bytes;
        let header = Header::read(&mut rest, bytes.len() as u64, path.as_ref())?;
        Self::with_values(header, path.as_ref(), &mut |length| {
            let (values, after) =
                rest.split_at_checked(length).ok_or(io::ErrorKind::UnexpectedEof)?;
            rest = after;
            Ok(values.into())
        })
    }

    /// A file with this header, and with the values that `next` returns: as many
    /// bytes as it is asked for.
    fn with_values<'a>(
        (header, mut checksum): (Header, Checksum),
        path: &Path,
        next: &mut dyn FnMut(usize) -> io::Result<Cow<'a, [u8]>>,
    ) -> Result<Self> {
        let failed = |error| Error::io(path, error);
        let wrong = |message: String| Error::file(path, message);
        let Header { mut metadata, tensors } = header;
        let expected = metadata.remove(checksum::KEY);

        let mut state = StateDict::new();
        for (name, info) in tensors {
            let bytes = next(info.data_offsets.1 - info.data_offsets.0).map_err(failed)?;
            if expected.is_some() {
                checksum.update(&bytes);
            }
            let tensor = values::from_bytes(info.dtype, Shape::from(info.shape), &bytes)
                .map_err(|message| wrong(format!("tensor {name:?}: {message}")))?;
            state.insert(name, tensor);
        }
        match expected {
            Some(expected) if expected != checksum.digits() => Err(wrong(format!(
                "damaged: its checksum is {}, expected {expected} (a program that changes such a \
                 file must remove `{}` from the metadata)",
                checksum.digits(),
                checksum::KEY
            ))),
            _ => Ok(Self { state, metadata }),
        }
    }

    /// Returns the state of the model in the file: the whole state, or, for a
    /// checkpoint of a training run, the part that does not belong to the
    /// optimizer or a callback.
    pub fn into_model_state(mut self) -> StateDict {
        match self.metadata.contains_key(CHECKPOINT_KEY) {
            true => self.state.split_off("model"),
            false => self.state,
        }
    }

    /// Writes the file with a checksum, under a temporary name, and renames it
    /// when it is complete. Equal contents produce equal bytes.
    ///
    /// # Errors
    ///
    /// Returns an error if the file cannot be written. An existing file is then
    /// unchanged.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let mut metadata = self.metadata.clone();
        metadata.insert(checksum::KEY.to_owned(), checksum::BLANK.to_owned());
        let (header, tensors) = Header::of(&self.state, &metadata);
        let mut header = header.to_bytes().map_err(|message| Error::file(path, message))?;
        let mut checksum = Checksum::new();
        checksum.update(&header[header::LENGTH..]);
        let values = tensors.iter().try_for_each(|tensor| values::write(tensor, &mut checksum));
        values.map_err(|error| Error::io(path, error))?;
        let digits = checksum::digits_in(&header, checksum::BLANK)
            .ok_or_else(|| Error::file(path, "the header has no checksum"))?;
        header[digits].copy_from_slice(checksum.digits().as_bytes());
        write_whole(path, |writer| {
            writer.write_all(&header)?;
            tensors.iter().try_for_each(|tensor| values::write(tensor, writer))
        })
    }
}
