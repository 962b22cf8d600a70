//! Jobs, archives, tombstones and records of erasure.

use std::path::Path;

use canopy_backend_keys::{Keyring, OperatorKey};
use canopy_ids::{ErasureId, JobId, Label, TenantId};
use canopy_store::{
    ArchiveRow, ErasureRecordRow, JobFilter, JobOutcome, JobProgress, JobState, NewJob,
    PageRequest, Precondition, Store, StoreError, TenantRow, TenantWrite,
};
use serde_json::json;
use tempfile::TempDir;
use time::{Duration, OffsetDateTime};

/// The keys of a node whose operator keeps his in the same folder.
fn keys(directory: &Path) -> Keyring {
    let operator = OperatorKey::from_file(&directory.join("operator.key"), true).expect("a key");
    Keyring::open(operator, directory).expect("a ring")
}

fn store() -> (TempDir, Store) {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(folder.path(), &keys(folder.path())).expect("a store");
    (folder, store)
}

fn label(text: &str) -> Label {
    text.parse().expect("a label")
}

async fn tenant(store: &Store, name: &str) -> TenantRow {
    let write = TenantWrite {
        display_name: name.into(),
        plan: "standard".into(),
        region: "local".into(),
        attributes: Default::default(),
    };
    let written = store
        .put_tenant(label(name), write, Precondition::Any)
        .await;
    written.expect("a tenant").row
}

fn job(not_before: OffsetDateTime) -> NewJob {
    NewJob {
        id: JobId::new(),
        kind: "backup",
        tenant: Some(label("acme")),
        request: json!({ "a": 1 }),
        requested_by: "operator".into(),
        not_before,
    }
}

fn first_page() -> PageRequest {
    PageRequest {
        limit: 10,
        cursor: None,
    }
}

#[tokio::test]
async fn a_job_goes_through_its_states() {
    let (_folder, store) = store();
    let now = OffsetDateTime::now_utc();
    assert_eq!(store.begin_job().await.expect("read"), Err(None));
    let made = store.create_job(job(now)).await.expect("made");
    assert_eq!(made.state, JobState::Queued);
    let begun = store.begin_job().await.expect("read").expect("a job");
    assert_eq!((begun.id, begun.state), (made.id, JobState::Running));
    store
        .note_job(made.id, json!("so far"))
        .await
        .expect("noted");
    let progress = JobProgress {
        step: "done".into(),
        bytes_done: 7,
        bytes_total: 9,
        items_done: 1,
        items_total: 2,
    };
    let outcome = JobOutcome::Done(json!({ "b": 2 }));
    store
        .finish_job(made.id, progress.clone(), outcome)
        .await
        .expect("finished");
    let done = store.job(made.id).await.expect("read");
    assert_eq!(done.state, JobState::Done);
    assert_eq!(
        (done.result, done.progress),
        (Some(json!({ "b": 2 })), progress)
    );
    assert_eq!(done.scratch, Some(json!("so far")));
    let cancelled = store.cancel_queued_job(made.id).await.expect("read");
    assert_eq!(
        cancelled.state,
        JobState::Done,
        "what has ended cannot be taken back"
    );
}

#[tokio::test]
async fn what_a_crash_interrupted_begins_again() {
    let (folder, store) = store();
    let made = store
        .create_job(job(OffsetDateTime::now_utc()))
        .await
        .expect("made");
    assert!(store.noted_jobs().await.expect("read").is_empty());
    store.begin_job().await.expect("read").expect("a job");
    store.note_job(made.id, json!(3)).await.expect("noted");
    store.close().await;
    let store = Store::open(folder.path(), &keys(folder.path())).expect("again");
    assert_eq!(store.requeue_jobs().await.expect("requeued"), 1);
    assert_eq!(store.noted_jobs().await.expect("read"), [made.id]);
    let waiting = store.cancel_queued_job(made.id).await.expect("read");
    assert_eq!(
        waiting.state,
        JobState::Queued,
        "what has begun to change things goes on, or nobody would put them back"
    );
    let again = store.begin_job().await.expect("read").expect("a job");
    assert_eq!((again.id, again.scratch), (made.id, Some(json!(3))));
}

#[tokio::test]
async fn a_job_waits_for_its_time() {
    let (_folder, store) = store();
    let later = OffsetDateTime::now_utc() + Duration::hours(1);
    let made = store.create_job(job(later)).await.expect("made");
    let waits = store
        .begin_job()
        .await
        .expect("read")
        .expect_err("too early");
    assert_eq!(waits, Some(made.not_before));
    let now = store
        .create_job(job(OffsetDateTime::now_utc()))
        .await
        .expect("made");
    assert_eq!(
        store.begin_job().await.expect("read").expect("a job").id,
        now.id
    );
}

