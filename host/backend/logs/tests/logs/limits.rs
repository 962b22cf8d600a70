//! The limits of logs: what is dropped, cut off or removed is counted and said.

use std::fs;
use std::time::{Duration, Instant};

use canopy_backend_logs::{Entry, Level, LogError, LogSettings, LogStore, Source};
use canopy_ids::InstallationId;

use crate::{all, context, files, messages, open, say};

#[tokio::test]
async fn a_text_of_several_lines_is_a_record_each_and_bounded() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path(), LogSettings::default());
    let installation = InstallationId::new();
    let log = store.log(installation, context());
    let entry = |text| Entry::new(Level::Error, Source::Platform, text);
    log.append_lines(entry("a\nb\r\nc"), 3);
    log.append_lines(entry("1\n2\n3\n4"), 3);
    let expected = ["a", "b", "c", "1", "2", "… (2 more lines cut off)"];
    assert_eq!(messages(&store, installation).await, expected);
}

#[tokio::test]
async fn the_oldest_files_go_and_numbers_go_on() {
    let dir = tempfile::tempdir().expect("a folder");
    let settings = LogSettings {
        file_bytes: 4096,
        files: 3,
        ..Default::default()
    };
    let store = open(dir.path(), settings.clone());
    let installation = InstallationId::new();
    let log = store.log(installation, context());
    for n in 1..=300 {
        say(&log, &format!("message {n}"));
    }
    let records = all(&store, installation).await;
    let found = files(dir.path(), installation);
    assert_eq!(found.len(), 3);
    for file in &found {
        assert!(fs::metadata(file).expect("a file").len() <= settings.file_bytes);
    }
    assert!(records[0].seq > 200, "the oldest are gone");
    let expected: Vec<u64> = (records[0].seq..=300).collect();
    assert_eq!(
        records.iter().map(|record| record.seq).collect::<Vec<_>>(),
        expected
    );
}

/// A flood costs the flooder records, and nobody else.
#[tokio::test]
async fn a_flood_is_dropped_and_counted_and_costs_no_other_log_a_record() {
    let dir = tempfile::tempdir().expect("a folder");
    let settings = LogSettings {
        burst_bytes: 100_000,
        bytes_per_second: 1,
        ..Default::default()
    };
    let store = open(dir.path(), settings);
    let (flooder, victim) = (InstallationId::new(), InstallationId::new());
    let (flood, quiet) = (store.log(flooder, context()), store.log(victim, context()));
    let started = Instant::now();
    const FLOOD: u64 = 100_000;
    for n in 0..FLOOD {
        say(&flood, "flood");
        if n % 1000 == 0 {
            say(&quiet, "quiet");
        }
    }
    assert!(
        started.elapsed() < Duration::from_secs(30),
        "appending does not wait"
    );
    assert_eq!(messages(&store, victim).await.len(), 100);
    let records = all(&store, flooder).await;
    let reports: Vec<_> = records
        .iter()
        .filter(|r| r.source == Source::Platform)
        .collect();
    let dropped: u64 = reports
        .iter()
        .map(|report| {
            assert_eq!(report.level, Level::Warn);
            let (count, _) = report.message.split_once(' ').expect("a count first");
            count.parse::<u64>().expect("a count")
        })
        .sum();
    let taken = (records.len() - reports.len()) as u64;
    assert!(taken > 100, "the burst is taken");
    assert_eq!(taken + dropped, FLOOD, "each record is there or counted");
}

#[tokio::test]
async fn what_was_dropped_is_said_without_anybody_asking() {
    let dir = tempfile::tempdir().expect("a folder");
    let settings = LogSettings {
        burst_bytes: 300,
        bytes_per_second: 1,
        ..Default::default()
    };
    let store = open(dir.path(), settings);
    let installation = InstallationId::new();
    let log = store.log(installation, context());
    let mut follower = store.subscribe(installation, 0);
    say(&log, "taken");
    say(&log, "dropped");
    let mut seen = Vec::new();
    while seen.len() < 2 {
        let next = tokio::time::timeout(Duration::from_secs(20), follower.next()).await;
        seen.extend(
            next.expect("in time")
                .expect("readable")
                .expect("not ended"),
        );
    }
    assert_eq!(seen[0].message, "taken");
    assert!(
        seen[1].message.starts_with("1 records of "),
        "{}",
        seen[1].message
    );
}

#[tokio::test]
async fn a_message_over_the_limit_is_cut_and_says_so() {
    let dir = tempfile::tempdir().expect("a folder");
    let settings = LogSettings {
        message_bytes: 256,
        ..Default::default()
    };
    let store = open(dir.path(), settings);
    let installation = InstallationId::new();
    say(&store.log(installation, context()), &"x".repeat(1000));
    let expected = format!("{}… (744 more bytes cut off)", "x".repeat(256));
    assert_eq!(messages(&store, installation).await, [expected]);
}

#[tokio::test]
async fn more_logs_than_open_files_are_all_written() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(
        dir.path(),
        LogSettings {
            open_files: 2,
            ..Default::default()
        },
    );
    let logs: Vec<_> = (0..10)
        .map(|_| {
            let installation = InstallationId::new();
            (installation, store.log(installation, context()))
        })
        .collect();
    for round in 0..3 {
        for (_, log) in &logs {
            say(log, &round.to_string());
        }
    }
    for (installation, _) in &logs {
        assert_eq!(messages(&store, *installation).await, ["0", "1", "2"]);
    }
}

/// A log whose folder can't be written loses its records, says how many, and goes on when it can.
#[tokio::test]
async fn records_that_could_not_be_written_are_counted() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path(), LogSettings::default());
    let installation = InstallationId::new();
    let path = dir.path().join(installation.to_string());
    fs::write(&path, "in the way").expect("written");
    let log = store.log(installation, context());
    say(&log, "lost");
    store.flush(installation).await;
    fs::remove_file(&path).expect("removed");
    say(&log, "written");
    let found = messages(&store, installation).await;
    assert!(found.contains(&"written".to_owned()), "{found:?}");
    assert!(
        found.iter().any(|text| text.starts_with("1 records of ")),
        "{found:?}"
    );
}

#[test]
fn settings_that_cannot_work_are_refused_by_name() {
    let dir = tempfile::tempdir().expect("a folder");
    for (settings, name) in [
        (
            LogSettings {
                message_bytes: 1,
                ..Default::default()
            },
            "message_bytes",
        ),
        (
            LogSettings {
                file_bytes: 1,
                ..Default::default()
            },
            "file_bytes",
        ),
        (
            LogSettings {
                files: 1,
                ..Default::default()
            },
            "files",
        ),
        (
            LogSettings {
                page_records: 0,
                ..Default::default()
            },
            "page_records",
        ),
        (
            LogSettings {
                open_files: 0,
                ..Default::default()
            },
            "open_files",
        ),
        (
            LogSettings {
                bytes_per_second: 0,
                ..Default::default()
            },
            "bytes_per_second",
        ),
    ] {
        match LogStore::open(dir.path(), settings) {
            Err(LogError::Settings(text)) => assert!(text.contains(name), "{name}: {text}"),
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
fn a_folder_that_cannot_be_used_is_named() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("file");
    fs::write(&file, "").expect("written");
    let error = LogStore::open(&file, LogSettings::default()).expect_err("not a folder");
    assert!(error.to_string().contains("file"), "{error}");
}
