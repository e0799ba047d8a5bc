//! Trains a network for handwritten digits on the processes that `mpirun` started:
//!
//! ```text
//! mpirun -n 4 target/release/examples/digits --epochs 3 --folder runs/digits
//! ```
//!
//! The hash of the weights that it prints does not depend on the number of
//! processes and threads. A run that was interrupted goes on when the program is
//! started again, with any number of processes.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use dendra_datasets::transforms::{RandomRotation, TransformDataset};
use dendra_datasets::{Dataset, digits};
use dendra_distributed::{Communicator, Compression, DataParallel, Mpi, weights_hash};
use dendra_losses::CrossEntropy;
use dendra_nn::{Conv2d, ConvSettings, Parallel, Parameters, Sequential, SequentialBuilder};
use dendra_optim::Adam;
use dendra_tensor::{Result, Rng};
use dendra_train::{Accuracy, Checkpoints, Every, Fit, Trainer, Verbose};

/// Trains a network for handwritten digits on several processes
#[derive(Parser)]
struct Options {
    /// The network
    #[arg(long, value_enum, default_value = "regularised")]
    network: Network,
    /// Number of generated pictures
    #[arg(long, default_value = "2000")]
    samples: usize,
    /// Number of epochs
    #[arg(long, default_value = "2")]
    epochs: u64,
    /// Number of pictures in a batch
    #[arg(long, default_value = "64")]
    batch_size: usize,
    /// Number of shards of a batch; part of the run, like the batch size
    #[arg(long, default_value = "8")]
    shards: usize,
    /// Send gradients in bf16
    #[arg(long)]
    bf16: bool,
    /// Normalise by the statistics of the whole batch, not of each shard
    #[arg(long)]
    sync_batch_norm: bool,
    /// Keep the optimizer's state of a share of the parameters in each process
    #[arg(long)]
    shard_optimizer: bool,
    /// Send gradients only after the backward pass
    #[arg(long)]
    no_overlap: bool,
    /// Number of threads of each process; by default as many as it has cores
    #[arg(long)]
    threads: Option<usize>,
    /// Train without shards, in one process
    #[arg(long)]
    plain: bool,
    /// Write checkpoints here after every 5 steps, and resume from the last one
    #[arg(long)]
    folder: Option<PathBuf>,
    /// Time in seconds after which a silent process is considered dead
    #[arg(long, default_value = "10")]
    time_limit: f64,
    /// Print nothing but the hash
    #[arg(long)]
    quiet: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Network {
    /// With batch normalisation, dropout and augmentation
    Regularised,
    /// That of the example `mnist_cnn`
    MnistCnn,
    /// ResNet-18 for small images
    Resnet18,
}

impl Network {
    fn build(self, seed: u64) -> Result<Sequential> {
        let input = Sequential::input([1, 28, 28]);
        let network = match self {
            Self::Regularised => {
                let network = input.conv2d(8, 3).batch_norm2d().relu().max_pool2d(2);
                network.flatten().dense(32).relu().dropout(0.25).dense(10)
            }
            Self::MnistCnn => {
                input.conv2d(32, 3).relu().max_pool2d(2).flatten().dense(128).relu().dense(10)
            }
            Self::Resnet18 => resnet18(input),
        };
        network.build(&mut Rng::seed(seed))
    }
}

/// ResNet-18 for small images: 3×3 at first, no pooling.
fn resnet18(input: SequentialBuilder) -> SequentialBuilder {
    let norm =
        |to: SequentialBuilder, conv: ConvSettings<2>| to.layer(conv.bias(false)).batch_norm2d();
    let mut network = norm(input, Conv2d::lazy(64, 3).padding(1)).relu();
    for (channels, first_stride) in [(64, 1), (128, 2), (256, 2), (512, 2)] {
        for stride in [first_stride, 1] {
            let block = |block: SequentialBuilder| {
                let first = Conv2d::lazy(channels, 3).stride(stride).padding(1);
                let block = norm(block, first).relu();
                norm(block, Conv2d::lazy(channels, 3).padding(1))
            };
            network =
                match stride {
                    1 => network.residual(block),
                    _ => network.parallel(Parallel::sum().branch(block).branch(|shortcut| {
                        norm(shortcut, Conv2d::lazy(channels, 1).stride(stride))
                    })),
                };
            network = network.relu();
        }
    }
    network.global_avg_pool2d().flatten().dense(10)
}

fn main() -> Result<ExitCode> {
    let options = Options::parse();
    if let Some(threads) = options.threads {
        dendra_tensor::set_num_threads(threads)?;
    }
    let world = Mpi::with_time_limit(Duration::from_secs_f64(options.time_limit))?;
    let train = digits(options.samples, 1);
    let done = match options.network {
        Network::Regularised => {
            let train = TransformDataset::new(train, RandomRotation::new(10.0))?;
            run(&options, &world, &train)
        }
        _ => run(&options, &world, &train),
    };
    // Each process says why it ends.
    Ok(done.map_or_else(
        |error| {
            eprintln!("{world:?}: {error}");
            ExitCode::FAILURE
        },
        |()| ExitCode::SUCCESS,
    ))
}

fn run<D>(options: &Options, world: &Mpi, train: &D) -> Result<()>
where
    D: Dataset<Input = dendra_tensor::Tensor, Target = dendra_tensor::Tensor<i64>>,
{
    if !options.quiet {
        println!("{world:?} has the process id {}", std::process::id());
    }
    let test = digits(500, 2);
    let model = options.network.build(42)?;
    let mut trainer =
        Trainer::new(model, Adam::new(1e-3), CrossEntropy::new()).metric(Accuracy::new());
    let mut fit =
        Fit::epochs(options.epochs).batch_size(options.batch_size).verbose(Verbose::Lines);
    if options.quiet {
        fit = fit.quiet();
    }
    if let Some(folder) = &options.folder {
        let checkpoints = Checkpoints::new(folder).every(Every::Steps(5));
        fit = fit.checkpoints(checkpoints).resume_if_present(folder);
    }
    if !options.plain {
        let compression = if options.bf16 { Compression::Bf16 } else { Compression::None };
        let rule = DataParallel::new(world)
            .shards(options.shards)
            .compression(compression)
            .sync_batch_norm(options.sync_batch_norm)
            .shard_optimizer(options.shard_optimizer)
            .overlap(!options.no_overlap);
        fit = fit.gradients(rule).validate_on(&test);
    }
    let history = trainer.fit(train, fit)?;
    // The median is not moved by a slow first epoch.
    let mut speeds: Vec<f64> =
        history.epochs.iter().map(|epoch| epoch.samples_per_second).collect();
    speeds.sort_by(f64::total_cmp);
    if world.rank() == 0 {
        println!("{} processes: {:.0} samples/s", world.size(), speeds[speeds.len() / 2]);
        println!("parameters: {}", trainer.model().parameter_count());
    }
    println!("process {}: {}", world.rank(), weights_hash(trainer.model()));
    Ok(())
}
