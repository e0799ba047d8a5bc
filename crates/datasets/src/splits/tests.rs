//! Tests of the known data sets, with small files in their formats.

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

/// Images whose first row is `0, 1, 2, …` and whose label is `label`.
fn digits(count: usize, label: u8) -> [Vec<u8>; 2] {
    let image: Vec<u8> = (0..784).map(|pixel| if pixel < 28 { pixel as u8 } else { 200 }).collect();
    [idx(&[count, 28, 28], &image.repeat(count)), idx(&[count], &vec![label; count])]
}

/// Records of CIFAR whose images are all `label`.
fn records(labels: &[&[u8]]) -> Vec<u8> {
    labels.iter().flat_map(|labels| [*labels, &[labels[labels.len() - 1]; 3072]].concat()).collect()
}

const CIFAR10_FILES: [&str; 6] = [
    "data_batch_1.bin",
    "data_batch_2.bin",
    "data_batch_3.bin",
    "data_batch_4.bin",
    "data_batch_5.bin",
    "test_batch.bin",
];

/// The files of a small CIFAR-10: each has two images, which contain the number
/// of the file.
fn cifar10() -> Vec<(&'static str, Vec<u8>)> {
    (0..).zip(CIFAR10_FILES).map(|(label, name)| (name, records(&[&[label], &[label]]))).collect()
}

fn folder_of(files: &[(&str, Vec<u8>)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, contents) in files {
        fs::write(folder.path().join(name), contents).unwrap();
    }
    folder
}

fn no_environment(_: &str) -> Option<OsString> {
    None
}

#[test]
fn fashion_and_kuzushiji_have_the_files_of_mnist() {
    let [train, test] = [digits(3, 9), digits(2, 0)];
    let folder = folder_of(&[
        ("train-images-idx3-ubyte", train[0].clone()),
        ("train-labels-idx1-ubyte", train[1].clone()),
        ("t10k-images-idx3-ubyte", test[0].clone()),
        ("t10k-labels-idx1-ubyte", test[1].clone()),
    ]);
    for (set, last) in [
        (FashionMnist::from_dir(folder.path()).unwrap(), "Ankle boot"),
        (Kmnist::from_dir(folder.path()).unwrap(), "wo"),
    ] {
        assert_eq!((set.train.len(), set.test.len()), (3, 2));
        assert_eq!(set.train.labels().to_vec(), [9; 3]);
        assert_eq!(set.class_names[9], last);
        assert_eq!(set.class_names.len(), set.train.classes().unwrap());
    }
    let missing = Kmnist::from_dir(tempfile::tempdir().unwrap().path()).unwrap_err().to_string();
    assert!(missing.contains("t10k-labels-idx1-ubyte (gzipped or not), which KMNIST"), "{missing}");
}

#[test]
fn emnist_is_turned_upright_and_its_letters_begin_at_zero() {
    let files = |split: &str, label| {
        let name = |part: &str| format!("emnist-{split}-{part}");
        let [train, test] = [digits(2, label), digits(1, label)];
        [
            (name("train-images-idx3-ubyte"), train[0].clone()),
            (name("train-labels-idx1-ubyte"), train[1].clone()),
            (name("test-images-idx3-ubyte"), test[0].clone()),
            (name("test-labels-idx1-ubyte"), test[1].clone()),
        ]
    };
    let folder = tempfile::tempdir().unwrap();
    for (split, label) in [("letters", 26), ("balanced", 46), ("byclass", 61), ("bymerge", 46)] {
        for (name, contents) in files(split, label) {
            fs::write(folder.path().join(name), contents).unwrap();
        }
    }
    let load = |split| Emnist::from_dir(folder.path(), split).unwrap();
    let letters = load(EmnistSplit::Letters);
    assert_eq!((letters.train.classes(), letters.train.labels().to_vec()), (Some(26), vec![25; 2]));
    assert_eq!(letters.class_names[25], "z");
    let image = &letters.train.images().to_vec()[..784];
    assert!((0..28).all(|row| image[row * 28] == row as u8), "the first row is the first column");
    for (split, classes, last) in [
        (EmnistSplit::Balanced, 47, "t"),
        (EmnistSplit::ByMerge, 47, "t"),
        (EmnistSplit::ByClass, 62, "z"),
    ] {
        let set = load(split);
        assert_eq!((set.train.classes(), set.class_names.len()), (Some(classes), classes));
        assert_eq!(set.class_names[classes - 1], last);
        assert_eq!(set.test.labels().to_vec(), [classes as i64 - 1]);
    }
    assert!(Emnist::from_dir(folder.path(), EmnistSplit::Digits).is_err());
}

