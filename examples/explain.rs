//! Explains the decisions of networks: the pixels of a digit, the words of a
//! review, the columns of a table.

use dendra::datasets::{Csv, TableEncoding, TextEncoder, classes};
use dendra::explain::{
    Bars, DeepLift, HeatMap, IntegratedGradients, Layer, LayerGradCam, Method, Occlusion, Words,
};
use dendra::prelude::*;
use dendra::tensor::{Interpolate, InterpolateMode};

mod options;

/// The picture with the heat maps of digits.
const PICTURE: &str = "explain_digits.png";
/// The bars of a flower.
const BARS: &str = "explain_flower.svg";

fn main() -> Result<()> {
    let options = options::Options::<options::Digits>::read(
        "Explains the decisions of networks about digits, reviews and flowers",
        "1",
        "0.001",
    );
    digits(&options)?;
    reviews("examples/data/reviews.csv")?;
    flower("examples/data/flowers.csv")
}

/// A row for each method, a column for each digit.
fn digits(options: &options::Options<options::Digits>) -> Result<()> {
    let mnist = options.more.load()?;
    let network = Sequential::input([1, 28, 28]).conv2d(16, 3).relu().max_pool2d(2);
    let network = network.conv2d(32, 3).named("last").relu().max_pool2d(2).flatten().dense(10);
    let model = network.build(&mut Rng::seed(options.seed))?;
    let mut trainer = Trainer::new(model, Adam::new(options.learning_rate), CrossEntropy::new())
        .metric(Accuracy::new());
    trainer.fit(&mnist.train, options.fit().validate_on(&mnist.test))?;

    let (images, _) = mnist.test.batch(&[0, 1, 2, 3, 4, 5])?;
    let read: Vec<usize> =
        trainer.predict(&images)?.argmax(1)?.to_vec().into_iter().map(|i| i as usize).collect();
    let model = trainer.model();
    let camera = LayerGradCam::new("last").relu().of(model, &images, read.as_slice())?;
    let camera =
        camera.values().interpolate(&Interpolate::size(&[28, 28], InterpolateMode::Linear))?;
    let integrated = IntegratedGradients::new(50).of(model, &images, read.as_slice())?;
    let maps = [
        integrated.values(),
        DeepLift::new().of(model, &images, read.as_slice())?.values(),
        Occlusion::new([1, 4, 4]).strides([1, 2, 2]).of(model, &images, read.as_slice())?.values(),
        &camera,
    ]
    .map(|values| {
        (0..read.len()).map(|i| HeatMap::new(&values.get(i)?)?.over(&images.get(i)?)).collect()
    });
    let maps = maps.into_iter().collect::<Result<Vec<Vec<HeatMap>>>>()?.concat();
    HeatMap::save_sheet_png(&maps, read.len(), PICTURE)?;
    println!(
        "\nPredicted as {}; red supports the prediction, blue contradicts it:\n{}",
        read[0], maps[0]
    );
    println!(
        "wrote {PICTURE}: integrated gradients, DeepLIFT, occlusion and Grad-CAM for {read:?}\n"
    );
    Ok(())
}

/// Red words support a good review.
fn reviews(table: &str) -> Result<()> {
    let table = Csv::new().read(table)?;
    let (texts, names) = (table.texts("review")?, classes(&table, "verdict")?);
    let labels = table.labels("verdict", &names)?;
    let encoder = TextEncoder::new(Vocabulary::words(&texts, 1000), 12)?;
    let data = TensorDataset::classification(encoder.inputs(&texts)?, labels, names.len())?;
    let network = Sequential::tokens([12]).embedding(encoder.vocabulary().len(), 16);
    let model = network.gru(16).last_step().dense(names.len()).build(&mut Rng::seed(42))?;
    let mut trainer = Trainer::new(model, Adam::new(0.01), CrossEntropy::new());
    trainer.fit(&data, Fit::epochs(15).batch_size(16).quiet())?;

    let good = names.iter().position(|name| name == "good").unwrap_or(0);
    println!("Red words make these reviews good, blue ones bad:");
    let vocabulary = encoder.vocabulary();
    for text in
        ["What a wonderful film!", "Not a bad plot, I found it good.", "The ending was awful."]
    {
        let ids = encoder.inputs(&[text])?;
        let layer = Layer::of_model(trainer.model(), &ids, "0")?;
        let why = IntegratedGradients::new(50).of(&layer, layer.values(), good)?;
        let numbers = vocabulary.encode(text)?;
        let symbols = vocabulary.symbols();
        let words: Vec<&str> = numbers.iter().map(|&i| symbols[i as usize].as_str()).collect();
        // The text is at one end of the fixed length; the rest is padding.
        let start = ids.to_vec().windows(words.len()).position(|part| part == numbers).unwrap_or(0);
        let values = why.values().get(0)?.narrow(0, start, words.len())?;
        println!("  {}", Words::new(&words, &values)?);
    }
    Ok(())
}

/// The columns of a table.
fn flower(table: &str) -> Result<()> {
    let rng = &mut Rng::seed(42);
    let table = Csv::new().read(table)?;
    let kinds = classes(&table, "kind")?;
    let encoding = TableEncoding::new().numbers(["petal_length", "petal_width", "stem_length"]);
    let encoder = encoding.categories(["colour"]).fit(&table)?;
    let data = encoder.classification_as(&table, "kind", &kinds)?;
    let network = Sequential::input([encoder.width()]).dense(16).relu().dense(kinds.len());
    let mut trainer = Trainer::new(network.build(rng)?, Adam::new(0.01), CrossEntropy::new());
    trainer.fit(&data, Fit::epochs(30).batch_size(16).quiet())?;

    let x = encoder.inputs(&table)?.narrow(0, 0, 1)?;
    let kind = trainer.predict(&x)?.argmax(1)?.to_vec()[0] as usize;
    let why = IntegratedGradients::new(50).of(trainer.model(), &x, kind)?;
    let bars = Bars::new(&encoder.input_names(), &why.values().get(0)?)?.sorted();
    bars.save_svg(BARS)?;
    println!("\nWhy the first flower is a {}, compared with a mean flower:\n{bars}", kinds[kind]);
    println!("wrote {BARS}");
    Ok(())
}
