//! The line numbers of records in a text.

/// Counts the lines up to each record.
///
/// The reader's own count is the line in which the previous record ended.
pub(super) struct Lines<'a> {
    text: &'a [u8],
    comment: Option<u8>,
    /// The number of bytes counted so far.
    offset: usize,
    /// The line that `offset` is in.
    line: usize,
}

impl<'a> Lines<'a> {
    pub(super) fn new(text: &'a [u8], comment: Option<u8>) -> Self {
        Self { text, comment, offset: 0, line: 1 }
    }

    /// The line of the first record at or after this byte, without the line
    /// ends and comments before it.
    pub(super) fn at(&mut self, byte: usize) -> usize {
        while self.offset < byte.min(self.text.len()) {
            self.step();
        }
        loop {
            match self.rest() {
                [b'\r' | b'\n', ..] => self.step(),
                [first, ..] if Some(*first) == self.comment => {
                    while !matches!(self.rest(), [] | [b'\n', ..]) {
                        self.step();
                    }
                }
                _ => return self.line,
            }
        }
    }

    /// The text from the last requested record on.
    pub(super) fn rest(&self) -> &'a [u8] {
        &self.text[self.offset..]
    }

    fn step(&mut self) {
        let ends = match self.rest() {
            [b'\r', b'\n', ..] => false,
            [b'\r' | b'\n', ..] => true,
            _ => false,
        };
        self.line += usize::from(ends);
        self.offset += 1;
    }
}
