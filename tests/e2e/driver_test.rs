//! `canopy driver test`: what it finds out about good drivers and a bad one, and what becomes of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::{Node, Output, Postgres, Redis, S3, Smtp, guest, plugin};

/// The suites of keys and values. The first draft has no compare-and-swap, the second has.
const DRAFTS: [&str; 2] = ["wasi:keyvalue@0.2.0-draft", "wasi:keyvalue@0.2.0-draft2"];

/// The suites as `tests/run` has built them.
fn suites() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins/suites")
}

/// Runs `canopy driver test` without any node but its own, and keeps the record in `badge`.
fn test(project: &Path, more: &[&str], badge: &Path, environment: &[(&str, &str)]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_canopy"))
        .args(["driver", "test", "--json", "--suites"])
        .arg(suites())
        .arg("--badge")
        .arg(badge)
        .args(more)
        .arg(project)
        .envs(environment.iter().copied())
        .env("XDG_CONFIG_HOME", badge.parent().expect("a folder"))
        .output()
        .expect("canopy runs");
    Output {
        code: output.status.code().expect("an exit code"),
        stdout: String::from_utf8(output.stdout).expect("UTF-8"),
        stderr: String::from_utf8(output.stderr).expect("UTF-8"),
    }
}

/// What came of each case, by its name.
fn outcomes(badge: &Value) -> BTreeMap<String, String> {
    let cases = badge["cases"].as_array().expect("cases");
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    cases
        .iter()
        .map(|case| (text(&case["name"]), text(&case["outcome"])))
        .collect()
}

fn with(outcomes: &BTreeMap<String, String>, outcome: &str) -> Vec<String> {
    let such = outcomes.iter().filter(|(_, is)| *is == outcome);
    such.map(|(name, _)| name.clone()).collect()
}

#[test]
fn a_driver_that_keeps_its_promises_passes_and_its_record_is_published() {
    let redis = Redis::start();
    let folder = tempfile::tempdir().expect("a folder");
    let badge = folder.path().join("redis.badge.json");
    let server = format!("127.0.0.1:{}", redis.port);
    let more = [
        "--server",
        &server,
        "--set",
        "host={host}",
        "--set",
        "port={port}",
    ];
    let more = [&more[..], &["--set", "timeout_ms=1000"]].concat();
    let output = test(&plugin("redis"), &more, &badge, &[]);
    let record = output.json();
    let cases = record["cases"].as_array().expect("cases");
    let failed = cases.iter().filter(|case| case["outcome"] == "failed");
    assert_eq!(failed.count(), 0, "{record}");
    let skipped: Vec<_> = cases
        .iter()
        .filter(|case| case["outcome"] == "skipped")
        .map(|case| [&case["suite"], &case["name"]])
        .collect();
    assert_eq!(skipped, [[DRAFTS[0], "behaviour/swap"]], "{record}");
    assert_eq!(record["suites"], serde_json::json!(DRAFTS));
    let written = std::fs::read_to_string(&badge).expect("the record");
    assert_eq!(
        serde_json::from_str::<Value>(&written).expect("JSON"),
        record
    );

    // The operator records it with the version that was tested.
    let node = Node::start();
    node.publish(&plugin("redis"));
    let version = format!(
        "canopy/redis@{}",
        record["version"].as_str().expect("a version")
    );
    let file = badge.display();
    let recorded = node.run(&format!("package badge {version} {file}"));
    assert_eq!(recorded["badges"][0]["source"], "operator");
    let shown = node.cli(["package", "show", "canopy/redis"]);
    assert!(
        shown.stdout.contains("tested by the operator: passed"),
        "{}",
        shown.stdout
    );
    // And not with another one.
    node.publish(&plugin("cache"));
    let refused = node.cli(["package", "badge", "canopy/cache@0.1.0", &file.to_string()]);
    assert_eq!(refused.code, 3, "{}", refused.stderr);
}

