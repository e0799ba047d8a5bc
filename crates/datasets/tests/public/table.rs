//! Tables: types, missing values, what is learnt from the training part.
#![cfg(feature = "tables")]

use std::fs;

use dendra_datasets::{Column, Csv, Dataset, Missing, Scaling, Table, TableEncoding, classes};
use dendra_tensor::{Error, Rng};

fn parse(text: &str) -> Table {
    Csv::new().parse(text.as_bytes()).unwrap()
}

fn refused(csv: &Csv, text: &[u8]) -> String {
    csv.parse(text).unwrap_err().to_string()
}

const PEOPLE: &str = "\
name,age,height,city,post code\n\
\"Berg, Ada\",31,1.70,Oslo,0150\n\
Bo,44, 1.85 ,Bergen,5003\n\
Cy,,1.6e0,Oslo,0150\n\
Di,NA,-3,,0999\n";

#[test]
fn columns_get_types_and_missing_values() {
    let table = parse(PEOPLE);
    assert_eq!((table.len(), table.names().len()), (4, 5));
    let Column::Numbers(ages) = table.column("age").unwrap() else { panic!() };
    assert_eq!(ages[..2], [31.0, 44.0]);
    assert!(ages[2].is_nan() && ages[3].is_nan());
    assert_eq!(*table.column("height").unwrap(), Column::Numbers(vec![1.7, 1.85, 1.6, -3.0]));
    let Column::Texts(names) = table.column("name").unwrap() else { panic!() };
    assert_eq!(names[0].as_deref(), Some("Berg, Ada"));
    assert_eq!(table.column("city").unwrap().missing(), 1);
    assert_eq!(table.column("age").unwrap().missing(), 2);
    assert!(matches!(table.column("post code").unwrap(), Column::Numbers(_)));
    let texts = Csv::new().texts(["post code"]).parse(PEOPLE.as_bytes()).unwrap();
    let Column::Texts(codes) = texts.column("post code").unwrap() else { panic!() };
    assert_eq!(codes[0].as_deref(), Some("0150"));
    let error = table.column("salary").unwrap_err().to_string();
    assert!(error.contains("no column \"salary\"; the columns are \"name\", \"age\""), "{error}");
    for (name, known) in [("Age", "age"), ("postcode", "post code"), ("hieght", "height")] {
        let error = table.column(name).unwrap_err().to_string();
        assert!(error.contains(&format!("no column {name:?}, but {known:?}; ")), "{error}");
    }
}

#[test]
fn delimiters_headers_comments_and_marks_can_be_set() {
    let csv = Csv::new().delimiter(b';').header(false).comment(b'#').missing(["-"]);
    let table = csv.parse(b"# a comment\n1;x\n-;NA\n").unwrap();
    assert_eq!(table.names(), ["0", "1"]);
    let Column::Numbers(numbers) = table.column("0").unwrap() else { panic!() };
    assert!(numbers[0] == 1.0 && numbers[1].is_nan());
    let Column::Texts(texts) = table.column("1").unwrap() else { panic!() };
    assert_eq!(texts[1].as_deref(), Some("NA"));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("table.tsv");
    fs::write(&path, "a\tb\n1\t2\n").unwrap();
    assert_eq!(Csv::new().delimiter(b'\t').read(&path).unwrap().names(), ["a", "b"]);
    assert!(matches!(Csv::new().read(folder.path().join("no")), Err(Error::Io { .. })));
}

