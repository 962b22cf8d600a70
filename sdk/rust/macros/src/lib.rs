//! The attributes of `canopy-sdk`; that crate documents how to use them.

use proc_macro::TokenStream;
use proc_macro2::{Span, TokenStream as TokenStream2};
use quote::{format_ident, quote};
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::{Ident, ItemFn, ItemStruct, LitStr, Token, bracketed, parse_macro_input};

/// Makes the function that returns the application's [`Router`](../canopy_sdk/struct.Router.html)
/// the component's entry.
///
/// The function takes nothing and is called once for each request, in an instance of its own. A
/// crate has one such function and is built as a `cdylib`.
#[proc_macro_attribute]
pub fn app(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let function = parse_macro_input!(item as ItemFn);
    let what = "the function takes nothing and returns a `Router`";
    if let Err(error) = check("app", &arguments, &function, 0, what) {
        return error.into_compile_error().into();
    }
    let name = &function.sig.ident;
    quote! {
        #function

        ::canopy_sdk::__private::export_app!(#name);
    }
    .into()
}

/// Makes the function that takes WebSocket connections the component's entry for them; the module
/// [`websocket`](../canopy_sdk/websocket/index.html) says how.
///
/// The function takes an `Opening` and returns a `Connection`, or a `Problem` by which it refuses.
#[proc_macro_attribute]
pub fn websocket(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let function = parse_macro_input!(item as ItemFn);
    let what = "the function takes an `Opening` and returns a `Result<Connection, Problem>`";
    if let Err(error) = check("websocket", &arguments, &function, 1, what) {
        return error.into_compile_error().into();
    }
    let name = &function.sig.ident;
    quote! {
        #function

        ::canopy_sdk::__private::export_websocket!(#name);
    }
    .into()
}

/// Whether an entry is a function of so many parameters.
fn check(
    attribute: &str,
    arguments: &TokenStream,
    function: &ItemFn,
    parameters: usize,
    what: &str,
) -> syn::Result<()> {
    if !arguments.is_empty() {
        return Err(syn::Error::new(
            Span::call_site(),
            format!("`{attribute}` takes no arguments"),
        ));
    }
    if let Some(asyncness) = &function.sig.asyncness {
        return Err(syn::Error::new_spanned(
            asyncness,
            "the function must not be async",
        ));
    }
    if function.sig.inputs.len() != parameters {
        return Err(syn::Error::new_spanned(&function.sig, what));
    }
    Ok(())
}

/// Makes a type the component's implementation of WIT interfaces that other components import.
///
/// ```ignore
/// #[canopy_sdk::driver("acme:payments/charge@1.2.0", wit = ["wit/payments"])]
/// struct Payments;
///
/// impl bindings::exports::acme::payments::charge::Guest for Payments { … }
/// ```
///
/// A driver may also export `canopy:driver/lifecycle@0.1.0`, named like any other interface, with
/// `lifecycle.wit` of the platform's `wit/driver/0.1.0` in one of the folders. Its `check` connects
/// and signs in as a call would, so that whoever sets the driver up learns at once that, say, the
/// password is wrong:
///
/// ```ignore
/// impl bindings::exports::canopy::driver::lifecycle::Guest for Payments {
///     fn check() -> Result<(), String> {
///         connect().map(drop).map_err(|error| error.to_string())
///     }
/// }
/// ```
///
/// By `canopy:driver/bindings@0.2.0`, in `wit/driver/0.2.0`, a driver is told before an installation is
/// bound to it, which it can refuse, and after one is not any more:
///
/// ```ignore
/// use bindings::exports::canopy::driver::bindings as bound;
///
/// impl bound::Guest for Payments {
///     fn on_bind(binding: bound::Binding) -> Result<(), String> {
///         open_account(&binding.installation).map_err(|error| error.to_string())
///     }
///
///     fn on_unbind(binding: bound::Binding) -> Result<(), String> {
///         close_account(&binding.installation).map_err(|error| error.to_string())
///     }
/// }
/// ```
///
/// The generated module `bindings` has one trait `Guest` for each interface, in the modules
/// `exports::namespace::package::interface`, and the types of the interface beside it. Paths of
/// WIT folders are relative to the crate's `Cargo.toml`; a folder whose package uses another
/// package's comes after it.
///
/// A driver that stands between applications and another driver serves an interface and uses it,
/// too: `imports = ["acme:payments/charge@1.2.0"]` before `wit` names what it uses, which is then in
/// the modules `namespace::package::interface`. Types of both sides that are alike are one, but for
/// resources.
#[proc_macro_attribute]
pub fn driver(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let interfaces = parse_macro_input!(arguments as Interfaces);
    let driver = parse_macro_input!(item as ItemStruct);
    let name = &driver.ident;
    let bindings = interfaces.generate("bindings", "export", "driver");
    quote! {
        #driver
        #bindings
        #[allow(unsafe_code, reason = "generated code")]
        const _: () = {
            bindings::export!(#name with_types_in bindings);
        };
    }
    .into()
}

/// Generates the bindings of interfaces that the component uses and `canopy-sdk` has no module
/// for, in a module of the given name.
///
/// ```ignore
/// canopy_sdk::import!(mail: "canopy:mail/sender@0.1.0", wit = ["wit/mail"]);
///
/// use mail::canopy::mail::sender::{Message, send};
/// ```
#[proc_macro]
pub fn import(input: TokenStream) -> TokenStream {
    let Import { module, interfaces } = parse_macro_input!(input as Import);
    interfaces
        .generate(&module.to_string(), "import", "uses")
        .into()
}

struct Import {
    module: Ident,
    interfaces: Interfaces,
}

impl Parse for Import {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let module = input.parse()?;
        input.parse::<Token![:]>()?;
        let interfaces: Interfaces = input.parse()?;
        if let Some(name) = interfaces.imports.first() {
            return Err(syn::Error::new(
                name.span(),
                "everything here is imported: name it without `imports`",
            ));
        }
        Ok(Self { module, interfaces })
    }
}

/// `"ns:pkg/interface@1.0.0", …, imports = ["ns:pkg/interface@1.0.0", …], wit = ["folder", …]`
struct Interfaces {
    names: Vec<LitStr>,
    imports: Vec<LitStr>,
    folders: Vec<LitStr>,
}

impl Parse for Interfaces {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let mut names = Vec::new();
        while input.peek(LitStr) {
            let name: LitStr = input.parse()?;
            check_interface(&name)?;
            names.push(name);
            input.parse::<Token![,]>()?;
        }
        let mut keyword: Ident = input.parse()?;
        let mut imports = Vec::new();
        if keyword == "imports" {
            imports = list(input)?;
            imports.iter().try_for_each(check_interface)?;
            keyword = input.parse()?;
        }
        if names.is_empty() || keyword != "wit" {
            return Err(syn::Error::new(
                keyword.span(),
                "expected: \"namespace:package/interface@version\", wit = [\"folder\"]",
            ));
        }
        Ok(Self {
            names,
            imports,
            folders: list(input)?,
        })
    }
}

/// `= ["one", "two"],` after its keyword; the last comma may be left out.
fn list(input: ParseStream<'_>) -> syn::Result<Vec<LitStr>> {
    input.parse::<Token![=]>()?;
    let list;
    bracketed!(list in input);
    let items = Punctuated::<LitStr, Token![,]>::parse_terminated(&list)?;
    input.parse::<Option<Token![,]>>()?;
    Ok(items.into_iter().collect())
}

/// The names go into WIT text, so nothing else may hide in them.
fn check_interface(name: &LitStr) -> syn::Result<()> {
    let text = name.value();
    let sound = text.contains(':')
        && text.contains('/')
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, ':' | '/' | '@' | '.' | '-' | '+'));
    if sound {
        return Ok(());
    }
    Err(syn::Error::new(
        name.span(),
        "not the name of an interface, as `namespace:package/interface@1.0.0`",
    ))
}

impl Interfaces {
    fn generate(&self, module: &str, direction: &str, world: &str) -> TokenStream2 {
        let names = self.names.iter().map(|name| (direction, name));
        let items: String = self
            .imports
            .iter()
            .map(|name| ("import", name))
            .chain(names)
            .map(|(direction, name)| format!("{direction} {};", name.value()))
            .collect();
        let inline = format!("package canopy:generated; world {world} {{ {items} }}");
        // What is passed on from one side to the other need not be rewritten on the way.
        let merged =
            (!self.imports.is_empty()).then(|| quote!(merge_structurally_equal_types: true,));
        let module = format_ident!("{module}");
        let folders = &self.folders;
        quote! {
            #[allow(
                missing_docs, dead_code, unreachable_pub, unsafe_code, unused_qualifications,
                clippy::all, reason = "generated code"
            )]
            mod #module {
                ::canopy_sdk::__private::wit_bindgen::generate!({
                    inline: #inline,
                    path: [#(#folders),*],
                    runtime_path: "::canopy_sdk::__private::wit_bindgen::rt",
                    generate_all,
                    #merged
                });
            }
        }
    }
}
