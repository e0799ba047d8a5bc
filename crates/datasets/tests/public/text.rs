//! Text as symbols, and windows of it.

use std::fs;

use dendra_datasets::{Dataset, TextDataset, Vocabulary, parse_text, read_text};
use dendra_tensor::Error;

#[test]
fn characters_are_numbered_in_their_order_and_come_back() {
    let text = "Größe, naïve, 日本\n";
    let vocabulary = Vocabulary::characters(text);
    let numbers = vocabulary.encode(text).unwrap();
    assert_eq!(numbers.len(), text.chars().count());
    assert!(numbers.iter().all(|&number| (0..vocabulary.len() as i64).contains(&number)));
    assert_eq!(vocabulary.decode(&numbers).unwrap(), text);
    let error = vocabulary.encode("Gräz").unwrap_err().to_string();
    assert!(error.contains("'ä' at byte 2"), "{error}");
    for wrong in [-1, vocabulary.len() as i64] {
        assert!(vocabulary.decode(&[0, wrong]).is_err());
    }
    assert!(Vocabulary::characters("").is_empty());
}

#[test]
fn bytes_fit_every_text() {
    let vocabulary = Vocabulary::bytes();
    let text = "日本";
    assert_eq!(vocabulary.encode(text).unwrap().len(), 6);
    assert_eq!(vocabulary.decode(&vocabulary.encode(text).unwrap()).unwrap(), text);
    assert_eq!(vocabulary.decode(&[0xe6, 0x97]).unwrap(), "\u{fffd}");
    assert!(vocabulary.decode(&[256]).is_err());
}

#[test]
fn targets_are_the_next_symbols() {
    let text = TextDataset::new("abcdefgh", Vocabulary::bytes(), 3).unwrap();
    assert_eq!(text.len(), 5);
    let read = |values: &[i64]| text.vocabulary().decode(values).unwrap();
    let (x, y) = text.batch(&[0, 4]).unwrap();
    assert_eq!((x.shape(), y.shape()), (&[2, 3].into(), &[2, 3].into()));
    assert_eq!((read(&x.to_vec()), read(&y.to_vec())), ("abcefg".into(), "bcdfgh".into()));
    assert!(text.batch(&[5]).is_err());
    let apart = text.stride(3).unwrap();
    assert_eq!(apart.len(), 2);
    assert_eq!(read_window(&apart, 1), "def");
}

fn read_window(text: &TextDataset, index: usize) -> String {
    text.vocabulary().decode(&text.batch(&[index]).unwrap().0.to_vec()).unwrap()
}

#[test]
fn a_text_is_cut_in_two_without_overlap() {
    let text = TextDataset::new("0123456789", Vocabulary::characters("0123456789"), 2).unwrap();
    let (train, validation) = text.split_text(0.7).unwrap();
    assert_eq!(train.symbols(), [0, 1, 2, 3, 4, 5, 6]);
    assert_eq!(validation.symbols(), [7, 8, 9]);
    assert_eq!((train.len(), validation.len()), (5, 1));
    assert!(train.clone().split_text(-0.1).is_err());
    // Of 7 symbols, 2 hold no window of 2 with a target.
    let error = train.split_text(0.3).unwrap_err().to_string();
    assert!(error.contains("`fraction` is 0.3, which makes a part of 2 of 7 symbols"), "{error}");
}

#[test]
fn short_texts_have_no_windows() {
    for text in ["", "a", "abc"] {
        assert!(TextDataset::new(text, Vocabulary::bytes(), 3).unwrap().is_empty());
    }
    assert!(TextDataset::new("abc", Vocabulary::bytes(), 0).is_err());
    assert!(TextDataset::new("abc", Vocabulary::bytes(), 1).unwrap().stride(0).is_err());
    let long = TextDataset::new("abc", Vocabulary::bytes(), usize::MAX);
    assert!(long.is_err() || long.unwrap().is_empty());
}

#[test]
fn a_text_file_must_be_utf_8_or_marked_utf_16() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("text");
    fs::write(&path, b"\xef\xbb\xbfabc").unwrap();
    assert_eq!(read_text(&path).unwrap(), "abc");
    fs::write(&path, b"abc\xff").unwrap();
    let error = read_text(&path).unwrap_err();
    assert!(matches!(error, Error::File { .. }));
    assert!(error.to_string().ends_with("byte 3 is 0xff"), "{error}");
    fs::write(&path, b"abc\xe6\x97").unwrap();
    assert!(read_text(&path).unwrap_err().to_string().ends_with("byte 3 is 0xe6"));
    assert!(matches!(read_text(folder.path()).unwrap_err(), Error::Io { .. }));
    let units: Vec<u16> = "\u{feff}Größe 🦀\r\n".encode_utf16().collect();
    let little: Vec<u8> = units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
    let big: Vec<u8> = units.iter().flat_map(|unit| unit.to_be_bytes()).collect();
    for bytes in [&little, &big] {
        assert_eq!(parse_text(bytes).unwrap(), "Größe 🦀\r\n");
        let error = parse_text(&bytes[..bytes.len() - 1]).unwrap_err().to_string();
        assert!(
            error.ends_with("not a UTF-16 text: byte 20 does not belong to a character"),
            "{error}"
        );
        // The first half of the crab, and then a line end.
        let cut = [&bytes[..16], &bytes[18..]].concat();
        let error = parse_text(&cut).unwrap_err().to_string();
        assert!(error.contains("byte 14 does not belong to a character"), "{error}");
    }
    let error = parse_text(b"\xff\xfe\0\0a\0\0\0").unwrap_err().to_string();
    assert!(error.contains("UTF-32"), "{error}");
}
