//! The objects of a pickle. They refer to each other by index, so that deeply
//! nested and cyclic objects need no recursion.

use dendra_nn::Dtype;

/// A reference to an object, or a small object itself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Item {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    /// A string, by its index.
    Text(u32),
    /// A tuple or list, by its index.
    List(u32),
    /// A dict, by its index.
    Dict(u32),
    /// A class or function, by its index.
    Global(u32),
    Storage(u32),
    Tensor(u32),
    Dtype(Dtype),
    /// An object that is ignored, such as a device.
    Other,
}

/// A storage: the bytes of tensors.
#[derive(Debug)]
pub(super) struct Storage {
    pub(super) key: String,
    /// The element type; `None` for bytes, whose type is given by the tensors.
    pub(super) dtype: Option<Dtype>,
    /// The offset in the bytes of its key, in elements.
    pub(super) offset: u64,
}

/// A tensor.
#[derive(Debug)]
pub(super) struct Tensor {
    pub(super) storage: u32,
    pub(super) dtype: Option<Dtype>,
    pub(super) offset: i64,
    pub(super) sizes: Vec<i64>,
    pub(super) strides: Vec<i64>,
}

/// A dict, or the attributes of an object.
#[derive(Debug, Default)]
pub(super) struct Dict {
    pub(super) entries: Vec<(Item, Item)>,
    /// Whether it contains the attributes of an object of a class.
    pub(super) is_object: bool,
}

/// All objects.
#[derive(Debug, Default)]
pub(super) struct Arena {
    pub(super) texts: Vec<String>,
    pub(super) lists: Vec<Vec<Item>>,
    pub(super) dicts: Vec<Dict>,
    pub(super) globals: Vec<super::globals::Global>,
    pub(super) storages: Vec<Storage>,
    pub(super) tensors: Vec<Tensor>,
}

/// The index of the next object.
fn push<X>(all: &mut Vec<X>, object: X) -> u32 {
    // `pickle::LONGEST` limits the number of objects.
    all.push(object);
    (all.len() - 1) as u32
}

impl Arena {
    pub(super) fn text(&mut self, text: String) -> Item {
        Item::Text(push(&mut self.texts, text))
    }

    pub(super) fn list(&mut self, items: Vec<Item>) -> Item {
        Item::List(push(&mut self.lists, items))
    }

    pub(super) fn dict(&mut self, is_object: bool) -> Item {
        Item::Dict(push(&mut self.dicts, Dict { entries: Vec::new(), is_object }))
    }

    pub(super) fn global(&mut self, global: super::globals::Global) -> Item {
        Item::Global(push(&mut self.globals, global))
    }

    pub(super) fn storage(&mut self, storage: Storage) -> Item {
        Item::Storage(push(&mut self.storages, storage))
    }

    pub(super) fn tensor(&mut self, tensor: Tensor) -> Item {
        Item::Tensor(push(&mut self.tensors, tensor))
    }

    pub(super) fn as_text(&self, item: Item) -> Option<&str> {
        match item {
            Item::Text(index) => Some(&self.texts[index as usize]),
            _ => None,
        }
    }

    pub(super) fn as_list(&self, item: Item) -> Option<&[Item]> {
        match item {
            Item::List(index) => Some(&self.lists[index as usize]),
            _ => None,
        }
    }

    /// A list of integers.
    pub(super) fn as_ints(&self, item: Item) -> Option<Vec<i64>> {
        let int = |&item: &Item| match item {
            Item::Int(value) => Some(value),
            _ => None,
        };
        self.as_list(item)?.iter().map(int).collect()
    }
}
