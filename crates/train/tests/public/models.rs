//! Models of any input and output in a trainer: token ids, several inputs and
//! shared weights, a struct of one's own, several outputs, `f64`.

use dendra_autograd::{Gradients, Tape, Var};
use dendra_datasets::{Dataset, Padded, SampleDataset, Samples, TensorDataset};
use dendra_losses::{CosineEmbeddingLoss, CrossEntropy, Loss, MSELoss};
use dendra_nn::{Dropout, Embedding, Linear, Model, Module, Output, Parameters};
use dendra_optim::{Adam, Optimizer};
use dendra_tensor::{Ops, Result, Rng, Tensor};
use dendra_train::{
    Accuracy, BatchReport, Callback, Checkpoints, EarlyStopping, Fit, Goal, KFold, LearningRates,
    MapMetric, MeanSquaredError, Metric, Moment, Profile, Search, StopFlag, Trainer,
};

mod texts;

/// The mean of the words' vectors, and a layer.
#[derive(Parameters)]
struct BagOfWords {
    embedding: Embedding,
    #[parameters(skip)]
    dropout: Dropout,
    head: Linear,
}

impl BagOfWords {
    fn new(words: usize) -> Result<Self> {
        let rng = &mut Rng::seed(42);
        Ok(Self {
            embedding: Embedding::new(words, 8).init(rng)?,
            dropout: Dropout::new(0.2)?,
            head: Linear::new(8, 2).init(rng)?,
        })
    }
}

impl Model<Tensor<i64>> for BagOfWords {
    type Output = Var;

    fn run(&self, words: &Tensor<i64>, tape: &Tape) -> Result<Var> {
        let words = self.embedding.lookup(words, Some(tape))?.mean_axes(&[1], false)?;
        self.head.forward(&self.dropout.forward(&words)?)
    }
}

/// Six words of twenty; whether more are below ten than not.
fn sentences(count: usize) -> TensorDataset<i64, i64> {
    let mut rng = Rng::seed(7);
    let words = Tensor::from_fn([count, 6], |_| rng.below(20) as i64);
    let label = |row: &[i64]| i64::from(row.iter().filter(|&&word| word < 10).count() > 3);
    let labels: Vec<i64> = words.to_vec().chunks(6).map(label).collect();
    let labels = Tensor::from_vec(labels, [count]).unwrap();
    TensorDataset::classification(words, labels, 2).unwrap()
}

type Reader = Trainer<BagOfWords, Adam, CrossEntropy, Tensor<i64>, Tensor<i64>>;

fn reader(learning_rate: f64) -> Result<Reader> {
    let (model, adam) = (BagOfWords::new(20)?, Adam::new(learning_rate));
    Ok(Trainer::new(model, adam, CrossEntropy::new()).metric(Accuracy::new()))
}

#[test]
fn token_ids_train_are_tried_out_and_predicted() -> Result<()> {
    let data = sentences(240);
    let (train, test) = data.split(0.75, &mut Rng::seed(1))?;
    let mut trainer = reader(2e-2)?;
    let profile = Profile::of(trainer.model(), data.inputs(), 1)?;
    assert!(profile.operations.iter().any(|operation| operation.name == "linear"), "{profile}");
    assert_eq!(profile.samples, 240);
    let overfit = trainer.overfit_one_batch(&data, 16, 100)?;
    assert!(overfit.losses[99] < 0.5 * overfit.losses[0], "{overfit}");
    let curve = trainer.find_learning_rate(&train, LearningRates::between(1e-4, 10.0).steps(40))?;
    assert!(curve.suggestion().is_some_and(|rate| rate > 1e-4), "{curve}");

    let fit = Fit::epochs(30).validate_on(&test).callback(EarlyStopping::new(30)).quiet();
    let history = trainer.fit(&train, fit)?;
    assert!(history.losses()[0] > 2.0 * history.losses().last().unwrap(), "{history}");
    let evaluation = trainer.evaluate(&test)?;
    assert!(evaluation.metric("accuracy")? > 0.85, "{evaluation}");
    // More than one batch of an evaluation.
    let logits = trainer.predict(data.inputs())?;
    let mut accuracy = Accuracy::new();
    accuracy.update(&logits, data.targets())?;
    assert!(accuracy.value() > 0.85);
    assert_eq!(logits.narrow(0, 200, 3)?, trainer.predict(&data.inputs().narrow(0, 200, 3)?)?);
    Ok(())
}