#[test]
fn cifar_is_read_from_its_folder_or_the_one_above() {
    let folder = folder_of(&cifar10());
    let above = tempfile::tempdir().unwrap();
    let nested = above.path().join("cifar-10-batches-bin");
    fs::create_dir(&nested).unwrap();
    for (name, contents) in cifar10() {
        fs::write(nested.join(name), contents).unwrap();
    }
    for folder in [folder.path(), above.path(), &nested] {
        let set = Cifar10::from_dir(folder).unwrap();
        assert_eq!(set.train.labels().to_vec(), [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]);
        assert_eq!(set.test.labels().to_vec(), [5, 5]);
        assert_eq!(set.train.input_shape(), [3, 32, 32]);
        assert_eq!(set.train.images().to_vec()[9 * 3072..], [4; 3072]);
        assert_eq!(set.class_names[5], "dog");
    }
    fs::remove_file(folder.path().join("data_batch_3.bin")).unwrap();
    let error = Cifar10::from_dir(folder.path()).unwrap_err().to_string();
    assert!(error.contains("does not contain data_batch_3.bin, which CIFAR-10"), "{error}");
}

#[test]
fn cifar_100_has_two_labels() {
    let files = [("train.bin", records(&[&[19, 99], &[0, 3]])), ("test.bin", records(&[&[7, 70]]))];
    let folder = folder_of(&files);
    let fine = Cifar100::from_dir(folder.path()).unwrap();
    assert_eq!(fine.train.labels().to_vec(), [99, 3]);
    assert_eq!((fine.class_names[99].as_str(), fine.class_names.len()), ("worm", 100));
    let options = Cifar100::coarse_options().dir(folder.path().to_path_buf());
    let coarse = options.load().unwrap();
    assert_eq!(coarse.train.labels().to_vec(), [19, 0]);
    assert_eq!((coarse.class_names[19].as_str(), coarse.train.classes()), ("vehicles_2", Some(20)));
    assert!(CIFAR100_CLASSES.is_sorted());
}

#[test]
fn a_normalisation_must_fit_the_channels() {
    let folder = folder_of(&cifar10());
    let standard = |channels| Normalization::Standardize {
        mean: vec![0.5; channels],
        std: vec![0.25; channels],
    };
    let options = || Cifar10::options().dir(folder.path().to_path_buf());
    let set = options().normalize(standard(3)).load().unwrap();
    assert_eq!(set.test.batch(&[0]).unwrap().0.to_vec()[0], (5.0 / 255.0 - 0.5) / 0.25);
    assert!(options().normalize(standard(1)).load().is_err());
}

#[test]
fn what_is_nowhere_is_an_error_that_says_where_it_was_sought() {
    let cache = tempfile::tempdir().unwrap();
    let options = || Cifar10::options().offline(true).cache_dir(cache.path());
    let error = options().load_in(no_environment).unwrap_err().to_string();
    for part in ["CIFAR-10: it is neither", "does not contain data_batch_1.bin", "CIFAR10_DIR"] {
        assert!(error.contains(part), "{error}");
    }
    let folder = folder_of(&cifar10());
    let environment = |name: &str| (name == "CIFAR10_DIR").then(|| folder.path().into());
    assert_eq!(options().load_in(environment).unwrap().test.len(), 2);
    let error = Kmnist::options().offline(true).load_in(no_environment).unwrap_err().to_string();
    assert!(error.contains("cache folder are not set"), "{error}");
}

#[cfg(all(feature = "download", feature = "archives"))]
mod downloads {
    use std::io::Write;

