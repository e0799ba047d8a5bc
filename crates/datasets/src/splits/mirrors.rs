//! The mirrors of the data sets and the expected files.
//!
//! The sizes and checksums are those that TensorFlow Datasets publishes for the
//! same files.

use crate::download::Checksum::Sha256;
use crate::download::RemoteFile;
use crate::search::Remote;

pub(super) const FASHION_MNIST: Remote = Remote {
    mirrors: &[
        "storage.googleapis.com/tensorflow/tf-keras-datasets",
        // This server does not support https.
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
    ],
    files: &[
        RemoteFile {
            name: "train-images-idx3-ubyte.gz",
            bytes: 26_421_880,
            checksum: Sha256("3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"),
        },
        RemoteFile {
            name: "train-labels-idx1-ubyte.gz",
            bytes: 29_515,
            checksum: Sha256("a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"),
        },
        RemoteFile {
            name: "t10k-images-idx3-ubyte.gz",
            bytes: 4_422_102,
            checksum: Sha256("346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"),
        },
        RemoteFile {
            name: "t10k-labels-idx1-ubyte.gz",
            bytes: 5_148,
            checksum: Sha256("67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"),
        },
    ],
};

pub(super) const KMNIST: Remote = Remote {
    mirrors: &["codh.rois.ac.jp/kmnist/dataset/kmnist"],
    files: &[
        RemoteFile {
            name: "train-images-idx3-ubyte.gz",
            bytes: 18_165_135,
            checksum: Sha256("51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4"),
        },
        RemoteFile {
            name: "train-labels-idx1-ubyte.gz",
            bytes: 29_497,
            checksum: Sha256("e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17"),
        },
        RemoteFile {
            name: "t10k-images-idx3-ubyte.gz",
            bytes: 3_041_136,
            checksum: Sha256("edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5"),
        },
        RemoteFile {
            name: "t10k-labels-idx1-ubyte.gz",
            bytes: 5_120,
            checksum: Sha256("20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c"),
        },
    ],
};

pub(super) const EMNIST: Remote = Remote {
    mirrors: &["www.itl.nist.gov/iaui/vip/cs_links/EMNIST", "biometrics.nist.gov/cs_links/EMNIST"],
    files: &[RemoteFile {
        name: "gzip.zip",
        bytes: 561_753_746,
        checksum: Sha256("fb9bb67e33772a9cc0b895e4ecf36d2cf35be8b709693c3564cea2a019fcda8e"),
    }],
};

pub(super) const CIFAR10: Remote = Remote {
    mirrors: &["www.cs.toronto.edu/~kriz"],
    files: &[RemoteFile {
        name: "cifar-10-binary.tar.gz",
        bytes: 170_052_171,
        checksum: Sha256("c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"),
    }],
};

pub(super) const CIFAR100: Remote = Remote {
    mirrors: &["www.cs.toronto.edu/~kriz"],
    files: &[RemoteFile {
        name: "cifar-100-binary.tar.gz",
        bytes: 168_513_733,
        checksum: Sha256("58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec"),
    }],
};