#[test]
fn token_ids_are_cross_validated_and_searched() -> Result<()> {
    let data = sentences(120);
    let scores = KFold::new(3).run(&data, |train, held_out| {
        let mut trainer = reader(5e-2)?;
        trainer.fit(train, Fit::epochs(8).quiet())?;
        trainer.evaluate(held_out)
    })?;
    assert!(scores.mean("accuracy")? > 0.7, "{scores}");
    let trials = Search::new(Goal::Lowest).values("rate", [1e-6, 2e-2]).grid(|settings| {
        let mut trainer = reader(settings.number("rate")?)?;
        trainer.fit(&data, Fit::epochs(3).quiet())?;
        Ok(trainer.evaluate(&data)?.loss)
    })?;
    assert_eq!(trials.best()?.settings.number("rate")?, 2e-2);
    Ok(())
}

/// Two inputs that go through the same layers.
#[derive(Parameters)]
struct Siamese {
    first: Linear,
    second: Linear,
}

impl Siamese {
    fn embed(&self, x: &Var) -> Result<Var> {
        self.second.forward(&self.first.forward(x)?.tanh())
    }
}

impl Model<(Tensor, Tensor)> for Siamese {
    type Output = (Var, Var);

    fn run(&self, (a, b): &(Tensor, Tensor), tape: &Tape) -> Result<(Var, Var)> {
        Ok((self.embed(&tape.input(a.clone()))?, self.embed(&tape.input(b.clone()))?))
    }
}

/// How often the cosine has the sign of the target.
#[derive(Clone, Copy, Default)]
struct Agreement(usize, usize);

impl Metric<Tensor, (Tensor, Tensor)> for Agreement {
    fn name(&self) -> String {
        "agreement".to_owned()
    }

    fn fresh(&self) -> Box<dyn Metric<Tensor, (Tensor, Tensor)>> {
        Box::new(Self::default())
    }

    fn update(&mut self, (a, b): &(Tensor, Tensor), same: &Tensor) -> Result<()> {
        let products = a.mul(b)?.sum_axes(&[1], false)?.to_vec();
        let right = products.iter().zip(same.to_vec()).filter(|(x, y)| *x * y > 0.0);
        self.0 += right.count();
        self.1 += products.len();
        Ok(())
    }

    fn value(&self) -> f64 {
        self.0 as f64 / self.1 as f64
    }
}

#[test]
fn two_inputs_share_weights() -> Result<()> {
    let rng = &mut Rng::seed(3);
    let kinds = Tensor::<f32>::normal([4, 6], 0.0, 1.0, rng);
    let pick: Vec<[usize; 2]> = (0..200).map(|_| [rng.below(4), rng.below(4)]).collect();
    let side = |side: usize, rng: &mut Rng| {
        let kinds = kinds.choose(&pick.iter().map(|pair| pair[side]).collect::<Vec<_>>())?;
        kinds.add(&Tensor::normal([200, 6], 0.0, 0.2, rng))
    };
    let pairs = (side(0, rng)?, side(1, rng)?);
    let same = Tensor::from_fn([200], |i| if pick[i][0] == pick[i][1] { 1.0 } else { -1.0 });

    let model =
        Siamese { first: Linear::new(6, 16).init(rng)?, second: Linear::new(16, 4).init(rng)? };
    // One gradient for each weight, the sum over both of its uses.
    let tape = Tape::training(0, 0);
    let (a, b) = model.run(&pairs, &tape)?;
    let both = (a.sum() + b.sum()).backward()?;
    let alone = |x: &Tensor| model.embed(&Tape::training(0, 0).input(x.clone()))?.sum().backward();
    let (of_a, of_b) = (alone(&pairs.0)?, alone(&pairs.1)?);
    let weight = &model.first.weight;
    let gradient = |gradients: &Gradients| gradients.get(weight).unwrap().clone();
    let difference = gradient(&both) - gradient(&of_a) - gradient(&of_b);
    assert!(difference.norm(2.0)?.item()? < 1e-4 * gradient(&both).norm(2.0)?.item()?);

    let cosine = |(a, b): &(Var, Var), same: &Tensor| {
        CosineEmbeddingLoss::new().margin(-0.5).compute(a, b, same)
    };
    let mut trainer = Trainer::new(model, Adam::new(1e-2), cosine).metric(Agreement::default());
    let data = SampleDataset::new(pairs, same)?;
    trainer.fit(&data, Fit::epochs(30).validation_split(0.2).quiet())?;
    assert!(trainer.evaluate(&data)?.metric("agreement")? > 0.95);
    let (a, _) = trainer.predict(data.inputs())?;
    assert_eq!(*a.shape(), [200, 4]);
    Ok(())
}

