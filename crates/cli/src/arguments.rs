//! The command line.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::settings::{Augment, Task};

const CODES: &str = "\
Exit codes:
    0  success
    1  failure: a file, the data or the network; the message says which
    2  wrong usage
    3  evaluate --require: a figure is not as required
  130  stopped by Ctrl-C; train has then saved the best model so far

`dendra COMMAND --help` lists the options of a command.";

/// Trains, inspects, converts, measures and serves neural networks.
#[derive(Debug, Parser)]
#[command(name = "dendra", version, after_help = CODES, max_term_width = 80)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) global: Global,
}

#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Global {
    /// Print the result as JSON, for other programs
    #[arg(long, global = true, help_heading = "For all commands")]
    pub(crate) json: bool,
    /// Print only results and errors
    #[arg(short, long, global = true, help_heading = "For all commands")]
    pub(crate) quiet: bool,
    /// Number of threads [default: all cores]
    #[arg(long, global = true, value_name = "N", help_heading = "For all commands")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=1024))]
    pub(crate) threads: Option<u64>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Train(Box<Train>),
    Predict(Predict),
    Evaluate(Evaluate),
    Info(Info),
    Summary(Summary),
    Convert(Convert),
    Quantize(Quantize),
    Bench(Bench),
    Serve(Serve),
    /// Print the completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// Train a network on a table, or on folders of pictures or texts
#[derive(Args, Debug)]
pub(crate) struct Train {
    /// A CSV file, or a folder with a folder of pictures (PNG, JPEG) or
    /// text files (.txt) for each class
    #[arg(required_unless_present = "settings")]
    pub(crate) data: Option<PathBuf>,
    /// Column to predict
    #[arg(short, long, value_name = "COLUMN", conflicts_with = "settings")]
    pub(crate) target: Option<String>,
    /// File for the model; the report (.html) and the settings (.json) are
    /// named after it [default: model.safetensors]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Repeat a run with its settings; options override them
    #[arg(long, value_name = "FILE")]
    pub(crate) settings: Option<PathBuf>,
    /// Task [default: chosen from the values of the target]
    #[arg(long, conflicts_with = "settings")]
    pub(crate) task: Option<Task>,
    #[command(flatten)]
    pub(crate) training: Training,
    #[command(flatten)]
    pub(crate) table: TableFormat,
    /// Columns that are not inputs
    #[arg(long, value_name = "COLUMN", value_delimiter = ',', conflicts_with = "settings")]
    #[arg(help_heading = "Tables")]
    pub(crate) ignore: Vec<String>,
    /// Column whose texts are the inputs
    #[arg(long, value_name = "COLUMN", conflicts_with_all = ["settings", "ignore"])]
    #[arg(help_heading = "Texts")]
    pub(crate) text: Option<String>,
    /// Largest number of words in the vocabulary
    #[arg(long, value_name = "N", help_heading = "Texts")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    pub(crate) words: Option<u64>,
    /// Number of words used of each text
    #[arg(long, value_name = "N", help_heading = "Texts")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub(crate) length: Option<u64>,
    /// Size of the pictures, such as 64 or 48x64 (height × width)
    #[arg(long, value_parser = size, help_heading = "Pictures")]
    pub(crate) size: Option<[usize; 2]>,
    /// Whether to convert pictures to grey [default: if all are grey]
    #[arg(long, value_name = "BOOL", help_heading = "Pictures")]
    #[arg(num_args = 0..=1, default_missing_value = "true")]
    pub(crate) grey: Option<bool>,
    /// Random changes during training [default: all for colour, shift for grey]
    #[arg(long, value_name = "KIND", help_heading = "Pictures")]
    pub(crate) augment: Option<Augment>,
    /// Skip pictures that cannot be read
    #[arg(long, help_heading = "Pictures")]
    pub(crate) skip_damaged: bool,
}

/// Predict with a model file
#[derive(Args, Debug)]
pub(crate) struct Predict {
    /// A model: .safetensors of Dendra, or .onnx
    pub(crate) model: PathBuf,
    /// Inputs: pictures or folders of them, CSV files, text files (one text
    /// each), or JSON files in the format of `dendra serve`; `-` is the
    /// standard input: CSV, JSON, or one text per line
    pub(crate) inputs: Vec<PathBuf>,
    /// A text to predict
    #[arg(long, value_name = "TEXT")]
    pub(crate) text: Vec<String>,
    /// Print CSV: input, prediction, probability
    #[arg(long, conflicts_with = "json")]
    pub(crate) csv: bool,
    #[command(flatten)]
    pub(crate) table: TableFormat,
}

