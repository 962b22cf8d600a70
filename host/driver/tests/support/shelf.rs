//! Components that pass on resources which they have from somebody else: a driver that keeps them on
//! a shelf, and an application that has them from the same source as the driver.

use std::fmt::Write as _;

/// An interface with one resource, which has `[constructor](value)` and `add(n)`.
#[derive(Clone, Copy)]
pub(crate) struct Source {
    pub(crate) interface: &'static str,
    pub(crate) resource: &'static str,
    /// Whether the resource has `watch`, which makes a resource that it then has as a child; else it has
    /// `merge`, which takes two.
    pub(crate) watch: bool,
}

/// The host's own resource in these tests.
pub(crate) const CELLS: Source = Source {
    interface: "acme:host/cells@1.0.0",
    resource: "cell",
    watch: true,
};

/// A resource of the driver of things.
pub(crate) const THINGS: Source = Source {
    interface: "acme:things/store@1.0.0",
    resource: "thing",
    watch: false,
};

pub(crate) const SHELF: &str = "acme:shelf/shelf@1.0.0";

/// Functions of the shelf: name, parameters, whether there is a result, and what they do.
const FUNCTIONS: &[(&str, &str, &str, &str)] = &[
    (
        "make",
        "(param \"value\" u32)",
        "(result (own $r))",
        "(call $construct (local.get 0))",
    ),
    (
        "take",
        "(param \"it\" (own $r))",
        "(result u32)",
        "(call $add (local.get 0) (i32.const 0)) (call $drop (local.get 0))",
    ),
    (
        "peek",
        "(param \"it\" (borrow $r))",
        "(result u32)",
        "(call $add (local.get 0) (i32.const 1)) (call $drop (local.get 0))",
    ),
    (
        "keep",
        "(param \"it\" (own $r))",
        "(result u32)",
        "(global.set $kept (local.get 0)) (i32.const 0)",
    ),
    (
        "give",
        "(param \"n\" u32)",
        "(result (own $r))",
        "(global.get $kept)",
    ),
    (
        "crash",
        "(param \"it\" (borrow $r))",
        "(result u32)",
        "(call $add (local.get 0) (i32.const 10)) unreachable",
    ),
    (
        "swap",
        "(param \"it\" (own $r))",
        "(result (own $r))",
        "(local.get 0)",
    ),
];

/// Functions that leave a child of the resource behind.
const WATCHING: &[(&str, &str, &str, &str)] = &[
    (
        "watch-lent",
        "(param \"it\" (borrow $r))",
        "(result u32)",
        "(drop (call $watch (local.get 0))) (call $drop (local.get 0)) (i32.const 0)",
    ),
    (
        "make-watched",
        "(param \"value\" u32)",
        "(result (own $r))",
        "(local $it i32) (local.set $it (call $construct (local.get 0))) \
         (drop (call $watch (local.get $it))) (local.get $it)",
    ),
];

impl Source {
    fn functions(
        &self,
    ) -> impl Iterator<Item = &'static (&'static str, &'static str, &'static str, &'static str)>
    {
        let watching: &[_] = if self.watch { WATCHING } else { &[] };
        FUNCTIONS.iter().chain(watching)
    }

