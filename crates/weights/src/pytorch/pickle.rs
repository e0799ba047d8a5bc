//! The virtual machine that reads a pickle. Python's `pickletools` documents
//! its opcodes.

use std::collections::HashMap;

use dendra_tensor::Result;

use super::arena::{Arena, Item, Storage};
use super::globals::{self, Global, Named};
use crate::source::Reader;

/// The largest length of a pickle. It contains no tensor values. Each object
/// takes at least a byte, so the objects can be counted in 32 bits.
const LONGEST: u64 = 1 << 31;

/// The largest length of a string, bytes or a line.
const LONGEST_TEXT: u64 = 1 << 24;

/// The largest number of elements that calls may copy from lists.
const MOST_COPIED: usize = 1 << 22;

/// The result of reading a pickle.
#[derive(Debug)]
pub(super) struct Pickled {
    pub(super) arena: Arena,
    /// The object that was pickled.
    pub(super) top: Item,
}

/// Reads a pickle to its end and leaves the reader after it.
pub(super) fn read(reader: &mut Reader) -> Result<Pickled> {
    let mut machine = Machine::default();
    loop {
        let at = reader.position();
        let [opcode] = reader.array()?;
        let done = match opcode {
            b'.' => machine.pop().map(Some),
            _ => machine.step(opcode, reader)?.map(|()| None),
        };
        match done {
            Err(message) => return Err(reader.wrong(format!("pickle, byte {at}: {message}"))),
            Ok(Some(top)) => return Ok(Pickled { arena: machine.arena, top }),
            Ok(None) if reader.position() > LONGEST => {
                return Err(reader.wrong(format!("pickle: more than {LONGEST} bytes")));
            }
            Ok(None) => {}
        }
    }
}

#[derive(Debug, Default)]
struct Machine {
    arena: Arena,
    stack: Vec<Item>,
    /// The lengths of the stack at the open marks.
    marks: Vec<usize>,
    memo: HashMap<u32, Item>,
    copied: usize,
}

type Step = Result<(), String>;

impl Machine {
    fn pop(&mut self) -> Result<Item, String> {
        let above = self.marks.last().copied().unwrap_or(0);
        match self.stack.len() > above {
            true => Ok(self.stack.pop().expect("it has items")),
            false => Err("the stack is empty".to_owned()),
        }
    }

    /// Removes the top of the stack, which may be a mark.
    fn discard(&mut self) -> Step {
        if self.marks.last() == Some(&self.stack.len()) {
            self.marks.pop();
            return Ok(());
        }
        self.pop().map(drop)
    }

    fn push(&mut self, item: Item) -> Step {
        self.stack.push(item);
        Ok(())
    }

    /// Removes the last mark and returns the items above it.
    fn marked(&mut self) -> Result<Vec<Item>, String> {
        let mark = self.marks.pop().ok_or("there is no mark")?;
        Ok(self.stack.split_off(mark))
    }

    fn remember(&mut self, at: u32) -> Step {
        let above = self.marks.last().copied().unwrap_or(0);
        let top = self.stack[above..].last().ok_or("there is no object to store in the memo")?;
        self.memo.insert(at, *top);
        Ok(())
    }

    fn recall(&mut self, at: u32) -> Step {
        let item = *self.memo.get(&at).ok_or_else(|| format!("the memo {at} is missing"))?;
        self.push(item)
    }