#[tokio::test]
async fn jobs_are_listed_newest_first_page_by_page() {
    let (_folder, store) = store();
    let mut ids = Vec::new();
    for _ in 0..3 {
        let made = store.create_job(job(OffsetDateTime::now_utc())).await;
        ids.insert(0, made.expect("made").id);
    }
    let mut found = Vec::new();
    let mut cursor = None;
    loop {
        let request = PageRequest { limit: 2, cursor };
        let rows = store
            .jobs(JobFilter::default(), request)
            .await
            .expect("listed");
        found.extend(rows.rows.iter().map(|row| row.id));
        match rows.next {
            Some(next) => cursor = Some(next),
            None => break,
        }
    }
    assert_eq!(found, ids);
    let running = JobFilter {
        state: Some(JobState::Running),
        tenant: None,
    };
    assert_eq!(
        store
            .jobs(running, first_page())
            .await
            .expect("listed")
            .rows,
        []
    );
    let foreign = JobFilter {
        state: None,
        tenant: Some(label("globex")),
    };
    assert_eq!(
        store
            .jobs(foreign, first_page())
            .await
            .expect("listed")
            .rows,
        []
    );
}

#[tokio::test]
async fn a_buried_tenant_answers_no_more_until_its_job_is_taken_back() {
    let (_folder, store) = store();
    let acme = tenant(&store, "acme").await;
    let erasing = job(OffsetDateTime::now_utc() + Duration::days(7));
    let tombstone = store
        .bury_tenant(acme.id, erasing.clone())
        .await
        .expect("buried");
    assert_eq!(tombstone.job, erasing.id);
    assert!(
        !store
            .world()
            .await
            .expect("read")
            .tenants
            .contains_key(&acme.id)
    );
    let again = job(OffsetDateTime::now_utc());
    let same = store
        .bury_tenant(acme.id, again)
        .await
        .expect("buried already");
    assert_eq!(same, tombstone);
    store
        .cancel_queued_job(erasing.id)
        .await
        .expect("taken back");
    assert_eq!(store.tombstone(acme.id).await.expect("read"), None);
    assert!(
        store
            .world()
            .await
            .expect("read")
            .tenants
            .contains_key(&acme.id)
    );
}

#[tokio::test]
async fn erasing_the_rows_keeps_the_record_and_nothing_else() {
    let (folder, store) = store();
    let acme = tenant(&store, "canary-tenant").await;
    let now = OffsetDateTime::now_utc();
    let archive = ArchiveRow {
        id: "exp_1".into(),
        tenant: Some(acme.id),
        name: "canary-tenant".into(),
        size: Some(3),
        created_at: now,
        expires_at: now,
    };
    store.put_archive(archive).await.expect("written");
    let record = ErasureRecordRow {
        id: ErasureId::new(),
        tenant: acme.id,
        name: label("gone"),
        record: "{}".into(),
        public_key: "aa".into(),
        signature: "bb".into(),
        erased_at: acme.created_at,
    };
    store
        .erase_tenant_rows(record.clone())
        .await
        .expect("erased");
    store.scrub().await.expect("scrubbed");
    assert!(matches!(
        store.tenant(label("canary-tenant")).await,
        Err(StoreError::NotFound { .. })
    ));
    assert_eq!(store.archives().await.expect("listed"), []);
    assert_eq!(store.erasure_record(record.id).await.expect("read"), record);
    assert_eq!(
        store
            .erasure_records(first_page())
            .await
            .expect("listed")
            .rows,
        [record]
    );
    store.close().await;
    for file in std::fs::read_dir(folder.path())
        .expect("a folder")
        .flatten()
    {
        let bytes = std::fs::read(file.path()).expect("a file");
        assert!(
            !bytes.windows(13).any(|window| window == b"canary-tenant"),
            "{:?} still has it",
            file.file_name()
        );
    }
}

#[tokio::test]
async fn the_signing_key_stays_the_same() {
    let (folder, store) = store();
    assert_eq!(store.signing_seed([1; 32]).await.expect("made"), [1; 32]);
    assert_eq!(store.signing_seed([2; 32]).await.expect("kept"), [1; 32]);
    store.close().await;
    let store = Store::open(folder.path(), &keys(folder.path())).expect("again");
    assert_eq!(store.signing_seed([3; 32]).await.expect("kept"), [1; 32]);
}

#[tokio::test]
async fn a_name_that_is_taken_cannot_be_imported() {
    let (_folder, store) = store();
    let acme = tenant(&store, "acme").await;
    let import = canopy_store::TenantImport {
        id: TenantId::new(),
        name: label("acme"),
        write: TenantWrite {
            display_name: "Other".into(),
            plan: "standard".into(),
            region: "local".into(),
            attributes: Default::default(),
        },
        drivers: Vec::new(),
        installations: Vec::new(),
    };
    let refused = store.import_tenant(import).await;
    assert!(
        matches!(refused, Err(StoreError::PreconditionFailed { .. })),
        "{refused:?}"
    );
    assert_eq!(store.tenant(label("acme")).await.expect("read"), acme);
}
