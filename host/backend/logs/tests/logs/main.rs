//! Logs as applications, drivers, the control plane and people at a terminal meet them.

mod limits;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use canopy_backend_logs::{
    Entry, Level, Log, LogContext, LogOwner, LogRange, LogRecord, LogSettings, LogStore, Source,
};
use canopy_ids::{DriverInstanceId, InstallationId, RequestId};

pub(crate) fn context() -> LogContext {
    LogContext {
        tenant: "acme".parse().expect("a name"),
        app: Some("invoices".parse().expect("a name")),
        driver: None,
        package: "canopy/invoices".parse().expect("a package name"),
        version: semver::Version::new(1, 2, 3),
    }
}

pub(crate) fn open(dir: &Path, settings: LogSettings) -> LogStore {
    LogStore::open(dir, settings).expect("the store opens")
}

pub(crate) fn say(log: &Log, message: &str) {
    log.append(Entry::new(Level::Info, Source::Stdout, message));
}

pub(crate) async fn all(store: &LogStore, owner: impl Into<LogOwner> + Copy) -> Vec<LogRecord> {
    let mut records = Vec::new();
    let mut after = 0;
    loop {
        let page = store
            .read(owner, LogRange::After(after), 1000)
            .await
            .expect("a page");
        assert_eq!(page.damaged, 0);
        records.extend(page.records);
        after = page.last;
        if !page.more {
            return records;
        }
    }
}

pub(crate) async fn messages(store: &LogStore, owner: impl Into<LogOwner> + Copy) -> Vec<String> {
    all(store, owner)
        .await
        .into_iter()
        .map(|record| record.message)
        .collect()
}

pub(crate) fn files(dir: &Path, owner: impl Into<LogOwner>) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(dir.join(owner.into().to_string()))
        .expect("the log's folder")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort();
    files
}

#[tokio::test]
async fn a_record_says_who_when_where_and_what() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path(), LogSettings::default());
    let installation = InstallationId::new();
    let request = RequestId::new();
    let log = store.log(installation, context());
    say(&log, "first");
    let entry = Entry::new(Level::Error, Source::Logging, "second").context("billing");
    log.append(entry.request(request));
    let page = store
        .read(installation, LogRange::After(0), 10)
        .await
        .expect("a page");
    assert_eq!((page.last, page.more, page.damaged), (2, false, 0));
    let record = &page.records[1];
    assert_eq!(
        (record.seq, record.level, record.source),
        (2, Level::Error, Source::Logging)
    );
    assert_eq!(record.message, "second");
    assert_eq!(record.context.as_deref(), Some("billing"));
    assert_eq!(record.request_id, Some(request));
    assert_eq!(record.writer, context());
    assert!(record.time.offset().is_utc());
    assert!((time::OffsetDateTime::now_utc() - record.time).abs() < time::Duration::minutes(1));

    let line: serde_json::Value = serde_json::to_value(record).expect("JSON");
    for (key, value) in [
        ("level", "error"),
        ("source", "logging"),
        ("tenant", "acme"),
        ("app", "invoices"),
        ("package", "canopy/invoices"),
        ("version", "1.2.3"),
    ] {
        assert_eq!(line[key], value, "{key}");
    }
    assert!(
        line["time"]
            .as_str()
            .is_some_and(|time| time.ends_with('Z')),
        "{line}"
    );
    assert!(line.get("driver").is_none(), "{line}");
    let stored = fs::read_to_string(&files(dir.path(), installation)[0]).expect("the file");
    let second: serde_json::Value =
        serde_json::from_str(stored.lines().nth(1).expect("two lines")).expect("JSON");
    assert_eq!(second, line, "what is read is what was stored");
}

#[tokio::test]
async fn logs_are_apart() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path(), LogSettings::default());
    let (one, other, driver) = (
        InstallationId::new(),
        InstallationId::new(),
        DriverInstanceId::new(),
    );
    say(&store.log(one, context()), "one");
    say(&store.log(other, context()), "other");
    let app = None;
    let of_driver = LogContext {
        app,
        driver: Some("redis".parse().expect("a name")),
        ..context()
    };
    say(&store.log(driver, of_driver), "driver");
    assert_eq!(messages(&store, one).await, ["one"]);
    assert_eq!(messages(&store, other).await, ["other"]);
    assert_eq!(messages(&store, driver).await, ["driver"]);
    assert_eq!(
        messages(&store, InstallationId::new()).await,
        Vec::<String>::new()
    );
}