#[test]
fn what_is_wrong_is_named_with_its_line() {
    let csv = Csv::new();
    assert!(refused(&csv, b"a,b\n1,2\n3\n").contains("line 3: expected 2 fields, got 1"));
    assert!(refused(&csv, b"a,b\n1,2,3\n").contains("line 2: expected 2 fields, got 3"));
    assert!(refused(&csv, b"a,b\n1,\xff\n").contains("line 2: it is not a UTF-8 text"));
    assert!(refused(&csv, b"a,a\n1,2\n").contains("two columns have the name \"a\""));
    assert!(refused(&csv, b"").contains("it is empty"));
    let strict = csv.clone().numbers(["b"]);
    for found in ["x", "inf", "1,5"] {
        let message = refused(&strict, format!("a,b\n1,2\n1,{found:?}\n").as_bytes());
        let expected =
            format!("column \"b\" must contain finite numbers, but has {found:?} in line 3");
        assert!(message.contains(&expected), "{message}");
        assert_eq!(message.contains("decimal comma"), found == "1,5", "{message}");
    }
    let message = refused(&strict, b"a,b\n1,x\n1,y\n1,1\n1,z\n1,x\n1,NA\n");
    let expected = "has \"x\" in line 2, \"y\" in line 3, \"z\" in line 5 and 1 more";
    assert!(message.contains(expected), "{message}");
    assert!(refused(&csv.texts(["c"]), b"a,b\n").contains("no column \"c\""));
    for open in ["a,b\n1,x\n2,\"y\n3,z\n", "a,b\n1,x\n2,\"y", "a,b\n1,x\n2,\"y\"\"\n"] {
        assert!(refused(&Csv::new(), open.as_bytes()).contains("line 3: a quote is not closed"));
    }
    assert!(refused(&Csv::new(), b"\"a,b\n1,2\n").contains("line 1: a quote is not closed"));
    assert_eq!(parse("a,b\n1,\"x\ny\"\n2,5\" pipe").len(), 2);
    // Infinity is a text where nothing says otherwise.
    assert!(matches!(parse("a\ninf\n").column("a").unwrap(), Column::Texts(_)));
    assert_eq!(parse("a,b\n").len(), 0);
}

#[test]
fn lines_are_counted_whatever_ends_them() {
    let comments = Csv::new().comment(b'#');
    for end in ["\n", "\r\n", "\r"] {
        for (lines, wrong) in [
            (&["a,b", "1,2", "3"][..], 3),
            (&["a,b", "", "1,2", "", "", "3"], 6),
            (&["", "a,b", "1,2", "   ", "3"], 5),
            (&["a,b", "\"1", "2\",2", "3"], 4),
        ] {
            let message = refused(&Csv::new(), lines.join(end).as_bytes());
            let expected = format!("line {wrong}: expected 2 fields, got 1");
            assert!(message.contains(&expected), "{end:?} {lines:?}: {message}");
        }
        if end != "\r" {
            let lines = ["# one", "a,b", "# two", "", "# three", "1,2", "3"].join(end);
            assert!(refused(&comments, lines.as_bytes()).contains("line 7: expected"));
        }
        let message = refused(&Csv::new().numbers(["b"]), ["a,b", "", "1,x"].join(end).as_bytes());
        assert!(message.contains("in line 3"), "{message}");
        let message = refused(&Csv::new(), &[b"a,b", end.as_bytes(), b"1,\xff"].concat());
        assert!(message.contains("line 2: "), "{message}");
    }
}

#[test]
fn files_of_spreadsheets_are_read() {
    let plain = parse("a,b\n1,x\n2,y\n");
    let utf_16 = |text: &str| {
        let units = text.encode_utf16().flat_map(u16::to_le_bytes);
        [0xff, 0xfe].into_iter().chain(units).collect::<Vec<u8>>()
    };
    for bytes in [
        "\u{feff}a,b\r\n1,x\r\n2,y".as_bytes(),
        "a,b\n1,x\n2,y\n\n\n".as_bytes(),
        "a,b\n1,x\n2,y\n  \n".as_bytes(),
        "a,b,,\n1,x,,\n2,y,,\n".as_bytes(),
        "\"a\",\"b\"\r\n\"1\",\"x\"\r\n\"2\",\"y\"\r\n".as_bytes(),
        &utf_16("a,b\r\n1,x\r\n2,y\r\n"),
    ] {
        assert_eq!(Csv::new().parse(bytes).unwrap(), plain);
    }
    let csv = Csv::new();
    let message = refused(&csv, b"a,b\n1,2,\n");
    assert!(message.contains("line 2: expected 2 fields, got 3: a delimiter ends"), "{message}");
    let message = refused(&csv, b"a,b\n1,2\n\"3,4\n5,6\n");
    assert!(message.contains("line 3: expected 2 fields, got 1: a field in quotes"), "{message}");
    // One column, in which quotes tell a missing value from an empty line.
    assert_eq!(parse("a\n1\n\n\"\"\n2\n").column("a").unwrap().missing(), 1);
    // The index that pandas writes has no name.
    assert_eq!(parse(",a\n0,1\n1,2\n").names(), ["", "a"]);
    assert!(refused(&csv, b",\n,\n").contains("it is empty"));
}

