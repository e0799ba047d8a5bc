//! Object headers: the messages that describe a group or a dataset.

use std::collections::BTreeMap;

use dendra_tensor::Result;

use super::fields::text;
use super::{File, datatype};

pub(super) const DATASPACE: u64 = 0x01;
pub(super) const LINK_INFO: u64 = 0x02;
pub(super) const DATATYPE: u64 = 0x03;
pub(super) const LINK: u64 = 0x06;
pub(super) const LAYOUT: u64 = 0x08;
pub(super) const FILTERS: u64 = 0x0b;
pub(super) const ATTRIBUTE: u64 = 0x0c;
const CONTINUATION: u64 = 0x10;
pub(super) const SYMBOL_TABLE: u64 = 0x11;
pub(super) const ATTRIBUTE_INFO: u64 = 0x15;

/// A message: a part of a description.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) kind: u64,
    /// Whether the message is stored elsewhere and only referred to.
    pub(super) shared: bool,
    pub(super) bytes: Vec<u8>,
}

impl File<'_> {
    /// The messages of the object at this address.
    pub(super) fn object(&mut self, address: u64) -> Result<Vec<Message>> {
        if self.bytes(address, 4)? == b"OHDR" {
            return self.object_2(address);
        }
        let head = self.bytes(address, 16)?;
        let mut fields = self.fields(&head, "object header");
        if fields.number(1)? != 1 {
            return Err(self.wrong(format!("there is no object at {address}")));
        }
        fields.skip(7)?;
        let length = fields.number(4)?;
        let mut messages = Vec::new();
        let mut blocks = vec![self.bytes(address + 16, length)?];
        while let Some(block) = blocks.pop() {
            let mut fields = self.fields(&block, "object header");
            while fields.rest().len() >= 8 {
                let (kind, length) = (fields.number(2)?, fields.number(2)?);
                let flags = fields.number(1)?;
                fields.skip(3)?;
                let bytes = fields.take(length as usize)?;
                if kind == CONTINUATION {
                    let mut at = self.fields(bytes, "continuation");
                    let (address, length) = (at.number(8)?, at.number(8)?);
                    blocks.push(self.bytes(address, length)?);
                }
                messages.push(Message { kind, shared: flags & 2 != 0, bytes: bytes.to_vec() });
            }
        }
        Ok(messages)
    }

    /// An object header of version 2.
    fn object_2(&mut self, address: u64) -> Result<Vec<Message>> {
        // Only the flags determine the size of the fields before the length of
        // the first block.
        let most = self.source.length().saturating_sub(self.base.saturating_add(address));
        let head = self.bytes(address, most.min(34))?;
        let mut fields = self.fields(&head, "object header");
        fields.skip(4)?;
        let (version, flags) = (fields.number(1)?, fields.number(1)?);
        if version != 2 {
            return Err(self.wrong(format!("object header {version} is not supported")));
        }
        if flags & 0x20 != 0 {
            fields.skip(16)?;
        }
        if flags & 0x10 != 0 {
            fields.skip(4)?;
        }
        let length = fields.number(1 << (flags & 3))?;
        let start = address + (head.len() - fields.rest().len()) as u64;
        let mut messages = Vec::new();
        let mut blocks = vec![self.bytes(start, length)?];
        while let Some(block) = blocks.pop() {
            let mut fields = self.fields(&block, "object header");
            let ordered = if flags & 4 == 0 { 0 } else { 2 };
            while fields.rest().len() >= 4 + ordered {
                let (kind, length) = (fields.number(1)?, fields.number(2)?);
                let message_flags = fields.number(1)?;
                fields.skip(ordered)?;
                let bytes = fields.take(length as usize)?;
                if kind == CONTINUATION {
                    let mut at = self.fields(bytes, "continuation");
                    let (address, length) = (at.number(8)?, at.number(8)?);
                    let mut block = self.block(address, "OCHK", length)?;
                    // It ends with a checksum.
                    block.truncate(block.len().saturating_sub(4));
                    blocks.push(block);
                }
                let shared = message_flags & 2 != 0;
                messages.push(Message { kind, shared, bytes: bytes.to_vec() });
            }
        }
        Ok(messages)
    }

    /// The attributes that are single strings.
    pub(super) fn attributes(&mut self, messages: &[Message]) -> Result<BTreeMap<String, String>> {
        let mut attributes = BTreeMap::new();
        let mut all: Vec<Vec<u8>> = Vec::new();
        for message in messages {
            match message.kind {
                ATTRIBUTE if !message.shared => all.push(message.bytes.clone()),
                ATTRIBUTE_INFO => {
                    let mut fields = self.fields(&message.bytes, "attribute info");
                    fields.skip(1)?;
                    let ordered = fields.number(1)? & 1 != 0;
                    fields.skip(if ordered { 2 } else { 0 })?;
                    let (heap, tree) = (fields.number(8)?, fields.number(8)?);
                    all.extend(self.dense(heap, tree, 0)?);
                }
                _ => {}
            }
        }
        for bytes in all {
            if let Some((name, value)) = self.attribute(&bytes)? {
                attributes.insert(name, value);
            }
        }
        Ok(attributes)
    }

    /// The name and value of an attribute, if it is a single string.
    fn attribute(&mut self, bytes: &[u8]) -> Result<Option<(String, String)>> {
        let mut fields = self.fields(bytes, "attribute");
        let (version, flags) = (fields.number(1)?, fields.number(1)?);
        if !(1..=3).contains(&version) || (version > 1 && flags & 3 != 0) {
            return Ok(None);
        }
        let [name, kind, space] = [fields.number(2)?, fields.number(2)?, fields.number(2)?];
        if version == 3 {
            fields.skip(1)?;
        }
        // Version 1 pads each part to a multiple of 8 bytes.
        let length = |length: u64| match version {
            1 => (length as usize).next_multiple_of(8),
            _ => length as usize,
        };
        let name = text(fields.take(length(name))?);
        let (kind, space) = (fields.take(length(kind))?, fields.take(length(space))?);
        if self.dataspace(space)?.is_none_or(|sizes| sizes.iter().any(|&size| size != 1)) {
            return Ok(None);
        }
        let value = match datatype::text(&mut self.fields(kind, "datatype"))? {
            Some(datatype::Text::Fixed(length)) => text(fields.take(length)?),
            Some(datatype::Text::Variable) => {
                let length = fields.number(4)?;
                let (heap, index) = (fields.number(8)?, fields.number(4)?);
                text(&self.heap_object(heap, index, length)?)
            }
            None => return Ok(None),
        };
        Ok(Some((name, value)))
    }
}