    /// Runs one opcode with its argument. The outer error is one of reading the
    /// file.
    fn step(&mut self, opcode: u8, reader: &mut Reader) -> Result<Step> {
        Ok(match opcode {
            // PROTO, FRAME
            0x80 => reader.array::<1>().map(drop).map(Ok)?,
            0x95 => reader.array::<8>().map(drop).map(Ok)?,
            b'(' => {
                self.marks.push(self.stack.len());
                Ok(())
            }
            b'0' => self.discard(),
            b'1' => self.marked().map(drop),
            b'2' => self.pop().and_then(|top| {
                self.stack.push(top);
                self.push(top)
            }),

            // Numbers.
            b'N' => self.push(Item::None),
            0x88 => self.push(Item::Bool(true)),
            0x89 => self.push(Item::Bool(false)),
            b'J' => self.push(Item::Int(reader.array().map(i32::from_le_bytes)?.into())),
            b'K' => self.push(Item::Int(reader.array().map(u8::from_le_bytes)?.into())),
            b'M' => self.push(Item::Int(reader.array().map(u16::from_le_bytes)?.into())),
            b'G' => self.push(Item::Float(reader.array().map(f64::from_be_bytes)?)),
            0x8a => {
                let [length] = reader.array()?;
                let bytes = reader.exactly(length.into())?;
                self.push(integer(&bytes))
            }
            0x8b => {
                let length = u64::from(reader.u32()?);
                reader.skip(length);
                self.push(Item::Other)
            }
            b'I' | b'L' | b'F' => {
                let line = line(reader)?;
                match number(opcode, &line) {
                    Some(item) => self.push(item),
                    None => Err(format!(
                        "{:?} is not a number",
                        line.chars().take(40).collect::<String>()
                    )),
                }
            }

            // Strings and bytes.
            b'X' => {
                let length = u64::from(reader.u32()?);
                self.text(reader, length)?
            }
            0x8c => {
                let [length] = reader.array()?;
                self.text(reader, length.into())?
            }
            0x8d => {
                let length = reader.u64()?;
                self.text(reader, length)?
            }
            b'U' => {
                let [length] = reader.array()?;
                self.text(reader, length.into())?
            }
            b'T' => {
                let length = u64::from(reader.u32()?);
                self.text(reader, length)?
            }
            b'V' | b'S' => {
                let line = line(reader)?;
                let text = if opcode == b'S' { line.trim_matches(['\'', '"']) } else { &line };
                let text = self.arena.text(text.to_owned());
                self.push(text)
            }
            b'C' => {
                let [length] = reader.array()?;
                reader.exactly(length.into())?;
                self.push(Item::Other)
            }
            b'B' | 0x8e | 0x96 => {
                let length = match opcode {
                    b'B' => reader.u32()?.into(),
                    _ => reader.u64()?,
                };
                if length > reader.remaining() {
                    return Ok(Err(format!("the file is too short for {length} bytes")));
                }
                reader.skip(length);
                self.push(Item::Other)
            }

            // Containers.
            b'}' => {
                let dict = self.arena.dict(false);
                self.push(dict)
            }
            b']' | b')' | 0x8f => {
                let list = self.arena.list(Vec::new());
                self.push(list)
            }
            b'd' => self.marked().and_then(|items| {
                let dict = self.arena.dict(false);
                self.insert(dict, &items)?;
                self.push(dict)
            }),
            b'l' | b't' | 0x91 => self.marked().and_then(|items| {
                let list = self.arena.list(items);
                self.push(list)
            }),
            0x85..=0x87 => {
                let wanted = usize::from(opcode - 0x84);
                let items: Result<Vec<Item>, String> = (0..wanted).map(|_| self.pop()).collect();
                items.and_then(|mut items| {
                    items.reverse();
                    let list = self.arena.list(items);
                    self.push(list)
                })
            }
            b'a' => self.pop().and_then(|item| self.append(&[item])),
            b'e' | 0x90 => self.marked().and_then(|items| self.append(&items)),
            b's' => self.pop().and_then(|value| {
                let key = self.pop()?;
                self.insert_on_top(&[key, value])
            }),
            b'u' => self.marked().and_then(|items| self.insert_on_top(&items)),

            // The memo of earlier objects.
            b'p' | b'g' => match line(reader)?.parse() {
                Ok(at) if opcode == b'p' => self.remember(at),
                Ok(at) => self.recall(at),
                Err(_) => Err("the index of a memo is not a number".to_owned()),
            },
            b'q' | b'h' => {
                let [at] = reader.array()?;
                if opcode == b'q' { self.remember(at.into()) } else { self.recall(at.into()) }
            }
            b'r' | b'j' => {
                let at = reader.u32()?;
                if opcode == b'r' { self.remember(at) } else { self.recall(at) }
            }
            0x94 => self.remember(self.memo.len() as u32),

            // Classes, functions and objects.
            b'c' => {
                let (module, name) = (line(reader)?, line(reader)?);
                self.global(&module, &name)
            }
            0x93 => self.pop().and_then(|name| {
                let module = self.pop()?;
                let text = |item| self.arena.as_text(item).map(str::to_owned);
                let (module, name) = (text(module), text(name));
                self.global(&module.ok_or("a module has no name")?, &name.ok_or("no name")?)
            }),
            b'R' | 0x81 => self.pop().and_then(|arguments| {
                let callee = self.pop()?;
                self.call(callee, arguments)
            }),
            0x92 => self.pop().and_then(|_| {
                let arguments = self.pop()?;
                let callee = self.pop()?;
                self.call(callee, arguments)
            }),
            b'b' => self.pop().and_then(|state| self.build(state)),
            b'Q' => self.pop().and_then(|id| self.persistent(id)),
            other => Err(format!("opcode {other:#04x} is not accepted in files of tensors")),
        })
    }

    fn text(&mut self, reader: &mut Reader, length: u64) -> Result<Step> {
        if length > LONGEST_TEXT {
            return Ok(Err(format!("a string of {length} bytes is too long")));
        }
        let text = String::from_utf8_lossy(&reader.exactly(length)?).into_owned();
        let text = self.arena.text(text);
        Ok(self.push(text))
    }

