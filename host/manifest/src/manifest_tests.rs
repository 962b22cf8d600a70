use proptest::prelude::*;

use super::*;

const APP: &str = r#"
    name = "acme/notes"
    version = "1.0.0"
    kind = "app"
    title = "Notes"
    summary = "Keeps notes."
    component = "notes.wasm"
"#;

fn faults(text: &str) -> Vec<String> {
    match Manifest::parse(text) {
        Ok(_) => Vec::new(),
        Err(error) => error.faults().iter().map(Fault::to_string).collect(),
    }
}

#[track_caller]
fn refused(extra: &str, expected: &str) {
    let found = faults(&format!("{APP}\n{extra}"));
    assert!(
        found.iter().any(|fault| fault.contains(expected)),
        "{extra}: {expected:?} is not among {found:?}"
    );
}

#[test]
fn a_whole_manifest_is_read() {
    let manifest = Manifest::parse(&format!(
        r#"{APP}
        description = "Long."
        categories = ["office"]
        icon = "data:image/svg+xml,%3Csvg/%3E"
        license = "Apache-2.0"
        homepage = "https://example.com"
        [[needs]]
        interface = "wasi:keyvalue"
        reason = "Keeps them."
        [[needs]]
        interface = "wasi:http/outgoing-handler"
        label = "weather"
        reason = "Asks for the weather."
        hosts = ["GET,HEAD https://api.example.com", "*.example.com:*"]
        [http]
        anonymous = ["/", "/api/*"]
        reuse = true
        [limits]
        memory_bytes = 33554432
        cpu_ms = 500
        "#
    ))
    .expect("valid");
    assert_eq!(manifest.kind, Kind::App);
    assert_eq!(manifest.needs.len(), 2);
    assert_eq!(manifest.needs[1].hosts.len(), 2);
    assert_eq!(manifest.anonymous, ["/", "/api/*"]);
    assert!(manifest.reuse);
    assert_eq!(manifest.limits.cpu_ms, Some(500));
    assert_eq!(manifest.limits.wall_ms, None);
}

#[test]
fn every_missing_key_is_named_at_once() {
    let found = faults("");
    for key in ["name", "version", "kind", "title", "summary", "component"] {
        assert!(
            found.contains(&format!("`{key}`: is missing")),
            "{key}: {found:?}"
        );
    }
}

#[test]
fn unknown_keys_name_the_nearest_known() {
    refused(
        "licence = \"MIT\"",
        "`licence`: is not a key of the manifest; did you mean `license`?",
    );
    refused("[[needs]]\ninterfaces = \"a:b\"", "`needs[0].interfaces`");
    refused("[limits]\nmemory_byte = 1", "did you mean `memory_bytes`?");
    refused("[http]\nanonymus = []", "did you mean `anonymous`?");
    refused("zzz = 1", "known here: name");
}

#[test]
fn wrong_values_say_what_is_right() {
    refused(
        "[[needs]]\ninterface = \"keyvalue\"\nreason = \"r\"",
        "neither an interface",
    );
    refused(
        "[[needs]]\ninterface = \"wasi:keyvalue\"",
        "`needs[0].reason`: is missing",
    );
    refused("needs = 1", "must be an array, not an integer");
    refused("[http]\nanonymous = [\"api\"]", "must be a path");
    refused("[http]\nreuse = \"yes\"", "must be `true` or `false`");
    refused("[http]\nanonymous = [\"/a/../b\"]", "must be a path");
    refused("[limits]\ncpu_ms = 0", "must be from 1");
    refused("[serves]\ninterfaces = [\"a:b/c\"]", "only a driver serves");
    refused("[limits]\ninstances = 2", "only a driver has instances");
    refused(
        "homepage = \"javascript:alert(1)\"",
        "must begin with `https://`",
    );
    refused("icon = \"icon.svg\"", "data:image/");
    refused("categories = [\"../x\"]", "not a valid name");
    let need = "[[needs]]\ninterface = \"wasi:http\"\nreason = \"r\"\nhosts = [\"ftp://x\"]";
    refused(need, "must be `host:port`");
    let twice = "[[needs]]\ninterface = \"a:b\"\nreason = \"r\"\n".repeat(2);
    refused(&twice, "named twice");
}

#[test]
fn names_that_could_mislead_are_refused() {
    for name in [
        "notes",
        "../x/y",
        "acme/../x",
        "acme/n\\u0000",
        "acme/\\u202enotes",
        "Acme/notes",
    ] {
        let text = APP.replace("acme/notes", name);
        assert!(!faults(&text).is_empty(), "{name}");
    }
    let long = APP.replace("acme/notes", &"x".repeat(10_000));
    assert!(faults(&long)[0].len() < 400);
    let outside = APP.replace("notes.wasm", "../notes.wasm");
    assert!(faults(&outside)[0].contains("below the manifest's folder"));
}

