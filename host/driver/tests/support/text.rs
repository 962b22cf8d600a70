//! Components written from a description of an interface: one that exports it as a driver does,
//! and an application that hands each function on to its own exports.

use std::fmt::Write as _;

/// An interface whose types are not resources.
pub(crate) struct Interface<'a> {
    pub(crate) name: &'a str,
    /// Names and definitions; a definition and a signature refer to an earlier one as `$name`.
    pub(crate) types: &'a [(&'a str, &'a str)],
    pub(crate) functions: &'a [Function<'a>],
}

/// A function and what it is in core WebAssembly.
#[derive(Clone, Copy)]
pub(crate) struct Function<'a> {
    pub(crate) name: &'a str,
    /// Its component type, as `(param "a" u32) (result u32)`.
    pub(crate) signature: &'a str,
    /// Its flat parameters; `i32` where they are too many and so in memory.
    pub(crate) parameters: &'a str,
    /// Its flat result, if it is a single one.
    pub(crate) result: Option<&'a str>,
    /// Whether its result is in memory.
    pub(crate) returned: bool,
}

impl Function<'_> {
    fn results(&self) -> String {
        match (self.returned, self.result) {
            (true, _) => "(result i32)".to_owned(),
            (false, Some(result)) => format!("(result {result})"),
            (false, None) => String::new(),
        }
    }
}

const LIBC: &str = r#"
  (core module $libc
    (memory (export "memory") 4)
    (global $next (mut i32) (i32.const 1024))
    (func (export "realloc") (param i32 i32 i32) (param $size i32) (result i32)
      global.get $next
      (global.set $next (i32.add (global.get $next)
        (i32.and (i32.add (local.get $size) (i32.const 15)) (i32.const -8))))))
  (core instance $libc (instantiate $libc))
"#;
const OPTIONS: &str =
    r#"(memory (core memory $libc "memory")) (realloc (core func $libc "realloc"))"#;

/// A component that imports the interface and does nothing with it.
pub(crate) fn importer(interface: &Interface<'_>) -> String {
    format!("(component {})", import(interface))
}

fn import(
    Interface {
        name,
        types,
        functions,
    }: &Interface<'_>,
) -> String {
    let mut text = format!("(import \"{name}\" (instance $imported\n");
    for (name, definition) in *types {
        let _ = writeln!(text, "(type ${name}-def {definition})");
        let _ = writeln!(text, "(export \"{name}\" (type ${name} (eq ${name}-def)))");
    }
    for function in *functions {
        let _ = writeln!(
            text,
            "(export \"{}\" (func {}))",
            function.name, function.signature
        );
    }
    text.push_str("))\n");
    for (name, _) in *types {
        let _ = writeln!(text, "(alias export $imported \"{name}\" (type ${name}))");
    }
    text
}

/// An application that exports each function of the interface that it imports.
pub(crate) fn relay(interface: &Interface<'_>) -> String {
    let mut text = passing(interface);
    for Function {
        name, signature, ..
    } in interface.functions
    {
        let _ = writeln!(
            text,
            "(func (export \"{name}\") {signature} (canon lift (core func $main \"{name}\") {OPTIONS}))"
        );
    }
    text.push(')');
    text
}

/// A driver that serves the interface by the same interface, which it imports.
pub(crate) fn handing_on(interface: &Interface<'_>) -> String {
    passing(interface) + &served(interface)
}

/// A component, not closed yet, whose module `$main` calls for each function the one that it imports.
fn passing(interface: &Interface<'_>) -> String {
    let mut text = format!("(component {} {LIBC}\n", import(interface));
    let (mut imports, mut bodies, mut with) = (String::new(), String::new(), String::new());
    for function in interface.functions {
        let Function {
            name, parameters, ..
        } = function;
        let _ = writeln!(
            text,
            "(core func ${name}-import (canon lower (func $imported \"{name}\") {OPTIONS}))"
        );
        let (lowered, results) = match function.returned {
            true => (format!("(param {parameters} i32)"), String::new()),
            false => (format!("(param {parameters})"), function.results()),
        };
        let _ = writeln!(
            imports,
            "(import \"\" \"{name}\" (func ${name} {lowered} {results}))"
        );
        let passed: String = (0..parameters.split_whitespace().count())
            .map(|index| format!("(local.get {index})"))
            .collect();
        let body = match function.returned {
            true => format!("(call ${name} {passed} (i32.const 131072)) (i32.const 131072)"),
            false => format!("(call ${name} {passed})"),
        };
        let _ = writeln!(
            bodies,
            "(func (export \"{name}\") (param {parameters}) {} {body})",
            function.results()
        );
        let _ = writeln!(with, "(export \"{name}\" (func ${name}-import))");
    }
    let _ = write!(
        text,
        "(core module $main (import \"\" \"memory\" (memory 4))\n{imports}{bodies})\n\
         (core instance $main (instantiate $main (with \"\" (instance\n\
         (export \"memory\" (memory $libc \"memory\")) {with}))))\n"
    );
    text
}

/// A driver whose functions have the bodies given by `body`.
pub(crate) fn driver(interface: &Interface<'_>, body: impl Fn(&str) -> String) -> String {
    let Interface {
        types, functions, ..
    } = interface;
    let mut text =
        format!("(component {LIBC}\n(core module $main (import \"\" \"memory\" (memory 4))\n");
    for function in *functions {
        let Function {
            name, parameters, ..
        } = function;
        let results = function.results();
        let _ = writeln!(
            text,
            "(func (export \"{name}\") (param {parameters}) {results} {})",
            body(name)
        );
    }
    text.push_str(
        ")\n(core instance $main (instantiate $main (with \"\" (instance \
         (export \"memory\" (memory $libc \"memory\"))))))\n",
    );
    for (name, definition) in *types {
        let _ = writeln!(text, "(type ${name} {definition})");
    }
    text + &served(interface)
}

/// The rest of a component that serves the interface by its module `$main`.
fn served(
    Interface {
        name,
        types,
        functions,
    }: &Interface<'_>,
) -> String {
    let (mut text, mut shim, mut with) = (String::new(), String::new(), String::new());
    for (name, definition) in *types {
        let _ = writeln!(shim, "(type ${name}-def {definition})");
        let _ = writeln!(
            shim,
            "(import \"type-{name}\" (type ${name} (eq ${name}-def)))"
        );
        let _ = writeln!(with, "(with \"type-{name}\" (type ${name}))");
    }
    for Function {
        name, signature, ..
    } in *functions
    {
        let _ = writeln!(
            text,
            "(func ${name} {signature} (canon lift (core func $main \"{name}\") {OPTIONS}))"
        );
        let _ = writeln!(shim, "(import \"func-{name}\" (func ${name} {signature}))");
        let _ = writeln!(with, "(with \"func-{name}\" (func ${name}))");
    }
    for (name, definition) in *types {
        let definition = definition.replace('$', "$out-");
        let _ = writeln!(shim, "(type $out-{name}-def {definition})");
        let _ = writeln!(
            shim,
            "(export $out-{name} \"{name}\" (type $out-{name}-def))"
        );
    }
    for Function {
        name, signature, ..
    } in *functions
    {
        let signature = signature.replace('$', "$out-");
        let _ = writeln!(
            shim,
            "(export \"{name}\" (func ${name}) (func {signature}))"
        );
    }
    let _ = write!(
        text,
        "(component $shim {shim})\n(instance $exported (instantiate $shim {with}))\n\
         (export \"{name}\" (instance $exported)))"
    );
    text
}