#[test]
fn a_record_beside_the_component_is_published_as_the_publishers_word() {
    let folder = tempfile::tempdir().expect("a folder");
    let project = copy(&plugin("cache"), "cache.wasm", folder.path());
    let beside = folder
        .path()
        .join("target/wasm32-wasip2/release/cache.badge.json");
    let output = test(
        &project,
        &["--bind", "wasi:keyvalue=platform"],
        &beside,
        &[],
    );
    let outcomes = outcomes(&output.json());
    assert_eq!(with(&outcomes, "failed"), [""; 0], "{}", output.stdout);
    let needs_a_server = |name: &String| name.starts_with("faults/");
    assert!(with(&outcomes, "skipped").iter().any(needs_a_server));
    assert!(with(&outcomes, "passed").contains(&"restart/in-mid-use".to_owned()));

    let node = Node::start();
    let published = node.cli([
        "publish",
        project.to_str().expect("UTF-8"),
        "--create-publisher",
    ]);
    assert_eq!(published.code, 0, "{}", published.stderr);
    assert!(
        published
            .stdout
            .contains("self-tested by the publisher: passed"),
        "{}",
        published.stdout
    );
}

/// A copy of a project with its component.
fn copy(project: &Path, component: &str, folder: &Path) -> PathBuf {
    let release = "target/wasm32-wasip2/release";
    let built = project.join("../..").join(release).join(component);
    std::fs::create_dir_all(folder.join(release)).expect("a folder");
    std::fs::copy(built, folder.join(release).join(component)).expect("the component");
    std::fs::copy(project.join("canopy.toml"), folder.join("canopy.toml")).expect("the manifest");
    folder.to_owned()
}

/// Tests a driver of ours, and expects that nothing fails and no case is left out but `skipped`.
fn passes(
    project: &Path,
    more: &str,
    environment: &[(&str, &str)],
    suites: &[&str],
    skipped: &[&str],
) {
    let folder = tempfile::tempdir().expect("a folder");
    let more: Vec<_> = more.split_whitespace().collect();
    let badge = folder.path().join("badge.json");
    let output = test(project, &more, &badge, environment);
    let record = output.json();
    let cases = record["cases"].as_array().expect("cases");
    let left = |outcome: &str| {
        let such = cases.iter().filter(|case| case["outcome"] == outcome);
        such.map(|case| case["name"].as_str().expect("a name"))
            .collect::<Vec<_>>()
    };
    assert_eq!(left("failed"), [""; 0], "{record}");
    assert_eq!(left("skipped"), skipped, "{record}");
    assert_eq!(record["suites"], serde_json::json!(suites));
    assert_eq!(record["untested"], serde_json::json!([]));
}

/// How `redis` is set up behind what stands between it and its server.
const REDIS: &str = "--set host={host} --set port={port} --set timeout_ms=1000";

/// The same of `s3`.
fn s3_behind(s3: &S3) -> String {
    format!(
        "--server 127.0.0.1:{} --set endpoint=http://{{server}} --set bucket={} \
         --set access_key_id={} --set timeout_ms=4000 --secret-env secret_access_key=S3_SECRET",
        s3.port,
        S3::BUCKET,
        s3.key.0
    )
}

