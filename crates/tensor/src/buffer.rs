//! Storage: 64-byte-aligned, shared buffers that are recycled.
//!
//! Page faults on fresh memory cost more than the arithmetic of a small
//! network. A buffer that is dropped therefore goes to a free list of the
//! dropping thread, by size class, and the next allocation of that class takes
//! it from there. All pooled memory was zeroed when it came from the system and
//! only ever holds values without padding, so it is always *initialised*:
//! kernels write into plain `&mut [T]` slices and need no `unsafe`.
//!
//! The owners of a buffer are counted in its block. An `Arc` around it would
//! cost one more allocation per tensor and, for its weak references, more
//! atomic writes.

use std::alloc::{Layout, alloc, alloc_zeroed, dealloc};
use std::cell::RefCell;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;
use std::slice;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::element::Element;

/// The alignment of every pooled buffer: a cache line, and an AVX-512 register.
const ALIGNMENT: usize = 64;

/// The most bytes that the free lists of one thread hold together: what a step
/// of a middle-sized network needs. With a fourth of this, page faults took a
/// quarter of the time of such a step.
const POOL_CAPACITY: usize = 256 << 20;

/// The number of bytes that a full pool refuses before it is emptied. At that
/// point it holds sizes that are no longer requested, and the fresh memory has
/// cost several times more than filling the pool again.
const REFUSALS: usize = 4 * POOL_CAPACITY;

/// The most bytes of a block, so that its size class and header fit `isize`.
const MOST_BYTES: usize = isize::MAX as usize / 4 * 3;

/// Allocations of up to this many bytes are assumed to succeed, without trying.
const PLAUSIBLE: usize = 1 << 30;

/// A fixed-length block of initialised values. A clone is another owner of the
/// same values; they can be written while there is only one owner.
pub(crate) struct Buffer<T: Element> {
    header: NonNull<Header>,
    values: PhantomData<T>,
}

/// The start of a block, before the values, in a cache line of its own.
#[repr(align(64))]
struct Header {
    owners: AtomicUsize,
    /// The `length` values, which follow the header or are in the memory of a
    /// vector.
    values: NonNull<u8>,
    length: usize,
    /// The capacity of the vector whose memory is used, or 0.
    capacity: usize,
    /// The size class of the block that holds the header.
    class: SizeClass,
}

const _: () = assert!(size_of::<Header>() == ALIGNMENT);

// SAFETY: several owners on several threads only read, which `T: Sync` allows.
// The last owner synchronises with the others before it frees, on whatever
// thread it is; `T` is `Send`.
unsafe impl<T: Element> Send for Buffer<T> {}
// SAFETY: as above; a shared reference can only read and make more owners.
unsafe impl<T: Element> Sync for Buffer<T> {}

impl<T: Element> Buffer<T> {
    /// Whether the system has memory for `length` values. Large sizes are
    /// tried: the memory is allocated and freed again.
    pub(crate) fn fits(length: usize) -> bool {
        match length.checked_mul(size_of::<T>()) {
            Some(0..=PLAUSIBLE) => true,
            Some(bytes @ ..=MOST_BYTES) => {
                let class = SizeClass::of(bytes);
                // Not zeroed, since zeroing an aligned block writes to all of
                // it.
                // SAFETY: the layout's size is not zero.
                let block = NonNull::new(unsafe { alloc(class.layout()) });
                // The optimiser removes an allocation that is only freed again.
                let block = std::hint::black_box(block);
                // SAFETY: the block was just allocated for this class.
                block.map(|block| unsafe { class.free(block) }).is_some()
            }
            _ => false,
        }
    }

    /// A buffer of unspecified, but initialised values.
    ///
    /// # Panics
    ///
    /// When not enough memory for it; see [`fits`](Self::fits).
    pub(crate) fn new(length: usize) -> Self {
        const { assert!(align_of::<T>() <= ALIGNMENT && size_of::<T>() > 0) };
        let bytes = length.checked_mul(size_of::<T>()).filter(|&bytes| bytes <= MOST_BYTES);
        let bytes = bytes.expect("a buffer must fit the memory");
        let class = SizeClass::of(bytes);
        let recycled = POOL.try_with(|pool| pool.borrow_mut().take(class)).ok().flatten();
        let was_recycled = recycled.is_some();
        let block = recycled.or_else(|| class.allocate());
        let block = block.unwrap_or_else(|| panic!("not enough memory for {bytes} bytes"));
        // SAFETY: a block is larger than its class says by the size of a
        // header.
        let values = unsafe { block.add(size_of::<Header>()) };
        if was_recycled && (!T::ANY_BITS || cfg!(debug_assertions)) {
            // Debug builds fill with NaN, so that tests find a kernel that
            // leaves out an element.
            let byte = if T::ANY_BITS { 0xff } else { 0 };
            // SAFETY: the block has at least this many bytes, and no other
            // owner.
            unsafe { values.write_bytes(byte, bytes) };
        }
        let owners = AtomicUsize::new(1);
        let header = block.cast();
        // SAFETY: the block is aligned for a header and has no other owner.
        unsafe { header.write(Header { owners, values, length, capacity: 0, class }) };
        Self { header, values: PhantomData }
    }

