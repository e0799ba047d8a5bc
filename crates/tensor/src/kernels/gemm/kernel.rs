//! The interface of the micro-kernels.

/// One tile of C to compute: `c = a · b`, plus something.
pub(super) struct Tile<T> {
    /// Columns of A, rows of B.
    pub(super) k: usize,
    /// The first element of the tile's rows of A.
    pub(super) a: *const T,
    /// Elements from one row of A to the next, and from one column; ignored by
    /// kernels for packed operands.
    pub(super) a_strides: [usize; 2],
    /// The first element of the tile's columns of B, which are contiguous.
    pub(super) b: *const T,
    /// Elements from one row of B to the next.
    pub(super) b_step: usize,
    /// Elements from the tile's columns of B to those of the next tile to its
    /// right, which are prefetched, or 0; they need not exist.
    pub(super) next_panel: usize,
    /// The first element of the tile of C, whose columns are contiguous.
    pub(super) c: *mut T,
    /// Elements from one row of C to the next.
    pub(super) c_step: usize,
    /// Columns of the tile.
    pub(super) columns: usize,
    /// The first element of the matrix that is added, or null.
    pub(super) plus: *const T,
    /// Elements from one row of the matrix that is added to the next, and from
    /// one column: 1, or 0 if all columns are the same.
    pub(super) plus_strides: [usize; 2],
}

/// Computes a tile.
///
/// # Safety
///
/// The CPU has the kernel's instruction set. The tile's elements of A and B and
/// of the added matrix can be read and those of C written, and no other thread
/// accesses these meanwhile. The tile has the kernel's number of rows, and more
/// columns than one register less than the kernel's has lanes.
pub(super) type TileKernel<T> = unsafe fn(&Tile<T>);

/// Copies rows of contiguous numbers into panels of whole registers. The
/// arguments are the first number, the elements from one row to the next, the
/// numbers of rows and of columns, the start of the panels, and the elements
/// from one row of a panel to the next and from one panel to the next.
///
/// # Safety
///
/// The CPU has the kernel's instruction set, the rows can be read, and the
/// panels, with each row filled to a whole register, can be written.
pub(super) type CopyKernel<T> = unsafe fn(*const T, usize, [usize; 2], *mut T, [usize; 2]);

/// The micro-kernels for one instruction set and number type.
pub(super) struct Kernels<T: 'static> {
    /// Numbers in a register.
    pub(super) lanes: usize,
    /// The kernels for operands that are not packed, by the rows of the tile
    /// less one and its registers of columns less one.
    pub(super) direct: &'static [[TileKernel<T>; 2]],
    /// The same for an A that is packed as in [`Kernels::packed_rows`] and a B
    /// with whole registers.
    pub(super) packed: &'static [[TileKernel<T>; 2]],
    /// The kernels for tiles of very few rows, by their number less one. They
    /// have more registers of columns, since they would otherwise wait for
    /// their sums.
    pub(super) wide: &'static [TileKernel<T>],
    /// The number of columns of these tiles, as a multiple of that of the
    /// others.
    pub(super) wide_panels: usize,
    /// The kernels for tiles of very few rows, by their number less one, whose columns of B are
    /// contiguous along k: the distance between rows of B is 1, and `b_step` that between columns.
    pub(super) upright: &'static [TileKernel<T>],
    /// Most rows, perhaps of several tiles, for which these are faster than packing B.
    pub(super) upright_rows: usize,
    /// Most rows of A taken at a time: so many rows of a block of A fit the
    /// second-level cache of CPUs with this instruction set.
    pub(super) row_block: usize,
    /// The kernel that packs an operand that is contiguous across k.
    pub(super) copy: CopyKernel<T>,
}

impl<T> Kernels<T> {
    /// Most rows of a tile.
    pub(super) fn rows(&self) -> usize {
        self.direct.len()
    }

    /// Elements from one column of a packed tile of A to the next.
    pub(super) fn packed_rows(&self) -> usize {
        self.rows().next_multiple_of(self.lanes)
    }
}
