//! The options of `#[parameters(...)]` on a type and on a field.

use syn::meta::ParseNestedMeta;
use syn::{Attribute, LitStr, Path, Result, Type, parse_quote};

/// On a type.
pub(crate) struct TypeSettings {
    /// The path under which the traits are found.
    pub(crate) root: Path,
    /// The element type, when it is given.
    pub(crate) element: Option<Type>,
    /// Whether no field holds state.
    pub(crate) skip: bool,
}

impl TypeSettings {
    pub(crate) fn of(attributes: &[Attribute]) -> Result<Self> {
        let (mut root, mut element, mut skip) = (None, None, false);
        each(attributes, |meta| {
            if meta.path.is_ident("crate") {
                let path = meta.value()?.call(Path::parse_mod_style)?;
                once(&mut root, path, &meta)
            } else if meta.path.is_ident("element") {
                let ty = meta.value()?.parse()?;
                once(&mut element, ty, &meta)
            } else if meta.path.is_ident("skip") {
                skip = true;
                Ok(())
            } else {
                Err(meta.error("expected `element = TYPE`, `crate = PATH` or `skip`"))
            }
        })?;
        Ok(Self { root: root.unwrap_or_else(|| parse_quote!(::dendra)), element, skip })
    }
}

/// On a field.
#[derive(Default)]
pub(crate) struct FieldSettings {
    /// Whether it holds no state.
    pub(crate) skip: bool,
    /// Whether it has no part in a path.
    pub(crate) flatten: bool,
    /// Its part of a path, when that is not its name.
    pub(crate) rename: Option<LitStr>,
}

impl FieldSettings {
    pub(crate) fn of(attributes: &[Attribute]) -> Result<Self> {
        let mut settings = Self::default();
        each(attributes, |meta| {
            if meta.path.is_ident("skip") {
                settings.skip = true;
            } else if meta.path.is_ident("flatten") {
                settings.flatten = true;
            } else if meta.path.is_ident("rename") {
                let name: LitStr = meta.value()?.parse()?;
                if name.value().is_empty() {
                    return Err(syn::Error::new(name.span(), "a name must not be empty"));
                }
                once(&mut settings.rename, name, &meta)?;
            } else {
                return Err(meta.error("expected `skip`, `flatten` or `rename = \"NAME\"`"));
            }
            let Self { skip, flatten, rename } = &settings;
            if u8::from(*skip) + u8::from(*flatten) + u8::from(rename.is_some()) > 1 {
                return Err(meta.error("`skip`, `flatten` and `rename` exclude each other"));
            }
            Ok(())
        })?;
        Ok(settings)
    }
}

/// An error if there are options where none are allowed.
pub(crate) fn none(attributes: &[Attribute], context: &str) -> Result<()> {
    each(attributes, |meta| Err(meta.error(format_args!("{context} has no settings"))))
}

/// Calls `setting` with every setting of every `#[parameters(...)]`.
fn each(
    attributes: &[Attribute],
    mut setting: impl FnMut(ParseNestedMeta<'_>) -> Result<()>,
) -> Result<()> {
    let ours = attributes.iter().filter(|attribute| attribute.path().is_ident("parameters"));
    for attribute in ours {
        attribute.parse_nested_meta(&mut setting)?;
    }
    Ok(())
}

pub(crate) fn once<V>(slot: &mut Option<V>, value: V, meta: &ParseNestedMeta<'_>) -> Result<()> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(meta.error("given twice")),
    }
}