#[test]
fn numbers_can_have_a_decimal_comma() {
    let csv = Csv::new().delimiter(b';').decimal(b',');
    let table = csv.parse(b"a;b\n1,5;2.5\n-2;1\n,5e1;3\n").unwrap();
    assert_eq!(*table.column("a").unwrap(), Column::Numbers(vec![1.5, -2.0, 5.0]));
    assert!(matches!(table.column("b").unwrap(), Column::Texts(_)));
    let message = refused(&Csv::new().decimal(b','), b"a\n1\n");
    assert!(message.contains("cannot both separate fields"), "{message}");
}

#[test]
fn the_words_for_missing_are_those_of_pandas() {
    let marks = "NA,N/A,#N/A,null,None,NaN,nan,NULL,n/a,<NA>,-nan,?".replace(',', "\n");
    let table = parse(&format!("a\n1\n{marks}\n2\n"));
    assert!(matches!(table.column("a").unwrap(), Column::Numbers(all) if all.len() == 14));
    assert_eq!(table.column("a").unwrap().missing(), 12);
    let own = Csv::new().missing(["", "-"]).parse(b"a,b\n-,None\n,x\n").unwrap();
    assert_eq!(own.column("a").unwrap().missing(), 2);
    assert_eq!(own.column("b").unwrap().missing(), 0);
}

#[test]
fn cells_that_are_no_numbers_are_named() {
    let table = parse("age,code\n31,1\n3 years,2\nNA,3\nold,4\n");
    let error = TableEncoding::new().numbers(["age"]).fit(&table).unwrap_err().to_string();
    let expected =
        "expected numbers in column \"age\", got texts: \"3 years\" in row 1, \"old\" in row 3";
    assert!(error.contains(expected), "{error}");
    let codes = Csv::new().texts(["code"]).parse(b"code\n1\n").unwrap();
    let error = TableEncoding::new().numbers(["code"]).fit(&codes).unwrap_err().to_string();
    assert!(error.contains("as it was read with `Csv::texts`"), "{error}");
}

#[test]
fn numbers_as_categories_are_in_numeric_order() {
    let table = parse("floor,x\n10,1\n2,1\n1,1\n100,1\n-0,1\n0,1\n2.0,1\n");
    assert_eq!(classes(&table, "floor").unwrap(), ["0", "1", "2", "10", "100"]);
    let encoder = TableEncoding::new().ordinals(["floor"]).fit(&table).unwrap();
    let x = encoder.inputs(&table).unwrap().to_vec();
    assert_eq!(x, [3.0, 2.0, 1.0, 4.0, 0.0, 0.0, 2.0]);
    let set = encoder.classification(&table, "floor").unwrap();
    assert_eq!(set.targets().to_vec(), [3, 2, 1, 4, 0, 0, 2]);
    let texts = Csv::new().texts(["floor"]).parse(b"floor\n10\n9\n").unwrap();
    assert_eq!(classes(&texts, "floor").unwrap(), ["10", "9"]);
}

#[test]
fn categories_meet_whatever_their_column_is_read_as() {
    let numbers = parse("x,kind\n1,1.0\n1,2\n");
    let texts = parse("x,kind\n1,1.0\n1,other\n");
    let encoding = TableEncoding::new().categories(["kind"]).allow_unknown(true);
    let encoder = encoding.clone().fit(&numbers).unwrap();
    assert_eq!(encoder.inputs(&texts).unwrap().to_vec(), [1.0, 0.0, 0.0, 0.0]);
    let names = classes(&numbers, "kind").unwrap();
    let target = encoder.classification_as(&texts.rows(&[0]).unwrap(), "kind", &names).unwrap();
    assert_eq!(target.targets().to_vec(), [0]);
    assert!(encoder.classification_as(&texts, "kind", &names).is_err());
    // The other way round it is not known which text a number was.
    let encoder = encoding.missing(Missing::Mean).fit(&texts).unwrap();
    let error = encoder.inputs(&numbers).unwrap_err().to_string();
    assert!(error.contains("\"kind\" has numbers here and texts in the training"), "{error}");
    assert!(
        encoder.classification_as(&numbers, "kind", &classes(&texts, "kind").unwrap()).is_err()
    );
    assert_eq!(encoder.inputs(&parse("x,kind\n1,?\n")).unwrap().to_vec(), [0.0, 0.0]);
}

