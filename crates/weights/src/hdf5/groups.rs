//! The links of a group.

use dendra_tensor::Result;

use super::fields::text;
use super::object::{LINK, LINK_INFO, Message, SYMBOL_TABLE};
use super::{DEEPEST, File};

/// The names and addresses of objects.
type Link = (String, u64);

impl File<'_> {
    /// The objects in a group. Soft links and links to other files are skipped.
    pub(super) fn links(&mut self, messages: &[Message]) -> Result<Vec<Link>> {
        let mut links = Vec::new();
        for Message { kind, bytes, .. } in messages {
            match *kind {
                SYMBOL_TABLE => {
                    let mut fields = self.fields(bytes, "symbol table");
                    let (tree, heap) = (fields.number(8)?, fields.number(8)?);
                    let names = self.local_heap(heap)?;
                    self.symbols(tree, &names, DEEPEST, &mut links)?;
                }
                LINK => links.extend(self.link(bytes)?),
                LINK_INFO => {
                    let mut fields = self.fields(bytes, "link info");
                    fields.skip(1)?;
                    let ordered = fields.number(1)? & 1 != 0;
                    fields.skip(if ordered { 8 } else { 0 })?;
                    let (heap, tree) = (fields.number(8)?, fields.number(8)?);
                    // A record starts with the hash of the name.
                    let mut found = Vec::new();
                    for bytes in self.dense(heap, tree, 4)? {
                        found.extend(self.link(&bytes)?);
                    }
                    // The records are in the order of the hashes.
                    found.sort();
                    links.append(&mut found);
                }
                _ => {}
            }
        }
        Ok(links)
    }

    fn link(&self, bytes: &[u8]) -> Result<Option<Link>> {
        let mut fields = self.fields(bytes, "link");
        let (version, flags) = (fields.number(1)?, fields.number(1)?);
        let kind = if flags & 8 == 0 { 0 } else { fields.number(1)? };
        if version != 1 || kind != 0 {
            return Ok(None);
        }
        fields.skip(if flags & 4 == 0 { 0 } else { 8 })?;
        fields.skip(if flags & 0x10 == 0 { 0 } else { 1 })?;
        let length = fields.number(1 << (flags & 3))?;
        let name = usize::try_from(length).map_err(|_| self.wrong("a name is too long"))?;
        let name = text(fields.take(name)?);
        Ok(Some((name, fields.number(8)?)))
    }

    /// The symbols of a B-tree of version 1.
    fn symbols(
        &mut self,
        address: u64,
        names: &[u8],
        deepest: usize,
        links: &mut Vec<Link>,
    ) -> Result<()> {
        if deepest == 0 {
            return Err(self.wrong("a B-tree is too deep"));
        }
        let head = self.new_block(address, "TREE", 24)?;
        let mut fields = self.fields(&head, "B-tree");
        let (kind, level, count) = (fields.number(1)?, fields.number(1)?, fields.number(2)?);
        if kind != 0 {
            return Err(self.wrong("a group has a B-tree of chunks"));
        }
        let bytes = self.bytes(address + 24, count * 16)?;
        let mut fields = self.fields(&bytes, "B-tree");
        for _ in 0..count {
            fields.skip(8)?;
            let child = fields.number(8)?;
            match level {
                0 => self.symbol_node(child, names, links)?,
                _ => self.symbols(child, names, deepest - 1, links)?,
            }
        }
        Ok(())
    }

    fn symbol_node(&mut self, address: u64, names: &[u8], links: &mut Vec<Link>) -> Result<()> {
        let head = self.new_block(address, "SNOD", 8)?;
        let count = self.fields(&head[2..], "symbol node").number(2)?;
        let bytes = self.bytes(address + 8, count * 40)?;
        let mut fields = self.fields(&bytes, "symbol node");
        for _ in 0..count {
            let (name, object) = (fields.number(8)?, fields.number(8)?);
            let kind = fields.number(4)?;
            fields.skip(20)?;
            // 2 is a soft link.
            if kind == 2 {
                continue;
            }
            let name = usize::try_from(name).ok().and_then(|at| names.get(at..));
            let name = name.ok_or_else(|| self.wrong("a name is outside its heap"))?;
            // Overlapping names in the heap could take more memory than the
            // file.
            links.push((text(&name[..name.len().min(super::LONGEST_PATH)]), object));
        }
        Ok(())
    }
}