/// Words, and how loud they were said.
#[derive(Clone)]
struct Speech {
    words: Padded<i64>,
    loudness: Tensor,
}

impl Samples for Speech {
    fn count(&self) -> usize {
        self.loudness.count()
    }

    fn choose(&self, indices: &[usize]) -> Result<Self> {
        Ok(Self { words: self.words.choose(indices)?, loudness: self.loudness.choose(indices)? })
    }

    fn join(parts: &[&Self]) -> Result<Self> {
        let words: Vec<_> = parts.iter().map(|part| &part.words).collect();
        let loudness: Vec<_> = parts.iter().map(|part| &part.loudness).collect();
        Ok(Self { words: Samples::join(&words)?, loudness: Samples::join(&loudness)? })
    }
}

/// Says what was said and how high: two outputs.
#[derive(Parameters)]
struct Listener {
    embedding: Embedding,
    #[parameters(skip)]
    dropout: Dropout,
    class: Linear,
    pitch: Linear,
}

impl Listener {
    fn new() -> Result<Self> {
        let rng = &mut Rng::seed(5);
        Ok(Self {
            embedding: Embedding::new(12, 6).init(rng)?,
            dropout: Dropout::new(0.1)?,
            class: Linear::new(7, 3).init(rng)?,
            pitch: Linear::new(7, 1).init(rng)?,
        })
    }
}

/// Two outputs with names.
struct Heard {
    class: Var,
    pitch: Var,
}

impl Output for Heard {
    type Values = (Tensor, Tensor);

    fn into_values(self) -> (Tensor, Tensor) {
        (self.class, self.pitch).into_values()
    }
}

impl Model<Speech> for Listener {
    type Output = Heard;

    fn run(&self, speech: &Speech, tape: &Tape) -> Result<Heard> {
        let words = self.embedding.lookup(&speech.words.values, Some(tape))?;
        let counts = speech.words.mask().map(|own| f32::from(u8::from(own)));
        let words = words.mul(&tape.input(counts.unsqueeze(-1)?))?.sum_axes(&[1], false)?;
        let x = Var::cat(&[&words, &tape.input(speech.loudness.clone())], 1)?;
        let x = self.dropout.forward(&x.tanh())?;
        Ok(Heard { class: self.class.forward(&x)?, pitch: self.pitch.forward(&x)? })
    }
}

fn tensor(words: Vec<i64>) -> Tensor<i64> {
    let length = words.len();
    Tensor::from_vec(words, [length]).unwrap()
}

/// The class depends on the first word, the pitch on the loudness.
fn speeches(count: usize) -> SampleDataset<Speech, (Tensor<i64>, Tensor)> {
    let rng = &mut Rng::seed(11);
    let texts: Vec<Vec<i64>> = (0..count)
        .map(|_| {
            let class = rng.below(3) as i64;
            (0..1 + rng.below(4)).map(|_| 4 * class + rng.below(4) as i64).collect()
        })
        .collect();
    let classes = Tensor::from_fn([count], |i| texts[i][0] / 4);
    let texts: Vec<Tensor<i64>> = texts.iter().map(|text| tensor(text.clone())).collect();
    let words = dendra_datasets::pad_sequence(&texts.iter().collect::<Vec<_>>(), 0).unwrap();
    let loudness = Tensor::uniform([count, 1], -1.0, 1.0, rng);
    let pitch = loudness.mul_scalar(0.5).add_scalar(0.2);
    SampleDataset::new(Speech { words, loudness }, (classes, pitch)).unwrap()
}

/// The cross-entropy of the class, and a tenth of it for the pitch.
struct ClassAndPitch;

impl Loss<(Tensor<i64>, Tensor), f32, Heard> for ClassAndPitch {
    fn forward(&self, heard: &Heard, (class, pitch): &(Tensor<i64>, Tensor)) -> Result<Var> {
        let of_class = CrossEntropy::new().compute(&heard.class, class)?;
        Ok(of_class + MSELoss::new().compute(&heard.pitch, pitch)? * 0.5)
    }
}

type Ear = Trainer<Listener, Adam, ClassAndPitch, (Tensor<i64>, Tensor), Speech>;

fn ear() -> Ear {
    let class = |(class, _): &(Tensor, Tensor), (label, _): &(Tensor<i64>, Tensor)| {
        Ok((class.clone(), label.clone()))
    };
    let pitch = |(_, pitch): &(Tensor, Tensor), (_, target): &(Tensor<i64>, Tensor)| {
        Ok((pitch.clone(), target.clone()))
    };
    Trainer::new(Listener::new().unwrap(), Adam::new(1e-2), ClassAndPitch)
        .metric(MapMetric::new("class accuracy", Accuracy::new(), class))
        .metric(MapMetric::new("pitch mse", MeanSquaredError::new(), pitch))
}

