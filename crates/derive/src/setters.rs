//! From a struct of settings to its setters and its defaults.

use proc_macro2::{Ident, TokenStream, TokenTree};
use quote::quote;
use syn::meta::ParseNestedMeta;
use syn::parse::ParseStream;
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{
    Attribute, Data, DeriveInput, Error, Fields, GenericArgument, Meta, PathArguments, Result,
    Token, Type, parenthesized, parse_quote,
};

use crate::settings::once;

/// The options of `#[set(...)]` on the struct.
#[derive(Default)]
struct OnType {
    /// Whether `new` is to be written.
    new: bool,
    /// The wrapper whose methods the setters are, and the method that reaches the struct.
    through: Option<(Ident, Ident)>,
}

/// The options of `#[set(...)]` on a field.
#[derive(Default)]
struct OnField {
    default: Option<TokenStream>,
    into: bool,
    optional: bool,
    /// Whether the field has a default, that of its type if no other, and no setter.
    skip: bool,
    /// Whether the field has a setter and no default.
    given: bool,
    /// The names of the arguments, for a field that is an array or a tuple.
    each: Option<Vec<Ident>>,
}

pub(crate) fn setters(input: &DeriveInput) -> Result<TokenStream> {
    let on_type = OnType::of(&input.attrs)?;
    let fields = match &input.data {
        Data::Struct(data) => match &data.fields {
            Fields::Named(fields) => &fields.named,
            _ => return Err(Error::new(input.ident.span(), "expected a struct with named fields")),
        },
        _ => return Err(Error::new(input.ident.span(), "expected a struct")),
    };
    let access = match &on_type.through {
        Some((_, method)) => quote!(#method().),
        None => TokenStream::new(),
    };
    let (mut arguments, mut values, mut methods) = (Vec::new(), Vec::new(), Vec::new());
    for field in fields {
        let (name, ty) = (field.ident.as_ref().expect("a named field"), &field.ty);
        let Some(on_field) = OnField::of(&field.attrs)? else {
            arguments.push(quote!(#name: #ty));
            values.push(quote!(#name));
            continue;
        };
        let value = match &on_field.default {
            None if on_field.given => {
                arguments.push(quote!(#name: #ty));
                quote!(#name)
            }
            Some(default) if on_field.given => {
                return Err(Error::new(default.span(), "a field is either given or has a default"));
            }
            Some(default) if on_field.into => quote!(::core::convert::Into::into(#default)),
            Some(default) => quote!(#default),
            None if optional_of(ty).is_some() => quote!(::core::option::Option::None),
            None if on_field.skip => quote!(::core::default::Default::default()),
            None => return Err(Error::new(name.span(), "expected `default = EXPRESSION`")),
        };
        values.push(quote!(#name: #value));
        if on_field.skip {
            continue;
        }
        let docs: Vec<&Attribute> =
            field.attrs.iter().filter(|attribute| attribute.path().is_ident("doc")).collect();
        if docs.is_empty() {
            return Err(Error::new(name.span(), "a setting needs documentation"));
        }
        let default = on_field.default.as_ref().map(|default| {
            let text = default.to_string().replace(' ', "");
            let text = format!(" Default: `{text}`.");
            quote!(#[doc = ""] #[doc = #text])
        });
        let (parameters, value) = on_field.parameters(name, ty)?;
        methods.push(quote! {
            #(#docs)*
            #default
            #[must_use]
            pub fn #name(mut self, #parameters) -> Self {
                self.#access #name = #value;
                self
            }
        });
    }

    let name = &input.ident;
    let (impl_generics, type_generics, where_clause) = input.generics.split_for_impl();
    let defaults = if arguments.is_empty() {
        quote! {
            #[automatically_derived]
            impl #impl_generics ::core::default::Default for #name #type_generics #where_clause {
                fn default() -> Self {
                    Self { #(#values),* }
                }
            }
        }
    } else {
        quote! {
            impl #impl_generics #name #type_generics #where_clause {
                fn with_defaults(#(#arguments),*) -> Self {
                    Self { #(#values),* }
                }
            }
        }
    };
    let new = on_type.new.then(|| {
        quote! {
            impl #impl_generics #name #type_generics #where_clause {
                /// All settings at their defaults, which their methods name.
                pub fn new() -> Self {
                    ::core::default::Default::default()
                }
            }
        }
    });
    let methods = match &on_type.through {
        None => quote!(impl #impl_generics #name #type_generics #where_clause { #(#methods)* }),
        Some((wrapper, _)) => {
            let mut generics = input.generics.clone();
            generics.params.push(parse_quote!(__T: Float));
            let (impl_generics, _, where_clause) = generics.split_for_impl();
            quote! {
                impl #impl_generics #wrapper<#name #type_generics, __T> #where_clause {
                    #(#methods)*
                }
            }
        }
    };
    Ok(quote!(#defaults #new #methods))
}

impl OnType {
    fn of(attributes: &[Attribute]) -> Result<Self> {
        let mut found = Self::default();
        for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("set")) {
            attribute.parse_nested_meta(|meta| {
                if meta.path.is_ident("new") {
                    found.new = true;
                    Ok(())
                } else if meta.path.is_ident("through") {
                    let value = meta.value()?;
                    let wrapper = value.parse()?;
                    value.parse::<Token![::]>()?;
                    once(&mut found.through, (wrapper, value.parse()?), &meta)
                } else {
                    Err(meta.error("expected `new` or `through = WRAPPER::METHOD`"))
                }
            })?;
        }
        Ok(found)
    }
}

impl OnField {
    /// `None` for a field without `#[set(...)]`, which the constructor is given and which has no
    /// setter.
    fn of(attributes: &[Attribute]) -> Result<Option<Self>> {
        let mut found = None;
        for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("set")) {
            let found = found.get_or_insert_with(Self::default);
            if !matches!(attribute.meta, Meta::Path(_)) {
                attribute.parse_nested_meta(|meta| found.add(&meta))?;
            }
        }
        Ok(found)
    }

    fn add(&mut self, meta: &ParseNestedMeta<'_>) -> Result<()> {
        if meta.path.is_ident("default") {
            once(&mut self.default, expression(meta.value()?)?, meta)
        } else if meta.path.is_ident("into") {
            self.into = true;
            Ok(())
        } else if meta.path.is_ident("optional") {
            self.optional = true;
            Ok(())
        } else if meta.path.is_ident("skip") {
            self.skip = true;
            Ok(())
        } else if meta.path.is_ident("given") {
            self.given = true;
            Ok(())
        } else if meta.path.is_ident("each") {
            let content;
            parenthesized!(content in meta.input);
            let names = Punctuated::<Ident, Token![,]>::parse_terminated(&content)?;
            once(&mut self.each, names.into_iter().collect(), meta)
        } else {
            Err(meta.error(
                "expected `default = EXPRESSION`, `given`, `into`, `optional`, `skip` or \
                 `each(NAMES)`",
            ))
        }
    }

    /// The parameters of the setter, and what the field becomes.
    fn parameters(&self, name: &Ident, ty: &Type) -> Result<(TokenStream, TokenStream)> {
        if let Some(names) = &self.each {
            return match ty {
                Type::Array(array) => {
                    let element = &array.elem;
                    Ok((quote!(#(#names: #element),*), quote!([#(#names),*])))
                }
                Type::Tuple(tuple) if tuple.elems.len() == names.len() => {
                    let types = &tuple.elems.iter().collect::<Vec<_>>();
                    Ok((quote!(#(#names: #types),*), quote!((#(#names),*))))
                }
                _ => Err(Error::new(
                    ty.span(),
                    "`each` needs an array, or a tuple with as many fields as names",
                )),
            };
        }
        let into = |ty: &Type| quote!(#name: impl ::core::convert::Into<#ty>);
        let converted = quote!(::core::convert::Into::into(#name));
        Ok(match optional_of(ty) {
            Some(_) if self.optional => (into(ty), converted),
            Some(inner) if self.into => {
                (into(inner), quote!(::core::option::Option::Some(#converted)))
            }
            Some(inner) => (quote!(#name: #inner), quote!(::core::option::Option::Some(#name))),
            None if self.into => (into(ty), converted),
            None => (quote!(#name: #ty), quote!(#name)),
        })
    }
}

/// The tokens up to the next comma: parsing expressions needs more of `syn` than
/// is compiled here.
fn expression(input: ParseStream<'_>) -> Result<TokenStream> {
    let mut tokens = TokenStream::new();
    while !input.is_empty() && !input.peek(Token![,]) {
        tokens.extend([input.parse::<TokenTree>()?]);
    }
    Ok(tokens)
}

/// `X` of the type `Option<X>`.
fn optional_of(ty: &Type) -> Option<&Type> {
    let Type::Path(path) = ty else { return None };
    let last = path.path.segments.last().filter(|segment| segment.ident == "Option")?;
    match &last.arguments {
        PathArguments::AngleBracketed(arguments) => match arguments.args.first()? {
            GenericArgument::Type(inner) => Some(inner),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(input: DeriveInput) -> String {
        setters(&input).unwrap().to_string().split_whitespace().collect()
    }

    #[test]
    fn a_setter_takes_what_the_attributes_say() {
        let code = expanded(parse_quote! {
            struct Settings<const D: usize> {
                size: Sizes<D>,
                /// The height and the width.
                #[set(given, each(height, width))]
                area: [usize; 2],
                /// Elements from one window to the next.
                #[set(into, default = size)]
                stride: Sizes<D>,
                /// Divides the sums.
                #[set]
                divisor: Option<usize>,
                /// How far averages move.
                #[set(optional, default = Some(0.1))]
                momentum: Option<f64>,
                #[set(skip, default = 7)]
                count: usize,
                #[set(skip)]
                names: Vec<String>,
                /// The bounds.
                #[set(each(low, high), default = (0.0, 1.0))]
                bounds: (f64, f64),
            }
        });
        let expected = [
            "fnwith_defaults(size:Sizes<D>,area:[usize;2])->Self{Self{size,area:area,stride:",
            "pubfnarea(mutself,height:usize,width:usize)->Self{self.area=[height,width];self}",
            "Default:`size`.",
            "pubfnstride(mutself,stride:impl::core::convert::Into<Sizes<D>>)->Self",
            "pubfndivisor(mutself,divisor:usize)->Self{\
             self.divisor=::core::option::Option::Some(divisor);self}",
            "pubfnmomentum(mutself,momentum:impl::core::convert::Into<Option<f64>>)->Self",
            "pubfnbounds(mutself,low:f64,high:f64)->Self{self.bounds=(low,high);self}",
        ];
        for expected in expected {
            assert!(code.contains(expected), "{expected} in {code}");
        }
        assert!(code.contains("names:::core::default::Default::default()"), "{code}");
        assert!(code.contains("count:7") && !code.contains("fncount"), "{code}");
    }

    #[test]
    fn a_struct_of_defaults_alone_implements_default() {
        let code = expanded(parse_quote! {
            #[set(new, through = Descent::rule_mut)]
            struct Rule {
                /// The averages.
                #[set(each(beta1, beta2), default = [0.9, 0.999])]
                betas: [f64; 2],
            }
        });
        let expected = [
            "Defaultfor Rule{fndefault()->Self{Self{betas:[0.9,0.999]}}}",
            "pubfnnew()->Self",
            "impl<__T:Float>Descent<Rule,__T>",
            "pubfnbetas(mutself,beta1:f64,beta2:f64)->Self{\
             self.rule_mut().betas=[beta1,beta2];self}",
        ];
        for expected in expected {
            let expected = expected.replace(' ', "");
            assert!(code.contains(&expected), "{expected} in {code}");
        }
    }

    #[test]
    fn wrong_attributes_are_explained() {
        let cases: [(DeriveInput, &str); 7] = [
            (
                parse_quote!(
                    struct S(u8);
                ),
                "named fields",
            ),
            (
                parse_quote!(
                    enum E {}
                ),
                "expected a struct",
            ),
            (
                parse_quote!(
                    struct S {
                        #[set(default = 1)]
                        a: u8,
                    }
                ),
                "needs documentation",
            ),
            (
                parse_quote!(
                    struct S {
                        #[doc = "A."]
                        #[set]
                        a: u8,
                    }
                ),
                "expected `default",
            ),
            (
                parse_quote!(
                    struct S {
                        #[doc = "A."]
                        #[set(defaults = 1)]
                        a: u8,
                    }
                ),
                "`each(NAMES)`",
            ),
            (
                parse_quote!(
                    struct S {
                        #[doc = "A."]
                        #[set(each(b), default = 1)]
                        a: u8,
                    }
                ),
                "needs an array",
            ),
            (
                parse_quote!(
                    struct S {
                        #[doc = "A."]
                        #[set(given, default = 1)]
                        a: u8,
                    }
                ),
                "given or has",
            ),
        ];
        for (input, expected) in cases {
            let message = setters(&input).unwrap_err().to_string();
            assert!(message.contains(expected), "{message:?} for {expected:?}");
        }
    }
}
