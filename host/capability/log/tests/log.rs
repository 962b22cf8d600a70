//! What a guest writes, as it stands in the installation's log.

use canopy_backend_logs::{LogContext, LogRange, LogSettings, LogStore, Source};
use canopy_capability_log::LogCtx;
use canopy_ids::{InstallationId, RequestId};
use tokio::io::AsyncWriteExt;
use wasmtime_wasi::cli::StdoutStream;

fn context() -> LogContext {
    LogContext {
        tenant: "acme".parse().expect("name"),
        app: Some("invoices".parse().expect("name")),
        driver: None,
        package: "canopy/invoices".parse().expect("package"),
        version: semver::Version::new(1, 0, 0),
    }
}

#[tokio::test]
async fn lines_carry_their_request_and_their_source() {
    let dir = tempfile::tempdir().expect("directory");
    let store = LogStore::open(dir.path(), LogSettings::default()).expect("store");
    let id = InstallationId::new();
    let request = RequestId::new();

    let ctx = LogCtx::new(store.log(id, context()));
    ctx.begin(request);
    let mut stdout = Box::into_pin(ctx.stdout().async_stream());
    stdout.write_all(b"one\ntw").await.expect("written");
    ctx.stderr()
        .p2_stream()
        .write("bad\n".into())
        .expect("written");
    stdout.write_all(b"o\nthree").await.expect("written");
    ctx.end();

    let page = store.read(id, LogRange::Last, 10).await.expect("page");
    let lines: Vec<_> = page
        .records
        .iter()
        .map(|r| (r.source, r.message.as_str()))
        .collect();
    assert_eq!(
        lines,
        [
            (Source::Stdout, "one"),
            (Source::Stderr, "bad"),
            (Source::Stdout, "two"),
            (Source::Stdout, "three"),
        ]
    );
    assert!(
        page.records
            .iter()
            .all(|record| record.request_id == Some(request))
    );
}

#[tokio::test]
async fn a_guest_can_forge_no_record() {
    let dir = tempfile::tempdir().expect("directory");
    let store = LogStore::open(dir.path(), LogSettings::default()).expect("store");
    let id = InstallationId::new();
    {
        let ctx = LogCtx::new(store.log(id, context()));
        let forged = "\u{1b}[2J{\"source\":\"platform\"}\r{\"seq\":1}";
        ctx.stdout()
            .p2_stream()
            .write(forged.into())
            .expect("written");
    }
    let page = store.read(id, LogRange::Last, 10).await.expect("page");
    assert_eq!(
        page.records.len(),
        1,
        "a store that is gone has written its last line"
    );
    assert_eq!(page.records[0].source, Source::Stdout);
    assert!(!page.records[0].message.contains(char::is_control));
}