/// Keys of encryption: thirty-two bytes as base64, as they come by the environment.
const KEY: (&str, &str) = ("KEY", "a:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=");
const NAME_KEY: (&str, &str) = ("NAME_KEY", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=");

/// Cases of objects that are written in parts, which drivers leave out that encrypt them whole.
const IN_PARTS: [&str; 2] = ["objects/parts", "objects/aborted"];

/// Cases for drivers before a server, and the one of them about counting, which objects do not.
const BEFORE_A_SERVER: [&str; 11] = [
    "faults/refused",
    "faults/broken-idle",
    "faults/broken-answer",
    "faults/silent",
    "faults/slow",
    "faults/too-slow",
    "faults/garbled",
    "faults/nothing-lost",
    COUNTED_ONCE,
    "faults/other-tenant",
    "leaks/connections",
];
const COUNTED_ONCE: &str = "faults/counted-once";

/// Cases for drivers that say whether they work.
const WITH_A_CHECK: [&str; 4] = [
    "driver/check",
    "driver/check-without-grants",
    "driver/check-without-server",
    "driver/check-silent-server",
];

#[test]
fn keys_and_values_and_objects_of_s3_pass() {
    let s3 = S3::start();
    passes(
        &plugin("s3"),
        &s3_behind(&s3),
        &[("S3_SECRET", &s3.key.1)],
        &[DRAFTS[0], DRAFTS[1], "canopy:storage/blobs@0.1.0"],
        &["behaviour/swap"],
    );
}

#[test]
fn keys_and_values_and_databases_of_postgresql_pass() {
    let postgres = Postgres::start();
    let setup = format!(
        "--server 127.0.0.1:{} --set host={{host}} --set port={{port}} --set username=canopy \
         --set database=postgres --set timeout_ms=2000 --secret-env password=PASSWORD",
        postgres.port
    );
    passes(
        &plugin("postgres"),
        &setup,
        &[("PASSWORD", Postgres::PASSWORD)],
        &[
            DRAFTS[0],
            DRAFTS[1],
            "canopy:storage/sql@0.1.0",
            "spin:postgres/postgres@4.2.0",
        ],
        &["behaviour/swap"],
    );
}

#[test]
fn mail_by_smtp_passes_and_none_is_sent_unasked() {
    let smtp = Smtp::start();
    let setup = format!(
        "--server 127.0.0.1:{} --set host={{host}} --set port={{port}} \
         --set from=canopy@example.com --set timeout_ms=4000",
        smtp.port
    );
    let suites = ["canopy:mail/sender@0.1.0"];
    let named = format!("{setup} --mail-to ops@example.com");
    passes(&plugin("smtp"), &named, &[], &suites, &[]);
    let messages = smtp.messages();
    assert!(!messages.is_empty());
    for message in &messages {
        assert!(
            message.contains("ops@example.com"),
            "to whom it may go: {message:.500}"
        );
    }

    let folder = tempfile::tempdir().expect("a folder");
    let badge = folder.path().join("badge.json");
    let more: Vec<_> = setup.split_whitespace().collect();
    let cases = ["driver/check", "behaviour/", "faults/slow"].map(|case| ["--case", case]);
    let more = [&more[..], cases.as_flattened()].concat();
    let output = test(&plugin("smtp"), &more, &badge, &[]);
    let outcomes = outcomes(&output.json());
    assert_eq!(outcomes["driver/check"], "passed");
    assert_eq!(outcomes["behaviour/sent"], "skipped");
    assert_eq!(outcomes["faults/slow"], "skipped");
    assert_eq!(smtp.messages().len(), messages.len());
}

#[test]
fn a_driver_of_objects_before_the_platforms_own_passes() {
    for (driver, more, alone) in [
        ("cache-blobs", "", &[][..]),
        ("encrypt-blobs", "--secret-env key=KEY", &IN_PARTS),
    ] {
        let mut skipped = [&WITH_A_CHECK[..], alone, &BEFORE_A_SERVER].concat();
        skipped.retain(|case| *case != COUNTED_ONCE);
        let suites = ["canopy:storage/blobs@0.1.0"];
        let bind = format!("--bind canopy:storage/blobs=platform {more}");
        passes(&plugin(driver), &bind, &[KEY], &suites, &skipped);
    }
}

#[test]
fn entries_of_canopy_storage_pass_and_a_driver_without_conditions_fails_by_name() {
    let bind = "--bind canopy:storage/key-value=platform";
    let skipped = [&WITH_A_CHECK[..], &BEFORE_A_SERVER].concat();
    let suites = ["canopy:storage/key-value@0.1.0"];
    passes(&guest("shelf"), bind, &[], &suites, &skipped);

    let folder = tempfile::tempdir().expect("a folder");
    let badge = folder.path().join("badge.json");
    let more = format!("{bind} --set forgetful=true --case entries/ --case behaviour/swap");
    let more: Vec<_> = more.split_whitespace().collect();
    let output = test(&guest("shelf"), &more, &badge, &[]);
    assert_eq!(output.code, 1, "{}", output.stderr);
    let outcomes = outcomes(&serde_json::from_str(&output.stdout).expect("the record"));
    let failed = with(&outcomes, "failed");
    assert_eq!(
        failed,
        ["behaviour/swap", "entries/conditions"],
        "{outcomes:?}"
    );
}

#[test]
fn keys_and_values_pass_encryption_on_their_way_to_redis() {
    let redis = Redis::start();
    let chain = format!(
        "--server 127.0.0.1:{} --bind wasi:keyvalue=redis \
         --secret-env key=KEY --secret-env name_key=NAME_KEY --link {} {REDIS}",
        redis.port,
        plugin("redis").display()
    );
    let skipped = [&WITH_A_CHECK[..], &["behaviour/swap"]].concat();
    let suites = [DRAFTS[0]];
    passes(
        &plugin("encrypt"),
        &chain,
        &[KEY, NAME_KEY],
        &suites,
        &skipped,
    );
}

#[test]
fn keys_and_values_pass_a_cache_and_encryption_on_their_way_to_redis() {
    let redis = Redis::start();
    let chain = format!(
        "--server 127.0.0.1:{} --bind wasi:keyvalue=encrypt \
         --link {} --bind wasi:keyvalue=redis --secret-env key=KEY \
         --link {} {REDIS}",
        redis.port,
        plugin("encrypt").display(),
        plugin("redis").display()
    );
    let skipped = [&WITH_A_CHECK[..], &["behaviour/swap"]].concat();
    let suites = [DRAFTS[0]];
    passes(&plugin("cache"), &chain, &[KEY], &suites, &skipped);
}

#[test]
fn objects_pass_encryption_on_their_way_to_s3() {
    let s3 = S3::start();
    let chain = format!(
        "--bind canopy:storage/blobs=s3 --secret-env key=KEY --link {} {}",
        plugin("s3").display(),
        s3_behind(&s3)
    );
    let skipped = [&WITH_A_CHECK[..], &IN_PARTS].concat();
    let suites = ["canopy:storage/blobs@0.1.0"];
    let environment = [KEY, ("S3_SECRET", &s3.key.1)];
    passes(
        &plugin("encrypt-blobs"),
        &chain,
        &environment,
        &suites,
        &skipped,
    );
}

#[test]
fn objects_pass_a_cache_on_their_way_to_s3() {
    let s3 = S3::start();
    let chain = format!(
        "--bind canopy:storage/blobs=s3 --link {} {}",
        plugin("s3").display(),
        s3_behind(&s3)
    );
    let suites = ["canopy:storage/blobs@0.1.0"];
    let environment = [("S3_SECRET", s3.key.1.as_str())];
    passes(
        &plugin("cache-blobs"),
        &chain,
        &environment,
        &suites,
        &WITH_A_CHECK,
    );
}

#[test]
fn published_drivers_are_tested_as_a_chain_where_they_are() {
    let redis = Redis::start();
    let node = Node::start();
    for driver in ["cache", "redis"] {
        node.publish(&plugin(driver));
    }
    let record = node.run(&format!(
        "driver test canopy/cache --suites {} --case behaviour/write-read --case faults/refused \
         --case restart/keeps --bind wasi:keyvalue=redis --link canopy/redis {REDIS} \
         --server 127.0.0.1:{}",
        suites().display(),
        redis.port
    ));
    let outcomes = outcomes(&record);
    let passed = ["behaviour/write-read", "faults/refused", "restart/keeps"];
    assert_eq!(with(&outcomes, "passed"), passed, "{record}");
    let left = node.run("tenant list");
    assert_eq!(left, serde_json::json!([]), "nothing is left behind");
}

#[test]
fn a_chain_that_is_none_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let badge = folder.path().join("badge.json");
    let redis = plugin("redis").display().to_string();
    let link = format!("--link {redis} --set host=localhost");
    for (more, said) in [
        (link.clone(), "nothing before it is bound to it"),
        (
            format!("--bind wasi:keyvalue=redis {link} {link}"),
            "a driver called redis in this test already",
        ),
        (
            "--bind wasi:keyvalue=redis --link canopy/redis".to_owned(),
            "name the link's folder",
        ),
        (
            "--bind wasi:keyvalue=redis --link nowhere/at/all".to_owned(),
            "neither a folder with canopy.toml nor the name of a package",
        ),
        (
            format!(
                "--bind wasi:keyvalue=invoices --link {}",
                plugin("invoices").display()
            ),
            "canopy/invoices is no driver",
        ),
    ] {
        let more: Vec<_> = more.split_whitespace().collect();
        let output = test(&plugin("cache"), &more, &badge, &[]);
        assert_eq!(output.code, 2, "{more:?}: {}", output.stderr);
        assert!(output.stderr.contains(said), "{more:?}: {}", output.stderr);
        assert!(!badge.exists(), "nothing was tested");
    }
    let node = Node::start();
    node.publish(&plugin("cache"));
    let suites = suites().display().to_string();
    let line =
        format!("driver test canopy/cache --suites {suites} --bind wasi:keyvalue=redis {link}");
    let output = node.cli(line.split_whitespace());
    assert_eq!(output.code, 2, "{}", output.stderr);
    assert!(output.stderr.contains("publish it"), "{}", output.stderr);
}

