//! Heaps, which contain names, strings and long lists of links.

use dendra_tensor::Result;

use super::{File, NOWHERE};

/// The largest number of bytes of an object in a heap.
const MOST_OBJECT: u64 = 1 << 26;

impl File<'_> {
    /// The bytes of a local heap, which contains the names of a symbol table.
    pub(super) fn local_heap(&mut self, address: u64) -> Result<Vec<u8>> {
        let head = self.block(address, "HEAP", 32)?;
        let mut fields = self.fields(&head, "local heap");
        fields.skip(4)?;
        let length = fields.number(8)?;
        fields.skip(8)?;
        let at = fields.number(8)?;
        self.bytes(at, length)
    }

    /// An object of `length` bytes in a collection of the global heap.
    pub(super) fn heap_object(&mut self, address: u64, index: u64, length: u64) -> Result<Vec<u8>> {
        if address == 0 || address == NOWHERE || length == 0 {
            return Ok(Vec::new());
        }
        let head = self.block(address, "GCOL", 16)?;
        let end = self.fields(&head[4..], "global heap").number(8)?.saturating_add(address);
        let mut at = address + 16;
        while at.saturating_add(16) <= end {
            let head = self.bytes(at, 16)?;
            let mut fields = self.fields(&head, "global heap");
            let found = fields.number(2)?;
            fields.skip(6)?;
            let stored = fields.number(8)?;
            if found == index && index != 0 {
                if length > stored.min(MOST_OBJECT) {
                    return Err(self.wrong("a string is longer than its object in the heap"));
                }
                return self.bytes(at + 16, length);
            }
            // The object with index 0 is the free space at the end.
            let next = (found != 0).then(|| stored.checked_next_multiple_of(8)).flatten();
            let Some(next) = next.and_then(|length| at.checked_add(16)?.checked_add(length)) else {
                break;
            };
            at = next;
        }
        Err(self.wrong(format!("the heap at {address} has no object {index}")))
    }

    /// The objects of a fractal heap that a B-tree of version 2 lists. In a
    /// record, the id of the object starts at `id_at`.
    pub(super) fn dense(&mut self, heap: u64, tree: u64, id_at: usize) -> Result<Vec<Vec<u8>>> {
        if heap == NOWHERE || tree == NOWHERE {
            return Ok(Vec::new());
        }
        let heap = self.fractal_heap(heap)?;
        let records = self.tree_2(tree)?;
        let mut objects = Vec::with_capacity(records.len());
        for record in records {
            let mut fields = self.fields(record.get(id_at..).unwrap_or_default(), "heap id");
            if fields.number(1)? & 0x30 != 0 {
                return Err(self.wrong("an object of a fractal heap is too large"));
            }
            let offset = fields.number(heap.offset_bytes)?;
            let length = fields.number(heap.length_bytes)?;
            objects.push(self.managed(&heap, offset, length)?);
        }
        Ok(objects)
    }

    fn fractal_heap(&mut self, address: u64) -> Result<FractalHeap> {
        let head = self.block(address, "FRHP", 146)?;
        let mut fields = self.fields(&head, "fractal heap");
        fields.skip(3)?;
        let filters = fields.number(2)?;
        fields.skip(1)?;
        let most_managed = fields.number(4)?;
        // Huge objects, free space, statistics and tiny objects.
        fields.skip(12 * 8)?;
        let width = fields.number(2)?;
        let (first, most_direct) = (fields.number(8)?, fields.number(8)?);
        let bits = fields.number(2)?;
        fields.skip(2)?;
        let (root, rows) = (fields.number(8)?, fields.number(2)?);
        let sound = filters == 0
            && (1..=64).contains(&bits)
            && first.is_power_of_two()
            && most_direct.is_power_of_two()
            && (1..=1024).contains(&width);
        if !sound {
            return Err(self.wrong("a fractal heap is filtered or invalid"));
        }
        let length_bits = most_direct.min(most_managed.max(1)).ilog2();
        let heap = FractalHeap {
            offset_bytes: (bits as usize).div_ceil(8),
            length_bytes: length_bits as usize / 8 + 1,
            blocks: Vec::new(),
        };
        self.direct_blocks(heap, root, rows, width, first, most_direct)
    }

    /// Lists the blocks of a heap: a single block, or the blocks in the rows of
    /// the root block. From the third row on, the blocks of each row are twice
    /// as long as those of the row before.
    fn direct_blocks(
        &mut self,
        mut heap: FractalHeap,
        root: u64,
        rows: u64,
        width: u64,
        first: u64,
        most_direct: u64,
    ) -> Result<FractalHeap> {
        if rows == 0 {
            heap.blocks.push((0, first, root));
            return Ok(heap);
        }
        if rows > 64 || first << (rows.saturating_sub(2)).min(40) > most_direct {
            return Err(self.wrong("a fractal heap has too many blocks"));
        }
        let head = 9 + heap.offset_bytes;
        let list = self.new_block(root, "FHIB", 4 + head as u64 + rows * width * 8)?;
        let mut fields = self.fields(&list, "fractal heap");
        fields.skip(head)?;
        let mut start: u64 = 0;
        for row in 0..rows {
            let length = first << row.saturating_sub(1);
            for _ in 0..width {
                let address = fields.number(8)?;
                if address != NOWHERE {
                    heap.blocks.push((start, length, address));
                }
                start = start.saturating_add(length);
            }
        }
        Ok(heap)
    }

    /// An object by its offset in the heap.
    fn managed(&mut self, heap: &FractalHeap, offset: u64, length: u64) -> Result<Vec<u8>> {
        let inside = |&&(start, bytes, _): &&(u64, u64, u64)| {
            let end = start.saturating_add(bytes);
            start <= offset && offset.checked_add(length).is_some_and(|last| last <= end)
        };
        match heap.blocks.iter().find(inside) {
            Some(&(start, _, address)) if address.checked_add(offset - start).is_some() => {
                self.bytes(address + (offset - start), length)
            }
            _ => Err(self.wrong("an object is outside its fractal heap")),
        }
    }

    /// The records of a B-tree of version 2.
    fn tree_2(&mut self, address: u64) -> Result<Vec<Vec<u8>>> {
        let head = self.block(address, "BTHD", 38)?;
        let mut fields = self.fields(&head, "B-tree");
        fields.skip(2)?;
        let (node, record) = (fields.number(4)?, fields.number(2)?);
        let depth = fields.number(2)?;
        fields.skip(2)?;
        let (root, count) = (fields.number(8)?, fields.number(2)?);
        if root == NOWHERE || count == 0 {
            return Ok(Vec::new());
        }
        if depth > 1 || record == 0 || node < 16 {
            return Err(self.wrong("a group or object has too many links or attributes"));
        }
        let record = record as usize;
        let mut records = Vec::new();
        if depth == 0 {
            self.leaf(root, count, record, &mut records)?;
            return Ok(records);
        }
        // The number of bytes for the largest number of records in a leaf.
        let count_bytes = ((node - 10) / record as u64).max(1).ilog2() as usize / 8 + 1;
        let length = 6 + count * record as u64 + (count + 1) * (8 + count_bytes as u64);
        let inner = self.new_block(root, "BTIN", length)?;
        let mut fields = self.fields(&inner, "B-tree");
        fields.skip(2)?;
        for _ in 0..count {
            records.push(fields.take(record)?.to_vec());
        }
        for _ in 0..=count {
            let (leaf, count) = (fields.number(8)?, fields.number(count_bytes)?);
            self.leaf(leaf, count, record, &mut records)?;
        }
        Ok(records)
    }

    fn leaf(
        &mut self,
        address: u64,
        count: u64,
        record: usize,
        records: &mut Vec<Vec<u8>>,
    ) -> Result<()> {
        let length = count.saturating_mul(record as u64).saturating_add(6);
        let leaf = self.new_block(address, "BTLF", length)?;
        records.extend(leaf[2..].chunks_exact(record).map(<[u8]>::to_vec));
        Ok(())
    }
}

/// The positions of the objects in a fractal heap.
struct FractalHeap {
    /// The number of bytes of an offset in an id.
    offset_bytes: usize,
    /// The number of bytes of a length in an id.
    length_bytes: usize,
    /// The offset in the heap, the length and the address of each block.
    blocks: Vec<(u64, u64, u64)>,
}
