//! The state dict among the objects of a pickle.

use std::collections::BTreeMap;

use serde_json::Value;

use super::arena::{Arena, Item, Tensor};
use super::pickle::Pickled;

/// The keys under which training scripts store the state dict of the model.
const STATE_KEYS: [&str; 7] =
    ["state_dict", "model_state_dict", "model_state", "model", "module", "net", "weights"];

/// The largest depth of nested dicts.
const DEEPEST: usize = 64;

/// The largest length of the name of a tensor, in bytes.
const LONGEST_NAME: usize = 1024;

/// The largest length of a string that is kept, in bytes.
const LONGEST_TEXT: usize = 1 << 16;

/// The content of a pickle.
#[derive(Default)]
pub(super) struct Found<'a> {
    /// The tensors with their names.
    pub(super) tensors: Vec<(String, &'a Tensor)>,
    /// The numbers and strings next to them.
    pub(super) others: BTreeMap<String, Value>,
}

/// Collects the tensors of the pickled object. The dict of a training script is
/// searched for the state dict of the model, and the numbers and strings next
/// to it are kept. Other dicts and lists are flattened, with dots in the names.
pub(super) fn collect(pickled: &Pickled) -> Result<Found<'_>, String> {
    let Pickled { arena, top } = pickled;
    let mut found = Found::default();
    // The number of visits is limited, because an object may occur many times.
    let lists: usize = arena.lists.iter().map(Vec::len).sum();
    let dicts: usize = arena.dicts.iter().map(|dict| dict.entries.len()).sum();
    let mut visits = 64 + 4 * (lists + dicts);
    let mut state = *top;
    while let Some(inner) = state_dict_in(arena, state) {
        for (key, value) in entries(arena, state) {
            if let (Some(key), Some(value)) = (key_of(arena, key), plain(arena, value)) {
                found.others.insert(key, value);
            }
        }
        state = inner;
        visits = visits.checked_sub(1).ok_or("a dict contains itself")?;
    }
    if let Item::Tensor(tensor) = state {
        found.tensors.push(("tensor".to_owned(), &arena.tensors[tensor as usize]));
        return Ok(found);
    }
    flatten(arena, state, "", DEEPEST, &mut visits, &mut found)?;
    Ok(found)
}

/// The state dict in the dict of a training script, under one of the usual
/// keys. A state dict contains no dicts, but a TorchScript module may contain
/// another dict with such a name.
fn state_dict_in(arena: &Arena, item: Item) -> Option<Item> {
    if matches!(item, Item::Dict(dict) if arena.dicts[dict as usize].is_object) {
        return None;
    }
    STATE_KEYS.iter().find_map(|&wanted| {
        let mut states = entries(arena, item).filter(|&(key, value)| {
            arena.as_text(key) == Some(wanted)
                && entries(arena, value).any(|(_, inner)| holds_tensor(arena, inner))
        });
        states.next().map(|(_, value)| value)
    })
}

/// Whether the item is a tensor, or a dict that contains one.
fn holds_tensor(arena: &Arena, item: Item) -> bool {
    let is_tensor = |item| matches!(item, Item::Tensor(_));
    is_tensor(item) || entries(arena, item).any(|(_, inner)| is_tensor(inner))
}

/// The entries of a dict, or of the attributes of an object.
fn entries(arena: &Arena, item: Item) -> impl Iterator<Item = (Item, Item)> {
    let dict = match item {
        Item::Dict(dict) => Some(&arena.dicts[dict as usize].entries),
        _ => None,
    };
    dict.into_iter().flatten().copied()
}

fn flatten<'a>(
    arena: &'a Arena,
    item: Item,
    name: &str,
    deepest: usize,
    visits: &mut usize,
    found: &mut Found<'a>,
) -> Result<(), String> {
    *visits = visits.checked_sub(1).ok_or("objects contain each other too often")?;
    if name.len() > LONGEST_NAME || deepest == 0 {
        return Err(format!("objects are nested more than {DEEPEST} deep, or names are too long"));
    }
    let joined = |key: &str| match name {
        "" => key.to_owned(),
        name => format!("{name}.{key}"),
    };
    match item {
        Item::Tensor(tensor) => {
            found.tensors.push((name.to_owned(), &arena.tensors[tensor as usize]));
        }
        Item::Dict(_) => {
            for (key, value) in entries(arena, item) {
                let key = key_of(arena, key).filter(|key| key.len() <= LONGEST_NAME);
                if let Some(key) = key {
                    flatten(arena, value, &joined(&key), deepest - 1, visits, found)?;
                }
            }
        }
        Item::List(list) => {
            for (index, &value) in arena.lists[list as usize].iter().enumerate() {
                flatten(arena, value, &joined(&index.to_string()), deepest - 1, visits, found)?;
            }
        }
        other => {
            if let Some(value) = plain(arena, other).filter(|_| !name.is_empty()) {
                found.others.insert(name.to_owned(), value);
            }
        }
    }
    Ok(())
}

/// The part of a name that a key gives.
fn key_of(arena: &Arena, key: Item) -> Option<String> {
    match key {
        Item::Text(_) => arena.as_text(key).map(str::to_owned),
        Item::Int(key) => Some(key.to_string()),
        _ => None,
    }
}

/// A number or a string.
fn plain(arena: &Arena, item: Item) -> Option<Value> {
    match item {
        Item::Bool(value) => Some(value.into()),
        Item::Int(value) => Some(value.into()),
        Item::Float(value) => Some(value.into()),
        Item::Text(_) => {
            arena.as_text(item).filter(|text| text.len() <= LONGEST_TEXT).map(Value::from)
        }
        _ => None,
    }
}