/// Whatever a guest writes, it is one record, and no terminal obeys it.
#[tokio::test]
async fn control_characters_cannot_forge_lines_or_move_a_cursor() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path(), LogSettings::default());
    let installation = InstallationId::new();
    let log = store.log(installation, context());
    let forged = "ok\n{\"seq\":9,\"level\":\"error\",\"message\":\"forged\"}\r\x1b[2J\x1b]52;c;eA==\x07\u{9b}31m";
    say(&log, forged);
    log.append(Entry::new(Level::Info, Source::Logging, "x").context("a\nb\x1b"));
    let records = all(&store, installation).await;
    assert_eq!(records.len(), 2);
    for text in [
        &records[0].message,
        records[1].context.as_ref().expect("a context"),
    ] {
        assert!(!text.chars().any(char::is_control), "{text:?}");
    }
    let stored = fs::read_to_string(&files(dir.path(), installation)[0]).expect("the file");
    assert_eq!(stored.lines().count(), 2);
}

#[tokio::test]
async fn pages_go_on_and_the_newest_can_be_had_alone() {
    let dir = tempfile::tempdir().expect("a folder");
    let settings = LogSettings {
        file_bytes: 4096,
        files: 100,
        page_records: 50,
        ..Default::default()
    };
    let store = open(dir.path(), settings);
    let installation = InstallationId::new();
    let log = store.log(installation, context());
    for n in 1..=200 {
        say(&log, &format!("message {n}"));
    }
    store.flush(installation).await;
    assert!(
        files(dir.path(), installation).len() > 3,
        "over several files"
    );
    let seqs = |page: &canopy_backend_logs::LogPage| -> Vec<u64> {
        page.records.iter().map(|record| record.seq).collect()
    };
    let read = |range, limit| store.read(installation, range, limit);
    let page = read(LogRange::After(0), 3).await.expect("a page");
    assert_eq!(
        (seqs(&page), page.last, page.more),
        (vec![1, 2, 3], 3, true)
    );
    let page = read(LogRange::After(99), 2).await.expect("a page");
    assert_eq!(
        (seqs(&page), page.last, page.more),
        (vec![100, 101], 101, true)
    );
    let page = read(LogRange::After(198), 10).await.expect("a page");
    assert_eq!(
        (seqs(&page), page.last, page.more),
        (vec![199, 200], 200, false)
    );
    let page = read(LogRange::After(500), 10).await.expect("a page");
    assert_eq!((seqs(&page), page.last, page.more), (vec![], 500, false));
    let page = read(LogRange::Last, 3).await.expect("a page");
    assert_eq!(
        (seqs(&page), page.last, page.more),
        (vec![198, 199, 200], 200, false)
    );
    let page = read(LogRange::Last, usize::MAX).await.expect("a page");
    assert_eq!(
        seqs(&page),
        (151..=200).collect::<Vec<_>>(),
        "a page has its limit"
    );
    let page = read(LogRange::After(0), 0).await.expect("a page");
    assert_eq!(seqs(&page), [1], "a page holds at least one record");
}

#[tokio::test]
async fn everything_is_there_after_opening_again_and_numbers_go_on() {
    let dir = tempfile::tempdir().expect("a folder");
    let installation = InstallationId::new();
    for round in 1..=3 {
        let store = open(dir.path(), LogSettings::default());
        say(
            &store.log(installation, context()),
            &format!("round {round}"),
        );
    }
    let store = open(dir.path(), LogSettings::default());
    let records = all(&store, installation).await;
    let found: Vec<_> = records
        .iter()
        .map(|r| (r.seq, r.message.as_str()))
        .collect();
    assert_eq!(found, [(1, "round 1"), (2, "round 2"), (3, "round 3")]);
}

#[tokio::test]
async fn a_line_cut_off_by_a_crash_is_no_record_and_the_log_goes_on() {
    let dir = tempfile::tempdir().expect("a folder");
    let installation = InstallationId::new();
    {
        let store = open(dir.path(), LogSettings::default());
        let log = store.log(installation, context());
        say(&log, "one");
        say(&log, "two");
    }
    let file = files(dir.path(), installation).remove(0);
    let whole = fs::read(&file).expect("the file");
    fs::write(&file, &whole[..whole.len() - 10]).expect("cut off");
    let store = open(dir.path(), LogSettings::default());
    assert_eq!(messages(&store, installation).await, ["one"]);
    say(&store.log(installation, context()), "three");
    let records = all(&store, installation).await;
    let found: Vec<_> = records
        .iter()
        .map(|r| (r.seq, r.message.as_str()))
        .collect();
    assert_eq!(found, [(1, "one"), (2, "three")]);
}