    /// A buffer that takes over the memory of a vector.
    pub(crate) fn from_vec(vec: Vec<T>) -> Self {
        let mut buffer = Self::new(0);
        if !vec.is_empty() {
            let mut vec = ManuallyDrop::new(vec);
            let pointer = NonNull::new(vec.as_mut_ptr()).expect("a vector's pointer is never null");
            // SAFETY: the buffer was just made, so nothing else reads its
            // header.
            let header = unsafe { buffer.header.as_mut() };
            (header.values, header.length) = (pointer.cast(), vec.len());
            header.capacity = vec.capacity();
        }
        buffer
    }

    fn header(&self) -> &Header {
        // SAFETY: the header is valid for as long as there is an owner.
        unsafe { self.header.as_ref() }
    }

    /// Whether this is the only owner of the values.
    pub(crate) fn is_unique(&self) -> bool {
        // Only an owner can make another one, so a count of 1 stays. The reads
        // of former owners happened before.
        self.header().owners.load(Ordering::Acquire) == 1
    }

    pub(crate) fn as_slice(&self) -> &[T] {
        let header = self.header();
        // SAFETY: the pointer is aligned and valid for `length` initialised
        // values while there is an owner. Only a single owner, borrowed by
        // `&mut`, can write them.
        unsafe { slice::from_raw_parts(header.values.cast().as_ptr(), header.length) }
    }

    /// The values, for writing.
    ///
    /// # Panics
    ///
    /// When there is another owner.
    pub(crate) fn as_mut_slice(&mut self) -> &mut [T] {
        assert!(self.is_unique(), "the buffer is shared");
        let header = self.header();
        // SAFETY: as in `as_slice`, and this owner is the only one.
        unsafe { slice::from_raw_parts_mut(header.values.cast().as_ptr(), header.length) }
    }
}

impl<T: Element> Clone for Buffer<T> {
    fn clone(&self) -> Self {
        // The new owner needs to see nothing that the old one has not seen.
        let owners = self.header().owners.fetch_add(1, Ordering::Relaxed);
        if owners > isize::MAX as usize {
            // The count would overflow, which takes owners that were leaked.
            std::process::abort();
        }
        Self { header: self.header, values: PhantomData }
    }
}

impl<T: Element> Drop for Buffer<T> {
    fn drop(&mut self) {
        // A load is much cheaper than a decrement, and nearly always
        // sufficient. The last owner must see the reads of all others.
        let last = self.is_unique() || self.header().owners.fetch_sub(1, Ordering::AcqRel) == 1;
        if !last {
            return;
        }
        let &Header { values, length, capacity, class, .. } = self.header();
        if capacity > 0 {
            // SAFETY: pointer, length and capacity are those of the vector
            // that `from_vec` took apart.
            drop(unsafe { Vec::<T>::from_raw_parts(values.cast().as_ptr(), length, capacity) });
        }
        let block = self.header.cast();
        // When a thread ends, its pool may have been dropped already.
        let kept = POOL.try_with(|pool| pool.borrow_mut().put(class, block));
        if !kept.unwrap_or(false) {
            // SAFETY: the block came from `class.allocate` and has no owner.
            unsafe { class.free(block) };
        }
    }
}

/// A class of block sizes. There are four classes per doubling, so at most a
/// fifth of a block is unused. The header is not included.
#[derive(Clone, Copy)]
struct SizeClass {
    /// Index of the free list.
    index: usize,
    /// The bytes for values in each block of the class.
    bytes: usize,
}

impl SizeClass {
    const COUNT: usize = 4 * usize::BITS as usize;

    fn of(bytes: usize) -> Self {
        let lines = bytes.div_ceil(ALIGNMENT).max(1);
        let shift = lines.ilog2().saturating_sub(2);
        let quarters = lines.div_ceil(1 << shift);
        Self { index: 4 * shift as usize + quarters, bytes: (quarters << shift) * ALIGNMENT }
    }

    /// The class of an index: the inverse of `of`. Quarters are 1 to 7 for the
    /// first three doublings and 4 to 8 after that.
    fn nth(index: usize) -> Self {
        let shift = (index.saturating_sub(1) / 4).saturating_sub(1);
        Self { index, bytes: ((index - 4 * shift) << shift) * ALIGNMENT }
    }