#[test]
fn a_struct_goes_in_and_two_outputs_with_weighted_losses_come_out() -> Result<()> {
    let (data, mut trainer) = (speeches(150), ear());
    let fit = Fit::epochs(40).validation_split(0.2);
    let history = trainer.fit(&data, fit.callback(EarlyStopping::new(40)).quiet())?;
    let evaluation = trainer.evaluate(&data)?;
    assert!(evaluation.metric("class accuracy")? > 0.9, "{evaluation}");
    assert!(evaluation.metric("pitch mse")? < 0.02, "{evaluation}");
    assert!(history.curve("validation class accuracy").len() == 40);
    let (class, pitch) = trainer.predict(data.inputs())?;
    assert_eq!((class.shape(), pitch.shape()), (&[150, 3].into(), &[150, 1].into()));
    Ok(())
}

/// Asks to stop after a step.
struct StopAt(u64, StopFlag);

impl Callback for StopAt {
    fn on_batch(&mut self, now: &mut Moment<'_>, _: &BatchReport<'_>) -> Result<()> {
        if now.step == self.0 {
            self.1.set();
        }
        Ok(())
    }
}

#[test]
fn such_a_run_goes_on_as_if_it_had_not_been_interrupted() -> Result<()> {
    let data = speeches(50);
    let fit = || {
        let fit = Fit::epochs(3).batch_size(8).accumulate(2).validation_split(0.1).seed(9).quiet();
        fit.callback(EarlyStopping::new(2))
    };
    let mut uninterrupted = ear();
    let history = uninterrupted.fit(&data, fit())?;
    for step in [1, 2, 3, 5] {
        let folder = tempfile::tempdir().unwrap();
        let flag = StopFlag::new();
        let stopping = fit().checkpoints(Checkpoints::new(folder.path())).stop_when(&flag);
        let error = ear().fit(&data, stopping.callback(StopAt(step, flag.clone())));
        assert!(error.unwrap_err().to_string().contains("Fit::resume"));
        let mut resumed = ear();
        let again = resumed.fit(&data, fit().resume(folder.path()))?;
        assert_eq!(again.losses(), history.losses());
        assert_eq!(resumed.model().state_dict(), uninterrupted.model().state_dict());
        assert_eq!(resumed.optimizer().state_dict(), uninterrupted.optimizer().state_dict());
    }
    Ok(())
}

#[derive(Parameters)]
#[parameters(element = f64)]
struct Double {
    first: Linear<f64>,
    second: Linear<f64>,
}

impl Module<f64> for Double {
    fn forward(&self, x: &Var<f64>) -> Result<Var<f64>> {
        self.second.forward(&self.first.forward(x)?.tanh())
    }
}

/// Keeps the losses of all steps.
#[derive(Default)]
struct Losses(Vec<f64>);

impl Callback<f64> for Losses {
    fn on_batch(&mut self, now: &mut Moment<'_, f64>, batch: &BatchReport<'_, f64>) -> Result<()> {
        let model: &Double = now.model_as()?;
        assert!(batch.gradients.get(&model.first.weight).is_some());
        self.0.push(batch.loss);
        Ok(())
    }
}

#[test]
fn f64_trains_in_f64() -> Result<()> {
    let rng = &mut Rng::seed(1);
    let x = Tensor::<f64>::uniform([64, 1], -1.0, 1.0, rng);
    let data = SampleDataset::new(x.clone(), x.map(|x| (3.0 * x).sin()))?;
    let first = Linear::new(1, 16).init_as(rng)?;
    let model = Double { first, second: Linear::new(16, 1).init_as(rng)? };
    let mut trainer =
        Trainer::new(model, Adam::new(2e-2), MSELoss::new()).metric(MeanSquaredError::new());
    let mut losses = Losses::default();
    trainer.fit(&data, Fit::steps(600).callback(&mut losses).quiet())?;
    let evaluation = trainer.evaluate(&data)?;
    assert!(evaluation.loss < 5e-3, "{evaluation}");
    assert!((evaluation.metric("mse")? - evaluation.loss).abs() < 1e-15);
    assert_eq!(losses.0.len(), 600);
    // No f32 was between.
    assert!(losses.0.iter().any(|&loss| loss != f64::from(loss as f32)));
    Ok(())
}