/// Compare a model's predictions with the true values
#[derive(Args, Debug)]
pub(crate) struct Evaluate {
    /// A model that `dendra train` has written
    pub(crate) model: PathBuf,
    /// Data as for `dendra train`
    pub(crate) data: PathBuf,
    /// Column with the true values [default: the target of the training]
    #[arg(short, long, value_name = "COLUMN")]
    pub(crate) target: Option<String>,
    /// Column with the texts [default: the column of the training]
    #[arg(long, value_name = "COLUMN")]
    pub(crate) text: Option<String>,
    /// Exit with code 3 unless a metric is at least this value (an error: at
    /// most)
    #[arg(long, value_name = "FIGURE=NUMBER", value_parser = required)]
    pub(crate) require: Vec<(String, f64)>,
    /// Write a report as one HTML page
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) table: TableFormat,
}

/// Show the contents of a model or weight file
#[derive(Args, Debug)]
pub(crate) struct Info {
    /// A file of any format: safetensors, ONNX, PyTorch, Keras, NumPy, GGUF
    pub(crate) file: PathBuf,
    /// List all tensors
    #[arg(long)]
    pub(crate) all: bool,
}

/// Show the layers of a model
#[derive(Args, Debug)]
pub(crate) struct Summary {
    /// A model: .safetensors of Dendra, or .onnx
    pub(crate) model: PathBuf,
}

/// Convert a model or weight file to another format
#[derive(Args, Debug)]
pub(crate) struct Convert {
    /// A file of any format: safetensors, ONNX, PyTorch, Keras, NumPy, GGUF
    pub(crate) input: PathBuf,
    /// The output file; its extension selects the format: .safetensors, .npz,
    /// or, for a model of Dendra, .onnx
    pub(crate) output: PathBuf,
    /// Keep the names and layouts of Keras instead of PyTorch's
    #[arg(long)]
    pub(crate) as_stored: bool,
    /// Type of the floats; a network of 16 bits takes half of the file, and is
    /// computed in f32 [default: as in the input; bf16 becomes f32 in .npz]
    #[arg(long, value_name = "TYPE")]
    pub(crate) precision: Option<Precision>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum Precision {
    /// 32 bits
    F32,
    /// 16 bits: numbers up to 65504 with 3 decimal places
    F16,
    /// 16 bits: the range of f32 with 2 decimal places
    Bf16,
}

/// Make a network of integers of a model: faster, in a quarter of the size
#[derive(Args, Debug)]
pub(crate) struct Quantize {
    /// A model that `dendra train` wrote
    pub(crate) model: PathBuf,
    /// Data like those of the training, from which the ranges of activations
    /// are taken: a table, or a folder with a folder for each class
    pub(crate) data: PathBuf,
    /// The new file: .safetensors, or .onnx
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// What becomes integers
    #[arg(long, value_enum, default_value = "static")]
    pub(crate) scheme: Whole,
    /// How the range of an activation follows from its values
    #[arg(long, value_enum, default_value = "min-max")]
    pub(crate) observer: Observe,
    /// Percent of the values within a range, for --observer percentile
    #[arg(long, value_name = "PERCENT", default_value = "99.99", value_parser = percent)]
    pub(crate) percentile: f64,
    /// Layers that stay as they are, such as 0,3
    #[arg(long, value_name = "LAYERS", value_delimiter = ',')]
    pub(crate) keep_float: Vec<String>,
    /// Print how much each layer's integers change the outputs
    #[arg(long)]
    pub(crate) sensitivity: bool,
    /// Most samples to look at [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1 << 32))]
    pub(crate) samples: Option<u64>,
    #[command(flatten)]
    pub(crate) table: TableFormat,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum Whole {
    /// Weights and activations, with fixed ranges
    Static,
    /// Weights and activations, with the ranges of each sample
    Dynamic,
    /// The weights of linear layers, as bf16
    Weights16,
    /// The weights of linear layers, in 8 bits
    Weights8,
    /// The weights of linear layers, in 4 bits
    Weights4,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum Observe {
    /// All values are within the range
    MinMax,
    /// A percentage of them is
    Percentile,
    /// The range that tells the most about them
    Entropy,
}

/// Measure latency and throughput of a model
#[derive(Args, Debug)]
pub(crate) struct Bench {
    /// A model: .safetensors of Dendra, or .onnx
    pub(crate) model: PathBuf,
    /// Batch sizes
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "1,8,32")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    pub(crate) batch: Vec<u64>,
    /// Numbers of threads [default: 1 and all cores]
    #[arg(long, value_name = "N", value_delimiter = ',', conflicts_with = "threads")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=1024))]
    pub(crate) on: Vec<u64>,
    /// Duration of each measurement in seconds
    #[arg(long, value_name = "S", default_value = "1", value_parser = duration)]
    pub(crate) seconds: Duration,
    /// Length of a free axis other than the first, by its name
    #[arg(long, value_name = "NAME=N", value_parser = axis)]
    pub(crate) axis: Vec<(String, usize)>,
}

/// Serve models over HTTP until Ctrl-C
#[derive(Args, Debug)]
pub(crate) struct Serve {
    /// Models: .safetensors of Dendra, or .onnx; NAME=FILE sets the name
    #[arg(required = true)]
    pub(crate) models: Vec<String>,
    /// Address to listen on; 0.0.0.0:8000 is reachable from other machines
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8000", value_parser = address)]
    pub(crate) address: SocketAddr,
    /// Token that requests must send as `Authorization: Bearer TOKEN`
    #[arg(long, env = "DENDRA_TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,
    /// Largest number of samples in a batch
    #[arg(long, value_name = "N", default_value = "64")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=1 << 16))]
    pub(crate) batch: u64,
    /// Compute threads for each model
    #[arg(long, value_name = "N", default_value = "1")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=1024))]
    pub(crate) workers: u64,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "Training")]
pub(crate) struct Training {
    /// Seed of all random numbers [default: 42]
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// Fraction of the data for validation [default: 0.2]
    #[arg(long, value_name = "SHARE", value_parser = share)]
    pub(crate) validation: Option<f64>,
    /// Largest number of epochs
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..u64::MAX))]
    pub(crate) epochs: Option<u64>,
    /// Epochs without a lower validation loss before training stops
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) patience: Option<u64>,
    /// Batch size
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    pub(crate) batch_size: Option<u64>,
    /// Learning rate of AdamW
    #[arg(long, value_name = "RATE", value_parser = positive)]
    pub(crate) learning_rate: Option<f64>,
    /// Widths of the hidden layers (for pictures: channels), such as 64,32
    #[arg(long, value_name = "WIDTHS", value_delimiter = ',')]
    pub(crate) layers: Option<Vec<usize>>,
    /// Draw all classes equally often, however rare they are
    #[arg(long)]
    pub(crate) balanced: bool,
}