    fn layout(self) -> Layout {
        let bytes = self.bytes.checked_add(size_of::<Header>());
        let layout = bytes.map(|bytes| Layout::from_size_align(bytes, ALIGNMENT));
        layout.and_then(Result::ok).expect("a buffer must fit the memory")
    }

    /// A new block; `None` when the system has no memory.
    fn allocate(self) -> Option<NonNull<u8>> {
        // SAFETY: the layout's size is not zero.
        NonNull::new(unsafe { alloc_zeroed(self.layout()) })
    }

    /// # Safety
    ///
    /// `block` must come from `allocate` of the same class and not be used
    /// again.
    unsafe fn free(self, block: NonNull<u8>) {
        // SAFETY: the caller guarantees this.
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
    /// The bytes refused since the pool was last emptied.
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

    /// Puts a block into the pool; false when the pool does not take it.
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
                // class and have no owner.
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
        let address = first.as_slice().as_ptr() as usize;
        assert_eq!(address % ALIGNMENT, 0);
        drop(first);
        let second = Buffer::<f64>::new(490);
        assert_eq!(second.as_slice().as_ptr() as usize, address, "same class, other type");
    }

    #[test]
    fn a_full_pool_starts_over_when_other_sizes_are_asked_for() {
        let mut pool = Pool::new();
        let (old, new) = (SizeClass::of(POOL_CAPACITY / 4), SizeClass::of(POOL_CAPACITY / 2));
        for _ in 0..4 {
            assert!(pool.put(old, old.allocate().unwrap()));
        }
        let block = new.allocate().unwrap();
        let refused = (0..).take_while(|_| !pool.put(new, block)).count();
        assert_eq!(refused, REFUSALS / new.bytes - 1);
        assert_eq!((pool.take(old), pool.take(new)), (None, Some(block)));
        assert_eq!(pool.bytes, 0);
        // SAFETY: the block came from `allocate`, and `take` has just removed
        // it from the pool.
        unsafe { new.free(block) };
        let larger = SizeClass::of(2 * POOL_CAPACITY);
        let block = larger.allocate().unwrap();
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
    fn the_last_of_several_owners_gives_the_block_back() {
        let mut buffer = Buffer::<u8>::new(1000);
        buffer.as_mut_slice().fill(5);
        let address = buffer.as_slice().as_ptr();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                let owner = buffer.clone();
                scope.spawn(move || {
                    for _ in 0..1000 {
                        assert_eq!(owner.clone().as_slice(), [5; 1000]);
                    }
                });
            }
        });
        let owner = buffer.clone();
        assert!(!buffer.is_unique() && !owner.is_unique());
        drop(buffer);
        assert!(owner.is_unique());
        assert_ne!(Buffer::<u8>::new(1000).as_slice().as_ptr(), address, "it has an owner");
        drop(owner);
        assert_eq!(Buffer::<u8>::new(1000).as_slice().as_ptr(), address);
    }

    #[test]
    #[should_panic(expected = "a buffer must fit the memory")]
    fn more_bytes_than_there_are_addresses_are_refused() {
        Buffer::<u8>::new(usize::MAX);
    }

    #[test]
    fn what_no_machine_has_does_not_fit() {
        assert!(Buffer::<f32>::fits(0) && Buffer::<f32>::fits(1000));
        assert!(Buffer::<u8>::fits(PLAUSIBLE + 1), "a little more is tried");
        for length in [usize::MAX, isize::MAX as usize, MOST_BYTES, 1 << 62, 1 << 52] {
            assert!(!Buffer::<u8>::fits(length), "{length}");
            assert!(!Buffer::<f64>::fits(length), "{length}");
        }
    }

    #[test]
    #[should_panic(expected = "not enough memory for 4503599627370496 bytes")]
    fn a_refusal_of_the_system_is_a_panic_that_can_be_caught() {
        Buffer::<u8>::new(1 << 52);
    }

    #[test]
    #[should_panic(expected = "the buffer is shared")]
    fn a_shared_buffer_cannot_be_written() {
        let mut buffer = Buffer::<f32>::new(3);
        let _owner = buffer.clone();
        buffer.as_mut_slice();
    }

    #[test]
    fn a_vector_is_taken_over_without_a_copy() {
        let vec = vec![1u8, 2, 3];
        let address = vec.as_ptr();
        assert_eq!(Buffer::from_vec(vec).as_slice().as_ptr(), address);
        assert!(Buffer::<f32>::from_vec(Vec::new()).as_slice().is_empty());
    }
}
