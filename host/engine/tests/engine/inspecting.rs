//! What `inspect` says of components and of everything else.

use canopy_engine::{HttpWorld, InspectError, ItemKind, inspect};

use crate::{binary, engine};

const PROXY: &str = r#"(component
    (import "wasi:http/types@0.2.3" (instance))
    (import "acme:payments/charge@1.2.0" (instance))
    (import "greet" (func))
    (component $c)
    (instance $i (instantiate $c))
    (export "wasi:http/incoming-handler@0.2.3" (instance $i)))"#;

fn exporting(name: &str) -> Vec<u8> {
    binary(&format!(
        r#"(component (component $c) (instance $i (instantiate $c)) (export "{name}" (instance $i)))"#
    ))
}

#[test]
fn imports_and_exports_in_their_order() {
    let found = inspect(&binary(PROXY)).expect("a component");
    let names = |items: &[canopy_engine::Item]| {
        items
            .iter()
            .map(|item| format!("{} {}", item.kind, item.name))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        names(&found.imports),
        [
            "instance wasi:http/types@0.2.3",
            "instance acme:payments/charge@1.2.0",
            "function greet"
        ]
    );
    assert_eq!(
        names(&found.exports),
        ["instance wasi:http/incoming-handler@0.2.3"]
    );
    let interfaces: Vec<_> = found
        .imported_interfaces()
        .map(|import| import.to_string())
        .collect();
    assert_eq!(
        interfaces,
        ["wasi:http/types@0.2.3", "acme:payments/charge@1.2.0"]
    );
    assert_eq!(found.imports[2].kind, ItemKind::Function);
}

#[test]
fn the_http_world_is_what_it_exports() {
    let world = |name| inspect(&exporting(name)).expect(name).http;
    assert_eq!(
        world("wasi:http/incoming-handler@0.2.0"),
        Some(HttpWorld::Proxy02)
    );
    assert_eq!(
        world("wasi:http/incoming-handler@0.2.12"),
        Some(HttpWorld::Proxy02)
    );
    assert_eq!(world("wasi:http/handler@0.3.0"), Some(HttpWorld::Service03));
    assert_eq!(world("wasi:http/handler@0.3.0-rc-2025-09-16"), None);
    assert_eq!(world("wasi:http/incoming-handler@0.3.0"), None);
    assert_eq!(world("acme:http/handler@0.3.0"), None);
}

#[test]
fn an_import_is_called_if_a_function_is_taken_out_of_it() {
    let found = inspect(&binary(
        r#"(component
            (import "acme:a/types@1.0.0" (instance (type $u u8) (export "t" (type (eq $u)))))
            (component $c)
            (instance (instantiate $c))
            (import "acme:a/called@1.0.0" (instance $called
                (export "f" (func))
                (export "inner" (instance (export "g" (func))))))
            (import "acme:a/nested@1.0.0" (instance $nested
                (export "inner" (instance (export "g" (func))))))
            (alias export $called "f" (func))
            (alias export $nested "inner" (instance $inner))
            (alias export $inner "g" (func))
            (import "label" (implements "acme:a/called@1.0.0") (instance $labelled
                (export "f" (func)))))"#,
    ))
    .expect("a component");
    let called = found.imported_interfaces();
    let called: Vec<_> = called.filter(|import| found.calls(import)).collect();
    let called: Vec<_> = called.iter().map(ToString::to_string).collect();
    assert_eq!(called, ["acme:a/called@1.0.0"]);
}

#[test]
fn what_is_inside_is_counted_and_not_taken_for_its_own() {
    let found = inspect(&binary(
        r#"(component
            (core module (func) (func))
            (component
                (import "inner:only/thing@1.0.0" (instance))
                (core module (func))))"#,
    ))
    .expect("a component");
    assert!(found.imports.is_empty());
    assert_eq!((found.core_modules, found.functions), (2, 3));
}

#[test]
fn everything_else_is_refused_with_what_it_is() {
    let precompiled = engine()
        .raw()
        .precompile_component(&binary("(component)"))
        .expect("a valid component");
    let cases: [(&str, &[u8], InspectError); 9] = [
        ("nothing", b"", InspectError::Empty),
        ("text", b"(component)", InspectError::Text),
        (
            "text after comments",
            b"\n;; a\n (; b ;) (component)",
            InspectError::Text,
        ),
        (
            "a core module",
            &binary("(module)"),
            InspectError::CoreModule,
        ),
        (
            "native code of this very engine",
            &precompiled,
            InspectError::Native {
                what: "a component compiled by wasmtime",
            },
        ),
        (
            "an ELF file",
            b"\x7fELF\x02\x01\x01",
            InspectError::Native {
                what: "an ELF file",
            },
        ),
        ("a picture", b"\x89PNG\r\n", InspectError::NotWasm),
        (
            "half a magic number",
            b"\0as",
            InspectError::Truncated { size: 3 },
        ),
        (
            "half a header",
            b"\0asm\x0d\0",
            InspectError::Truncated { size: 6 },
        ),
    ];
    for (what, bytes, expected) in cases {
        assert_eq!(inspect(bytes), Err(expected), "{what}");
    }
}

#[test]
fn another_version_of_the_format_is_refused() {
    let mut bytes = binary("(component)");
    bytes[4] = 0x0a;
    assert!(
        matches!(inspect(&bytes), Err(InspectError::Version { .. })),
        "{:?}",
        inspect(&bytes)
    );
}

#[test]
fn a_component_cut_inside_a_section_is_refused() {
    let bytes = binary(PROXY);
    let mut refused = 0;
    for size in 1..bytes.len() {
        // Between two sections the shorter file is a component too.
        match inspect(&bytes[..size]) {
            Err(InspectError::Truncated { .. }) => refused += 1,
            Err(other) => panic!("cut at {size}: {other}"),
            Ok(_) => {}
        }
    }
    assert!(
        refused > bytes.len() / 2,
        "only {refused} of {} cuts refused",
        bytes.len()
    );
}

#[test]
fn flipped_bits_never_panic() {
    let bytes = binary(PROXY);
    for position in 0..bytes.len() {
        for bit in 0..8 {
            let mut damaged = bytes.clone();
            damaged[position] ^= 1 << bit;
            let _ = inspect(&damaged);
        }
    }
}

#[test]
fn more_items_than_anyone_needs_are_refused() {
    let imports: String = (0..=10_000)
        .map(|n| format!("(import \"f{n}\" (func))"))
        .collect();
    let bytes = binary(&format!("(component {imports})"));
    assert_eq!(
        inspect(&bytes),
        Err(InspectError::TooManyItems { what: "imports" })
    );
}
