//! Settings from files and variables.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::time::Duration;

use super::*;

fn load(file: &str, variables: &[(&str, &str)]) -> Result<(Settings, Vec<String>), SettingsError> {
    let mut config = tempfile::NamedTempFile::new().expect("a file");
    config.write_all(file.as_bytes()).expect("written");
    let variables = variables
        .iter()
        .map(|(name, value)| ((*name).into(), (*value).into()));
    Settings::load(Some(config.path()), variables)
}

fn defaults() -> Settings {
    let mut settings = Settings::default();
    settings.share();
    settings
}

#[test]
fn nothing_said_is_the_defaults() {
    let (settings, warnings) = load("", &[]).expect("valid");
    assert_eq!(settings, defaults());
    assert!(warnings.is_empty());
}

#[test]
fn the_environment_overrides_the_file() {
    let file = "listen = \"127.0.0.1:1\"\n[edge]\nheader_timeout = \"3 s\"\nmax_headers = 7\n";
    let (settings, _) = load(
        file,
        &[("CANOPY_EDGE_HEADER_TIMEOUT", "250 ms"), ("HOME", "/x")],
    )
    .expect("valid");
    assert_eq!(settings.listen.port(), 1);
    assert_eq!(settings.edge.header_timeout, Duration::from_millis(250));
    assert_eq!(settings.edge.max_headers, 7);
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest() {
    for (file, nearest) in [
        ("lisen = \"x\"", "`listen`"),
        ("[edge]\nheader_timout = \"1 s\"", "`edge.header_timeout`"),
        ("[engine.pool]\ninstance = 1", "`engine.pool.instances`"),
        ("zzz = 1", "`canopy config`"),
    ] {
        let message = load(file, &[]).expect_err("unknown").to_string();
        assert!(message.contains(nearest), "{message}");
    }
}

#[test]
fn an_unknown_variable_is_warned_about_and_client_variables_are_not() {
    let (_, warnings) = load(
        "",
        &[
            ("CANOPY_LISEN", "x"),
            ("CANOPY_TOKEN", "x"),
            ("CANOPY_URL", "x"),
        ],
    )
    .expect("valid");
    let [warning] = &warnings[..] else {
        panic!("{warnings:?}")
    };
    assert!(warning.contains("CANOPY_LISTEN"), "{warning}");
}

#[test]
fn a_value_of_the_wrong_form_is_refused_by_name() {
    for (file, key) in [
        ("listen = 8080", "listen"),
        ("listen = \"localhost\"", "listen"),
        ("base_domain = \"a b\"", "base_domain"),
        ("[edge]\nheader_timeout = 10", "edge.header_timeout"),
        ("[edge]\nmax_headers = -1", "edge.max_headers"),
        ("[engine]\nwasi_p3 = \"maybe\"", "engine.wasi_p3"),
        ("[log]\nformat = \"xml\"", "log.format"),
        ("[backup]\nschedule = \"every night\"", "backup.schedule"),
        ("[driver]\nheld = 1000", "driver.held"),
        ("[driver]\nresources = 500", "driver.held"),
        (
            "[egress]\nprivate_networks = [\"10.0.0.0/33\"]",
            "egress.private_networks",
        ),
    ] {
        let message = load(file, &[]).expect_err(file).to_string();
        assert!(
            message.starts_with(&format!("setting `{key}`")),
            "{message}"
        );
    }
    let message = load("", &[("CANOPY_LISTEN", "x")])
        .expect_err("no address")
        .to_string();
    assert!(message.contains("CANOPY_LISTEN"), "{message}");
}

#[test]
fn what_does_not_fit_into_the_pool_is_refused_by_name() {
    for (file, key, than) in [
        (
            "[engine.pool]\ninstances = 511",
            "admission.node_concurrency",
            "engine.pool.instances",
        ),
        (
            "[admission]\nnode_concurrency = 1001",
            "admission.node_concurrency",
            "engine.pool.instances",
        ),
        (
            "[engine.pool]\nstacks = 500",
            "admission.node_concurrency",
            "engine.pool.stacks",
        ),
        (
            "[guest]\ntenant_instances = 501",
            "guest.tenant_instances",
            "engine.pool.instances",
        ),
        (
            "[guest]\ntenant_memories = 7",
            "guest.tenant_memories",
            "engine.pool.memories_per_component",
        ),
        (
            "[guest]\npool_reserve_percent = 51",
            "guest.pool_reserve_percent",
            "at most 50",
        ),
        (
            "[engine.pool]\ntables = 1999",
            "guest.tenant_tables",
            "engine.pool.tables",
        ),
    ] {
        let message = load(file, &[]).expect_err(file).to_string();
        assert!(
            message.starts_with(&format!("setting `{key}`")) && message.contains(than),
            "{message}"
        );
    }
    let smaller = "[admission]\nnode_concurrency = 100\n[engine.pool]\ninstances = 100\n\
                   [guest]\ntenant_instances = 50";
    load(smaller, &[]).expect("it fits");
}

#[test]
fn an_api_open_to_the_network_has_to_be_meant() {
    let refused = load("api_listen = \"0.0.0.0:8081\"", &[]);
    assert!(matches!(refused, Err(SettingsError::PublicApi { .. })));
    load("api_listen = \"0.0.0.0:8081\"\napi_public = true", &[]).expect("meant");
    let secure = "[api.tls]\ncertificate = \"a\"\nkey = \"b\"";
    load(&format!("api_listen = \"0.0.0.0:8081\"\n{secure}"), &[]).expect("by TLS");
    for (half, needs) in [
        ("certificate = \"a\"", "api.tls.key"),
        ("key = \"b\"", "api.tls.certificate"),
    ] {
        let message = load(&format!("[api.tls]\n{half}"), &[]).expect_err(half);
        assert!(message.to_string().contains(needs), "{message}");
    }
}

#[test]
fn the_printed_settings_are_a_file_of_the_defaults() {
    let printed = documentation();
    let uncommented: String = printed
        .lines()
        .filter(|line| !line.ends_with(" = \"\""))
        .map(|line| match line.strip_prefix("# ") {
            Some(setting)
                if setting
                    .split_once(" = ")
                    .is_some_and(|(key, _)| is_key(key)) =>
            {
                setting
            }
            _ => line,
        })
        .fold(String::new(), |text, line| text + line + "\n");
    let (settings, _) = load(&uncommented, &[]).expect("valid");
    assert_eq!(settings, defaults());
    let given: toml::Table = uncommented.parse().expect("TOML");
    let set = keys().filter(|key| (key.show)(&Settings::default()).is_some());
    assert_eq!(leaves(&given), set.count(), "{uncommented}");
}

fn is_key(text: &str) -> bool {
    text.chars()
        .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

fn leaves(table: &toml::Table) -> usize {
    table
        .values()
        .map(|value| value.as_table().map_or(1, leaves))
        .sum()
}

#[test]
fn the_addresses_of_applications_follow_the_listener_unless_told_otherwise() {
    let port = |file: &str| load(file, &[]).expect("valid").0.app.port;
    assert_eq!(port("listen = \"127.0.0.1:9090\""), Some(9090));
    assert_eq!(port("public_port = 443"), Some(443));
    assert_eq!(port("public_port = 0"), None);
}

#[test]
fn no_two_settings_have_one_name_or_variable() {
    let names: BTreeSet<_> = keys().map(|key| key.name).collect();
    let variables: BTreeSet<_> = keys().map(Key::variable).collect();
    assert_eq!(
        (names.len(), variables.len()),
        (keys().count(), keys().count())
    );
}

#[test]
fn backups_that_come_by_themselves_need_a_place() {
    let message = load("[backup]\nschedule = \"0 3 * * *\"", &[]).expect_err("no place");
    assert!(message.to_string().contains("backup.dir"), "{message}");
    let both = "[backup]\nschedule = \"0 3 * * *\"\ndir = \"b\"\nprune = false";
    let (settings, _) = load(both, &[]).expect("both");
    let planned = settings.app.upkeep.planned_backups.expect("planned");
    assert_eq!(
        (planned.timetable.cron(), planned.prune),
        ("0 3 * * *", false)
    );
    assert!(planned.repository.ends_with("b"));
}

#[test]
fn tls_is_whole_or_not_there() {
    for (file, needs) in [
        ("listen = \"127.0.0.1:8443\"", "tls.certificate"),
        (
            "listen = \"127.0.0.1:8443\"\ncertificate = \"a\"",
            "tls.key",
        ),
        ("certificate = \"a\"", "tls.listen"),
        ("domains = \"a\"", "tls.listen"),
        ("redirect = true", "tls.listen"),
    ] {
        let message = load(&format!("[tls]\n{file}"), &[]).expect_err(file);
        assert!(message.to_string().contains(needs), "{message}");
    }
    let whole = "[tls]\nlisten = \"127.0.0.1:8443\"\ncertificate = \"a\"\nkey = \"b\"";
    let (settings, _) = load(whole, &[]).expect("whole");
    assert_eq!(settings.app.port, Some(8080), "both are open");
    let (settings, _) = load(&format!("{whole}\nredirect = true"), &[]).expect("whole");
    assert_eq!(
        (&*settings.app.scheme, settings.app.port),
        ("https", Some(8443))
    );
}