    /// The import, and what a core module has of it.
    fn import(&self) -> (String, String, String) {
        let Self {
            interface,
            resource,
            watch,
        } = self;
        let (types, name, extra, signature, flat) = match watch {
            true => (
                "(export \"watch\" (type $w (sub resource)))",
                "[method]cell.watch",
                "watch",
                "(param \"self\" (borrow $r)) (result (own $w))",
                "(param i32)",
            ),
            false => (
                "",
                "[static]thing.merge",
                "merge",
                "(param \"a\" (own $r)) (param \"b\" (own $r)) (result (own $r))",
                "(param i32 i32)",
            ),
        };
        let import = format!(
            "(import \"{interface}\" (instance $source
                (export \"{resource}\" (type $r (sub resource)))
                {types}
                (export \"[constructor]{resource}\"
                    (func (param \"value\" u32) (result (own $r))))
                (export \"[method]{resource}.add\"
                    (func (param \"self\" (borrow $r)) (param \"n\" u32) (result u32)))
                (export \"{name}\" (func {signature}))))
            (alias export $source \"{resource}\" (type $r))
            (core func $construct (canon lower (func $source \"[constructor]{resource}\")))
            (core func $add (canon lower (func $source \"[method]{resource}.add\")))
            (core func $drop (canon resource.drop $r))
            (core func ${extra} (canon lower (func $source \"{name}\")))"
        );
        let core = format!(
            "(import \"\" \"construct\" (func $construct (param i32) (result i32)))
            (import \"\" \"add\" (func $add (param i32 i32) (result i32)))
            (import \"\" \"drop\" (func $drop (param i32)))
            (import \"\" \"{extra}\" (func ${extra} {flat} (result i32)))"
        );
        let with = format!(
            "(export \"construct\" (func $construct)) (export \"add\" (func $add))
            (export \"drop\" (func $drop)) (export \"{extra}\" (func ${extra}))"
        );
        (import, core, with)
    }
}

/// A driver that has the resource from its source and passes it on.
pub(crate) fn shelf(source: Source) -> String {
    let (import, core, with) = source.import();
    let (mut bodies, mut lifts, mut shim, mut given) =
        (String::new(), String::new(), String::new(), String::new());
    let mut exports = String::new();
    for (name, parameters, result, body) in source.functions() {
        let _ = writeln!(
            bodies,
            "(func (export \"{name}\") (param i32) (result i32) {body})"
        );
        let _ = writeln!(
            lifts,
            "(func ${name} {parameters} {result} (canon lift (core func $main \"{name}\")))"
        );
        let _ = writeln!(
            shim,
            "(import \"{name}\" (func ${name} {parameters} {result}))"
        );
        let out = |text: &str| text.replace("$r", "$out");
        let _ = writeln!(
            exports,
            "(export \"{name}\" (func ${name}) (func {} {}))",
            out(parameters),
            out(result)
        );
        let _ = writeln!(given, "(with \"{name}\" (func ${name}))");
    }
    let resource = source.resource;
    format!(
        "(component {import}
        (core module $main {core} (global $kept (mut i32) (i32.const 0)) {bodies})
        (core instance $main (instantiate $main (with \"\" (instance {with}))))
        {lifts}
        (component $shim
            (import \"{resource}\" (type $r (sub resource)))
            {shim}
            (import \"shared\" (type $shared (eq $r)))
            (export $out \"{resource}\" (type $shared))
            {exports})
        (instance $shelf (instantiate $shim
            (with \"{resource}\" (type $r)) (with \"shared\" (type $r)) {given}))
        (export \"{SHELF}\" (instance $shelf)))"
    )
}

/// An application that hands on what its source and the shelf have; handles are numbers outside.
pub(crate) fn client(source: Source) -> String {
    let (import, core, with) = source.import();
    let (mut declared, mut lowered, mut imports, mut bodies, mut given) = (
        String::new(),
        String::new(),
        String::new(),
        String::new(),
        String::new(),
    );
    let mut exports = String::new();
    let mut export = |bodies: &mut String, name: &str, parameters: &str, called: &str| {
        let count = parameters.split_whitespace().count();
        let passed: String = (0..count).map(|n| format!("(local.get {n})")).collect();
        let _ = writeln!(
            bodies,
            "(func (export \"{name}\") (param {parameters}) (result i32) (call ${called} {passed}))"
        );
        let lifted: String = (0..count)
            .map(|n| format!("(param \"p{n}\" u32)"))
            .collect();
        let _ = writeln!(
            exports,
            "(func (export \"{name}\") {lifted} (result u32) (canon lift (core func $main \"{name}\")))"
        );
    };
    for (name, parameters, result, _) in source.functions() {
        let outer = |text: &str| text.replace("$r", "$mine");
        let _ = writeln!(
            declared,
            "(export \"{name}\" (func {} {}))",
            outer(parameters),
            outer(result)
        );
        let _ = writeln!(
            lowered,
            "(core func $shelf-{name} (canon lower (func $shelf \"{name}\")))"
        );
        let _ = writeln!(
            imports,
            "(import \"\" \"shelf-{name}\" (func $shelf-{name} (param i32) (result i32)))"
        );
        let _ = writeln!(given, "(export \"shelf-{name}\" (func $shelf-{name}))");
        export(&mut bodies, name, "i32", &format!("shelf-{name}"));
    }
    export(&mut bodies, "construct", "i32", "construct");
    export(&mut bodies, "add", "i32 i32", "add");
    match source.watch {
        true => export(&mut bodies, "watch", "i32", "watch"),
        false => export(&mut bodies, "merge", "i32 i32", "merge"),
    }
    let resource = source.resource;
    format!(
        "(component {import}
        (type $shelf (instance
            (alias outer 1 $r (type $outer))
            (export \"{resource}\" (type $mine (eq $outer)))
            {declared}))
        (import \"{SHELF}\" (instance $shelf (type $shelf)))
        {lowered}
        (core module $main {core} {imports} {bodies}
            (func (export \"discard\") (param i32) (result i32)
                (call $drop (local.get 0)) (i32.const 0)))
        (core instance $main (instantiate $main (with \"\" (instance {with} {given}))))
        (func (export \"discard\") (param \"it\" u32) (result u32)
            (canon lift (core func $main \"discard\")))
        {exports})"
    )
}
