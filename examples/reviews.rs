//! Classifies reviews as good or bad: trains on short texts and saves the
//! model. With texts as arguments, classifies them.

use dendra::datasets::{Csv, TextEncoder, classes};
use dendra::prelude::*;

fn main() -> Result<()> {
    let texts: Vec<String> = std::env::args().skip(1).collect();
    match texts.is_empty() {
        true => {
            train("examples/data/reviews.csv", "reviews.safetensors")?;
            println!("saved reviews.safetensors; to predict with it:");
            println!("cargo run --example reviews -- \"What a charming film.\"");
            Ok(())
        }
        false => predict("reviews.safetensors", &texts),
    }
}

pub(crate) fn train(table: &str, file: &str) -> Result<()> {
    let table = Csv::new().read(table)?;
    let (texts, classes) = (table.texts("review")?, classes(&table, "verdict")?);
    let labels = table.labels("verdict", &classes)?;
    let encoder = TextEncoder::new(Vocabulary::words(&texts, 1000), 12)?;
    let data = TensorDataset::classification(encoder.inputs(&texts)?, labels, classes.len())?;

    let model = Sequential::tokens([12])
        .embedding(encoder.vocabulary().len(), 16)
        .gru(16)
        .last_step()
        .dense(classes.len())
        .build(&mut Rng::seed(42))?;
    let model = Predictor::new(model, encoder).classes(classes);
    let mut trainer =
        Trainer::new(model, Adam::new(0.01), CrossEntropy::new()).metric(Accuracy::new());
    trainer.fit(&data, Fit::epochs(15).batch_size(16).validation_split(0.2))?;
    trainer.model().save(file)
}

pub(crate) fn predict(file: &str, texts: &[String]) -> Result<()> {
    let model = Predictor::<TextEncoder>::load(file)?;
    for (text, answer) in texts.iter().zip(model.predict(texts)?) {
        println!("{text}: {answer}");
    }
    Ok(())
}
