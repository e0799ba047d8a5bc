//! Rows of a table.

use dendra_datasets::{Csv, Missing, TableEncoding};
use dendra_deploy::Network;
use dendra_nn::Sequential;
use dendra_tensor::Rng;

use crate::{place, save_with};

#[test]
fn rows() {
    let (_folder, path) = place("flowers");
    let train = b"age,city,code\n31,Oslo,1\n44,Bergen,2\n27,,1\n50,Oslo,2\n";
    let train = Csv::new().parse(train).unwrap();
    let encoding = TableEncoding::new().numbers(["age"]).categories(["city", "code"]);
    let encoder = encoding.missing(Missing::Mean).fit(&train).unwrap();
    let columns: Vec<_> = encoder.columns().collect();
    assert_eq!(
        columns.iter().map(|c| (c.name, c.numbers)).collect::<Vec<_>>(),
        [("age", true), ("city", false), ("code", true)]
    );
    assert_eq!(columns[1].categories.as_deref(), Some(&["Bergen", "Oslo"].map(String::from)[..]));
    assert!(columns[0].categories.is_none() && columns[0].optional);

    let model = Sequential::input([encoder.width()]).dense(2).build(&mut Rng::seed(3)).unwrap();
    save_with(model.to_file().unwrap(), &encoder, &["no", "yes"], &path);
    let network = Network::load(&path).unwrap();

    let table = Csv::new().parse(b"city,age,code,more\nOslo,20,1,x\n,,2,y\n").unwrap();
    let answers = network.predict_table(&table).unwrap();
    assert_eq!(answers, network.predict(encoder.inputs(&table).unwrap()).unwrap());
    for json in [
        r#"{"rows": [{"age": 20, "city": "Oslo", "code": 1, "more": 0},
                     {"age": null, "city": null, "code": 2}]}"#,
        r#"{"rows": [{"age": "20", "city": "Oslo", "code": "1"},
                     {"age": null, "city": null, "code": 2}]}"#,
    ] {
        assert_eq!(network.predict_json(json.as_bytes()).unwrap(), answers, "{json}");
    }
    for (json, expected) in [
        (r#"{"rows": [{"age": 20, "city": "Oslo"}]}"#, "the value \"code\" of row 0 is missing"),
        (r#"{"rows": [{"age": "x", "city": "Oslo", "code": 1}]}"#, "expected a number for \"age\""),
        (r#"{"rows": [{"age": 1, "city": [], "code": 1}]}"#, "expected a text for \"city\""),
        (r#"{"rows": [{"age": 1, "city": "Rome", "code": 1}]}"#, "row 0 has \"Rome\""),
        (
            r#"{"rows": [{"age": 1, "city": "Oslo", "code": 1}, 5]}"#,
            "row 1: expected values by column name, got 5",
        ),
        (r#"{"rows": [[1, 2, 3]]}"#, "row 0: expected values by column name, got [1,2,3]"),
        (r#"{"rows": [{"age": 1e300, "city": "Oslo", "code": 1}]}"#, "row 0 has 1e300 in column"),
    ] {
        let error = network.predict_json(json.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(expected), "{json}: {error}");
    }
    assert!(network.predict_json(br#"{"rows": []}"#).unwrap().is_empty());
    let long =
        format!(r#"{{"rows": [{{"age": {:?}, "city": "Oslo", "code": 1}}]}}"#, "x".repeat(1000));
    assert!(network.predict_json(long.as_bytes()).unwrap_err().to_string().len() < 200);
    let error = network.predict_texts(&["a"]).unwrap_err().to_string();
    assert!(error.contains("`table`, which takes no texts"), "{error}");
}
