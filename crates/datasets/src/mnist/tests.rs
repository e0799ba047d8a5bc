//! Tests of the sources of MNIST, their order, and errors.

use std::fs;

use tempfile::TempDir;

use super::*;
use crate::dataset::Dataset;

/// An IDX file.
fn idx(lengths: &[usize], elements: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, lengths.len() as u8];
    bytes.extend(lengths.iter().flat_map(|&length| (length as u32).to_be_bytes()));
    bytes.extend(elements);
    bytes
}

/// The four files of a data set of `train` and `test` images; every pixel and
/// label is `mark` modulo 10.
fn files(train: usize, test: usize, mark: u8) -> [Vec<u8>; 4] {
    let images = |count| idx(&[count, 28, 28], &vec![mark; count * 784]);
    let labels = |count| idx(&[count], &vec![mark % 10; count]);
    [images(train), labels(train), images(test), labels(test)]
}

const DASHED: [&str; 4] = [
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
];

const DOTTED: [&str; 4] = [
    "train-images.idx3-ubyte",
    "train-labels.idx1-ubyte",
    "t10k-images.idx3-ubyte",
    "t10k-labels.idx1-ubyte",
];

fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A folder with a small data set.
fn folder_of(mark: u8) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, contents) in DASHED.iter().zip(files(5, 3, mark)) {
        fs::write(folder.path().join(name), contents).unwrap();
    }
    folder
}

/// The mark of the images of a data set.
fn mark(mnist: &Mnist) -> u8 {
    mnist.test.images().to_vec()[0]
}

fn no_environment(_: &str) -> Option<OsString> {
    None
}

/// Options with the given cache, without network, that generate few digits.
fn options(cache: &Path) -> MnistOptions {
    Mnist::options().quiet(true).offline(true).synthetic_sizes(20, 10).cache_dir(cache)
}

#[test]
fn all_usual_names_are_found() {
    for names in [DASHED, DOTTED] {
        for zipped in [false, true] {
            let folder = tempfile::tempdir().unwrap();
            for (name, contents) in names.iter().zip(files(5, 3, 7)) {
                let (name, contents) = if zipped {
                    (format!("{name}.gz"), gzip(&contents))
                } else {
                    (name.to_string(), contents)
                };
                fs::write(folder.path().join(name), contents).unwrap();
            }
            let mnist = Mnist::from_dir(folder.path()).unwrap();
            assert_eq!((mnist.train.len(), mnist.test.len()), (5, 3));
            assert_eq!(mnist.train.input_shape(), [1, 28, 28]);
            let (x, y) = mnist.train.batch(&[4]).unwrap();
            assert!(x.to_vec().iter().all(|&pixel| pixel == 7.0 / 255.0));
            assert_eq!(y.to_vec(), [7]);
            assert_eq!(mnist.source, MnistSource::Folder(folder.path().into()));
        }
    }
}

#[test]
fn missing_files_are_all_named() {
    let folder = folder_of(1);
    fs::remove_file(folder.path().join(DASHED[1])).unwrap();
    fs::remove_file(folder.path().join(DASHED[2])).unwrap();
    let message = Mnist::from_dir(folder.path()).unwrap_err().to_string();
    assert!(message.contains("does not contain train-labels-idx1-ubyte, t10k-images-idx3-ubyte ("));
    assert!(message.starts_with(&folder.path().display().to_string()), "{message}");
}

#[test]
fn a_folder_that_is_none_is_named() {
    let folder = folder_of(1);
    for path in [folder.path().join("nowhere"), folder.path().join(DASHED[0])] {
        let error = Mnist::from_dir(&path).unwrap_err();
        assert!(matches!(error, Error::Io { .. }), "{error}");
        let message = error.to_string();
        assert!(message.contains(&path.display().to_string()), "{message}");
        assert!(DASHED.iter().all(|name| message.contains(name)), "{message}");
    }
}

/// The error of a data set when one of its files is replaced.
#[track_caller]
fn refused(file: usize, contents: Vec<u8>) -> String {
    let folder = folder_of(1);
    let path = folder.path().join(DASHED[file]);
    fs::write(&path, contents).unwrap();
    let error = Mnist::from_dir(folder.path()).unwrap_err();
    assert!(matches!(error, Error::File { .. }), "{error:?}");
    let message = error.to_string();
    assert!(message.starts_with(&path.display().to_string()), "{message}");
    message
}

#[test]
fn fewer_labels_than_images_are_refused() {
    let message = refused(1, idx(&[4], &[1; 4]));
    assert!(message.contains("a label for each of the 5 images in"), "{message}");
    assert!(message.contains("train-images-idx3-ubyte, got an array of shape [4]"), "{message}");
    refused(3, idx(&[4], &[1; 4]));
}

