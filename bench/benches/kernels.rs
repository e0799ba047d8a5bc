//! Single operations on existing tensors, timed by criterion.
//!
//! A benchmark's name is the operation and its shape, `matmul/32x784x64`; the same name tells the
//! peers' scripts what to run. Names hold letters, digits and `_`, `,`, `=` only.

use criterion::{Criterion, Throughput};
use dendra::tensor::ops::conv2d::{Conv2d, Conv2dOptions};
use dendra::tensor::ops::max_pool2d::Pool2dOptions;
use dendra::tensor::ops::{Call, Op};
use dendra::tensor::{Ops, Result, Rng, Tensor};

mod case;

use case::{bytes, case, joined, normal};

/// m, k and n of the products: squares, products of the layers of small networks, and two widths
/// that should cost about the same.
const PRODUCTS: [[usize; 3]; 14] = [
    [2048, 2048, 2048],
    [1024, 1024, 1024],
    [512, 512, 512],
    [256, 256, 256],
    [128, 128, 128],
    [64, 64, 64],
    [32, 5408, 128],
    [128, 5408, 128],
    [5408, 32, 128],
    [32, 784, 64],
    [21632, 9, 32],
    [196, 576, 64],
    [512, 512, 45],
    [512, 512, 46],
];

/// A convolution: images, channels and pixels of the input; channels, kernel, stride and padding of
/// the output. Height and width are equal.
const CONVOLUTIONS: [([usize; 3], [usize; 4]); 12] = [
    ([32, 1, 28], [32, 3, 1, 0]),
    ([32, 32, 13], [64, 3, 1, 1]),
    ([64, 16, 32], [16, 3, 1, 1]),
    ([16, 64, 56], [64, 3, 1, 1]),
    ([16, 64, 56], [128, 3, 2, 1]),
    ([16, 256, 14], [256, 3, 1, 1]),
    ([8, 512, 7], [512, 3, 1, 1]),
    ([1, 512, 4], [512, 3, 1, 1]),
    ([1, 3, 112], [64, 5, 2, 2]),
    ([32, 3, 32], [64, 5, 1, 2]),
    ([16, 64, 56], [256, 1, 1, 0]),
    ([32, 128, 28], [128, 1, 2, 0]),
];

/// A pooling: images, channels and pixels; kernel and stride.
const POOLINGS: [([usize; 3], [usize; 2]); 3] =
    [([32, 32, 26], [2, 2]), ([16, 64, 112], [3, 2]), ([64, 512, 4], [2, 2])];

/// Vector lengths: fitting the first-level cache, the last-level cache, and no cache.
const SIZES: [usize; 3] = [1_000, 100_000, 10_000_000];

/// Rows and columns of the matrices that are processed by rows or by columns.
const MATRICES: [[usize; 2]; 4] = [[32, 10], [32, 1_000], [1_000, 1_000], [10_000, 1_000]];

fn products(criterion: &mut Criterion) {
    for [m, k, n] in PRODUCTS {
        let work = Throughput::Elements((2 * m * k * n) as u64);
        case(criterion, ("matmul", &joined(&[m, k, n])), work, |rng| {
            let (a, b) = (normal(&[m, k], rng), normal(&[k, n], rng));
            Box::new(move || a.matmul(&b).unwrap())
        });
    }
}

/// The forward pass, the gradient of the input and that of the weight; each is a third of a
/// training step.
fn convolutions(criterion: &mut Criterion) {
    for ([images, channels, pixels], [out, kernel, stride, padding]) in CONVOLUTIONS {
        let input = [images, channels, pixels, pixels];
        let weight = [out, channels, kernel, kernel];
        let shape = joined(&input);
        let shape = format!("{shape},out={out},kernel={kernel},stride={stride},padding={padding}");
        let options = Conv2dOptions {
            stride: [stride; 2],
            padding: [padding; 2],
            ..Conv2dOptions::default()
        };
        let extent = (pixels + 2 * padding - kernel) / stride + 1;
        let products = images * out * extent * extent * channels * kernel * kernel;
        let work = || Throughput::Elements((2 * products) as u64);
        let operands = |rng: &mut Rng| [normal(&input, rng), normal(&weight, rng)];

        case(criterion, ("conv2d", &shape), work(), |rng| {
            let ([x, weight], bias) = (operands(rng), normal(&[out], rng));
            Box::new(move || x.conv2d(&weight, Some(&bias), options).unwrap())
        });
        for (name, needs) in
            [("conv2d_input_gradient", [true, false]), ("conv2d_weight_gradient", [false, true])]
        {
            case(criterion, (name, &shape), work(), |rng| {
                let (inputs, operation) = (operands(rng), Conv2d { options });
                let (output, saved) = operation.forward(&[&inputs[0], &inputs[1]]);
                let cotangent = normal(output.shape(), rng);
                Box::new(move || {
                    let (inputs, output, saved) = (&inputs[..], &output, &saved);
                    let cotangent = cotangent.clone();
                    operation.vjp(Call { inputs, output, saved, needs: &needs, cotangent })
                })
            });
        }
    }
}

