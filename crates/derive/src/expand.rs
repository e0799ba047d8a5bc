//! From a type to its implementation of `Parameters`.

use proc_macro2::{Ident, TokenStream, TokenTree};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{
    Attribute, Data, DeriveInput, Error, Fields, GenericParam, Generics, Member, Path, Result,
    Type, TypeParamBound, WherePredicate, parse_quote,
};

use crate::settings::{self, FieldSettings, TypeSettings};

/// A struct, or one variant of an enum.
struct Variant<'a> {
    /// The path of its pattern.
    path: TokenStream,
    /// The fields that may hold state.
    fields: Vec<Field<'a>>,
}

struct Field<'a> {
    member: Member,
    binding: Ident,
    ty: &'a Type,
    /// Its part of a path; `None` when it has none.
    name: Option<String>,
}

pub(crate) fn parameters(input: &DeriveInput) -> Result<TokenStream> {
    let TypeSettings { root, element, skip } = TypeSettings::of(&input.attrs)?;
    let mut variants = variants(&input.data)?;
    if skip {
        variants.iter_mut().for_each(|variant| variant.fields.clear());
    }
    let types: Vec<&Type> =
        variants.iter().flat_map(|variant| variant.fields.iter().map(|field| field.ty)).collect();

    let mut generics = input.generics.clone();
    let element = match (element, float_parameter(&input.generics)?) {
        (Some(element), _) => element,
        (None, Some(parameter)) => parse_quote!(#parameter),
        (None, None) if types.is_empty() => {
            generics.params.push(parse_quote!(__T: #root::tensor::Float));
            parse_quote!(__T)
        }
        (None, None) => parse_quote!(f32),
    };
    for ty in types {
        // Of the element type alone, every field type of ours needs no bound.
        let open = |name: &Ident| *name != element.to_token_stream().to_string();
        if input.generics.type_params().any(|it| open(&it.ident) && mentions(ty, &it.ident)) {
            let bound: WherePredicate = parse_quote!(#ty: #root::autograd::Parameters<#element>);
            generics.make_where_clause().predicates.push(bound);
        }
    }

    let name = &input.ident;
    let (_, type_generics, _) = input.generics.split_for_impl();
    let (impl_generics, _, where_clause) = generics.split_for_impl();
    let visit = body(&variants, &root, &element, "visit");
    let visit_mut = body(&variants, &root, &element, "visit_mut");
    Ok(quote! {
        #[automatically_derived]
        #[allow(unused_variables)]
        impl #impl_generics #root::autograd::Parameters<#element> for #name #type_generics
        #where_clause
        {
            fn visit<'__state>(
                &'__state self,
                path: &mut #root::autograd::Path,
                visitor: &mut dyn FnMut(
                    &#root::autograd::Path,
                    #root::autograd::Entry<'__state, #element>,
                ),
            ) {
                #visit
            }

            fn visit_mut<'__state>(
                &'__state mut self,
                path: &mut #root::autograd::Path,
                visitor: &mut dyn FnMut(
                    &#root::autograd::Path,
                    #root::autograd::EntryMut<'__state, #element>,
                ),
            ) {
                #visit_mut
            }
        }
    })
}

/// The body of one of the two methods.
fn body(variants: &[Variant<'_>], root: &Path, element: &Type, method: &str) -> TokenStream {
    if variants.is_empty() {
        return quote!(match *self {});
    }
    let method = format_ident!("{method}");
    let arms = variants.iter().map(|Variant { path, fields }| {
        let patterns = fields.iter().map(|Field { member, binding, .. }| quote!(#member: #binding));
        let calls = fields.iter().map(|Field { binding, ty, name, .. }| {
            // Placed at the field's type, so that a type without an
            // implementation is reported there.
            let call = quote_spanned! {ty.span()=>
                <#ty as #root::autograd::Parameters<#element>>::#method(#binding, path, visitor)
            };
            match name {
                Some(name) => quote!(path.enter(#name, |path| #call)),
                None => call,
            }
        });
        quote!(#path { #(#patterns,)* .. } => { #(#calls;)* })
    });
    quote!(match self { #(#arms)* })
}

fn variants(data: &Data) -> Result<Vec<Variant<'_>>> {
    match data {
        Data::Struct(data) => {
            Ok(vec![Variant { path: quote!(Self), fields: fields(&data.fields)? }])
        }
        Data::Enum(data) => data
            .variants
            .iter()
            .map(|variant| {
                settings::none(&variant.attrs, "a variant")?;
                let name = &variant.ident;
                Ok(Variant { path: quote!(Self::#name), fields: fields(&variant.fields)? })
            })
            .collect(),
        Data::Union(data) => Err(Error::new(
            data.union_token.span,
            "Parameters can be derived for structs and enums, not for unions",
        )),
    }
}

/// The fields that may hold state; all that is wrong with them at once.
fn fields(fields: &Fields) -> Result<Vec<Field<'_>>> {
    let mut found: Vec<Field<'_>> = Vec::new();
    let mut wrong: Option<Error> = None;
    for (index, (field, member)) in fields.iter().zip(fields.members()).enumerate() {
        match field_of(&field.attrs, &field.ty, member, index) {
            Ok(None) => {}
            Ok(Some((new, span)))
                if new.name.is_some() && found.iter().any(|field| field.name == new.name) =>
            {
                let name = new.name.unwrap_or_default();
                let error = Error::new(span, format!("another field is named `{name}` already"));
                merge(&mut wrong, error);
            }
            Ok(Some((new, _))) => found.push(new),
            Err(error) => merge(&mut wrong, error),
        }
    }
    wrong.map_or(Ok(found), Err)
}

/// A field and where its name is written; `None` when it is skipped.
fn field_of<'a>(
    attributes: &[Attribute],
    ty: &'a Type,
    member: Member,
    index: usize,
) -> Result<Option<(Field<'a>, proc_macro2::Span)>> {
    let FieldSettings { skip, flatten, rename } = FieldSettings::of(attributes)?;
    if skip {
        return Ok(None);
    }
    let (name, span) = match (&rename, &member) {
        (Some(name), _) => (name.value(), name.span()),
        (None, Member::Named(name)) => (name.unraw().to_string(), name.span()),
        (None, Member::Unnamed(index)) => (index.index.to_string(), ty.span()),
    };
    let binding = format_ident!("field_{index}");
    Ok(Some((Field { member, binding, ty, name: (!flatten).then_some(name) }, span)))
}

fn merge(errors: &mut Option<Error>, new: Error) {
    match errors {
        Some(errors) => errors.combine(new),
        None => *errors = Some(new),
    }
}

/// The type parameter that is bounded by `Float`.
fn float_parameter(generics: &Generics) -> Result<Option<&Ident>> {
    let is_float = |bound: &TypeParamBound| match bound {
        TypeParamBound::Trait(bound) => {
            bound.path.segments.last().is_some_and(|segment| segment.ident == "Float")
        }
        _ => false,
    };
    let bounded_later = |name: &Ident| {
        let predicates = generics.where_clause.iter().flat_map(|clause| &clause.predicates);
        predicates.into_iter().any(|predicate| match predicate {
            WherePredicate::Type(predicate) => {
                matches!(&predicate.bounded_ty, Type::Path(ty) if ty.path.is_ident(name))
                    && predicate.bounds.iter().any(is_float)
            }
            _ => false,
        })
    };
    let mut floats = generics.params.iter().filter_map(|parameter| match parameter {
        GenericParam::Type(it) if it.bounds.iter().any(is_float) || bounded_later(&it.ident) => {
            Some(&it.ident)
        }
        _ => None,
    });
    match (floats.next(), floats.next()) {
        (Some(_), Some(second)) => Err(Error::new(
            second.span(),
            "two type parameters are bounded by Float: say which one is the element type with \
             #[parameters(element = ...)]",
        )),
        (first, _) => Ok(first),
    }
}

/// Whether a type names this type parameter.
fn mentions(ty: &Type, parameter: &Ident) -> bool {
    fn within(tokens: TokenStream, parameter: &Ident) -> bool {
        tokens.into_iter().any(|token| match token {
            TokenTree::Ident(ident) => ident == *parameter,
            TokenTree::Group(group) => within(group.stream(), parameter),
            TokenTree::Punct(_) | TokenTree::Literal(_) => false,
        })
    }
    within(ty.to_token_stream(), parameter)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(input: DeriveInput) -> String {
        let error = parameters(&input).unwrap_err();
        error.into_iter().map(|error| error.to_string()).collect::<Vec<_>>().join("; ")
    }

    /// The first line of the implementation.
    fn header(input: DeriveInput) -> String {
        let tokens = parameters(&input).unwrap().to_string();
        let start = tokens.find("impl").unwrap();
        tokens[start..].split('{').next().unwrap().split_whitespace().collect()
    }

    #[test]
    fn wrong_settings_are_explained() {
        let cases: [(DeriveInput, &str); 9] = [
            (parse_quote!(union U { a: u32 }), "structs and enums, not for unions"),
            (
                parse_quote!(
                    struct S {
                        #[parameters(skipp)]
                        a: u8,
                    }
                ),
                "expected `skip`, `flatten`",
            ),
            (
                parse_quote!(
                    #[parameters(elements = f64)]
                    struct S;
                ),
                "expected `element = TYPE`, `crate = PATH` or `skip`",
            ),
            (
                parse_quote!(
                    #[parameters(element = f64, element = f32)]
                    struct S;
                ),
                "given twice",
            ),
            (
                parse_quote!(
                    struct S {
                        #[parameters(rename = "")]
                        a: u8,
                    }
                ),
                "must not be empty",
            ),
            (
                parse_quote!(
                    struct S {
                        #[parameters(skip, rename = "b")]
                        a: u8,
                    }
                ),
                "exclude each other",
            ),
            (
                parse_quote!(
                    struct S {
                        b: u8,
                        #[parameters(rename = "b")]
                        a: u8,
                    }
                ),
                "another field is named `b` already",
            ),
            (
                parse_quote!(
                    struct S<A: Float, B: Float> {
                        a: A,
                        b: B,
                    }
                ),
                "say which one",
            ),
            (
                parse_quote!(
                    enum E {
                        #[parameters(skip)]
                        A,
                    }
                ),
                "a variant has no settings",
            ),
        ];
        for (input, expected) in cases {
            let message = message(input);
            assert!(message.contains(expected), "{message:?} for {expected:?}");
        }
    }

    #[test]
    fn all_wrong_fields_are_reported() {
        let message = message(parse_quote! {
            struct S { #[parameters(a)] a: u8, b: u8, #[parameters(rename = 3)] c: u8 }
        });
        assert_eq!(
            message,
            "expected `skip`, `flatten` or `rename = \"NAME\"`; expected string literal"
        );
    }

    #[test]
    fn the_element_type_is_found() {
        let cases: [(DeriveInput, &str); 7] = [
            (
                parse_quote!(
                    struct S {
                        a: A,
                    }
                ),
                "impl::dendra::autograd::Parameters<f32>forS",
            ),
            (
                parse_quote!(
                    struct S<T: tensor::Float = f32> {
                        a: A<T>,
                    }
                ),
                "impl<T:tensor::Float>::dendra::autograd::Parameters<T>forS<T>",
            ),
            (
                parse_quote!(
                    struct S<T>
                    where
                        T: Float,
                    {
                        a: A<T>,
                    }
                ),
                "impl<T>::dendra::autograd::Parameters<T>forS<T>whereT:Float",
            ),
            (
                parse_quote!(
                    #[parameters(element = f64, crate = nn)]
                    struct S {
                        a: A,
                    }
                ),
                "implnn::autograd::Parameters<f64>forS",
            ),
            (
                parse_quote!(
                    struct S {
                        #[parameters(skip)]
                        a: A,
                    }
                ),
                "impl<__T:::dendra::tensor::Float>::dendra::autograd::Parameters<__T>forS",
            ),
            (
                parse_quote!(
                    #[parameters(skip)]
                    struct S {
                        a: A,
                        b: B,
                    }
                ),
                "impl<__T:::dendra::tensor::Float>::dendra::autograd::Parameters<__T>forS",
            ),
            (
                parse_quote!(
                    struct S<T: Float, M> {
                        a: Vec<M>,
                        b: A<T>,
                    }
                ),
                "impl<T:Float,M>::dendra::autograd::Parameters<T>forS<T,M>\
                 whereVec<M>:::dendra::autograd::Parameters<T>",
            ),
        ];
        for (input, expected) in cases {
            assert_eq!(header(input).trim_end_matches(','), expected);
        }
    }
}
