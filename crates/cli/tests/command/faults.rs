//! User errors: each has a message that says what to do, causes no panic, and
//! leaves no file.

use crate::{Place, flowers};

#[test]
fn faults_are_explained_and_leave_no_file() {
    let place = Place::new();
    place.write("flowers.csv", flowers(30));
    place.write("empty.csv", "");
    place.write("head.csv", "a,b\n");
    place.write("one.csv", "a,b\n1,x\n2,x\n3,x\n4,x\n5,x\n6,x\n");
    place.write("four.csv", "a,b\n1,x\n2,y\n3,x\n4,y\n");
    place.write("names.csv", "a,b\n1,u\n2,v\n3,w\n4,x\n5,y\n");
    place.write("constant.csv", "a,b\n1,1.5\n2,1.5\n3,1.5\n");
    place.write("ragged.csv", "a,b\n1,2\n1,2,3\n");
    place.write("useless.csv", "a,b\n5,x\n5,y\n5,x\n5,y\n5,x\n5,y\n");
    let names: Vec<String> = (0..101).map(|column| column.to_string()).collect();
    place.write("wide.csv", names.join(",") + "\n");
    place.write("open.csv", "a,b\n1,x\n2,y\n1,x\n2,\"y\n1,x\n2,y\n1,x\n2,y\n");
    place.write("far.csv", "a,b\n1e300,x\n2,y\n3,x\n4,y\n5,x\n6,y\n");
    place.write("high.csv", "a,b\n1,1e300\n2,3.5\n3,4\n1,5\n1,6\n2,7\n1,1e300\n");
    place.write("table.xlsx", "PK");
    place.write("binary.csv", [0xff, 0xfe, 0x00]);
    place.write("nothing/readme.md", "no data");
    place.write("flat/a.png", "x");
    place.write("lone/only/a.png", "x");
    place.write("lonely/only/a.txt", "x");
    place.write("model.pkl", "?????????????");
    place.write("run.json", "{}");
    let before = place.files();
    for (arguments, code, expected) in [
        ("train", 2, "<DATA>"),
        ("train missing.csv -t y", 1, "missing.csv: "),
        ("train flowers.csv", 2, "the columns of flowers.csv are \"id\", \"length\""),
        (
            "train flowers.csv -t nothing",
            1,
            "there is no column \"nothing\"; the columns are \"id\"",
        ),
        ("train flowers.csv -t kind --ignore nothing", 1, "no column \"nothing\""),
        ("train flowers.csv -t kind --text nothing", 1, "no column \"nothing\""),
        ("train flowers.csv -t kind --task regression", 1, "has texts"),
        ("train flowers.csv -t kind -o no/such/m.safetensors", 1, "no/such/m.safetensors: "),
        ("train flowers.csv -t kind -o m.json", 1, "m.json: expected a file for the model"),
        ("train flowers.csv -t kind --validation 1.5", 2, "between 0 and 1"),
        ("train flowers.csv -t kind --layers 0", 1, "at least 1"),
        ("train flowers.csv -t kind --delimiter ab", 2, "one ASCII character"),
        ("train empty.csv -t b", 1, "empty.csv: it is empty"),
        ("train head.csv -t b", 1, "head.csv: has no rows"),
        ("train one.csv -t b", 1, "one.csv: the column \"b\" has one class only, \"x\""),
        ("train four.csv -t b", 1, "too few"),
        ("train names.csv -t b", 1, "5 different values in 5 rows"),
        ("train constant.csv -t b", 1, "constant.csv: the column \"b\" is 1.5 in all rows"),
        ("train ragged.csv -t b", 1, "ragged.csv: line 3: expected 2 fields, got 3"),
        ("train useless.csv -t b", 1, "no column to predict from: \"a\" has one value"),
        ("train table.xlsx -t b", 1, "table.xlsx: files with the extension .xlsx"),
        ("train binary.csv -t b", 1, "binary.csv: line 1: it is not"),
        ("train nothing", 1, "nothing: expected a folder for each class"),
        ("train flat", 1, "the 1 pictures in it are not in such a folder"),
        ("train lone", 1, "lone"),
        ("train lonely", 1, "lonely: has one class only, \"only\""),
        ("train lone -t kind", 2, "--target is for tables"),
        ("train --settings run.json", 1, "run.json: expected the settings of a run"),
        ("train --settings missing.json", 1, "missing.json: "),
        ("predict model.pkl flowers.csv", 1, "model.pkl: expected a safetensors file or an ONNX"),
        ("predict missing.safetensors flowers.csv", 1, "missing.safetensors: "),
        ("predict model.pkl", 2, "expected inputs: files"),
        ("info flowers.csv", 1, "flowers.csv"),
        ("info missing.pt", 1, "missing.pt: "),
        ("summary flowers.csv", 1, "flowers.csv: expected a safetensors file"),
        ("convert model.pkl m.pdf", 2, "m.pdf: expected an extension"),
        ("convert model.pkl m.npz", 1, "model.pkl"),
        ("convert missing.pt m.npz", 1, "missing.pt: "),
        ("bench model.pkl", 1, "model.pkl: expected"),
        ("serve", 2, "<MODELS>"),
        ("serve model.pkl", 1, "model.pkl: expected"),
        ("serve missing.onnx", 1, "missing.onnx: "),
        ("serve model.pkl --address here", 2, "a host and a port, such as"),
        ("serve model.pkl --address localhost:0", 1, "model.pkl: expected"),
        ("bench model.pkl --batch 0", 2, "0 is not in"),
        ("bench model.pkl --seconds 1e300", 2, "above 0 and below 1e19"),
        ("quantize model.pkl flowers.csv -o m.onnx --percentile 500", 2, "from 50 to 100"),
        ("train wide.csv", 2, "\"28\", \"29\" and 71 more"),
        ("train flowers.csv -t knd", 1, "no column \"knd\", but \"kind\"; the columns are"),
        ("train flowers.csv -t kind --validation 0.001", 1, "0.001 of 30 samples are 0"),
        ("train /dev/null -t kind", 1, "got a pipe or a device"),
        ("train open.csv -t b", 1, "open.csv: line 5: a quote is not closed"),
        ("train far.csv -t b", 1, "far.csv: column \"a\" has numbers too large"),
        ("train high.csv -t b", 1, "high.csv: row 0 has 1e300 in column \"b\""),
    ] {
        let ran = place.run(&arguments.split(' ').collect::<Vec<_>>());
        assert_eq!(ran.code, Some(code), "{arguments}: {ran:?}");
        assert!(ran.err.contains(expected), "{arguments}: {ran:?}");
        assert!(!ran.err.contains("panicked"), "{arguments}: {ran:?}");
        assert_eq!(place.files(), before, "{arguments}");
    }
}