fn poolings(criterion: &mut Criterion) {
    type Pooling = fn(&Tensor, Pool2dOptions) -> Result<Tensor>;
    let functions: [(&str, Pooling); 2] = [
        ("max_pool2d", |x, options| x.max_pool2d(options)),
        ("avg_pool2d", |x, options| x.avg_pool2d(options, true)),
    ];
    for (name, function) in functions {
        for ([images, channels, pixels], [kernel, stride]) in POOLINGS {
            let input = [images, channels, pixels, pixels];
            let shape = format!("{},kernel={kernel},stride={stride}", joined(&input));
            let options = Pool2dOptions { stride: [stride; 2], ..Pool2dOptions::new([kernel; 2]) };
            let extent = (pixels - kernel) / stride + 1;
            let work = bytes(images * channels * (pixels * pixels + extent * extent));
            case(criterion, (name, &shape), work, |rng| {
                let x = normal(&input, rng);
                Box::new(move || function(&x, options).unwrap())
            });
        }
    }
}

/// A function of one tensor.
type Unary = fn(&Tensor) -> Result<Tensor>;

fn elementwise(criterion: &mut Criterion) {
    // The second column says whether the domain has only positive numbers.
    let functions: [(&str, bool, Unary); 7] = [
        ("relu", false, |x| Ok(x.relu())),
        ("exp", false, |x| Ok(x.exp())),
        ("ln", true, |x| Ok(x.ln())),
        ("sqrt", true, |x| Ok(x.sqrt())),
        ("tanh", false, |x| Ok(x.tanh())),
        ("sigmoid", false, |x| Ok(x.sigmoid())),
        ("gelu", false, |x| Ok(x.gelu())),
    ];
    for (name, positive, function) in functions {
        for size in SIZES {
            case(criterion, (name, &size.to_string()), bytes(2 * size), |rng| {
                let x = normal(&[size], rng);
                let x = if positive { x.abs().add_scalar(0.1) } else { x };
                Box::new(move || function(&x).unwrap())
            });
        }
    }
    type Binary = fn(&Tensor, &Tensor) -> Result<Tensor>;
    let functions: [(&str, Binary); 2] = [("add", |a, b| a.add(b)), ("mul", |a, b| a.mul(b))];
    for (name, function) in functions {
        for size in SIZES {
            case(criterion, (name, &size.to_string()), bytes(3 * size), |rng| {
                let (a, b) = (normal(&[size], rng), normal(&[size], rng));
                Box::new(move || function(&a, &b).unwrap())
            });
        }
    }
}

fn reductions(criterion: &mut Criterion) {
    for size in SIZES {
        case(criterion, ("sum", &size.to_string()), bytes(size), |rng| {
            let x = normal(&[size], rng);
            Box::new(move || x.sum())
        });
    }
    let functions: [(&str, Unary); 3] = [
        ("sum_rows", |x| x.sum_axes(&[1], false)),
        ("sum_columns", |x| x.sum_axes(&[0], false)),
        ("max_rows", |x| x.max_axes(&[1], false)),
    ];
    matrices(criterion, &functions, 1);
}

fn softmax(criterion: &mut Criterion) {
    let functions: [(&str, Unary); 2] =
        [("softmax", |x| x.softmax(-1)), ("log_softmax", |x| x.log_softmax(-1))];
    matrices(criterion, &functions, 2);
}

/// Functions of matrices that move each element `moves` times.
fn matrices(criterion: &mut Criterion, functions: &[(&str, Unary)], moves: usize) {
    for &(name, function) in functions {
        for [rows, columns] in MATRICES {
            let work = bytes(moves * rows * columns);
            case(criterion, (name, &joined(&[rows, columns])), work, |rng| {
                let x = normal(&[rows, columns], rng);
                Box::new(move || function(&x).unwrap())
            });
        }
    }
}

fn main() {
    case::run(&[products, convolutions, poolings, softmax, elementwise, reductions]);
}
