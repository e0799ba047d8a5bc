//! Text generation by a decoder.

mod beams;
mod choice;

use dendra_autograd::Tape;
use dendra_derive::Setters;
use dendra_tensor::{Error, Result, Rng, Tensor};

use crate::text::{Decoder, DecoderCache, PaddingSide, TokenBatch};

/// The settings of generation, with the names of transformers. Without
/// [`do_sample`](Self::do_sample) and beams, each token is the most likely one.
///
/// ```
/// use dendra_models::{GPT2LMHeadModel, Generate};
/// use dendra_nn::tensor::Rng;
///
/// let settings = GPT2LMHeadModel::gpt2().vocab_size(20).n_embd(8).n_head(2).n_layer(1);
/// let model = settings.build(&mut Rng::seed(0))?;
/// let generate = Generate::new(5).do_sample(true).temperature(0.8).top_k(10).seed(7);
/// let texts = generate.run(&model, &[vec![1, 2, 3], vec![4]])?;
/// assert_eq!(texts.iter().map(Vec::len).collect::<Vec<_>>(), [5, 5]);
/// # Ok::<(), dendra_nn::tensor::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Setters)]
pub struct Generate {
    max_new_tokens: usize,
    /// Whether tokens are sampled.
    #[set(default = false)]
    do_sample: bool,
    /// Divides the logits before sampling. A value below 1 makes likely tokens
    /// more likely.
    #[set(default = 1.0)]
    temperature: f64,
    /// Samples only from this number of the most likely tokens.
    #[set]
    top_k: Option<usize>,
    /// Samples only from the most likely tokens that together have this
    /// probability (Holtzman et al., "The curious case of neural text
    /// degeneration", 2019).
    #[set]
    top_p: Option<f64>,
    /// Divides the positive logits of tokens that occur in the text, and
    /// multiplies the negative ones (Keskar et al., "CTRL", 2019).
    #[set(default = 1.0)]
    repetition_penalty: f64,
    /// The number of beams of beam search.
    #[set(default = 1)]
    num_beams: usize,
    /// The exponent of the length that divides the score of a continuation.
    #[set(default = 1.0)]
    length_penalty: f64,
    /// The tokens that end a text.
    #[set(into, default = Vec::new())]
    eos_token_id: Vec<i64>,
    /// The seed of sampling. The random numbers of a text depend on it and on
    /// the index of the text.
    #[set(default = 0)]
    seed: u64,
}

impl Generate {
    /// Settings for at most this number of new tokens for each text.
    pub fn new(max_new_tokens: usize) -> Self {
        Self::with_defaults(max_new_tokens)
    }

    /// Generates the continuation of each text, including the token that ends
    /// it, if there is one.
    ///
    /// # Errors
    ///
    /// When a setting is out of range, or a text is empty, has an id that is
    /// not in the vocabulary, or would become longer than the network supports.
    pub fn run(&self, model: &dyn Decoder, prompts: &[Vec<i64>]) -> Result<Vec<Vec<i64>>> {
        self.run_with(model, prompts, &mut |_, _| {})
    }

    /// Like [`run`](Self::run), and calls `each` with the index of a text and
    /// each of its new tokens as soon as it is known. With beams, the calls are
    /// at the end.
    ///
    /// # Errors
    ///
    /// The errors of [`run`](Self::run).
    pub fn run_with(
        &self,
        model: &dyn Decoder,
        prompts: &[Vec<i64>],
        each: &mut dyn FnMut(usize, i64),
    ) -> Result<Vec<Vec<i64>>> {
        self.check(model, prompts)?;
        if self.max_new_tokens == 0 || prompts.is_empty() {
            return Ok(vec![Vec::new(); prompts.len()]);
        }
        if self.num_beams == 1 {
            return self.one_way(model, prompts, each);
        }
        let mut texts = Vec::with_capacity(prompts.len());
        for (number, prompt) in prompts.iter().enumerate() {
            let text = self.beam_search(model, prompt)?;
            text.iter().for_each(|&token| each(number, token));
            texts.push(text);
        }
        Ok(texts)
    }