#[tokio::test]
async fn a_damaged_line_is_counted_and_the_others_are_read() {
    let dir = tempfile::tempdir().expect("a folder");
    let installation = InstallationId::new();
    {
        let store = open(dir.path(), LogSettings::default());
        let log = store.log(installation, context());
        for text in ["one", "two", "three"] {
            say(&log, text);
        }
    }
    let file = files(dir.path(), installation).remove(0);
    let damaged = fs::read_to_string(&file)
        .expect("the file")
        .replace("\"two\"", "\"tw\u{0}");
    fs::write(&file, damaged).expect("written");
    let store = open(dir.path(), LogSettings::default());
    for range in [LogRange::After(0), LogRange::Last] {
        let page = store.read(installation, range, 10).await.expect("a page");
        let found: Vec<_> = page
            .records
            .iter()
            .map(|record| record.message.as_str())
            .collect();
        assert_eq!(
            (found, page.damaged),
            (vec!["one", "three"], 1),
            "{range:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_gets_every_record_once_and_in_order() {
    let dir = tempfile::tempdir().expect("a folder");
    let installation = InstallationId::new();
    {
        let store = open(dir.path(), LogSettings::default());
        let log = store.log(installation, context());
        for n in 1..=10 {
            say(&log, &n.to_string());
        }
    }
    let settings = LogSettings {
        file_bytes: 8192,
        files: 1000,
        ..Default::default()
    };
    let store = open(dir.path(), settings);
    let mut follower = store.subscribe(installation, 4);
    let log = store.log(installation, context());
    let writing = tokio::spawn(async move {
        for n in 11..=2000 {
            say(&log, &n.to_string());
            if n % 50 == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    });
    let mut next = 5;
    while next <= 2000 {
        let records = follower.next().await.expect("readable").expect("not ended");
        assert!(!records.is_empty());
        for record in records {
            assert_eq!((record.seq, record.message), (next, next.to_string()));
            next += 1;
        }
    }
    writing.await.expect("the writer ends well");
}

#[tokio::test]
async fn an_erased_log_is_gone_and_takes_nothing_more() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path(), LogSettings::default());
    let (installation, other) = (InstallationId::new(), InstallationId::new());
    let log = store.log(installation, context());
    say(&log, "secret");
    say(&store.log(other, context()), "other");
    store.flush(installation).await;
    let mut follower = store.subscribe(installation, 0);
    follower.next().await.expect("readable").expect("not ended");
    let waiting = tokio::spawn(async move { follower.next().await });
    store.erase(installation).await.expect("erased");
    store.erase(installation).await.expect("erased already");
    let ended = waiting
        .await
        .expect("the follower ends well")
        .expect("readable");
    assert_eq!(ended, None, "a follower is told");
    say(&log, "late");
    say(&store.log(installation, context()), "later");
    assert_eq!(messages(&store, installation).await, Vec::<String>::new());
    assert_eq!(
        store
            .subscribe(installation, 0)
            .next()
            .await
            .expect("readable"),
        None
    );
    assert_eq!(messages(&store, other).await, ["other"]);
    let names: Vec<_> = fs::read_dir(dir.path())
        .expect("the folder")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    assert_eq!(names, [other.to_string().as_str()]);
}

#[tokio::test]
async fn a_store_that_closes_has_written_everything_and_ends_its_followers() {
    let dir = tempfile::tempdir().expect("a folder");
    let installation = InstallationId::new();
    let store = open(dir.path(), LogSettings::default());
    let log = store.log(installation, context());
    let mut follower = store.subscribe(installation, 0);
    for n in 0..500 {
        say(&log, &n.to_string());
    }
    drop(store);
    say(&log, "late");
    let seen = follower
        .next()
        .await
        .expect("readable")
        .expect("what was written");
    assert_eq!(seen.len(), 500);
    assert_eq!(follower.next().await.expect("readable"), None);
}