#[test]
fn standardisation_is_fitted_on_the_training_part_only() {
    let train = parse("x,y\n1,10\n2,10\n3,10\n4,10\n");
    let test = parse("x,y\n100,11\n");
    let encoder = TableEncoding::new().numbers(["x", "y"]).fit(&train).unwrap();
    let x = encoder.inputs(&train).unwrap();
    assert_eq!(x.shape(), &[4, 2]);
    let column: Vec<f32> = x.to_vec().into_iter().step_by(2).collect();
    let mean = column.iter().sum::<f32>() / 4.0;
    let variance = column.iter().map(|x| x * x).sum::<f32>() / 4.0;
    assert!(mean.abs() < 1e-6 && (variance - 1.0).abs() < 1e-6);
    // Mean 2.5 and deviation √1.25 of the training part; y is always 10 there.
    let x = encoder.inputs(&test).unwrap().to_vec();
    assert!((x[0] - 97.5 / 1.25f32.sqrt()).abs() < 1e-4 && x[1] == 1.0, "{x:?}");
    let encoder = TableEncoding::new().scaling(Scaling::MinMax).numbers(["x"]).fit(&train).unwrap();
    assert_eq!(encoder.inputs(&train).unwrap().to_vec(), [0.0, 1.0 / 3.0, 2.0 / 3.0, 1.0]);
    assert_eq!(encoder.inputs(&test).unwrap().to_vec(), [33.0]);
    let plain = TableEncoding::new().scaling(Scaling::None).numbers(["x"]).fit(&train).unwrap();
    assert_eq!(plain.inputs(&test).unwrap().to_vec(), [100.0]);
    // Six sixths of 1 add up to less than 1.
    let same = TableEncoding::new().numbers(["x"]).fit(&parse("x\n1\n1\n1\n1\n1\n1\n")).unwrap();
    assert_eq!(same.inputs(&parse("x\n1\n3\n")).unwrap().to_vec(), [0.0, 2.0]);
}

#[test]
fn missing_numbers_are_filled_from_the_training_part() {
    let train = parse("x\n1\n2\n9\n?\n");
    let test = parse("x\n?\n");
    let filled = |missing| {
        let encoding = TableEncoding::new().scaling(Scaling::None).missing(missing).numbers(["x"]);
        encoding.fit(&train).and_then(|encoder| encoder.inputs(&test)?.item())
    };
    assert_eq!(filled(Missing::Mean).unwrap(), 4.0);
    assert_eq!(filled(Missing::Median).unwrap(), 2.0);
    assert_eq!(filled(Missing::Constant(-1.0)).unwrap(), -1.0);
    let error = filled(Missing::Error).unwrap_err().to_string();
    assert!(error.contains("row 3 has no value in column \"x\""), "{error}");
    let whole = TableEncoding::new().numbers(["x"]).fit(&parse("x\n1\n2\n")).unwrap();
    assert!(whole.inputs(&test).is_err());
    let empty = TableEncoding::new().missing(Missing::Median).numbers(["x"]).fit(&test);
    assert!(empty.unwrap_err().to_string().contains("no values in the training part"));
}