    fn check(&self, model: &dyn Decoder, prompts: &[Vec<i64>]) -> Result<()> {
        let positive = |number: f64| number > 0.0 && number.is_finite();
        let wrong = if !positive(self.temperature) {
            format!("expected a temperature above 0, got {}", self.temperature)
        } else if !positive(self.repetition_penalty) {
            format!("expected a repetition_penalty above 0, got {}", self.repetition_penalty)
        } else if self.top_k == Some(0) {
            "expected a top_k of at least 1, got 0".to_owned()
        } else if let Some(p) = self.top_p.filter(|p| !(0.0..=1.0).contains(p)) {
            format!("expected a top_p in 0 ..= 1, got {p}")
        } else if !(1..=1024).contains(&self.num_beams) {
            format!("expected num_beams in 1 ..= 1024, got {}", self.num_beams)
        } else if self.num_beams > 1 && self.do_sample {
            "expected num_beams of 1 with do_sample: beam search does not sample".to_owned()
        } else if let Some(number) = prompts.iter().position(Vec::is_empty) {
            format!("text {number} is empty: expected at least one token, such as the start token")
        } else {
            let longest = prompts.iter().map(Vec::len).max().unwrap_or(0);
            match model.max_positions() {
                // The last new token is not an input.
                Some(most) if longest.saturating_add(self.max_new_tokens) > most + 1 => format!(
                    "a text of {longest} tokens and {} new ones is longer than the {most} \
                     positions of the network",
                    self.max_new_tokens
                ),
                _ => return Ok(()),
            }
        };
        Err(Error::argument("Generate", wrong))
    }

    /// Samples one continuation of each text.
    fn one_way(
        &self,
        model: &dyn Decoder,
        prompts: &[Vec<i64>],
        each: &mut dyn FnMut(usize, i64),
    ) -> Result<Vec<Vec<i64>>> {
        let mut texts = prompts.to_vec();
        let mut streams: Vec<Rng> =
            (0..prompts.len()).map(|number| Rng::seed(self.seed).fork(number as u64)).collect();
        let mut reader = Reader::new(model, prompts)?;
        // The indices of unfinished texts, which are the samples of the reader.
        let mut open: Vec<usize> = (0..texts.len()).collect();
        for _ in 0..self.max_new_tokens {
            let logits = reader.next_logits()?;
            let mut chosen = Vec::with_capacity(open.len());
            for (&number, logits) in open.iter().zip(&logits) {
                let token = self.choose(logits, &texts[number], &mut streams[number]);
                texts[number].push(token);
                each(number, token);
                chosen.push(token);
            }
            let goes_on = |sample: &usize| !self.eos_token_id.contains(&chosen[*sample]);
            let kept: Vec<usize> = (0..open.len()).filter(goes_on).collect();
            if kept.is_empty() {
                break;
            }
            let tokens: Vec<i64> = kept.iter().map(|&sample| chosen[sample]).collect();
            reader.append(&kept, &tokens)?;
            open = kept.into_iter().map(|sample| open[sample]).collect();
        }
        Ok(texts
            .into_iter()
            .zip(prompts)
            .map(|(text, prompt)| text[prompt.len()..].into())
            .collect())
    }
}

/// A network that reads texts token by token, with a cache.
struct Reader<'a> {
    model: &'a dyn Decoder,
    cache: DecoderCache,
    /// The tokens that are not yet processed.
    next: TokenBatch,
}

impl<'a> Reader<'a> {
    fn new(model: &'a dyn Decoder, prompts: &[Vec<i64>]) -> Result<Self> {
        let mut next = TokenBatch::padded(prompts, 0, PaddingSide::Left)?;
        if prompts.iter().all(|prompt| prompt.len() == prompts[0].len()) {
            next.attention_mask = None;
        }
        Ok(Self { model, cache: DecoderCache::new(), next })
    }

    /// The logits of the next token of each text.
    fn next_logits(&mut self) -> Result<Vec<Vec<f32>>> {
        let tape = Tape::inference();
        let logits = self.model.logits(&self.next, Some(&mut self.cache), &tape)?.into_value();
        let &[samples, length, vocabulary] = &logits.shape()[..] else {
            let message = format!("expected logits [N, L, vocabulary], got {}", logits.shape());
            return Err(Error::shape("Generate", message));
        };
        if vocabulary == 0 || length == 0 {
            return Err(Error::shape("Generate", format!("got logits {}", logits.shape())));
        }
        let last = logits.narrow(1, length - 1, 1)?.to_vec();
        debug_assert_eq!(last.len(), samples * vocabulary);
        if !last.iter().all(|logit| logit.is_finite()) {
            let message = "the network returned logits that are not finite";
            return Err(Error::not_finite("Generate", message));
        }
        Ok(last.chunks(vocabulary).map(<[f32]>::to_vec).collect())
    }

    /// Keeps these samples and appends a token to each.
    fn append(&mut self, samples: &[usize], tokens: &[i64]) -> Result<()> {
        self.cache.select(samples)?;
        self.next.input_ids = Tensor::from_vec(tokens.to_vec(), [tokens.len(), 1])?;
        if let Some(mask) = &self.next.attention_mask {
            let one = Tensor::full([samples.len(), 1], true);
            let mask = mask.index_select(0, samples)?;
            self.next.attention_mask = Some(Tensor::cat(&[&mask, &one], 1)?);
        }
        Ok(())
    }
}
