//! Replaces comments and literals by blanks, so that rules apply only to code.

/// `text` with the contents of comments, strings and character literals replaced by blanks.
/// Lines stay where they are.
pub(super) fn code_only(text: &str) -> String {
    let characters: Vec<char> = text.chars().collect();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    while at < characters.len() {
        let end = literal_end(&characters, at);
        if end == at {
            code.push(characters[at]);
            at += 1;
        } else {
            code.extend(characters[at..end].iter().map(|&c| if c == '\n' { '\n' } else { ' ' }));
            at = end;
        }
    }
    code
}

/// The end of the comment or literal that begins at `at`; `at` itself if none begins there.
fn literal_end(text: &[char], at: usize) -> usize {
    let next = text.get(at + 1).copied();
    match text[at] {
        '/' if next == Some('/') => find(text, at, |rest| rest[0] == '\n'),
        '/' if next == Some('*') => block_comment_end(text, at),
        '"' => string_end(text, at),
        'r' if !continues_word(text, at) => raw_string_end(text, at),
        '\'' => character_end(text, at),
        _ => at,
    }
}

/// Whether the character at `at` continues a word; the `b` of `br"..."` does not count.
fn continues_word(text: &[char], at: usize) -> bool {
    let in_word = |c: &char| c.is_alphanumeric() || *c == '_';
    let word: Vec<&char> = text[..at].iter().rev().take_while(|c| in_word(c)).take(2).collect();
    !matches!(word[..], [] | ['b'])
}

/// The first index from `at` on at which `condition` holds for the rest, or the end of the text.
fn find(text: &[char], at: usize, condition: impl Fn(&[char]) -> bool) -> usize {
    (at..text.len()).find(|&index| condition(&text[index..])).unwrap_or(text.len())
}

/// Block comments nest.
fn block_comment_end(text: &[char], at: usize) -> usize {
    let (mut depth, mut index) = (0, at);
    while index < text.len() {
        if text[index..].starts_with(&['/', '*']) {
            (depth, index) = (depth + 1, index + 2);
        } else if text[index..].starts_with(&['*', '/']) {
            (depth, index) = (depth - 1, index + 2);
            if depth == 0 {
                return index;
            }
        } else {
            index += 1;
        }
    }
    text.len()
}

fn string_end(text: &[char], at: usize) -> usize {
    let mut index = at + 1;
    while index < text.len() && text[index] != '"' {
        index += if text[index] == '\\' { 2 } else { 1 };
    }
    (index + 1).min(text.len())
}

/// `r"..."`, `r#"..."#` and so on; anything else, such as `r#type`, is code.
fn raw_string_end(text: &[char], at: usize) -> usize {
    let quote = find(text, at + 1, |rest| rest[0] != '#');
    if text.get(quote) != Some(&'"') {
        return at;
    }
    let hashes = quote - at - 1;
    let closes = |rest: &[char]| {
        rest.len() > hashes && rest[0] == '"' && rest[1..=hashes].iter().all(|&c| c == '#')
    };
    (find(text, quote + 1, closes) + 1 + hashes).min(text.len())
}

/// The end of a character literal, which must be distinguished from a lifetime or a label.
fn character_end(text: &[char], at: usize) -> usize {
    match (text.get(at + 1), text.get(at + 2)) {
        (Some('\\'), _) => (find(text, at + 3, |rest| rest[0] == '\'') + 1).min(text.len()),
        (Some(_), Some('\'')) => at + 3,
        _ => at,
    }
}

#[cfg(test)]
mod tests {
    use super::code_only;

    /// The words that remain.
    fn words(text: &str) -> Vec<String> {
        code_only(text).split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn comments_go_and_code_stays() {
        assert_eq!(words("a // unsafe\nb /* unsafe /* nested */ still */ c"), ["a", "b", "c"]);
        assert_eq!(words("/* never closed"), [""; 0]);
    }

    #[test]
    fn strings_go_with_their_escapes() {
        assert_eq!(words(r#"a "x \" unsafe" b"#), ["a", "b"]);
        assert_eq!(words(r##"a r#"say "unsafe" "# b"##), ["a", "b"]);
        assert_eq!(words(r##"a br#"unsafe"# c"##), ["a", "b", "c"], "the prefix b is harmless");
        assert_eq!(words(r#"a "never closed"#), ["a"]);
    }

    #[test]
    fn raw_identifiers_lifetimes_and_characters_are_told_apart() {
        assert_eq!(words("r#type 'a for"), ["r#type", "'a", "for"]);
        assert_eq!(words(r"a '\'' b '\u{41}' c '/' d"), ["a", "b", "c", "d"]);
        assert_eq!(words("f('\"') unsafe"), ["f(", ")", "unsafe"]);
    }

    #[test]
    fn lines_stay_where_they_are() {
        let text = "a\n/* b\n c */ d\n\"e\nf\" g";
        let code = code_only(text);
        assert_eq!(code.lines().count(), text.lines().count());
        assert_eq!(code.lines().nth(2).map(str::trim), Some("d"));
    }
}