#[test]
fn a_careless_driver_fails_by_name() {
    let redis = Redis::start();
    let folder = tempfile::tempdir().expect("a folder");
    let server = format!("127.0.0.1:{}", redis.port);
    let more = ["--server", &server, "--set", "server={server}"];
    let badge = folder.path().join("badge.json");
    let output = test(&guest("careless"), &more, &badge, &[]);
    assert_eq!(output.code, 1, "{}", output.stderr);
    assert!(output.stderr.contains("cases failed"), "{}", output.stderr);
    let record: Value = serde_json::from_str(&output.stdout).expect("the record all the same");
    assert_eq!(
        record["suites"],
        serde_json::json!(["wasi:keyvalue@0.2.0-draft2"])
    );
    let outcomes = outcomes(&record);
    for name in [
        "driver/check-without-grants",
        "driver/check-without-server",
        "behaviour/increment-text",
        "behaviour/increment-overflow",
        "callers/installations-apart",
        "callers/tenants-apart",
        "faults/refused",
        "faults/broken-idle",
        "faults/broken-answer",
        "faults/silent",
        "faults/garbled",
        "faults/too-slow",
        "leaks/connections",
        "leaks/memory",
        "behaviour/stores-apart",
    ] {
        assert_eq!(outcomes[name], "failed", "{name}: {record}");
    }
    for name in ["behaviour/write-read", "behaviour/delete"] {
        assert_eq!(outcomes[name], "passed", "{name}: {record}");
    }
}

#[test]
fn what_has_no_suite_is_said_and_a_published_driver_is_tested_where_it_is() {
    let node = Node::start();
    node.publish(&guest("acme-payments"));
    let suites = suites();
    let output = node.cli([
        "driver",
        "test",
        "guests/acme-payments",
        "--suites",
        suites.to_str().expect("UTF-8"),
    ]);
    // Nothing of it could be tried, which is no pass.
    assert_eq!(output.code, 1, "{}", output.stderr);
    assert!(
        output
            .stderr
            .contains("no suite for acme:payments/charge@1.2.0"),
        "{}",
        output.stderr
    );
    assert_eq!(
        node.run("tenant list"),
        serde_json::json!([]),
        "nothing is left behind"
    );
}