#[test]
fn a_label_above_nine_is_refused() {
    let message = refused(1, idx(&[5], &[0, 1, 2, 10, 4]));
    assert!(message.contains("sample 3 has label 10"), "{message}");
}

#[test]
fn images_of_another_size_and_no_images_are_refused() {
    assert!(refused(0, idx(&[5, 32, 32], &[0; 5 * 1024])).contains("28×28"));
    assert!(refused(0, idx(&[5], &[0; 5])).contains("28×28"));
    assert!(refused(2, idx(&[0, 28, 28], &[])).contains("no images"));
}

#[test]
fn a_damaged_file_is_refused_by_name() {
    assert!(refused(2, b"oops".to_vec()).contains("neither an IDX nor a gzip file"));
    assert!(refused(0, idx(&[5, 28, 28], &[0; 100])).contains("its header states"));
}

#[test]
fn an_explicit_folder_comes_first_and_never_gives_way() {
    let (explicit, named, cache) = (folder_of(1), folder_of(2), folder_of(3));
    let environment = |name: &str| (name == "MNIST_DIR").then(|| named.path().into());
    let load = |options: MnistOptions| options.load_in(environment);
    let explicit_dir = explicit.path().to_path_buf();
    assert_eq!(mark(&load(options(cache.path()).dir(explicit_dir.clone())).unwrap()), 1);
    assert_eq!(mark(&load(options(cache.path()).dir(None)).unwrap()), 2);
    assert_eq!(mark(&options(cache.path()).load_in(no_environment).unwrap()), 3);

    fs::remove_file(explicit.path().join(DASHED[0])).unwrap();
    let error = load(options(cache.path()).dir(explicit_dir)).unwrap_err();
    assert!(error.to_string().contains("train-images-idx3-ubyte"), "{error}");
    let wrong = |name: &str| (name == "MNIST_DIR").then(|| "/nowhere/at/all".into());
    assert!(options(cache.path()).load_in(wrong).is_err());
}

#[test]
fn the_users_cache_folder_is_searched() {
    let base = tempfile::tempdir().unwrap();
    let variable = if cfg!(windows) { "LOCALAPPDATA" } else { "XDG_CACHE_HOME" };
    let environment = |name: &str| (name == variable).then(|| base.path().into());
    let folder = base.path().join("dendra").join("mnist");
    fs::create_dir_all(&folder).unwrap();
    for (name, contents) in DASHED.iter().zip(files(5, 3, 9)) {
        fs::write(folder.join(name), contents).unwrap();
    }
    let mnist = Mnist::options().quiet(true).offline(true).load_in(environment).unwrap();
    assert_eq!(mark(&mnist), 9);
}

#[test]
fn digits_are_generated_when_asked_for_or_when_there_is_nothing_else() {
    let (cache, nothing) = (folder_of(3), tempfile::tempdir().unwrap());
    let environment = |name: &str| (name == "MNIST_DIR").then(|| "/nowhere/at/all".into());
    let asked = options(cache.path()).synthetic(true).load_in(environment).unwrap();
    assert_eq!(asked.source, MnistSource::Generated);
    assert_eq!((asked.train.len(), asked.test.len()), (20, 10));
    let forced = options(&nothing.path().join("none")).load_in(no_environment).unwrap();
    assert_eq!(forced.source, MnistSource::Generated);
    assert_eq!(forced.train.images().to_vec(), asked.train.images().to_vec());
    let homeless = Mnist::options().quiet(true).synthetic_sizes(2, 1).load_in(no_environment);
    assert_eq!(homeless.unwrap().source, MnistSource::Generated);
    let both = options(cache.path()).synthetic(true).dir(cache.path().to_path_buf());
    assert!(matches!(both.load_in(no_environment), Err(Error::Argument { .. })));
}

#[test]
fn the_normalisation_is_applied_to_both_parts_and_checked_first() {
    let folder = folder_of(51);
    let standard = |std| Normalization::Standardize { mean: vec![0.1], std: vec![std] };
    let options = |std| options(folder.path()).normalize(standard(std));
    let mnist = options(0.1).load_in(no_environment).unwrap();
    for part in [&mnist.train, &mnist.test] {
        assert!((part.batch(&[0]).unwrap().0.to_vec()[0] - 1.0).abs() < 1e-6);
    }
    assert!(matches!(options(0.0).load_in(no_environment), Err(Error::Argument { .. })));
}

