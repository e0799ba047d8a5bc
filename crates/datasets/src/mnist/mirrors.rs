//! The public mirrors of MNIST and the expected files.

use crate::download::Checksum::Sha256;
use crate::download::RemoteFile;
use crate::search::Remote;

/// The folders on the public mirrors, in the order in which they are tried, and
/// the official files.
pub(super) const REMOTE: Remote = Remote {
    mirrors: &[
        "ossci-datasets.s3.amazonaws.com/mnist",
        "storage.googleapis.com/cvdf-datasets/mnist",
    ],
    files: &FILES,
};

/// The official files: training images and labels, test images and labels.
const FILES: [RemoteFile<'static>; 4] = [
    RemoteFile {
        name: "train-images-idx3-ubyte.gz",
        bytes: 9_912_422,
        checksum: Sha256("440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
    },
    RemoteFile {
        name: "train-labels-idx1-ubyte.gz",
        bytes: 28_881,
        checksum: Sha256("3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
    },
    RemoteFile {
        name: "t10k-images-idx3-ubyte.gz",
        bytes: 1_648_877,
        checksum: Sha256("8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
    },
    RemoteFile {
        name: "t10k-labels-idx1-ubyte.gz",
        bytes: 4_542,
        checksum: Sha256("f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
    },
];
