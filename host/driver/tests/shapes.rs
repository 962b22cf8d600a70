//! What differs, or cannot cross, is refused before anything runs, by name.

mod support;

use canopy_driver::{Candidate, LinkError, check_interfaces};
use support::text::{Function, Interface, driver, importer};
use support::{THINGS_APP, THINGS_DRIVER, component};

const fn function<'a>(name: &'a str, signature: &'a str) -> Function<'a> {
    Function {
        name,
        signature,
        parameters: "",
        result: None,
        returned: false,
    }
}

fn one_function<'a>(
    name: &'a str,
    types: &'a [(&str, &str)],
    functions: &'a [Function<'a>],
) -> Interface<'a> {
    Interface {
        name,
        types,
        functions,
    }
}

/// The refusal of a driver that exports `f` with `exported` for a component that imports it with
/// `imported`. The core functions' types follow from `core` of the export.
fn refusal(
    types: [&[(&str, &str)]; 2],
    signatures: [&'static str; 2],
    parameters: &str,
    result: Option<&str>,
    returned: bool,
) -> String {
    let [imported, exported] = signatures;
    let app = importer(&one_function(
        "acme:a/b@1.0.0",
        types[0],
        &[function("f", imported)],
    ));
    let functions = [Function {
        name: "f",
        signature: exported,
        parameters,
        result,
        returned,
    }];
    let driver = driver(
        &one_function("acme:a/b@1.0.0", types[1], &functions),
        |_| "unreachable".into(),
    );
    check(&app, &driver, &["acme:a/b@1.0.0"])
        .expect_err("a difference")
        .to_string()
}

fn check(app: &str, driver: &str, imports: &[&str]) -> Result<(), LinkError> {
    let (app, driver) = (component(app), component(driver));
    let candidates: Vec<_> = imports
        .iter()
        .map(|import| Candidate {
            import,
            driver: "d",
            component: &driver,
        })
        .collect();
    check_interfaces::<support::Host>(&app, &candidates)
}

#[test]
fn a_difference_is_named_with_its_place() {
    let none: [&[(&str, &str)]; 2] = [&[], &[]];
    let prefix = "`f` of `acme:a/b@1.0.0` differs in driver `d`: ";
    let cases = [
        (
            refusal(
                none,
                ["(param \"x\" u64)", "(param \"x\" u32)"],
                "i32",
                None,
                false,
            ),
            "parameter `x`: the component imports u64, the driver exports u32",
        ),
        (
            refusal(
                none,
                ["(param \"x\" u32)", "(param \"y\" u32)"],
                "i32",
                None,
                false,
            ),
            "the component passes parameters (`x`), the driver takes (`y`)",
        ),
        (
            refusal(none, ["", "(param \"y\" u32)"], "i32", None, false),
            "the component passes parameters (), the driver takes (`y`)",
        ),
        (
            refusal(none, ["(result u32)", ""], "", None, false),
            "the component expects u32 as its result, the driver returns nothing",
        ),
        (
            refusal(
                none,
                [
                    "(result (result u32 (error string)))",
                    "(result (result u32 (error u8)))",
                ],
                "",
                None,
                true,
            ),
            "result, err: the component imports string, the driver exports u8",
        ),
        (
            refusal(
                none,
                [
                    "(param \"x\" (list (tuple u8 string)))",
                    "(param \"x\" (list (tuple u8 (list u8))))",
                ],
                "i32 i32",
                None,
                false,
            ),
            "parameter `x`, element, element 1: the component imports string, the driver exports \
             list<u8>",
        ),
        (
            refusal(
                [
                    &[("r", "(record (field \"a\" u8) (field \"b\" u8))")],
                    &[("r", "(record (field \"a\" u8) (field \"c\" u8))")],
                ],
                ["(param \"x\" $r)", "(param \"x\" $r)"],
                "i32 i32",
                None,
                false,
            ),
            "parameter `x`: fields `b` only in the component's import, `c` only in the driver's \
             export",
        ),
        (
            refusal(
                [
                    &[("e", "(enum \"a\" \"b\")")],
                    &[("e", "(enum \"b\" \"a\")")],
                ],
                ["(param \"x\" $e)", "(param \"x\" $e)"],
                "i32",
                None,
                false,
            ),
            "parameter `x`: the cases are in another order",
        ),
        (
            refusal(
                [
                    &[("v", "(variant (case \"a\") (case \"b\"))")],
                    &[("v", "(variant (case \"a\" u8) (case \"b\"))")],
                ],
                ["(param \"x\" $v)", "(param \"x\" $v)"],
                "i32 i32",
                None,
                false,
            ),
            "parameter `x`, case `a`: the component imports nothing, the driver exports u8",
        ),
    ];
    for (refusal, difference) in cases {
        assert_eq!(refusal, format!("{prefix}{difference}"));
    }
}

#[test]
fn what_is_missing_is_named() {
    let app = importer(&one_function(
        "acme:a/b@1.0.0",
        &[],
        &[function("f", ""), function("g", "")],
    ));
    let driver = |name: &str| {
        driver(&one_function(name, &[], &[function("f", "")]), |_| {
            String::new()
        })
    };
    let refusal = |driver: &str, import: &str| {
        check(&app, driver, &[import])
            .expect_err("missing")
            .to_string()
    };
    assert_eq!(
        refusal(&driver("acme:a/b@1.0.0"), "acme:a/b@1.0.0"),
        "driver `d` has no function `g` in `acme:a/b@1.0.0`"
    );
    assert_eq!(
        refusal(&driver("acme:a/b@2.0.0"), "acme:a/b@1.0.0"),
        "driver `d` does not export `acme:a/b@1.0.0`; it exports `acme:a/b@2.0.0`"
    );
    assert_eq!(
        refusal(&driver("acme:a/b@1.0.0"), "acme:a/c@1.0.0"),
        "the component does not import an interface `acme:a/c@1.0.0`"
    );
}

#[test]
fn a_newer_driver_serves_and_types_alone_need_none() {
    let f = [function("f", "")];
    let app = importer(&one_function("acme:a/b@1.0.0", &[], &f));
    let newer = driver(&one_function("acme:a/b@1.4.0", &[], &f), |_| String::new());
    check(&app, &newer, &["acme:a/b@1.0.0"]).expect("compatible");
    let types = importer(&one_function(
        "acme:a/types@1.0.0",
        &[("r", "(record (field \"a\" u8))")],
        &[],
    ));
    check(&types, &newer, &["acme:a/types@1.0.0"]).expect("nothing to serve");
}

#[test]
fn streams_and_futures_are_taken_where_their_payload_can_cross() {
    for ty in ["(stream u8)", "(future u8)"] {
        let signature = format!("(param \"x\" {ty})");
        let f = [Function {
            parameters: "i32",
            ..function("f", &signature)
        }];
        let interface = one_function("acme:a/b@1.0.0", &[], &f);
        let driver = driver(&interface, |_| "unreachable".to_owned());
        let taken = check(&importer(&interface), &driver, &["acme:a/b@1.0.0"]);
        assert!(taken.is_ok(), "{ty}");
    }
}

#[test]
fn types_that_grow_without_measure_are_refused() {
    let mut types = vec![("t0".to_owned(), "(tuple u8 u8)".to_owned())];
    for level in 1..14 {
        let inner = format!("$t{}", level - 1);
        types.push((
            format!("t{level}"),
            format!("(record (field \"a\" {inner}) (field \"b\" {inner}))"),
        ));
    }
    types.remove(0);
    types[0].1 = "(record (field \"a\" (tuple u8 u8)) (field \"b\" (tuple u8 u8)))".to_owned();
    let types: Vec<_> = types
        .iter()
        .map(|(name, text)| (name.as_str(), text.as_str()))
        .collect();
    let f = [Function {
        parameters: "i32",
        ..function("f", "(param \"x\" $t13)")
    }];
    let interface = one_function("acme:a/b@1.0.0", &types, &f);
    let driver = driver(&interface, |_| "unreachable".to_owned());
    let refusal = check(&importer(&interface), &driver, &["acme:a/b@1.0.0"]);
    let refusal = refusal.expect_err("refused").to_string();
    assert!(refusal.contains("more than 10000"), "{refusal}");
}

#[test]
fn an_interface_without_the_one_that_its_resources_are_of_is_refused() {
    let both = ["acme:things/store@1.0.0", "acme:things/batch@1.0.0"];
    check(THINGS_APP, THINGS_DRIVER, &both).expect("both together");
    let (app, driver) = (component(THINGS_APP), component(THINGS_DRIVER));
    let candidates = [
        Candidate {
            import: both[0],
            driver: "one",
            component: &driver,
        },
        Candidate {
            import: both[1],
            driver: "two",
            component: &driver,
        },
    ];
    let refusal = check_interfaces::<support::Host>(&app, &candidates).expect_err("two drivers");
    assert_eq!(
        refusal.to_string(),
        "`thing` of `acme:things/batch@1.1.0` differs in driver `two`: the component and its \
         drivers disagree on which interfaces share this resource type"
    );
}

#[test]
fn a_resource_that_cannot_cross_is_refused_by_name() {
    const PASSES: &str = r#"(component
        (import "acme:a/base" (instance $base (export "r" (type (sub resource)))))
        (alias export $base "r" (type $r))
        (core module $m (func (export "f") (result i32) unreachable))
        (core instance $m (instantiate $m))
        (func $f (result (own $r)) (canon lift (core func $m "f")))
        (component $shim
            (import "r" (type $r (sub resource)))
            (import "f" (func $f (result (own $r))))
            (export $out "r" (type $r))
            (export "f" (func $f) (func (result (own $out)))))
        (instance $i (instantiate $shim (with "r" (type $r)) (with "f" (func $f))))
        (export "acme:a/b" (instance $i)))"#;
    const APP: &str = r#"(component (import "acme:a/b" (instance
        (export "r" (type $r (sub resource)))
        (export "f" (func (result (own $r)))))))"#;
    let refusal = check(APP, PASSES, &["acme:a/b"])
        .expect_err("refused")
        .to_string();
    assert_eq!(
        refusal,
        "`r` of `acme:a/b` cannot be served by a driver: `r` of `acme:a/base` is bound to the store \
         that made it and cannot go to another component"
    );
}
