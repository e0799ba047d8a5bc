//! Networks for text against those of transformers.

use dendra_autograd::{Parameters, Tape, Var};
use dendra_models::*;
use dendra_nn::Model;
use dendra_tensor::{Ops, Result, Tensor};

use crate::filling::{differences, fill, noise, read};

/// Token ids.
pub(crate) fn tokens(name: &str, shape: [usize; 2], vocabulary: usize) -> Tensor<i64> {
    let ids = noise(name, shape[0] * shape[1]);
    let ids = ids.map(|v| ((v + 1.0) / 2.0 * vocabulary as f64).floor() as i64).collect();
    Tensor::from_vec(ids, shape).unwrap()
}

/// The last two tokens of the first text are padding.
fn mask() -> Tensor<bool> {
    Tensor::from([[true, true, true, false, false], [true; 5]])
}

pub(crate) fn bert() -> BertConfig {
    let small = BertConfig::new().vocab_size(17).hidden_size(12).intermediate_size(20);
    small.num_hidden_layers(2).num_attention_heads(3).max_position_embeddings(9)
}

fn distilbert() -> DistilBertConfig {
    let small = DistilBertConfig::new().vocab_size(17).dim(12).hidden_dim(20);
    small.n_layers(2).n_heads(3).max_position_embeddings(9)
}

pub(crate) fn gpt2() -> GPT2Config {
    GPT2Config::new().vocab_size(17).n_positions(9).n_embd(12).n_layer(2).n_head(3)
}

pub(crate) fn llama() -> LlamaConfig {
    let small = LlamaConfig::new().vocab_size(17).hidden_size(16).intermediate_size(20);
    let heads = small.num_hidden_layers(2).num_attention_heads(4).num_key_value_heads(2);
    heads.max_position_embeddings(64)
}

/// The logits of two texts, the first of which begins with two tokens of padding.
fn padded(model: &dyn Decoder, mut tokens: TokenBatch, tape: &Tape) -> Result<Vec<Var>> {
    tokens.attention_mask = Some(Tensor::from([[false, false, true, true, true], [true; 5]]));
    let y = model.logits(&tokens, None, tape)?;
    Ok(vec![y.narrow(0, 0, 1)?.narrow(1, 2, 3)?, y.narrow(0, 1, 1)?])
}

fn filled<M: Parameters>(model: Result<M>) -> Result<M> {
    let mut model = model?;
    fill(&mut model);
    Ok(model)
}

/// What differs from the expected values of a case.
fn compare(name: &str, case: &serde_json::Value) -> Result<Vec<String>> {
    let tape = &Tape::evaluation();
    let plain = TokenBatch::from(tokens(name, [2, 5], 17));
    let batch = TokenBatch { attention_mask: Some(mask()), ..plain.clone() };
    Ok(match name {
        "gpt2" => {
            let model = filled(gpt2().blank())?;
            differences(case, &model, &[model.run(&plain, tape)?])
        }
        "gpt2_padded" => {
            let model = filled(gpt2().scale_attn_by_inverse_layer_idx(true).blank())?;
            differences(case, &model, &padded(&model, plain, tape)?)
        }
        "bert" => {
            let model = filled(bert().blank())?;
            let types = Tensor::from([[0, 0, 1, 1, 1], [0, 1, 1, 1, 0]]);
            let batch = TokenBatch { token_type_ids: Some(types), ..batch };
            let y = model.run(&batch, tape)?;
            let pooled = model.pooled(&y)?;
            differences(case, &model, &[y, pooled])
        }
        "bert_sentence" => {
            let model = filled(bert().pooler(false).blank().map(SentenceEmbedder::new))?;
            differences(case, &model, &[model.run(&batch, tape)?])
        }
        "bert_classifier" => {
            let model = filled(BertForSequenceClassification::new(bert(), 3).blank())?;
            differences(case, &model, &[model.run(&batch, tape)?])
        }
        "bert_masked_lm" => {
            let model = filled(BertForMaskedLM::new(bert()).blank())?;
            differences(case, &model, &[model.run(&batch, tape)?])
        }
        "distilbert" => {
            let model = filled(distilbert().blank())?;
            differences(case, &model, &[model.run(&batch, tape)?])
        }
        "distilbert_classifier" => {
            let model = filled(DistilBertForSequenceClassification::new(distilbert(), 3).blank())?;
            differences(case, &model, &[model.run(&batch, tape)?])
        }
        "llama" => {
            let model = filled(llama().blank())?;
            differences(case, &model, &[model.run(&plain, tape)?])
        }
        "llama_padded" => {
            let model = filled(llama().blank())?;
            differences(case, &model, &padded(&model, plain, tape)?)
        }
        "llama_tied" => {
            let scaling = RopeScaling::Llama3 {
                factor: 8.0,
                low_freq_factor: 1.0,
                high_freq_factor: 4.0,
                original_max_position_embeddings: 32.0,
            };
            let settings = llama().tie_word_embeddings(true).head_dim(6).attention_bias(true);
            let settings = settings.mlp_bias(true).rope_theta(100.0).rope_scaling(scaling);
            let model = filled(settings.blank())?;
            differences(case, &model, &[model.run(&plain, tape)?])
        }
        _ => panic!("no network for the case {name}"),
    })
}