/// The format of a table.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Tables")]
pub(crate) struct TableFormat {
    /// Field separator [default: detected in the first line]
    #[arg(long, value_name = "CHARACTER", value_parser = character)]
    pub(crate) delimiter: Option<char>,
    /// Decimal separator [default: . or, if that fits better, a comma]
    #[arg(long, value_name = "CHARACTER", value_parser = character)]
    pub(crate) decimal: Option<char>,
    /// The first line contains values; the columns are then named 0, 1, …
    #[arg(long)]
    pub(crate) no_header: bool,
}

fn size(text: &str) -> Result<[usize; 2], String> {
    let side = |text: &str| match text.trim().parse() {
        Ok(side @ 4..=1024) => Ok(side),
        _ => Err("expected 4 to 1024 pixels, such as 64 or 48x64".to_owned()),
    };
    match text.split_once(['x', '×']) {
        None => side(text).map(|side| [side; 2]),
        Some((height, width)) => Ok([side(height)?, side(width)?]),
    }
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if share > 0.0 && share < 1.0 => Ok(share),
        _ => Err("expected a number between 0 and 1".to_owned()),
    }
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(number) if number > 0.0 && f64::is_finite(number) => Ok(number),
        _ => Err("expected a number above 0".to_owned()),
    }
}

fn percent(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(number @ 50.0..=100.0) => Ok(number),
        _ => Err("expected a number from 50 to 100".to_owned()),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let seconds = seconds.filter(|seconds| !seconds.is_zero());
    seconds.ok_or_else(|| "expected a number above 0 and below 1e19".to_owned())
}

/// The address of a host, that of version 4 if it has several.
fn address(text: &str) -> Result<SocketAddr, String> {
    let found = text.to_socket_addrs().ok().and_then(|all| all.min_by_key(SocketAddr::is_ipv6));
    found.ok_or_else(|| "expected a host and a port, such as 127.0.0.1:8000".to_owned())
}

fn character(text: &str) -> Result<char, String> {
    match text {
        "\\t" | "tab" => Ok('\t'),
        _ => match text.as_bytes() {
            &[byte] if byte.is_ascii() => Ok(char::from(byte)),
            _ => Err("expected one ASCII character, or `tab`".to_owned()),
        },
    }
}

fn required(text: &str) -> Result<(String, f64), String> {
    let parsed = text.split_once('=').and_then(|(name, number)| {
        Some((name.trim().to_owned(), number.trim().parse().ok().filter(|x: &f64| x.is_finite())?))
    });
    parsed.ok_or_else(|| "expected a metric and a number, such as accuracy=0.95".to_owned())
}

fn axis(text: &str) -> Result<(String, usize), String> {
    let parsed = text.split_once('=').and_then(|(name, length)| {
        Some((name.to_owned(), length.parse().ok().filter(|&length| length > 0)?))
    });
    parsed.ok_or_else(|| "expected the name of an axis and a length, such as length=64".to_owned())
}