    fn append(&mut self, items: &[Item]) -> Step {
        match self.stack.last() {
            Some(&Item::List(list)) => self.arena.lists[list as usize].extend(items),
            Some(Item::Other) => {}
            _ => return Err("there is no list to append to".to_owned()),
        }
        Ok(())
    }

    fn insert_on_top(&mut self, items: &[Item]) -> Step {
        let top = *self.stack.last().ok_or("there is no dict to insert into")?;
        self.insert(top, items)
    }

    /// Inserts alternating keys and values.
    fn insert(&mut self, dict: Item, items: &[Item]) -> Step {
        let (pairs, rest) = items.as_chunks::<2>();
        match dict {
            _ if !rest.is_empty() => return Err("a key has no value".to_owned()),
            Item::Dict(dict) => {
                let pairs = pairs.iter().map(|&[key, value]| (key, value));
                self.arena.dicts[dict as usize].entries.extend(pairs);
            }
            Item::Other => {}
            _ => return Err("there is no dict to insert into".to_owned()),
        }
        Ok(())
    }

    fn global(&mut self, module: &str, name: &str) -> Step {
        let item = match globals::find(module, name)? {
            Named::Global(global) => self.arena.global(global),
            Named::Dtype(dtype) => Item::Dtype(dtype),
        };
        self.push(item)
    }

    fn call(&mut self, callee: Item, arguments: Item) -> Step {
        // Limits lists that are copied repeatedly.
        let given = self.arena.as_list(arguments).unwrap_or_default();
        let lengths = given.iter().map(|&item| self.arena.as_list(item).map_or(1, <[Item]>::len));
        self.copied = self.copied.saturating_add(lengths.sum());
        if self.copied > MOST_COPIED {
            return Err("calls with too many arguments".to_owned());
        }
        let result = globals::call(&mut self.arena, callee, arguments)?;
        self.push(result)
    }

    /// Sets the state of the object on top. The attributes of containers, such
    /// as `_metadata` of a state dict, are ignored.
    fn build(&mut self, state: Item) -> Step {
        let top = self.stack.last().ok_or("there is no object to build")?;
        if let (&Item::Dict(object), Item::Dict(state)) = (top, state)
            && self.arena.dicts[object as usize].is_object
            && object != state
        {
            let entries = std::mem::take(&mut self.arena.dicts[state as usize].entries);
            self.arena.dicts[object as usize].entries.extend(entries);
        }
        Ok(())
    }

    /// A storage: `("storage", class, key, location, length)`. Old files add
    /// the key, offset and length of a view.
    fn persistent(&mut self, id: Item) -> Step {
        let arena = &self.arena;
        let invalid = || "the description of a storage is invalid".to_owned();
        let &[kind, class, key, _, _, ref rest @ ..] = arena.as_list(id).ok_or_else(invalid)?
        else {
            return Err(invalid());
        };
        let (Some("storage"), Item::Global(class)) = (arena.as_text(kind), class) else {
            return Err(invalid());
        };
        let Global::Storage(dtype) = arena.globals[class as usize] else {
            return Err(invalid());
        };
        let key = match key {
            Item::Int(key) => key.to_string(),
            key => arena.as_text(key).ok_or_else(invalid)?.to_owned(),
        };
        let view = rest.first().and_then(|&view| arena.as_list(view));
        let offset = match view.map(|view| view.get(1)) {
            None => 0,
            Some(Some(&Item::Int(offset))) => u64::try_from(offset).map_err(|_| invalid())?,
            Some(_) => return Err(invalid()),
        };
        let storage = self.arena.storage(Storage { key, dtype, offset });
        self.push(storage)
    }
}

/// A line of ASCII.
fn line(reader: &mut Reader) -> Result<String> {
    Ok(String::from_utf8_lossy(&reader.line(LONGEST_TEXT)?).into_owned())
}

/// A little-endian two's complement number of at most 64 bits.
fn integer(bytes: &[u8]) -> Item {
    let negative = bytes.last().is_some_and(|&last| last >= 0x80);
    let mut all = [if negative { 0xff } else { 0 }; 8];
    match all.get_mut(..bytes.len()) {
        Some(low) => low.copy_from_slice(bytes),
        None => return Item::Other,
    }
    Item::Int(i64::from_le_bytes(all))
}

/// A number in decimal digits.
fn number(opcode: u8, line: &str) -> Option<Item> {
    match (opcode, line) {
        (b'F', _) => line.trim().parse().ok().map(Item::Float),
        (b'I', "00") => Some(Item::Bool(false)),
        (b'I', "01") => Some(Item::Bool(true)),
        _ => line.trim().trim_end_matches('L').parse().ok().map(Item::Int),
    }
}
