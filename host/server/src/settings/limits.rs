//! `docs/limits.md` says what the settings say.

use std::collections::BTreeMap;
use std::path::Path;

use canopy_runtime::LEAST_CHUNK;

use super::Settings;
use super::keys::keys;

/// Settings below these are limits, and each has a row.
const LIMITS: [&str; 13] = [
    "api.",
    "edge.",
    "admission.",
    "engine.",
    "limits.",
    "plan.",
    "guest.",
    "driver.",
    "storage.",
    "blobs.",
    "sql.",
    "schedules.",
    "messages.",
];

/// The rows: each setting with its default.
fn rows() -> BTreeMap<String, String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/limits.md");
    let text = std::fs::read_to_string(path).expect("docs/limits.md");
    let row = |line: &str| {
        let mut cells = line.strip_prefix("| `")?.split('`');
        let (key, between, default) = (cells.next()?, cells.next()?, cells.next()?);
        (between == " | ").then(|| (key.to_owned(), default.to_owned()))
    };
    text.lines().filter_map(row).collect()
}

#[test]
fn every_row_is_a_setting_with_its_default() {
    let defaults = Settings::default();
    for (name, written) in rows() {
        let key = keys().find(|key| key.name == name);
        let key = key.unwrap_or_else(|| panic!("docs/limits.md: there is no setting `{name}`"));
        let default = (key.show)(&defaults).unwrap_or_default();
        assert_eq!(written, default, "docs/limits.md: the default of `{name}`");
    }
}

#[test]
fn every_limit_has_a_row() {
    let rows = rows();
    let defaults = Settings::default();
    for key in keys() {
        let shown = (key.show)(&defaults).unwrap_or_default();
        let is_number = shown
            .trim_matches('"')
            .starts_with(|c: char| c.is_ascii_digit());
        let is_limit = LIMITS.iter().any(|prefix| key.name.starts_with(prefix));
        assert!(
            !is_limit || !is_number || rows.contains_key(key.name),
            "docs/limits.md: add a row `| `{}` | `{shown}` | … |`",
            key.name
        );
    }
}

/// What a guest can have the host keep for it, of all kinds at once: what the account of its store has
/// room for, with one call beside little else; bodies of WASI 0.2 and of 0.3 that wait to be sent; and
/// tasks, streams and futures, each of which takes so much. `tests/bench` measures it, as the scenario
/// `pinned`.
#[test]
fn one_instance_pins_at_most_8_mib_of_the_hosts_memory() {
    const TASK_BYTES: usize = 1_300;
    let settings = Settings::default();
    let (guest, network) = (&settings.runtime, &settings.runtime.network);
    // One call may have more than all that the account has, beside an eighth of it.
    let call = settings
        .engine
        .hostcall_bytes
        .max(settings.storage.limits.batch_bytes);
    let kept = guest.kept_bytes.max(guest.kept_bytes / 8 + call);
    // A body takes two resources and keeps two chunks.
    let bodies = network.body_buffer_bytes + guest.resources * LEAST_CHUNK;
    let chunk = |others: usize| {
        let share = network.body_buffer_bytes / (4 * (others + 1));
        share.clamp(LEAST_CHUNK, network.body_chunk_bytes)
    };
    let sent = (0..=network.concurrent)
        .map(|others| 2 * chunk(others))
        .sum::<usize>();
    let tasks = settings.engine.concurrent_handles * TASK_BYTES;
    let all = kept + bodies + sent + tasks;
    assert!(all <= 8 << 20, "{} KiB", all >> 10);
}
