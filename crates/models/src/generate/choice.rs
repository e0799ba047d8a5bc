//! The choice of the next token.

use dendra_tensor::Rng;

use super::Generate;

impl Generate {
    /// Chooses the next token of a text.
    pub(super) fn choose(&self, logits: &[f32], text: &[i64], rng: &mut Rng) -> i64 {
        if !self.do_sample {
            return likeliest(&self.penalised(logits, text)) as i64;
        }
        let probabilities = self.probabilities(logits, text);
        let mut rest = rng.uniform();
        for (token, &probability) in probabilities.iter().enumerate() {
            rest -= probability;
            if rest < 0.0 {
                return token as i64;
            }
        }
        // The rest is due to rounding.
        likeliest(&probabilities) as i64
    }

    /// The probabilities of the token after `text`, from the logits of a
    /// network: with repetition penalty, temperature, `top_k` and `top_p`, in
    /// this order.
    pub fn probabilities(&self, logits: &[f32], text: &[i64]) -> Vec<f64> {
        let mut logits = self.penalised(logits, text);
        logits.iter_mut().for_each(|logit| *logit /= self.temperature);
        if let Some(top_k) = self.top_k.filter(|&top_k| top_k < logits.len()) {
            let mut sorted = logits.clone();
            sorted.sort_by(|a, b| b.total_cmp(a));
            let least = sorted[top_k.max(1) - 1];
            logits.iter_mut().filter(|logit| **logit < least).for_each(|logit| {
                *logit = f64::NEG_INFINITY;
            });
        }
        let mut probabilities = softmax(&logits);
        if let Some(top_p) = self.top_p.filter(|&top_p| top_p < 1.0) {
            let mut ascending: Vec<usize> = (0..probabilities.len()).collect();
            ascending.sort_by(|&a, &b| probabilities[a].total_cmp(&probabilities[b]));
            // The most likely token is always kept.
            ascending.pop();
            let mut below = 0.0;
            for token in ascending {
                below += probabilities[token];
                if below > 1.0 - top_p {
                    break;
                }
                probabilities[token] = 0.0;
            }
            let sum: f64 = probabilities.iter().sum();
            probabilities.iter_mut().for_each(|probability| *probability /= sum);
        }
        probabilities
    }

    /// Applies the repetition penalty to the logits.
    pub(super) fn penalised(&self, logits: &[f32], text: &[i64]) -> Vec<f64> {
        let mut logits: Vec<f64> = logits.iter().map(|&logit| f64::from(logit)).collect();
        self.penalise(&mut logits, text);
        logits
    }

    /// Reduces the logits of the tokens of the text, each once.
    pub(super) fn penalise(&self, logits: &mut [f64], text: &[i64]) {
        if self.repetition_penalty == 1.0 {
            return;
        }
        let mut seen = vec![false; logits.len()];
        for &token in text {
            let token = usize::try_from(token).unwrap_or(usize::MAX);
            if let (Some(logit), Some(seen)) = (logits.get_mut(token), seen.get_mut(token))
                && !std::mem::replace(seen, true)
            {
                *logit = match *logit > 0.0 {
                    true => *logit / self.repetition_penalty,
                    false => *logit * self.repetition_penalty,
                };
            }
        }
    }
}

/// The index of the largest number; the first of equal ones.
fn likeliest(numbers: &[f64]) -> usize {
    let mut best = 0;
    for (index, &number) in numbers.iter().enumerate() {
        if number > numbers[best] {
            best = index;
        }
    }
    best
}

fn softmax(logits: &[f64]) -> Vec<f64> {
    let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let exponentials: Vec<f64> = logits.iter().map(|logit| (logit - largest).exp()).collect();
    let sum: f64 = exponentials.iter().sum();
    exponentials.into_iter().map(|x| x / sum).collect()
}
