//! Continuations against those of transformers.

use dendra_autograd::Parameters;
use dendra_models::*;

use crate::filling::{fill, image, read};
use crate::text::{gpt2, llama, tokens};

fn way(name: &str) -> Generate {
    let generate = Generate::new(12);
    match name {
        "greedy" => generate,
        "repetition" => generate.repetition_penalty(1.7),
        "end" => generate.eos_token_id([5, 11]),
        "beams" => generate.num_beams(3),
        "beams_end" => generate.num_beams(4).eos_token_id([2, 9]).length_penalty(0.5),
        "beams_repetition" => generate.num_beams(2).repetition_penalty(1.4).eos_token_id([1]),
        "temperature" => generate.temperature(0.6),
        "top_k" => generate.top_k(4),
        "top_p" => generate.top_p(0.7),
        "all" => generate.repetition_penalty(1.5).temperature(1.3).top_k(7).top_p(0.9),
        _ => panic!("no settings for the case {name}"),
    }
}

fn decoders() -> [(&'static str, Box<dyn Decoder>); 2] {
    let mut gpt2 = gpt2().n_positions(32).blank().unwrap();
    let mut llama = llama().blank().unwrap();
    fill(&mut gpt2 as &mut dyn Parameters);
    fill(&mut llama as &mut dyn Parameters);
    [("gpt2", Box::new(gpt2)), ("llama", Box::new(llama))]
}

fn prompts(model: &str) -> Vec<Vec<i64>> {
    (0..4).map(|index| tokens(&format!("{model}{index}"), [1, 2 + index], 17).to_vec()).collect()
}

#[test]
fn continuations_are_those_of_transformers() {
    let decoders = decoders();
    for (key, expected) in &read(include_str!("../fixtures/generation.json")) {
        let (model, name) = key.split_once('/').unwrap();
        let generate = way(name);
        let Some((_, decoder)) = decoders.iter().find(|(own, _)| *own == model) else {
            let logits: Vec<f32> =
                image("logits", &[12]).to_vec().iter().map(|x| 3.0 * x).collect();
            let expected: Vec<f64> = serde_json::from_value(expected.clone()).unwrap();
            let found = generate.probabilities(&logits, &[3, 3, 7]);
            for (found, expected) in found.iter().zip(&expected) {
                assert!((found - expected).abs() < 1e-6, "{key}: {found} for {expected}");
            }
            continue;
        };
        let expected: Vec<Vec<i64>> = serde_json::from_value(expected.clone()).unwrap();
        // All texts at once, which have different lengths, and each alone.
        let prompts = prompts(model);
        assert_eq!(generate.run(&**decoder, &prompts).unwrap(), expected, "{key}");
        for (prompt, expected) in prompts.into_iter().zip(expected) {
            assert_eq!(generate.run(&**decoder, &[prompt]).unwrap(), [expected], "{key}");
        }
    }
}

#[test]
fn what_is_drawn_depends_on_the_seed_alone_and_follows_the_probabilities() {
    let [(name, decoder), _] = decoders();
    let generate = Generate::new(6).do_sample(true).temperature(2.0);
    let draw = |seed: u64| generate.clone().seed(seed).run(&*decoder, &prompts(name)).unwrap();
    assert_eq!(draw(1), draw(1));
    assert_ne!(draw(1), draw(2));
    let mut streamed = vec![Vec::new(); 4];
    let texts = generate
        .clone()
        .seed(1)
        .run_with(&*decoder, &prompts(name), &mut |text, token| streamed[text].push(token))
        .unwrap();
    assert_eq!((&texts, &streamed), (&draw(1), &draw(1)));

    // The frequencies of the first token after the same text.
    let once = Generate::new(1).do_sample(true).temperature(2.0).top_k(3);
    let texts = once.run(&*decoder, &vec![vec![1, 2]; 600]).unwrap();
    let tape = dendra_autograd::Tape::inference();
    let batch = dendra_tensor::Tensor::from([[1, 2]]).into();
    let logits = decoder.logits(&batch, None, &tape).unwrap().into_value().to_vec();
    for (token, probability) in once.probabilities(&logits[17..], &[1, 2]).iter().enumerate() {
        let count = texts.iter().filter(|text| text[0] == token as i64).count();
        let (mean, deviation) =
            (600.0 * probability, (600.0 * probability * (1.0 - probability)).sqrt());
        assert!((count as f64 - mean).abs() <= 4.0 * deviation, "{token}: {count} of {mean}");
    }
}

#[test]
fn settings_out_of_range_are_told() {
    let [(_, decoder), _] = decoders();
    let error = |generate: Generate, prompt: &[i64]| {
        generate.run(&*decoder, &[prompt.to_vec()]).unwrap_err().to_string()
    };
    let some = || Generate::new(3);
    assert!(error(some().temperature(0.0), &[1]).contains("temperature above 0"));
    assert!(error(some().top_p(1.5), &[1]).contains("top_p in 0 ..= 1"));
    assert!(error(some().top_k(0), &[1]).contains("top_k"));
    assert!(error(some().num_beams(0), &[1]).contains("num_beams"));
    assert!(error(some().num_beams(2).do_sample(true), &[1]).contains("do_sample"));
    assert!(error(some(), &[]).contains("text 0 is empty"));
    assert!(error(some(), &[-1]).contains("-1"));
    assert!(error(Generate::new(40), &[1]).contains("32 positions"));
    assert_eq!(Generate::new(0).run(&*decoder, &[vec![1]]).unwrap(), [[0; 0]]);
    assert_eq!(Generate::new(32).run(&*decoder, &[vec![1]]).unwrap()[0].len(), 32);
}