#[test]
fn a_driver_must_serve_something() {
    let driver = APP.replace("\"app\"", "\"driver\"");
    assert!(faults(&driver)[0].contains("a driver must name the interfaces"));
    let serving = format!("{driver}\n[serves]\ninterfaces = [\"acme:payments/charge@1.2.0\"]");
    assert_eq!(Manifest::parse(&serving).expect("valid").serves.len(), 1);
    let several = format!("{serving}\n[limits]\ninstances = 4");
    let several = Manifest::parse(&several).expect("valid");
    assert_eq!(several.limits.instances, Some(4));
}

#[test]
fn what_is_not_toml_is_located() {
    let error = Manifest::parse("name = \"a/b\"\nversion = = 1").expect_err("not TOML");
    assert!(
        matches!(
            error,
            ManifestError::Syntax {
                line: 2,
                column: 11,
                ..
            }
        ),
        "{error:?}"
    );
}

#[test]
fn a_long_text_is_not_read_at_all() {
    let error = Manifest::parse(&" ".repeat(MAX_MANIFEST_BYTES + 1)).expect_err("too long");
    assert!(matches!(error, ManifestError::TooLong { .. }));
}

#[test]
fn deep_nesting_is_refused_and_not_followed() {
    for text in [
        format!("a = {}", "[".repeat(100_000)),
        format!("a = {}", "{a=".repeat(30_000)),
    ] {
        assert!(Manifest::parse(&text).is_err());
    }
}

proptest! {
    #[test]
    fn no_text_makes_reading_panic(text in any::<String>()) {
        let _ = Manifest::parse(&text);
    }

    #[test]
    fn no_table_makes_reading_panic(
        key in "(name|version|kind|needs|serves|config|http|limits|[a-z]{1,5})",
        value in "(1|true|\"[a-z:/@.0-9*]{0,12}\"|\\[\\]|\\[1\\]|\\{ type = [a-z\"1]{1,9} \\}|nan|1979-05-27)",
    ) {
        let _ = Manifest::parse(&format!("{APP}\n{key} = {value}"));
        let _ = Manifest::parse(&format!("{key} = {value}"));
        let _ = Manifest::parse(&format!("{APP}\n[config]\nproperties.{key} = {value}"));
    }
}

#[test]
fn stores_have_names_that_can_be_told_apart() {
    let store = |name: &str| format!("[[stores]]\nname = {name:?}\nreason = \"r\"\n");
    let manifest = Manifest::parse(&format!("{APP}\n{}{}", store("sessions"), store("*")));
    assert_eq!(manifest.expect("valid").stores.len(), 2);
    refused(
        &store("default"),
        "`stores[0].name`: `default` is always there",
    );
    refused(
        &format!("{}{}", store("a"), store("a")),
        "`stores[1].name`: `a` is named twice",
    );
    refused(&store("a\tb"), "`stores[0].name`: must not contain control");
    refused(&store(&"ü".repeat(100)), "`stores[0].name`: has 200 bytes");
    refused("[[stores]]\nname = \"a\"", "`stores[0].reason`: is missing");
    refused(
        &format!("{}nmae = 1", store("a")),
        "`stores[0].nmae`: is not a key",
    );
    let driver = APP.replace("\"app\"", "\"driver\"");
    let found = faults(&format!("{driver}\n{}", store("a")));
    assert!(
        found
            .iter()
            .any(|fault| fault.contains("only an app has storage"))
    );
}

#[test]
fn keys_of_tls_are_keys_of_the_configuration() {
    let config = "[config.properties.ca]\ntype = \"string\"\n\
                  [config.properties.client]\ntype = \"string\"\nwriteOnly = true";
    let tls = |lines: &str| format!("{config}\n[network.tls]\n{lines}");
    let whole = format!(
        "{APP}\n{}",
        tls("roots = \"ca\"\ncertificate = \"ca\"\nkey = \"client\"")
    );
    let manifest = Manifest::parse(&whole).expect("a manifest");
    assert_eq!(manifest.tls.roots.as_deref(), Some("ca"));
    assert_eq!(manifest.tls.key.as_deref(), Some("client"));
    for (lines, told) in [
        ("roots = \"nope\"", "not among the keys"),
        ("certificate = \"client\"", "needs a `key`"),
        ("key = \"client\"", "needs a `certificate`"),
        ("certificate = \"ca\"\nkey = \"ca\"", "must be a secret"),
        ("rots = \"ca\"", "did you mean"),
    ] {
        refused(&tls(lines), told);
    }
}
