//! Beam search.

use dendra_tensor::Result;

use super::{Generate, Reader};
use crate::text::Decoder;

/// A continuation and the logarithm of its probability. For a finished one, the
/// logarithm is divided by a power of the length.
#[derive(Clone)]
struct Beam {
    tokens: Vec<i64>,
    score: f64,
}

/// A beam with one more token.
struct Candidate {
    beam: usize,
    token: i64,
    score: f64,
}

impl Generate {
    /// The best continuation that a search with `num_beams` beams finds. It
    /// stops like transformers with `early_stopping=False`: when no beam has a
    /// better score than the worst of `num_beams` finished ones.
    pub(super) fn beam_search(&self, model: &dyn Decoder, prompt: &[i64]) -> Result<Vec<i64>> {
        let width = self.num_beams;
        let considered = width * (1 + self.eos_token_id.len()).max(2);
        let mut running = vec![Beam { tokens: Vec::new(), score: 0.0 }];
        let mut finished: Vec<Beam> = Vec::new();
        let mut reader = Reader::new(model, &[prompt.to_vec()])?;
        for length in 1..=self.max_new_tokens {
            let logits = reader.next_logits()?;
            let candidates = self.candidates(prompt, &running, &logits, considered);
            let by_length = (length as f64).powf(self.length_penalty);
            let mut next: Vec<Candidate> = Vec::new();
            for (rank, candidate) in candidates.into_iter().enumerate() {
                let ends =
                    length == self.max_new_tokens || self.eos_token_id.contains(&candidate.token);
                if !ends {
                    if next.len() < width {
                        next.push(candidate);
                    }
                } else if rank < width {
                    let mut tokens = running[candidate.beam].tokens.clone();
                    tokens.push(candidate.token);
                    finished.push(Beam { tokens, score: candidate.score / by_length });
                }
            }
            finished.sort_by(|a, b| b.score.total_cmp(&a.score));
            finished.truncate(width);
            let improves = |best: &Candidate| match finished.last() {
                Some(worst) if finished.len() == width => best.score / by_length > worst.score,
                _ => true,
            };
            if !next.first().is_some_and(improves) {
                break;
            }
            let samples: Vec<usize> = next.iter().map(|candidate| candidate.beam).collect();
            let tokens: Vec<i64> = next.iter().map(|candidate| candidate.token).collect();
            reader.append(&samples, &tokens)?;
            running = next
                .into_iter()
                .map(|Candidate { beam, token, score }| {
                    let mut tokens = running[beam].tokens.clone();
                    tokens.push(token);
                    Beam { tokens, score }
                })
                .collect();
        }
        Ok(finished.into_iter().next().map_or_else(Vec::new, |best| best.tokens))
    }

    /// The best continuations by one token, best first.
    fn candidates(
        &self,
        prompt: &[i64],
        running: &[Beam],
        logits: &[Vec<f32>],
        count: usize,
    ) -> Vec<Candidate> {
        let mut candidates = Vec::new();
        for (beam, (so_far, logits)) in running.iter().zip(logits).enumerate() {
            let mut scores = log_softmax(logits);
            if self.repetition_penalty != 1.0 {
                self.penalise(&mut scores, &[prompt, &so_far.tokens].concat());
            }
            candidates.extend(scores.into_iter().enumerate().map(|(token, score)| Candidate {
                beam,
                token: token as i64,
                score: so_far.score + score,
            }));
        }
        candidates.sort_by(|a, b| b.score.total_cmp(&a.score));
        candidates.truncate(count);
        candidates
    }
}

fn log_softmax(logits: &[f32]) -> Vec<f64> {
    let logits: Vec<f64> = logits.iter().map(|&logit| f64::from(logit)).collect();
    let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = logits.iter().map(|logit| (logit - largest).exp()).sum();
    let shift = largest + sum.ln();
    logits.into_iter().map(|logit| logit - shift).collect()
}
