use super::*;

const APP: &str = r#"
    name = "acme/notes"
    version = "1.0.0"
    kind = "app"
    title = "Notes"
    summary = "Keeps notes."
    component = "notes.wasm"
"#;

const HANDLER: &str = "wasi:http/incoming-handler@0.2.6";

fn names<T>(texts: &[&str]) -> Vec<T>
where
    T: std::str::FromStr<Err: fmt::Debug>,
{
    texts.iter().map(|text| text.parse().expect(text)).collect()
}

#[test]
fn what_is_imported_under_a_label_is_declared_under_it() {
    let need = |label: &str| {
        format!("[[needs]]\ninterface = \"wasi:keyvalue/store\"\n{label}\nreason = \"r\"\n")
    };
    let both = format!(
        "{APP}\n{}{}",
        need("label = \"cache\""),
        need("label = \"main\"")
    );
    let imports = [
        "wasi:keyvalue/store@0.2.0-draft=cache",
        "wasi:keyvalue/store@0.2.0-draft=main",
    ];
    assert!(differences(&both, &imports, &[HANDLER]).is_empty());
    let plain = format!("{APP}\n{}", need(""));
    assert_eq!(
        differences(&plain, &imports[..1], &[HANDLER]),
        [
            "the component imports `wasi:keyvalue/store@0.2.0-draft=cache`, which the manifest \
             does not declare; the nearest declared need is `wasi:keyvalue/store`",
            "the manifest needs `wasi:keyvalue/store`, which the component does not import; the \
             nearest import is `wasi:keyvalue/store@0.2.0-draft=cache`",
        ]
    );
}

fn differences(manifest: &str, imports: &[&str], exports: &[&str]) -> Vec<String> {
    let found = ComponentInterfaces {
        imports: names(imports),
        exports: names(exports),
    };
    let manifest = Manifest::parse(manifest).expect("valid");
    manifest
        .compare(&found)
        .iter()
        .map(Difference::to_string)
        .collect()
}

#[test]
fn what_every_toolchain_imports_needs_no_declaration() {
    let imports = [
        "wasi:io/streams@0.2.6",
        "wasi:http/outgoing-handler@0.2.6",
        "canopy:tenant/identity@0.1.0",
    ];
    assert!(differences(APP, &imports, &[HANDLER]).is_empty());
    assert!(differences(APP, &[], &["wasi:http/handler@0.3.0"]).is_empty());
}

#[test]
fn both_sides_of_a_difference_are_named() {
    let manifest = format!(
        "{APP}\n[[needs]]\ninterface = \"wasi:keyvalue/store@0.2.0-draft\"\nreason = \"r\""
    );
    let found = differences(&manifest, &["wasi:keyvalue/store@0.2.0-draft2"], &[HANDLER]);
    assert_eq!(
        found,
        [
            "the component imports `wasi:keyvalue/store@0.2.0-draft2`, which the manifest does not \
             declare; the nearest declared need is `wasi:keyvalue/store@0.2.0-draft`",
            "the manifest needs `wasi:keyvalue/store@0.2.0-draft`, which the component does not \
             import; the nearest import is `wasi:keyvalue/store@0.2.0-draft2`",
        ]
    );
}

#[test]
fn what_every_toolchain_imports_is_not_what_was_meant() {
    let manifest = format!("{APP}\n[[needs]]\ninterface = \"wasi:http\"\nreason = \"r\"");
    let found = differences(&manifest, &["wasi:cli/terminal-output@0.2.6"], &[HANDLER]);
    let expected =
        "the manifest needs `wasi:http`, which the component does not import; remove the need";
    assert_eq!(found, [expected]);
}

#[test]
fn an_app_must_export_a_handler() {
    let found = differences(APP, &[], &["wasi:cli/run@0.2.6"]);
    assert!(found[0].contains("incoming-handler") && found[0].ends_with("wasi:cli/run@0.2.6"));
    assert!(
        differences(APP, &[], &["wasi:http/incoming-handler@0.3.0"])[0].contains("must export")
    );
}

#[test]
fn messages_find_who_takes_them() {
    let takes = "wasmcloud:messaging/handler@0.2.0";
    let subscribed = |path: &str| {
        format!("{APP}\n[[subscriptions]]\ntopic = \"orders\"\n{path}\nreason = \"r\"\n")
    };
    let (handled, posted) = (subscribed(""), subscribed("path = \"/on/orders\""));
    assert!(differences(&handled, &[], &[takes]).is_empty());
    assert!(differences(&handled, &[], &[takes, HANDLER]).is_empty());
    assert!(differences(&posted, &[], &[takes, HANDLER]).is_empty());

    let found = differences(&handled, &[], &[HANDLER]);
    assert!(
        found.len() == 1 && found[0].contains("`orders` has no `path`"),
        "{found:?}"
    );
    let found = differences(&handled, &[], &["wasmcloud:messaging/handler@0.3.0"]);
    assert!(
        found.len() == 1 && found[0].contains("must export"),
        "{found:?}"
    );
    let found = differences(&posted, &[], &[takes]);
    assert!(
        found.len() == 2
            && found[0].contains("subscribes to none")
            && found[1].contains("`orders` calls the path `/on/orders`"),
        "{found:?}"
    );
    let schedule = "[[schedules]]\nname = \"nightly\"\ncron = \"0 3 * * *\"\npath = \"/jobs\"\n\
                    reason = \"r\"";
    let found = differences(&format!("{handled}{schedule}"), &[], &[takes]);
    assert!(
        found.len() == 1 && found[0].contains("the schedule `nightly` calls the path `/jobs`"),
        "{found:?}"
    );
}

#[test]
fn a_driver_serves_exactly_what_it_exports() {
    let driver = APP.replace("\"app\"", "\"driver\"");
    let driver = format!("{driver}\n[serves]\ninterfaces = [\"acme:payments/charge@1.2.0\"]");
    let exports = ["acme:payments/charge@1.2.0", "wasi:cli/run@0.2.6"];
    assert!(differences(&driver, &[], &exports).is_empty());
    let found = differences(&driver, &[], &["acme:payments/charge@1.3.0"]);
    assert!(found[0].contains("`acme:payments/charge@1.2.0`, which the component does not export"));
    assert!(found[0].contains("the nearest export is `acme:payments/charge@1.3.0`"));
    assert!(found[1].contains("exports `acme:payments/charge@1.3.0`"));
}

#[test]
fn stores_are_declared_by_a_component_that_can_open_them() {
    let manifest = format!("{APP}\n[[stores]]\nname = \"sessions\"\nreason = \"r\"");
    let found = differences(&manifest, &[], &[HANDLER]);
    assert!(
        found.len() == 1 && found[0].contains("declares the store `sessions`"),
        "{found:?}"
    );
    for import in [
        "wasi:keyvalue/store@0.2.0-draft",
        "spin:key-value/key-value@3.0.0",
        "fermyon:spin/key-value@2.0.0",
        "canopy:storage/key-value@0.1.0",
    ] {
        let need = format!("{manifest}\n[[needs]]\ninterface = \"{import}\"\nreason = \"r\"");
        assert!(
            differences(&need, &[import], &[HANDLER]).is_empty(),
            "{import}"
        );
    }
    let need = "[[needs]]\ninterface = \"canopy:storage/sql\"\nreason = \"r\"";
    let found = differences(
        &format!("{manifest}\n{need}"),
        &["canopy:storage/sql@0.1.0"],
        &[HANDLER],
    );
    assert_eq!(found.len(), 1, "another kind of storage: {found:?}");
}
