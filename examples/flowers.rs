//! Classifies flowers: trains on a table and saves the model. With the path of
//! another table, predicts the kinds of its flowers.

use dendra::datasets::{Csv, Encoder, TableEncoding, classes};
use dendra::prelude::*;

fn main() -> Result<()> {
    match std::env::args().nth(1) {
        None => {
            train("examples/data/flowers.csv", "flowers.safetensors")?;
            println!("saved flowers.safetensors; to predict with it:");
            println!("cargo run --example flowers -- FILE.csv");
            Ok(())
        }
        Some(table) => predict("flowers.safetensors", &table),
    }
}

pub(crate) fn train(table: &str, file: &str) -> Result<()> {
    let rng = &mut Rng::seed(42);
    let table = Csv::new().read(table)?;
    let classes = classes(&table, "kind")?;
    let (train, test) = table.split(0.8, rng)?;
    let encoding = TableEncoding::new().numbers(["petal_length", "petal_width", "stem_length"]);
    let encoder = encoding.categories(["colour"]).fit(&train)?;
    let train = encoder.classification_as(&train, "kind", &classes)?;
    let test = encoder.classification_as(&test, "kind", &classes)?;

    let model =
        Sequential::input([encoder.width()]).dense(16).relu().dense(classes.len()).build(rng)?;
    let model = Predictor::new(model, encoder).classes(classes);
    let mut trainer =
        Trainer::new(model, Adam::new(0.01), CrossEntropy::new()).metric(Accuracy::new());
    trainer.fit(&train, Fit::epochs(30).batch_size(16).validate_on(&test))?;
    trainer.model().save(file)
}

pub(crate) fn predict(file: &str, table: &str) -> Result<()> {
    let model = Predictor::<Encoder>::load(file)?;
    for (row, answer) in model.predict(&Csv::new().read(table)?)?.iter().enumerate() {
        println!("row {row}: {answer}");
    }
    Ok(())
}
