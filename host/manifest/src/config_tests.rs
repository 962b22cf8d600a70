use serde_json::json;

use super::*;

fn schema(toml: &str) -> Result<ConfigSchema, Vec<Fault>> {
    let mut faults = Vec::new();
    let table = toml::from_str(toml).expect("TOML");
    let schema = ConfigSchema::read("config", table, &mut faults);
    if faults.is_empty() {
        Ok(schema.expect("a schema"))
    } else {
        Err(faults)
    }
}

fn smtp() -> ConfigSchema {
    schema(
        r#"
        required = ["host", "password"]
        [properties.host]
        type = "string"
        [properties.port]
        type = "integer"
        minimum = 1
        maximum = 65535
        default = 25
        [properties.password]
        type = "string"
        minLength = 4
        writeOnly = true
        "#,
    )
    .expect("valid")
}

fn map(value: Value) -> Map<String, Value> {
    value.as_object().expect("an object").clone()
}

fn secrets(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(key, value)| (key.to_string(), value.to_string()))
        .collect()
}

#[track_caller]
fn refused(config: Value, set: &[(&str, &str)], expected: &str) {
    let faults = smtp()
        .check(&map(config), &secrets(set))
        .expect_err("must be refused");
    let text = faults
        .iter()
        .map(ConfigFault::to_string)
        .collect::<Vec<_>>()
        .join("; ");
    assert!(text.contains(expected), "{expected:?} is not in {text:?}");
    assert!(!text.contains("canary"), "{text}");
}

#[test]
fn valid_values_pass_and_defaults_fill_in() {
    let (config, set) = (
        map(json!({ "host": "h" })),
        secrets(&[("password", "pass")]),
    );
    smtp().check(&config, &set).expect("valid");
    let effective = smtp().effective(&config, &set);
    assert_eq!(
        effective,
        secrets(&[("host", "h"), ("password", "pass"), ("port", "25")])
    );
}

#[test]
fn wrong_values_are_refused() {
    let set = [("password", "canary")];
    refused(json!({}), &set, "host");
    refused(json!({ "host": "h" }), &[], "password");
    refused(json!({ "host": 1 }), &set, "`host`");
    refused(json!({ "host": "h", "port": 70000 }), &set, "`port`");
    refused(
        json!({ "host": "h", "prot": 1 }),
        &set,
        "did you mean `port`?",
    );
    refused(
        json!({ "host": "h", "password": "canary" }),
        &set,
        "is a secret",
    );
}

#[test]
fn a_secret_is_checked_without_being_shown() {
    let schema = smtp();
    schema
        .check_secret("password", "long enough")
        .expect("valid");
    let fault = schema
        .check_secret("password", "cnr")
        .expect_err("too short");
    assert!(!fault.message.contains("cnr"), "{fault}");
    let fault = schema.check_secret("passwort", "x").expect_err("unknown");
    assert!(fault.message.contains("did you mean `password`?"));
}

#[test]
fn without_a_schema_nothing_can_be_set() {
    let none = ConfigSchema::none();
    none.check(&Map::new(), &BTreeMap::new())
        .expect("nothing is fine");
    let faults = none
        .check(&map(json!({ "a": 1 })), &BTreeMap::new())
        .expect_err("unknown");
    assert!(faults[0].message.contains("no configuration"));
}

#[test]
fn additional_properties_open_the_schema() {
    let open = schema("additionalProperties = { type = \"string\" }").expect("valid");
    open.check(&map(json!({ "any": "x" })), &BTreeMap::new())
        .expect("open");
    open.check(&map(json!({ "any": 1 })), &BTreeMap::new())
        .expect_err("not a string");
    open.check(&map(json!({ "a/b": "x" })), &BTreeMap::new())
        .expect_err("not a key");
}

#[test]
fn dangerous_or_meaningless_schemas_are_refused() {
    for (text, expected) in [
        ("type = \"array\"", "must be \"object\""),
        ("properties.a.type = \"strnig\"", "is not a JSON Schema"),
        (
            "properties.a.\"$ref\" = \"#/$defs/x\"",
            "`$ref` is not allowed",
        ),
        (
            "properties.a = { type = \"integer\", writeOnly = true }",
            "a secret",
        ),
        (
            "properties.a = { type = \"string\", writeOnly = true, default = \"x\" }",
            "no `default`",
        ),
        (
            "properties.a = { type = \"integer\", default = \"x\" }",
            "default",
        ),
        ("properties.\"a b\".type = \"string\"", "a key is"),
        (
            "properties.a = { type = \"string\", pattern = \"(a\" }",
            "is not a JSON Schema",
        ),
        ("properties.a.default = 1979-05-27", "a date"),
    ] {
        let faults = schema(text).expect_err(text);
        let found = faults
            .iter()
            .map(Fault::to_string)
            .collect::<Vec<_>>()
            .join("; ");
        assert!(
            found.contains(expected),
            "{text}: {expected:?} is not in {found:?}"
        );
    }
}

#[test]
fn a_pattern_that_backtracks_costs_no_time() {
    let schema =
        schema("properties.a = { type = \"string\", pattern = \"^(a+)+$\" }").expect("valid");
    let started = std::time::Instant::now();
    let text = format!("{}b", "a".repeat(50_000));
    schema
        .check(&map(json!({ "a": text })), &BTreeMap::new())
        .expect_err("no match");
    assert!(started.elapsed() < std::time::Duration::from_secs(5));
}
