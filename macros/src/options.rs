//! What stands in the parentheses.

use syn::{
    ext::IdentExt,
    parse::{Parse, ParseStream},
    punctuated::Punctuated,
    Expr, Ident, LitStr, Token,
};

/// Kinds of spans: what is written, and the variant.
const KINDS: &[(&str, &str)] = &[
    ("internal", "Internal"),
    ("graph_run", "GraphRun"),
    ("node_execution", "NodeExecution"),
    ("edge_transition", "EdgeTransition"),
    ("state_change", "StateChange"),
    ("tool_call", "ToolCall"),
    ("llm_call", "LlmCall"),
    ("client", "Client"),
    ("server", "Server"),
    ("producer", "Producer"),
    ("consumer", "Consumer"),
];

pub(crate) struct Options {
    pub(crate) name: Option<LitStr>,
    /// A variant of `SpanKind`.
    pub(crate) kind: &'static str,
    skip: Vec<Ident>,
    skip_all: bool,
    pub(crate) fields: Vec<(String, Expr)>,
    pub(crate) err: bool,
}

impl Options {
    pub(crate) fn skips(&self, argument: &Ident) -> bool {
        self.skip_all || self.skip.contains(argument)
    }

    /// That what is skipped exists.
    pub(crate) fn check(&self, arguments: &[Ident]) -> syn::Result<()> {
        let unknown = self.skip.iter().find(|name| !arguments.contains(name));
        unknown.map_or(Ok(()), |name| {
            let text = format!("skip({name}): the function has no argument of this name");
            Err(syn::Error::new(name.span(), text))
        })
    }
}

impl Parse for Options {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let mut options = Self {
            name: None,
            kind: "Internal",
            skip: Vec::new(),
            skip_all: false,
            fields: Vec::new(),
            err: false,
        };
        while !input.is_empty() {
            let option: Ident = input.call(Ident::parse_any)?;
            match option.to_string().as_str() {
                "name" => {
                    input.parse::<Token![=]>()?;
                    options.name = Some(input.parse()?);
                }
                "kind" => {
                    input.parse::<Token![=]>()?;
                    options.kind = kind(&input.parse()?)?;
                }
                "skip" => {
                    let list;
                    syn::parenthesized!(list in input);
                    options.skip = Punctuated::<Ident, Token![,]>::parse_terminated(&list)?
                        .into_iter()
                        .collect();
                }
                "skip_all" => options.skip_all = true,
                "fields" => {
                    let list;
                    syn::parenthesized!(list in input);
                    let fields = Punctuated::<Field, Token![,]>::parse_terminated(&list)?;
                    options.fields = fields.into_iter().map(|f| (f.key, f.value)).collect();
                }
                "err" => options.err = true,
                _ => {
                    let text = "expected name, kind, skip, skip_all, fields or err";
                    return Err(syn::Error::new(option.span(), text));
                }
            }
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        Ok(options)
    }
}

fn kind(text: &LitStr) -> syn::Result<&'static str> {
    let value = text.value();
    let found = KINDS.iter().find(|(name, _)| *name == value);
    found.map(|(_, variant)| *variant).ok_or_else(|| {
        let names: Vec<_> = KINDS.iter().map(|(name, _)| *name).collect();
        let text_ = format!("expected one of {}", names.join(", "));
        syn::Error::new(text.span(), text_)
    })
}

/// `key = value`; keys have dots, or are texts.
struct Field {
    key: String,
    value: Expr,
}

impl Parse for Field {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let key = if input.peek(LitStr) {
            input.parse::<LitStr>()?.value()
        } else {
            let parts = Punctuated::<Ident, Token![.]>::parse_separated_nonempty(input)?;
            let parts: Vec<_> = parts.iter().map(Ident::to_string).collect();
            parts.join(".")
        };
        input.parse::<Token![=]>()?;
        let value = input.parse()?;
        Ok(Self { key, value })
    }
}