#[test]
fn categories_become_one_hot_or_numbers() {
    let train = parse("city,size\nOslo,2\nBergen,1\nOslo,1\n");
    let encoding = TableEncoding::new().categories(["city"]).ordinals(["size"]);
    let encoder = encoding.clone().fit(&train).unwrap();
    assert_eq!(encoder.input_names(), ["city=Bergen", "city=Oslo", "size"]);
    assert_eq!((encoder.categories("city"), encoder.categories("none")), (Some(2), None));
    let x = encoder.inputs(&train).unwrap().to_vec();
    assert_eq!(x, [0.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0]);
    let strange = parse("city,size\nRøros,7\n");
    let error = encoder.inputs(&strange).unwrap_err().to_string();
    assert!(error.contains("row 0 has \"Røros\" in column \"city\""), "{error}");
    let lenient = encoding.clone().allow_unknown(true).fit(&train).unwrap();
    assert_eq!(lenient.inputs(&strange).unwrap().to_vec(), [0.0, 0.0, 2.0]);
    assert_eq!(lenient.categories("size"), Some(3));
    let gaps = parse("city,size\nOslo,1\n,1\n");
    assert!(encoding.clone().fit(&gaps).is_err());
    let own = encoding.missing(Missing::Mean).fit(&gaps).unwrap();
    assert_eq!(own.input_names()[..2], ["city=missing", "city=Oslo"]);
}

#[test]
fn targets_are_numbers_or_classes() {
    let train = parse("x,price,kind\n1,10,b\n2,20,a\n3,30,b\n");
    let encoder = TableEncoding::new().numbers(["x"]).fit(&train).unwrap();
    let prices = encoder.regression(&train, "price").unwrap();
    assert_eq!(prices.targets().to_vec(), [10.0, 20.0, 30.0]);
    let kinds = encoder.classification(&train, "kind").unwrap();
    assert_eq!((kinds.targets().to_vec(), kinds.classes()), (vec![1, 0, 1], Some(2)));
    let names = classes(&train, "kind").unwrap();
    let test = parse("x,price,kind\n5,?,b\n");
    assert_eq!(
        encoder.classification_as(&test, "kind", &names).unwrap().targets().to_vec(),
        [1],
        "the class keeps its number"
    );
    assert!(encoder.regression(&test, "price").unwrap_err().to_string().contains("no value"));
    assert!(encoder.regression(&test, "kind").unwrap_err().to_string().contains("got texts"));
    for (row, name) in [("1,-2e39,b", "price"), ("1e300,2,b", "x")] {
        let error = encoder.regression(&parse(&format!("x,price,kind\n{row}\n")), "price");
        let error = error.unwrap_err().to_string();
        assert!(error.contains("row 0 has ") && error.contains("too large"), "{error}");
        assert!(error.contains(&format!("in column {name:?}")), "{error}");
    }
    let other = parse("x,price,kind\n5,1,c\n");
    assert!(encoder.classification_as(&other, "kind", &names).is_err());
    assert!(TableEncoding::new().fit(&train).is_err());
    assert!(TableEncoding::new().numbers(["kind"]).fit(&train).is_err());
}

#[test]
fn rows_are_dealt_out_once() {
    let text: String = (0..100).map(|row| format!("{row},r{row}\n")).collect();
    let table = Csv::new().header(false).parse(text.as_bytes()).unwrap();
    let (train, test) = table.split(0.7, &mut Rng::seed(1)).unwrap();
    assert_eq!((train.len(), test.len()), (70, 30));
    let numbers = |table: &Table| match table.column("0").unwrap() {
        Column::Numbers(numbers) => numbers.clone(),
        Column::Texts(_) => panic!(),
    };
    let mut all = [numbers(&train), numbers(&test)].concat();
    assert_ne!(all, numbers(&table));
    all.sort_by(f64::total_cmp);
    assert_eq!(all, numbers(&table));
    let Column::Texts(names) = train.column("1").unwrap() else { panic!() };
    let paired =
        |(name, number): (&Option<Box<str>>, f64)| name.as_deref() == Some(&format!("r{number}"));
    assert!(names.iter().zip(numbers(&train)).all(paired));
    assert!(table.rows(&[100]).is_err());
    assert!(table.split(2.0, &mut Rng::seed(1)).is_err());
    let error = table.split(0.001, &mut Rng::seed(1)).unwrap_err().to_string();
    assert!(error.contains("divides 100 rows into 0 and 100: a part is empty"), "{error}");
}
