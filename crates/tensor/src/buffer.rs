//! Storage: 64-byte-aligned buffers that a pool recycles.
//!
//! Page faults on fresh memory cost more than the arithmetic of a small
//! network, so a buffer that is dropped goes to a free list of the dropping
//! thread, by size class, and the next allocation of that class takes it from
//! there. All pooled memory was zeroed when it came from the system and only
//! ever holds values without padding, so it is always *initialised*: kernels
//! write into plain `&mut [T]` slices and need no `unsafe`.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::cell::RefCell;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;

use crate::element::Element;

/// The alignment of every pooled buffer: a cache line, and an AVX-512 register.
const ALIGNMENT: usize = 64;

/// What the free lists of one thread may hold together, in bytes: what a step
/// of a middle-sized network needs. With a fourth of it, page faults took a
/// quarter of the time of such a step.
const POOL_CAPACITY: usize = 256 << 20;

/// Bytes that a full pool refuses before it starts over: by then it holds what
/// is no longer asked for, and fresh memory has cost several times more than
/// filling it again.
const REFUSALS: usize = 4 * POOL_CAPACITY;

/// A fixed-length block of initialised values.
pub(crate) struct Buffer<T: Element> {
    pointer: NonNull<T>,
    length: usize,
    origin: Origin,
}

/// Where a buffer's memory came from, and so where it must go.
enum Origin {
    /// The pool's size class.
    Pool(SizeClass),
    /// A `Vec` of this capacity that was handed over.
    Vec(usize),
    /// No memory: the buffer is empty.
    Empty,
}

// SAFETY: a buffer owns its memory exclusively and `T` is `Send + Sync`.
unsafe impl<T: Element> Send for Buffer<T> {}
// SAFETY: as above; shared access only reads.
unsafe impl<T: Element> Sync for Buffer<T> {}

impl<T: Element> Buffer<T> {
    /// A buffer whose values are unspecified (yet initialised).
    pub(crate) fn new(length: usize) -> Self {
        const { assert!(align_of::<T>() <= ALIGNMENT && size_of::<T>() > 0) };
        if length == 0 {
            return Self { pointer: NonNull::dangling(), length, origin: Origin::Empty };
        }
        let bytes = length.checked_mul(size_of::<T>()).expect("a buffer must fit the memory");
        let class = SizeClass::of(bytes);
        let recycled = POOL.try_with(|pool| pool.borrow_mut().take(class)).ok().flatten();
        let was_recycled = recycled.is_some();
        let pointer = recycled.unwrap_or_else(|| class.allocate());
        if was_recycled && (!T::ANY_BITS || cfg!(debug_assertions)) {
            // Debug builds poison with NaNs, so that a kernel that forgets to
            // write an element is found out.
            let byte = if T::ANY_BITS { 0xff } else { 0 };
            // SAFETY: the block is at least `bytes` long and ours alone.
            unsafe { pointer.write_bytes(byte, bytes) };
        }
        Self { pointer: pointer.cast(), length, origin: Origin::Pool(class) }
    }

    /// Takes over the memory of a vector.
    pub(crate) fn from_vec(vec: Vec<T>) -> Self {
        if vec.is_empty() {
            return Self::new(0);
        }
        let mut vec = ManuallyDrop::new(vec);
        let origin = Origin::Vec(vec.capacity());
        let pointer = NonNull::new(vec.as_mut_ptr()).expect("a vector's pointer is never null");
        Self { pointer, length: vec.len(), origin }
    }

    pub(crate) fn as_slice(&self) -> &[T] {
        // SAFETY: `pointer` is aligned and valid for `length` initialised
        // values for as long as `self` lives.
        unsafe { std::slice::from_raw_parts(self.pointer.as_ptr(), self.length) }
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [T] {
        // SAFETY: as in `as_slice`, and `&mut self` makes the access unique.
        unsafe { std::slice::from_raw_parts_mut(self.pointer.as_ptr(), self.length) }
    }
}

impl<T: Element> Drop for Buffer<T> {
    fn drop(&mut self) {
        match self.origin {
            Origin::Empty => {}
            Origin::Vec(capacity) => {
                // SAFETY: pointer, length and capacity are those of the vector
                // that `from_vec` took apart.
                drop(unsafe { Vec::from_raw_parts(self.pointer.as_ptr(), self.length, capacity) });
            }
            Origin::Pool(class) => {
                let block = self.pointer.cast();
                // While a thread ends, its pool may be gone already.
                let kept = POOL.try_with(|pool| pool.borrow_mut().put(class, block));
                if !kept.unwrap_or(false) {
                    // SAFETY: the block came from `class.allocate` and nobody
                    // else holds it.
                    unsafe { class.free(block) };
                }
            }
        }
    }
}

/// A class of block sizes; four classes per doubling, so at most a fifth of a
/// block is unused.
#[derive(Clone, Copy)]
struct SizeClass {
    /// Index of the free list.
    index: usize,
    /// Bytes of every block of the class.
    bytes: usize,
}

impl SizeClass {
    const COUNT: usize = 4 * usize::BITS as usize;

    fn of(bytes: usize) -> Self {
        let lines = bytes.div_ceil(ALIGNMENT);
        let shift = lines.ilog2().saturating_sub(2);
        let quarters = lines.div_ceil(1 << shift);
        Self { index: 4 * shift as usize + quarters, bytes: (quarters << shift) * ALIGNMENT }
    }

    /// The class of this index: the inverse of `of`. Quarters are 1 to 7 for
    /// the first three doublings and 4 to 8 from then on.
    fn nth(index: usize) -> Self {
        let shift = (index.saturating_sub(1) / 4).saturating_sub(1);
        Self { index, bytes: ((index - 4 * shift) << shift) * ALIGNMENT }
    }

