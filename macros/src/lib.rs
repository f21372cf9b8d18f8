//! The attribute macro of emberlog: `emberlog::trace`, which documents it.

mod options;

use proc_macro::TokenStream;
use proc_macro2::{Span, TokenStream as Tokens};
use quote::{format_ident, quote};
use syn::{parse_macro_input, spanned::Spanned, FnArg, Ident, ItemFn, Pat, ReturnType, Type};

use options::Options;

/// Gives each call of a function a span.
///
/// The span belongs to the process's instance (`emberlog::init`): it is a child of the innermost
/// span that is open on the thread; where none is, the call is a trace of its own. Where nothing is
/// recorded, it costs about one branch.
///
/// A function that returns a `Result` passes its error on to the span, and a panic is an error too.
/// Async functions also record `busy_ns` and `idle_ns`, and are cancelled when they are dropped.
///
/// ```ignore
/// #[emberlog::trace]
/// fn parse(text: &str) -> Result<u32, std::num::ParseIntError> {
///     text.parse()
/// }
///
/// #[emberlog::trace(name = "fetch", kind = "client", skip(token), fields(bytes = url.len()))]
/// async fn get(url: &str, token: &str) -> std::io::Result<String> {
///     // ...
/// #   Ok(String::new())
/// }
/// ```
///
/// | option | meaning |
/// |---|---|
/// | `name = "..."` | name of the span; the function's by default |
/// | `kind = "..."` | kind of the span: `node_execution`, `tool_call` and so on; `internal` by default |
/// | `skip(a, b)`, `skip_all` | arguments that are not kept, where `capture_inputs` keeps arguments; those without `Debug` are never kept |
/// | `fields(key = value, ...)` | attributes, computed only where something is recorded; `"a.key" = value` too |
/// | `err` | the function returns a `Result` under another name |
#[proc_macro_attribute]
pub fn trace(options: TokenStream, item: TokenStream) -> TokenStream {
    let options = parse_macro_input!(options as Options);
    let function = parse_macro_input!(item as ItemFn);
    expand(&options, function)
        .unwrap_or_else(|error| error.to_compile_error())
        .into()
}

fn expand(options: &Options, function: ItemFn) -> syn::Result<Tokens> {
    let ItemFn {
        attrs,
        vis,
        sig,
        block,
    } = function;
    if let Some(token) = &sig.constness {
        let text = "a const function cannot record anything";
        return Err(syn::Error::new(token.span(), text));
    }
    let arguments = arguments(&sig.inputs.iter().collect::<Vec<_>>());
    options.check(&arguments)?;
    let kept = arguments.iter().filter(|name| !options.skips(name));
    let inputs = kept.map(|name| {
        let text = name.to_string();
        quote!((#text, (&::emberlog::instrument::traced::Shown(&#name)).show()))
    });
    let fields = options.fields.iter().map(|(key, value)| {
        quote! {{
            static __EMBERLOG_KEY: ::emberlog::StaticName = ::emberlog::StaticName::new(#key);
            __emberlog_span.set(&__EMBERLOG_KEY, #value);
        }}
    });
    let name = match &options.name {
        Some(name) => name.value(),
        None => sig.ident.to_string().trim_start_matches("r#").to_owned(),
    };
    let kind = format_ident!("{}", options.kind, span = Span::call_site());
    let is_result = options.err || returns_result(&sig.output);
    let begin = quote! {
        #[allow(unused_imports)]
        use ::emberlog::instrument::traced::{ByDebug as _, ByNothing as _};
        static __EMBERLOG_NAME: ::emberlog::StaticName = ::emberlog::StaticName::new(#name);
        let __emberlog_call = if ::emberlog::instrument::traced::on() {
            ::emberlog::instrument::traced::Call::begin(&__EMBERLOG_NAME)
        } else {
            ::emberlog::instrument::traced::Call::none()
        };
        let mut __emberlog_span = __emberlog_call.span(
            &__EMBERLOG_NAME,
            ::emberlog::SpanKind::#kind,
        );
        if __emberlog_span.is_recording() {
            if __emberlog_span.wants_inputs() {
                __emberlog_span.inputs(&[#(#inputs),*]);
            }
            #(#fields)*
        }
    };
    let body = match (sig.asyncness.is_some(), is_result) {
        (false, false) => quote! {
            #begin
            #block
        },
        (false, true) => {
            let output = &sig.output;
            quote! {
                #begin
                let __emberlog_result =
                    ::emberlog::instrument::traced::once(move || #output #block);
                __emberlog_span.end_with(&__emberlog_result);
                __emberlog_result
            }
        }
        (true, is_result) => {
            let judge = if is_result {
                quote!(|node, result| node.end_with(result))
            } else {
                quote!(|node, _| node.ok())
            };
            let output = match &sig.output {
                ReturnType::Type(_, output) if !matches!(**output, Type::ImplTrait(_)) => {
                    quote!(let __emberlog_output: #output = #block; #[allow(unreachable_code)] __emberlog_output)
                }
                _ => quote!(#block),
            };
            quote! {
                let __emberlog_watched = {
                    #begin
                    __emberlog_span.detach()
                };
                ::emberlog::instrument::traced::watch(
                    async move { #output },
                    __emberlog_watched,
                    #judge,
                )
                .await
            }
        }
    };
    Ok(quote! {
        #(#attrs)*
        #vis #sig {
            #body
        }
    })
}

/// Arguments that have a name of their own.
fn arguments(inputs: &[&FnArg]) -> Vec<Ident> {
    let named = inputs.iter().filter_map(|input| match input {
        FnArg::Typed(typed) => match &*typed.pat {
            Pat::Ident(pattern) if !pattern.ident.to_string().starts_with('_') => {
                Some(pattern.ident.clone())
            }
            _ => None,
        },
        FnArg::Receiver(_) => None,
    });
    named.collect()
}

/// Whether the type is spelled `Result`, with whatever stands before and behind it.
fn returns_result(output: &ReturnType) -> bool {
    let ReturnType::Type(_, output) = output else {
        return false;
    };
    let Type::Path(path) = &**output else {
        return false;
    };
    let last = path.path.segments.last();
    last.is_some_and(|segment| segment.ident == "Result")
}
