//! Which line of a text a record begins in.

/// Counts the lines of a text up to the records in it, one after the other.
///
/// The reader's own count is that of the line in which the record before ended.
pub(super) struct Lines<'a> {
    text: &'a [u8],
    comment: Option<u8>,
    /// What was counted.
    place: usize,
    /// The line that `place` is in.
    line: usize,
}

impl<'a> Lines<'a> {
    pub(super) fn new(text: &'a [u8], comment: Option<u8>) -> Self {
        Self { text, comment, place: 0, line: 1 }
    }

    /// The line of the first record from this byte on: line ends and comments
    /// before it are not its own.
    pub(super) fn at(&mut self, byte: usize) -> usize {
        while self.place < byte.min(self.text.len()) {
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

    /// The text from the record on that was asked for last.
    pub(super) fn rest(&self) -> &'a [u8] {
        &self.text[self.place..]
    }

    fn step(&mut self) {
        let ends = match self.rest() {
            [b'\r', b'\n', ..] => false,
            [b'\r' | b'\n', ..] => true,
            _ => false,
        };
        self.line += usize::from(ends);
        self.place += 1;
    }
}