    use super::*;
    use crate::download::server::Server;
    use crate::download::{Checksum, RemoteFile};
    use crate::search::Remote;

    /// The set, to be downloaded as this one file.
    fn remote(
        mut options: ImageSplitsOptions,
        file: &[u8],
        cache: &Path,
    ) -> (Server, ImageSplitsOptions) {
        let digits = hmac_sha256::Hash::hash(file).map(|byte| format!("{byte:02x}"));
        let name = options.known.remote.files[0].name;
        let checksum = Checksum::Sha256(digits.concat().leak());
        let files = vec![RemoteFile { name, bytes: file.len() as u64, checksum }].leak();
        options.known.remote = Remote { mirrors: &[], files };
        let server = Server::honest(file);
        let options = options.mirrors([&server.url]).cache_dir(cache).quiet(true);
        (server, options)
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn tar(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, contents) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(contents.len() as u64);
            header.set_mode(0o644);
            let name = format!("cifar-10-batches-bin/{name}");
            builder.append_data(&mut header, name, &contents[..]).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn cifar_is_downloaded_unpacked_and_then_in_the_cache() {
        let cache = tempfile::tempdir().unwrap();
        let (server, options) = remote(Cifar10::options(), &gzip(&tar(&cifar10())), cache.path());
        for _ in 0..2 {
            let set = options.clone().load_in(no_environment).unwrap();
            assert_eq!((set.train.len(), set.test.len()), (10, 2));
            assert_eq!(server.requests().len(), 1);
            assert_eq!(names(cache.path()), [".lock", "cifar-10-batches-bin"]);
        }
        // When an unpacked file is missing, the archive is downloaded again and
        // replaces the old files.
        fs::remove_file(cache.path().join("cifar-10-batches-bin/test_batch.bin")).unwrap();
        assert_eq!(options.load_in(no_environment).unwrap().test.len(), 2);
        assert_eq!(server.requests().len(), 2);
        assert_eq!(names(cache.path()), [".lock", "cifar-10-batches-bin"]);
    }

    #[test]
    fn a_damaged_archive_leaves_nothing_behind() {
        let cache = tempfile::tempdir().unwrap();
        let whole = gzip(&tar(&cifar10()));
        let (_server, options) =
            remote(Cifar10::options(), &whole[..whole.len() / 2], cache.path());
        let error = options.load_in(no_environment).unwrap_err();
        assert!(
            matches!(&error, Error::File { path, .. } if path.ends_with("cifar-10-binary.tar.gz"))
        );
        assert_eq!(names(cache.path()), [".lock", "cifar-10-binary.tar.gz"]);
    }

    #[test]
    fn emnist_is_unpacked_from_its_zip_by_division() {
        let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        let plain = zip::write::SimpleFileOptions::default();
        for split in ["letters", "digits"] {
            let [train, test] = [digits(2, 1), digits(1, 1)];
            for (part, contents) in [
                ("train-images-idx3", &train[0]),
                ("train-labels-idx1", &train[1]),
                ("test-images-idx3", &test[0]),
                ("test-labels-idx1", &test[1]),
            ] {
                zip.start_file(format!("gzip/emnist-{split}-{part}-ubyte.gz"), plain).unwrap();
                zip.write_all(&gzip(contents)).unwrap();
            }
        }
        let zip = zip.finish().unwrap().into_inner();
        let cache = tempfile::tempdir().unwrap();
        for (split, label) in [(EmnistSplit::Letters, 0), (EmnistSplit::Digits, 1)] {
            let (_server, options) = remote(Emnist::options(split), &zip, cache.path());
            let set = options.load_in(no_environment).unwrap();
            assert_eq!(set.train.labels().to_vec(), [label; 2]);
        }
        assert_eq!(names(cache.path()).len(), 2 + 8);
        let torn = folder_of(&[]);
        let (_server, options) =
            remote(Emnist::options(EmnistSplit::Letters), &zip[..zip.len() - 40], torn.path());
        let error = options.load_in(no_environment).unwrap_err().to_string();
        assert!(error.contains("gzip.zip"), "{error}");
    }
}