#[test]
fn networks_for_text_agree_with_transformers() {
    let mut wrong = Vec::new();
    for (name, case) in &read(include_str!("../fixtures/text.json")) {
        let found = compare(name, case).unwrap();
        wrong.extend(found.into_iter().map(|difference| format!("{name}: {difference}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_cache_changes_nothing_but_the_time() {
    let models: [Box<dyn Decoder>; 2] =
        [Box::new(filled(gpt2().blank()).unwrap()), Box::new(filled(llama().blank()).unwrap())];
    let ids = tokens("cache", [2, 8], 17);
    let mask = Tensor::from_fn([2, 8], |index| index > 2);
    let part = |start: usize, end: usize| TokenBatch {
        input_ids: ids.narrow(1, start, end - start).unwrap(),
        attention_mask: Some(mask.narrow(1, 0, end).unwrap()),
        token_type_ids: None,
    };
    for model in models {
        let tape = Tape::inference();
        let whole = model.logits(&part(0, 8), None, &tape).unwrap().into_value();
        let mut cache = DecoderCache::new();
        let mut parts = Vec::new();
        // Four tokens, three more at once, a single one.
        for (start, end) in [(0, 4), (4, 7), (7, 8)] {
            let y = model.logits(&part(start, end), Some(&mut cache), &tape).unwrap();
            parts.push(y.into_value());
            assert_eq!(cache.len(), end);
        }
        let joined = Tensor::cat(&parts.iter().collect::<Vec<_>>(), 1).unwrap();
        // What stands before the padding's end is not looked at.
        let [whole, joined] = [whole, joined].map(|y| y.narrow(1, 3, 5).unwrap().to_vec());
        for (a, b) in whole.iter().zip(&joined) {
            assert!((a - b).abs() < 1e-5, "{a} and {b}");
        }
    }
}

#[test]
fn wrong_batches_are_told() {
    let model = filled(gpt2().blank()).unwrap();
    let tape = &Tape::inference();
    let error = |tokens: TokenBatch| model.run(&tokens, tape).unwrap_err().to_string();
    let ids = |shape: &[usize]| Tensor::<i64>::zeros(shape);
    assert_eq!(error(ids(&[3]).into()), "GPT2: expected input_ids [N, L], got [3]");
    let mask = Some(Tensor::full([1, 2], true));
    let batch = TokenBatch { attention_mask: mask, ..ids(&[1, 3]).into() };
    assert_eq!(error(batch), "GPT2: expected attention_mask [1, 3], got [1, 2]");
    assert!(error(ids(&[1, 10]).into()).contains("transformer.wpe"));
    assert!(error(Tensor::from([[17]]).into()).contains("17"));
    for settings in [gpt2().n_head(5), gpt2().n_embd(0), gpt2().vocab_size(usize::MAX)] {
        assert!(settings.blank().is_err());
    }
    assert!(llama().num_key_value_heads(3).blank().is_err());
}
