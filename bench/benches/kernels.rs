//! Single operations on existing tensors, timed by criterion.
//!
//! A benchmark's name is the operation and its shape, such as `matmul/32x784x64`; the scripts of
//! other frameworks run the case of the same name. Names contain only letters, digits and `_`, `,`,
//! `=`.

use criterion::{Criterion, Throughput};
use dendra::tensor::ops::batch_norm::BatchNorm;
use dendra::tensor::ops::conv2d::{Conv2d, Conv2dOptions};
use dendra::tensor::ops::max_pool2d::Pool2dOptions;
use dendra::tensor::ops::{Call, Op};
use dendra::tensor::{NormStatistics, Ops, Result, Rng, Tensor};

mod case;
mod elementwise;

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

/// Samples, inputs and outputs of linear layers: one sample alone, which a service or a step of a
/// generated text has, few, and a batch.
const LINEAR: [[usize; 3]; 8] = [
    [1, 784, 128],
    [4, 784, 128],
    [64, 784, 128],
    [1, 512, 512],
    [8, 512, 512],
    [1, 384, 1536],
    [1, 1024, 1024],
    [1, 4096, 1000],
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

/// A depthwise convolution: images, channels and pixels; kernel and stride. The padding keeps the
/// size where the stride is 1.
const DEPTHWISE: [([usize; 3], [usize; 2]); 8] = [
    ([8, 32, 48], [3, 1]),
    ([8, 96, 48], [3, 2]),
    ([8, 144, 24], [3, 1]),
    ([8, 192, 12], [3, 1]),
    ([8, 384, 6], [3, 1]),
    ([8, 960, 3], [3, 1]),
    ([8, 240, 14], [5, 1]),
    ([8, 768, 7], [7, 1]),
];

/// Batches of images that are normalised: images, channels and pixels.
const NORMALISED: [[usize; 3]; 5] =
    [[8, 96, 48], [8, 144, 24], [8, 384, 6], [8, 960, 3], [32, 512, 4]];

/// The shape of the inputs of element-wise operations.
const IMAGES: [usize; 4] = [8, 96, 48, 48];

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
    for [samples, inputs, outputs] in LINEAR {
        let work = Throughput::Elements((2 * samples * inputs * outputs) as u64);
        case(criterion, ("linear", &joined(&[samples, inputs, outputs])), work, |rng| {
            let x = normal(&[samples, inputs], rng);
            let (weight, bias) = (normal(&[outputs, inputs], rng), normal(&[outputs], rng));
            Box::new(move || x.linear(&weight, Some(&bias)).unwrap())
        });
    }
}

fn convolutions(criterion: &mut Criterion) {
    for ([images, channels, pixels], [out, kernel, stride, padding]) in CONVOLUTIONS {
        let options = Conv2dOptions {
            stride: [stride; 2],
            padding: [padding; 2],
            ..Conv2dOptions::default()
        };
        let weight = [out, channels, kernel, kernel];
        convolution(criterion, [images, channels, pixels, pixels], weight, options);
    }
    for ([images, channels, pixels], [kernel, stride]) in DEPTHWISE {
        let options = Conv2dOptions {
            stride: [stride; 2],
            padding: [kernel / 2; 2],
            groups: channels,
            ..Conv2dOptions::default()
        };
        let weight = [channels, 1, kernel, kernel];
        convolution(criterion, [images, channels, pixels, pixels], weight, options);
    }
}

/// The forward pass, the input's gradient and the weight's, each a third of a training step's work.
fn convolution(
    criterion: &mut Criterion,
    input: [usize; 4],
    weight: [usize; 4],
    options: Conv2dOptions,
) {
    let Conv2dOptions { stride, padding, groups, .. } = options;
    let [out, group_channels, kernel, _] = weight;
    let (shape, [stride, _], [padding, _]) = (joined(&input), stride, padding);
    let shape = format!("{shape},out={out},kernel={kernel},stride={stride},padding={padding}");
    let shape = if groups > 1 { format!("{shape},groups={groups}") } else { shape };
    let size = (input[2] + 2 * padding - kernel) / stride + 1;
    let products = input[0] * out * size * size * group_channels * kernel * kernel;
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

/// Batch normalisation with the batch's own statistics, and all its gradients.
fn normalisations(criterion: &mut Criterion) {
    for [images, channels, pixels] in NORMALISED {
        let input = [images, channels, pixels, pixels];
        let elements: usize = input.iter().product();
        let problem = move |rng: &mut Rng| {
            let operation = BatchNorm { statistics: NormStatistics::Batch, epsilon: 1e-5 };
            let channel = [channels];
            (operation, [normal(&input, rng), normal(&channel, rng), normal(&channel, rng)])
        };
        case(criterion, ("batch_norm", &joined(&input)), bytes(2 * elements), |rng| {
            let (operation, inputs) = problem(rng);
            Box::new(move || operation.forward(&inputs.each_ref()).0)
        });
        case(criterion, ("batch_norm_gradient", &joined(&input)), bytes(3 * elements), |rng| {
            let (operation, inputs) = problem(rng);
            let (output, saved) = operation.forward(&inputs.each_ref());
            let cotangent = normal(&input, rng);
            Box::new(move || {
                let (inputs, output, saved) = (&inputs[..], &output, &saved);
                let (needs, cotangent) = (&[true; 3], cotangent.clone());
                operation.vjp(Call { inputs, output, saved, needs, cotangent })
            })
        });
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
            let size = (pixels - kernel) / stride + 1;
            let work = bytes(images * channels * (pixels * pixels + size * size));
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
    let sizes: [&[usize]; 3] = SIZES.each_ref().map(std::slice::from_ref);
    for row in elementwise::rows() {
        let often = ["relu", "exp", "ln", "sqrt", "tanh", "sigmoid", "gelu", "add", "mul"];
        let sizes = if often.contains(&row.name) { &sizes[..] } else { &[] };
        for shape in sizes.iter().copied().chain([&IMAGES[..]]) {
            let elements: usize = shape.iter().product();
            let work = bytes((row.inputs + 1) * elements);
            case(criterion, (row.name, &joined(shape)), work, |rng| (row.forward)(shape, rng));
        }
        let (name, elements) = (format!("{}_gradient", row.name), IMAGES.iter().product::<usize>());
        let work = bytes((2 * row.inputs + 1) * elements);
        case(criterion, (&name, &joined(&IMAGES)), work, |rng| (row.gradient)(&IMAGES, rng));
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
    case::run(&[
        products,
        convolutions,
        poolings,
        normalisations,
        softmax,
        elementwise,
        reductions,
    ]);
}
