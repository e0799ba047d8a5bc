//! Texts as strings, as characters with scores for each, and as words.

use dendra_autograd::{Tape, Var};
use dendra_datasets::{
    CachedDataset, ConcatDataset, Dataset, Padded, SampleDataset, SequenceDataset, TextDataset,
    Vocabulary,
};
use dendra_losses::{CrossEntropy, MSELoss};
use dendra_nn::{Embedding, Linear, Model, Module, Parameters};
use dendra_optim::{Adam, SGD};
use dendra_tensor::{Ops, Result, Rng, Tensor};
use dendra_train::{Accuracy, Callback, EpochReport, Fit, Moment, Perplexity, Trainer};

use super::{Siamese, tensor};

/// Bytes that come as strings: what comes next after two of them.
#[derive(Parameters)]
struct NextByte(Linear);

impl Model<Vec<String>> for NextByte {
    type Output = Var;

    fn run(&self, texts: &Vec<String>, tape: &Tape) -> Result<Var> {
        let bytes: Vec<u8> = texts.iter().flat_map(|text| text.bytes()).collect();
        let bytes = Tensor::from_vec(bytes, [texts.len(), 2])?;
        self.0.forward(&tape.input(bytes.map(|byte| f32::from(byte) / 128.0)))
    }
}

#[test]
fn strings_are_samples_and_data_sets_of_them_are_joined_and_kept() -> Result<()> {
    let texts = |range: std::ops::Range<u8>| -> Vec<String> {
        range.map(|i| String::from_utf8(vec![b'0' + i, b'0' + 2 * i]).unwrap()).collect()
    };
    let target = |texts: &[String]| {
        Tensor::from_fn([texts.len(), 1], |i| f32::from(texts[i].as_bytes()[1]) / 64.0)
    };
    let part = |range| {
        let texts = texts(range);
        let target = target(&texts);
        SampleDataset::new(texts, target)
    };
    let data = CachedDataset::new(ConcatDataset::new(vec![part(0..20)?, part(20..30)?])?);
    let model = NextByte(Linear::new(2, 1).init(&mut Rng::seed(2))?);
    let mut trainer = Trainer::new(model, SGD::new(0.2), MSELoss::new());
    let history = trainer.fit(&data, Fit::epochs(60).batch_size(7).quiet())?;
    assert!(*history.losses().last().unwrap() < 0.02, "{history}");
    assert_eq!((data.len(), data.cached()), (30, 30));
    Ok(())
}

/// A model of characters `[n, length]`, with scores `[n, length, symbols]`.
#[derive(Parameters)]
struct Characters {
    embedding: Embedding,
    head: Linear,
}

impl Model<Tensor<i64>> for Characters {
    type Output = Var;

    fn run(&self, characters: &Tensor<i64>, tape: &Tape) -> Result<Var> {
        self.head.forward(&self.embedding.lookup(characters, Some(tape))?)
    }
}

/// Notes what the model thinks comes after `a`.
struct AfterA(Vocabulary, Vec<String>);

impl Callback for AfterA {
    fn on_epoch(&mut self, now: &mut Moment<'_>, _: &EpochReport) -> Result<()> {
        let model: &Characters = now.model_as()?;
        let a = Tensor::from_vec(self.0.encode("a")?, [1, 1])?;
        let scores = model.run(&a, &Tape::inference())?;
        let next = scores.value().argmax(-1)?.to_vec();
        self.1.push(self.0.decode(&next)?);
        assert!(now.model_as::<Siamese>().is_err());
        Ok(())
    }
}

#[test]
fn scores_may_have_their_classes_last_and_a_callback_samples() -> Result<()> {
    let text = "abcabc".repeat(30);
    let vocabulary = Vocabulary::characters(&text);
    let data = TextDataset::new(&text, vocabulary.clone(), 8)?;
    let rng = &mut Rng::seed(4);
    let model = Characters {
        embedding: Embedding::new(vocabulary.len(), 4).init(rng)?,
        head: Linear::new(4, vocabulary.len()).init(rng)?,
    };
    let loss = CrossEntropy::new().class_axis(-1);
    let mut trainer = Trainer::new(model, Adam::new(3e-2), loss)
        .metric(Accuracy::new().class_axis(-1))
        .metric(Perplexity::new().class_axis(-1));
    let mut after = AfterA(vocabulary, Vec::new());
    trainer.fit(&data, Fit::epochs(8).callback(&mut after).quiet())?;
    let evaluation = trainer.evaluate(&data)?;
    assert_eq!(evaluation.metric("accuracy")?, 1.0);
    let perplexity = evaluation.metric("perplexity")?;
    assert!((perplexity - evaluation.loss.exp()).abs() < 1e-4, "{evaluation}");
    assert_eq!((after.1.len(), after.1.last().unwrap().as_str()), (8, "b"));
    Ok(())
}

/// The last state of the words of a sentence, without those that fill it up.
#[derive(Parameters)]
struct Padding {
    embedding: Embedding,
    head: Linear,
}

impl Model<Padded<i64>> for Padding {
    type Output = Var;

    fn run(&self, words: &Padded<i64>, tape: &Tape) -> Result<Var> {
        let x = self.embedding.lookup(&words.values, Some(tape))?;
        let own = words.mask().map(|own| f32::from(u8::from(own))).unsqueeze(-1)?;
        self.head.forward(&x.mul(&tape.input(own))?.sum_axes(&[1], false)?)
    }
}

#[test]
fn words_of_texts_are_classified() -> Result<()> {
    let good = ["a lovely film", "what a lovely, lovely day", "good work!", "so good"];
    let bad = ["an awful film", "what a bore", "bad, bad work", "so awful and bad"];
    let vocabulary = Vocabulary::words(good.iter().chain(&bad), 100);
    let encode = |text: &&str| Ok(tensor(vocabulary.encode(text)?));
    let texts = good.iter().chain(&bad).map(encode).collect::<Result<Vec<Tensor<i64>>>>()?;
    let labels = Tensor::from([1, 1, 1, 1, 0, 0, 0, 0_i64]);
    let data = SequenceDataset::classification(texts, labels, 2)?;
    let rng = &mut Rng::seed(6);
    let model = Padding {
        embedding: Embedding::new(vocabulary.len(), 8).init(rng)?,
        head: Linear::new(8, 2).init(rng)?,
    };
    let mut trainer =
        Trainer::new(model, Adam::new(5e-2), CrossEntropy::new()).metric(Accuracy::new());
    trainer.fit(&data, Fit::epochs(40).batch_size(3).quiet())?;
    let unseen = ["A lovely work, unheard of!", "an awful day", "lovely"];
    let scores = trainer.predict(&vocabulary.encode_batch(&unseen, Some(10))?)?;
    assert_eq!(scores.argmax(1)?.to_vec(), [1, 0, 1]);
    Ok(())
}