#[test]
fn data_that_do_not_suit_a_model_are_refused() {
    let place = Place::new();
    place.write("flowers.csv", flowers(40));
    place.ok(&["train", "flowers.csv", "-t", "kind", "--epochs", "2", "-o", "m.safetensors"]);
    place.write("other.csv", "length,kind\n1,daisy\n");
    place.write("texts.csv", "length,width,colour\nlong,1,red\n");
    place.write("new.csv", "length,width,colour,kind\n1,1,red,orchid\n");
    place.write("bare.csv", "length,width,colour\n1,1,red\n");
    place.write("wrong.json", "{\"rows\": [{\"length\": 1}]}");
    for (arguments, code, expected) in [
        ("predict m.safetensors other.csv", 1, "other.csv: there is no column \"width\""),
        ("predict m.safetensors texts.csv", 1, "\"long\""),
        ("predict m.safetensors wrong.json", 1, "\"width\""),
        ("predict m.safetensors missing.csv", 1, "missing.csv: "),
        ("predict m.safetensors flowers.png", 1, "flowers.png: "),
        ("predict m.safetensors --text hello", 1, "texts"),
        ("evaluate m.safetensors new.csv", 1, "\"orchid\""),
        ("evaluate m.safetensors bare.csv", 1, "there is no column \"kind\""),
        ("evaluate m.safetensors flowers.csv --require speed=1", 2, "the metrics accuracy, loss"),
        ("convert m.safetensors m.safetensors", 2, "both input and output"),
        ("bench m.safetensors --axis length", 2, "length=64"),
    ] {
        let ran = place.run(&arguments.split(' ').collect::<Vec<_>>());
        assert_eq!(ran.code, Some(code), "{arguments}: {ran:?}");
        assert!(ran.err.contains(expected), "{arguments}: {ran:?}");
        assert!(!ran.err.contains("panicked"), "{arguments}: {ran:?}");
    }
}
