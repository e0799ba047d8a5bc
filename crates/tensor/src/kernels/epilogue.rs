//! What follows a product or a convolution while its output is in the cache.

use std::fmt;

/// The function of an [`Epilogue`]. Its arguments are the position of the first
/// element in the output, and the elements.
type Function<'a, T> = dyn Fn(usize, &mut [T]) + Sync + 'a;

/// A function of each element of an output and its position, such as ReLU or
/// the sum with another tensor, which replaces the element.
///
/// A kernel calls it once for each element, from any thread, with consecutive
/// elements that it has just stored for the last time. Their number depends on
/// the kernel and on threads, so the result for an element must not depend on
/// its neighbours.
pub struct Epilogue<'a, T> {
    function: Option<&'a Function<'a, T>>,
    /// The position of the kernel's output in the whole output.
    first: usize,
}

impl<T> Clone for Epilogue<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Epilogue<'_, T> {}

impl<T> fmt::Debug for Epilogue<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Epilogue").field("first", &self.first).finish_non_exhaustive()
    }
}

impl<'a, T> Epilogue<'a, T> {
    /// Nothing follows.
    pub const NONE: Self = Self { function: None, first: 0 };

    /// `function(first, elements)` is applied to the elements of a row-major
    /// output from the position `first` on.
    pub fn new(function: &'a (dyn Fn(usize, &mut [T]) + Sync + 'a)) -> Self {
        Self { function: Some(function), first: 0 }
    }

    /// The same for a part of the output that begins at this position.
    #[must_use]
    pub fn from(self, position: usize) -> Self {
        Self { first: self.first + position, ..self }
    }

    /// Whether there is a function.
    pub(crate) fn is_some(self) -> bool {
        self.function.is_some()
    }

    /// Applies the function to elements from this position on.
    pub fn apply(self, position: usize, elements: &mut [T]) {
        if let Some(function) = self.function {
            function(self.first + position, elements);
        }
    }

    /// Applies the function to the first `n` of every `columns` elements, the
    /// rows of a matrix.
    pub(crate) fn apply_to_rows(self, matrix: &mut [T], [n, columns]: [usize; 2]) {
        if !self.is_some() || n == columns {
            return self.apply(0, matrix);
        }
        for (row, elements) in matrix.chunks_mut(columns).enumerate() {
            self.apply(row * columns, &mut elements[..n]);
        }
    }
}