    fn layout(self) -> Layout {
        Layout::from_size_align(self.bytes, ALIGNMENT).expect("a buffer must fit the memory")
    }

    fn allocate(self) -> NonNull<u8> {
        // SAFETY: the layout's size is not zero.
        let block = unsafe { alloc_zeroed(self.layout()) };
        NonNull::new(block).unwrap_or_else(|| handle_alloc_error(self.layout()))
    }

    /// # Safety
    ///
    /// `block` must come from `allocate` of the same class and not be used
    /// again.
    unsafe fn free(self, block: NonNull<u8>) {
        // SAFETY: promised by the caller.
        unsafe { dealloc(block.as_ptr(), self.layout()) }
    }
}

thread_local! {
    static POOL: RefCell<Pool> = const { RefCell::new(Pool::new()) };
}

/// The free lists of one thread.
struct Pool {
    lists: [Vec<NonNull<u8>>; SizeClass::COUNT],
    bytes: usize,
    /// Bytes refused since it last started over.
    refused: usize,
}

impl Pool {
    const fn new() -> Self {
        Self { lists: [const { Vec::new() }; SizeClass::COUNT], bytes: 0, refused: 0 }
    }

    fn take(&mut self, class: SizeClass) -> Option<NonNull<u8>> {
        let block = self.lists[class.index].pop()?;
        self.bytes -= class.bytes;
        Some(block)
    }

    /// Whether the pool kept the block.
    fn put(&mut self, class: SizeClass, block: NonNull<u8>) -> bool {
        if class.bytes > POOL_CAPACITY {
            return false;
        }
        if self.bytes + class.bytes > POOL_CAPACITY {
            self.refused += class.bytes;
            if self.refused < REFUSALS {
                return false;
            }
            self.clear();
        }
        self.lists[class.index].push(block);
        self.bytes += class.bytes;
        true
    }

    /// Returns all memory to the system.
    fn clear(&mut self) {
        for (index, list) in self.lists.iter_mut().enumerate() {
            for block in list.drain(..) {
                // SAFETY: blocks on this list came from `allocate` of this
                // class and are held by nobody else.
                unsafe { SizeClass::nth(index).free(block) };
            }
        }
        (self.bytes, self.refused) = (0, 0);
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn size_classes_waste_little_and_grow() {
        let mut previous = SizeClass::of(1);
        for bytes in 1..200_000 {
            let class = SizeClass::of(bytes);
            assert!(class.bytes >= bytes);
            assert_eq!(SizeClass::nth(class.index).bytes, class.bytes);
            assert!(bytes < 256 || class.bytes * 4 <= (bytes + 2 * ALIGNMENT) * 5, "{bytes}");
            assert!(class.index == previous.index || class.bytes > previous.bytes);
            assert_eq!(class.index == previous.index, class.bytes == previous.bytes, "{bytes}");
            previous = class;
        }
    }

    #[test]
    fn dropped_buffers_are_recycled_and_aligned() {
        let first = Buffer::<f32>::new(1000);
        let address = first.pointer.as_ptr() as usize;
        assert_eq!(address % ALIGNMENT, 0);
        drop(first);
        let second = Buffer::<f64>::new(490);
        assert_eq!(second.pointer.as_ptr() as usize, address, "same class, other type");
    }

    #[test]
    fn a_full_pool_starts_over_when_other_sizes_are_asked_for() {
        let mut pool = Pool::new();
        let (old, new) = (SizeClass::of(POOL_CAPACITY / 4), SizeClass::of(POOL_CAPACITY / 2));
        for _ in 0..4 {
            assert!(pool.put(old, old.allocate()));
        }
        let block = new.allocate();
        let refused = (0..).take_while(|_| !pool.put(new, block)).count();
        assert_eq!(refused, REFUSALS / new.bytes - 1);
        assert_eq!((pool.take(old), pool.take(new)), (None, Some(block)));
        assert_eq!(pool.bytes, 0);
        // SAFETY: `take` gave the block back, and it came from `allocate`.
        unsafe { new.free(block) };
        let larger = SizeClass::of(2 * POOL_CAPACITY);
        let block = larger.allocate();
        assert!((0..9).all(|_| !pool.put(larger, block)), "too large to be kept at all");
        assert_eq!(pool.refused, 0, "whatever else the pool held, this would not fit");
        // SAFETY: the pool refused the block, which came from `allocate`.
        unsafe { larger.free(block) };
    }

    #[test]
    fn a_recycled_bool_buffer_holds_valid_values() {
        let mut bytes = Buffer::<u8>::new(64);
        bytes.as_mut_slice().fill(7);
        drop(bytes);
        assert!(Buffer::<bool>::new(64).as_slice().iter().all(|&value| !value));
    }

    #[test]
    fn buffers_cross_threads_and_outlive_them() {
        let buffer = std::thread::spawn(|| {
            let mut buffer = Buffer::<i64>::new(100);
            buffer.as_mut_slice().fill(3);
            drop(Buffer::<i64>::new(5000));
            buffer
        })
        .join()
        .unwrap();
        assert_eq!(buffer.as_slice(), &[3; 100]);
    }

    #[test]
    fn a_vector_is_taken_over_without_a_copy() {
        let vec = vec![1u8, 2, 3];
        let address = vec.as_ptr();
        assert_eq!(Buffer::from_vec(vec).as_slice().as_ptr(), address);
        assert!(Buffer::<f32>::from_vec(Vec::new()).as_slice().is_empty());
    }
}
