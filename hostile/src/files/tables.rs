//! Delimited tables and plain texts.

use super::{Files, Hostile};

pub(super) fn files() -> Vec<Hostile> {
    let mut files = table_files();
    files.extend(text_files());
    files
}

fn table_files() -> Vec<Hostile> {
    let mut files = Files::of(&["csv"]);
    let ragged = [
        ("too few fields", "a,b,c\n1,2,3\n1,2\n"),
        ("too many fields", "a,b,c\n1,2,3\n1,2,3,4\n"),
        ("too few at once", "a,b\n1\n"),
        ("a last line cut off", "a,b\n1,2\n3"),
        ("a quote that eats a line", "a,b\n\"1,2\n3,4\n"),
        ("a quote in a field", "a,b\n1\"2,\"3\",4\n"),
        ("another delimiter", "a,b\n1;2\n"),
        ("carriage returns", "a,b\r1,2,3\r"),
    ];
    for (name, text) in ragged {
        files.refused(name, text);
    }
    let wide: String = (0..20_000).map(|column| format!("{column},")).collect();
    files.refused("twenty thousand columns and then one", format!("{wide}x\n1\n"));
    files.refused("a hundred thousand columns of one name", format!("{}a\n", "a,".repeat(100_000)));
    files.refused("two columns of one name", "a,b,a\n1,2,3\n");
    files.refused("columns without names", ",\n1,2\n");
    for (name, bytes) in [
        ("nothing", &b""[..]),
        ("line ends alone", b"\n\n\r\n\n"),
        ("a byte that is no UTF-8", b"a,b\n1,\xff\n"),
        ("a header that is no UTF-8", b"a,\xe9t\xe9\n1,2\n"),
        ("a character cut off", b"a,b\n1,\xe6\x97"),
        ("UTF-16 with too few fields", b"\xff\xfea\0,\0b\0\n\x001\0\n\0"),
        ("UTF-16 cut off within a character", b"\xfe\xff\0a\0,\0b\0\n\0"),
        ("UTF-32", b"\xff\xfe\0\0a\0\0\0"),
        ("a gzip", b"\x1f\x8b\x08\0\0\0\0\0\0\x03"),
        ("a surrogate", b"a\n\xed\xa0\x80\n"),
        ("an overlong slash", b"a\n\xc0\xaf\n"),
        ("semicolons with too many", b";1\n1;2;3\n"),
        ("tabs with too few", b"\ta\tb\n1\n"),
    ] {
        files.refused(name, bytes);
    }
    for (name, text) in [
        ("a field of a megabyte", format!("a\n{}\n", "x".repeat(1 << 20))),
        ("a quote without end", format!("a\n\"{}", "x\n".repeat(1 << 16))),
        ("commas", ",".repeat(1 << 14) + "\n"),
        ("numbers in unusual forms", "a\ninf\nnan\n1e999\n-0\n0x10\n".to_owned()),
        ("NUL bytes", "a,b\n\0,\0\n".to_owned()),
        ("the largest numbers", "a\n1.7976931348623157e308\n-1.7976931348623157e308\n".to_owned()),
    ] {
        files.withstood(name, text);
    }
    files.files
}

fn text_files() -> Vec<Hostile> {
    let mut files = Files::of(&["text"]);
    for (name, bytes) in [
        ("a continuation alone", &b"a\x80"[..]),
        ("an overlong NUL", b"\xc0\x80"),
        ("an overlong slash", b"\xc0\xaf"),
        ("an overlong euro", b"\xf0\x82\x82\xac"),
        ("a high surrogate", b"\xed\xa0\x80"),
        ("a low surrogate", b"\xed\xbf\xbf"),
        ("a pair of surrogates", b"\xed\xa0\xbd\xed\xb8\x80"),
        ("beyond Unicode", b"\xf4\x90\x80\x80"),
        ("five bytes", b"\xf8\x88\x80\x80\x80"),
        ("six bytes", b"\xfc\x84\x80\x80\x80\x80"),
        ("0xfe", b"\xfe"),
        ("0xff", b"\xff"),
        ("Latin-1", b"na\xefve"),
        ("UTF-16 cut off within a character", b"\xff\xfea\0b"),
        ("UTF-16 with the first half of a pair", b"\xff\xfe\x3e\xd8a\0"),
        ("UTF-16 with the second half of a pair", b"\xfe\xff\xdd\x80\0a"),
        ("UTF-32", b"\xff\xfe\0\0a\0\0\0"),
        ("UTF-32 the other way", b"\0\0\xfe\xff\0\0\0a"),
        ("a gzip", b"\x1f\x8b\x08\0"),
        ("a PNG", b"\x89PNG\r\n"),
    ] {
        files.refused(name, bytes);
    }
    for character in ["é", "日", "🦀"] {
        let bytes = character.as_bytes();
        files.truncated(character, bytes, 1..bytes.len());
        files.refused(
            format!("{character} before a letter"),
            [&bytes[..bytes.len() - 1], b"a"].concat(),
        );
    }
    files.refused("a megabyte and then 0xff", [vec![b'a'; 1 << 20], vec![0xff]].concat());
    files.withstood("a byte-order mark alone", "\u{feff}");
    files.withstood("UTF-16", b"\xff\xfea\0b\0");
    files.withstood("UTF-16 the other way", b"\xfe\xff\0a\0b");
    files.withstood("a byte-order mark of UTF-16 alone", b"\xff\xfe");
    files.withstood("many characters", (0..0x3000).filter_map(char::from_u32).collect::<String>());
    files.files
}