#[cfg(unix)]
#[test]
fn a_folder_need_not_be_utf_8() {
    use std::os::unix::ffi::OsStringExt;

    let base = folder_of(4);
    let folder = base.path().join(OsString::from_vec(b"ziffern-\xe4".to_vec()));
    if fs::create_dir(&folder).is_err() {
        println!("skipped: this file system takes no such name");
        return;
    }
    for name in DASHED {
        fs::rename(base.path().join(name), folder.join(name)).unwrap();
    }
    assert_eq!(mark(&Mnist::from_dir(&folder).unwrap()), 4);
    let environment = |name: &str| (name == "MNIST_DIR").then(|| folder.clone().into());
    assert_eq!(mark(&Mnist::options().load_in(environment).unwrap()), 4);
}

#[cfg(feature = "download")]
mod downloads {
    use super::*;
    use crate::download::server::{Server, respond, serve};
    use crate::download::{Checksum, RemoteFile};

    /// A server with a small data set, and options to download it.
    fn small_set(mark: u8, cache: &Path) -> (Server, MnistOptions) {
        let contents = files(5, 3, mark).map(|file| gzip(&file));
        let names = DASHED.map(|name| &*format!("{name}.gz").leak());
        let mut files = mirrors::REMOTE.files.to_vec();
        for ((file, contents), name) in files.iter_mut().zip(&contents).zip(names) {
            let digits = hmac_sha256::Hash::hash(contents).map(|byte| format!("{byte:02x}"));
            let sha256 = digits.concat().leak();
            let checksum = Checksum::Sha256(sha256);
            *file = RemoteFile { name, bytes: contents.len() as u64, checksum };
        }
        let server = Server::start(move |_, request, stream| {
            let name = request.path.rsplit('/').next().unwrap();
            match names.iter().position(|&known| known == name) {
                Some(file) => serve(&contents[file], request.from, usize::MAX, stream),
                None => respond(stream, "404 Not Found", "", b""),
            }
        });
        let mut options = options(cache).offline(false).mirrors([&server.url]);
        options.known.remote.files = files.leak();
        (server, options)
    }

    #[test]
    fn what_is_not_cached_is_downloaded_once() {
        let cache = tempfile::tempdir().unwrap();
        let (server, options) = small_set(6, cache.path());
        for _ in 0..2 {
            let mnist = options.clone().load_in(no_environment).unwrap();
            assert_eq!(mark(&mnist), 6);
            assert_eq!(mnist.source, MnistSource::Folder(cache.path().into()));
            assert_eq!(server.requests().len(), 4);
        }
    }

    #[test]
    fn what_is_damaged_in_the_cache_is_downloaded_again() {
        let cache = tempfile::tempdir().unwrap();
        let (server, options) = small_set(6, cache.path());
        options.clone().load_in(no_environment).unwrap();
        fs::write(cache.path().join("t10k-labels-idx1-ubyte.gz"), "torn").unwrap();
        assert_eq!(mark(&options.load_in(no_environment).unwrap()), 6);
        assert_eq!(server.requests().len(), 5);
    }

    #[test]
    fn a_damaged_cache_is_not_harmed_when_there_is_no_network() {
        let cache = folder_of(3);
        let path = cache.path().join(DASHED[0]);
        fs::write(&path, "torn").unwrap();
        let options = options(cache.path()).offline(false).mirrors([Server::nobody()]);
        let mnist = options.load_in(no_environment).unwrap();
        assert_eq!(mnist.source, MnistSource::Generated);
        assert_eq!(fs::read(path).unwrap(), b"torn");
    }

    #[test]
    fn mirrors_that_are_out_of_reach_lead_to_generated_digits() {
        let cache = tempfile::tempdir().unwrap();
        let missing = Server::status("403 Forbidden");
        let options = options(cache.path()).offline(false);
        let mnist = options.mirrors([Server::nobody(), missing.url.clone()]);
        assert_eq!(mnist.load_in(no_environment).unwrap().source, MnistSource::Generated);
        assert_eq!(missing.requests().len(), 1);
    }

    #[test]
    fn a_network_that_delivers_something_else_is_an_error() {
        let cache = tempfile::tempdir().unwrap();
        let portal = Server::honest(b"<html>Please log in</html>");
        let options = options(cache.path()).offline(false).mirrors([&portal.url]);
        let error = options.load_in(no_environment).unwrap_err().to_string();
        assert!(error.contains("expected 9912422 bytes, got 26"), "{error}");
        assert!(error.contains("train-images-idx3-ubyte.gz"), "{error}");
    }

    #[test]
    fn a_cache_that_cannot_be_written_is_an_error() {
        let folder = folder_of(1);
        let cache = folder.path().join(DASHED[0]).join("mnist");
        let options = options(&cache).offline(false).mirrors([Server::nobody()]);
        let error = options.load_in(no_environment).unwrap_err();
        assert!(matches!(&error, Error::Io { path, .. } if *path == cache), "{error}");
    }
}
