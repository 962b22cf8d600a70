//! Scheduled calls: each is written down once, and none is lost or made twice at a time.

use canopy_ids::TenantId;
use canopy_store::{Attempt, NextRun, RunState, ScheduleDefinition, ScheduleRow, StoreError};
use time::{Duration, OffsetDateTime};

use super::*;

fn definition(name: &str, cron: &str) -> ScheduleDefinition {
    ScheduleDefinition {
        name: label(name),
        cron: cron.into(),
        timezone: "UTC".into(),
        method: "POST".into(),
        path: "/x".into(),
        overlap: name == "many",
        reason: "r".into(),
    }
}

/// A store where the tenant `one` has the installation `books` with the schedules `hourly` and
/// `many`, of which the second may overlap.
async fn scheduled(directory: &Path) -> (Store, TenantId) {
    let (store, one, _) = filled(directory).await;
    for (number, schedules) in [
        (
            "2.0.0",
            vec![
                definition("hourly", "0 * * * *"),
                definition("many", "* * * * *"),
            ],
        ),
        (
            "3.0.0",
            vec![
                definition("hourly", "0 * * * *"),
                definition("new", "0 0 * * *"),
            ],
        ),
        ("4.0.0", vec![definition("hourly", "30 * * * *")]),
    ] {
        let mut new = version("acme/notes", number, Kind::App, number.as_bytes());
        new.schedules = schedules;
        store.publish(new).await.expect("published");
    }
    run_version(&store, one, 2).await;
    (store, one)
}

async fn run_version(store: &Store, tenant: TenantId, major: u64) {
    let write = InstallationWrite {
        version: Version::new(major, 0, 0),
        ..installation()
    };
    store
        .put_installation(tenant, label("books"), write, Precondition::Any)
        .await
        .expect("installed");
}

async fn schedule(store: &Store, tenant: TenantId, name: &str) -> ScheduleRow {
    let row = store.schedule(tenant, label("books"), label(name)).await;
    row.expect(name)
}

/// Plans every schedule for `at`.
async fn plan(store: &Store, at: OffsetDateTime) {
    for row in store.unplanned_schedules().await.expect("read") {
        store.plan_schedule(row, at).await.expect("planned");
    }
}

async fn begin(store: &Store, now: OffsetDateTime) -> Option<canopy_store::RunRow> {
    match store.begin_run(now, 8).await.expect("read") {
        NextRun::Begun(begun) => Some(begun.1),
        NextRun::At(_) | NextRun::Nothing => None,
    }
}

fn failed() -> Attempt {
    Attempt {
        error: Some("no".into()),
        ..Attempt::default()
    }
}

#[tokio::test]
async fn a_time_that_has_come_is_one_call_however_late() {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, one) = scheduled(folder.path()).await;
    let now = OffsetDateTime::now_utc();
    let early = store.due_schedules(now).await.expect("read");
    assert_eq!(early, Err(None), "nothing is planned yet");
    plan(&store, now - Duration::hours(5)).await;
    let due = store.due_schedules(now).await.expect("read").expect("due");
    assert_eq!(due.len(), 2);
    for row in due {
        let next = now + Duration::hours(1);
        let taken = store.take_schedule(row.clone(), now, next).await;
        assert!(taken.expect("written").is_some());
        let again = store.take_schedule(row, now, next).await;
        assert_eq!(again.expect("read"), None, "it was taken before");
    }
    let later = store.due_schedules(now).await.expect("read");
    assert!(matches!(later, Err(Some(_))), "{later:?}");
    let last = schedule(&store, one, "hourly").await.last.expect("a call");
    assert_eq!((last.state, last.attempts), (RunState::Waiting, 0));
}

#[tokio::test]
async fn what_was_planned_by_a_clock_that_was_ahead_is_planned_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, one) = scheduled(folder.path()).await;
    let now = OffsetDateTime::now_utc();
    let ahead = now + Duration::days(1);
    plan(&store, ahead).await;
    for row in store
        .due_schedules(ahead)
        .await
        .expect("read")
        .expect("due")
    {
        let next = ahead + Duration::hours(1);
        store
            .take_schedule(row, ahead, next)
            .await
            .expect("written");
    }
    while let Some(run) = begin(&store, ahead).await {
        let again = Some(ahead + Duration::minutes(1));
        let failed = store.finish_run(run.id, failed(), again, 9).await;
        failed.expect("written");
    }
    assert!(begin(&store, now).await.is_none(), "all of it is for later");

    let latest = now + Duration::minutes(15);
    let replanned = store.replan_schedules(now, latest).await;
    replanned.expect("written");
    let unplanned = store.unplanned_schedules().await.expect("read");
    assert_eq!(unplanned.len(), 2);
    assert!(schedule(&store, one, "hourly").await.next_at.is_none());
    let early = begin(&store, latest - Duration::seconds(1)).await;
    assert!(early.is_none(), "not before its time");
    assert!(begin(&store, latest).await.is_some());

    plan(&store, now + Duration::hours(1)).await;
    let due = store.due_schedules(now + Duration::hours(1)).await;
    assert_eq!(due.expect("read").expect("due").len(), 2);
}

#[tokio::test]
async fn calls_overlap_only_where_they_may() {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, one) = scheduled(folder.path()).await;
    let now = OffsetDateTime::now_utc();
    plan(&store, now).await;
    for round in 0..3 {
        let now = now + Duration::hours(round);
        for row in store.due_schedules(now).await.expect("read").expect("due") {
            let next = now + Duration::hours(1);
            store.take_schedule(row, now, next).await.expect("written");
        }
    }
    let late = now + Duration::hours(9);
    let mut begun = 0;
    while begin(&store, late).await.is_some() {
        begun += 1;
    }
    assert_eq!(begun, 1 + 3);
    assert_eq!(schedule(&store, one, "hourly").await.skipped, 2);
    assert_eq!(schedule(&store, one, "many").await.skipped, 0);
    let refused = store.run_schedule(one, label("books"), label("hourly"));
    let refused = refused.await.expect_err("one is under way");
    assert!(matches!(refused, StoreError::ScheduleUnderWay { .. }));
    let run = store.run_schedule(one, label("books"), label("many")).await;
    assert!(run.expect("they may overlap").manual);
}

#[tokio::test]
async fn a_tenant_has_no_more_under_way_than_it_may() {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, one) = scheduled(folder.path()).await;
    for _ in 0..3 {
        let run = store.run_schedule(one, label("books"), label("many")).await;
        run.expect("written");
    }
    let now = OffsetDateTime::now_utc();
    for _ in 0..2 {
        let next = store.begin_run(now, 2).await.expect("read");
        assert!(matches!(next, NextRun::Begun(_)), "{next:?}");
    }
    let full = store.begin_run(now, 2).await.expect("read");
    assert_eq!(full, NextRun::Nothing);
}

#[tokio::test]
async fn what_a_restart_interrupts_is_made_again_under_the_same_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, one) = scheduled(folder.path()).await;
    let run = store
        .run_schedule(one, label("books"), label("hourly"))
        .await
        .expect("written");
    let now = OffsetDateTime::now_utc();
    assert_eq!(begin(&store, now).await.expect("begun").id, run.id);
    assert!(begin(&store, now).await.is_none());
    store.close().await;

    let store = Store::open(folder.path(), &keys(folder.path())).expect("opens");
    assert_eq!(store.requeue_runs().await.expect("written"), 1);
    let again = begin(&store, now).await.expect("begun");
    assert_eq!((again.id, again.attempts), (run.id, 2));
    let retry = now + Duration::minutes(1);
    store
        .finish_run(run.id, failed(), Some(retry), 10)
        .await
        .expect("written");
    assert_eq!(
        store.begin_run(now, 8).await.expect("read"),
        NextRun::At(
            schedule(&store, one, "hourly")
                .await
                .last
                .expect("it")
                .not_before
        )
    );
    begin(&store, retry + Duration::seconds(1))
        .await
        .expect("begun");
    let done = Attempt {
        status: Some(204),
        ..Attempt::default()
    };
    store
        .finish_run(run.id, done, None, 10)
        .await
        .expect("written");
    let last = schedule(&store, one, "hourly").await.last.expect("it");
    assert_eq!(
        (last.state, last.attempts, last.status),
        (RunState::Done, 3, Some(204))
    );
    assert_eq!(last.error, None);
}

#[tokio::test]
async fn only_the_last_calls_are_remembered() {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, one) = scheduled(folder.path()).await;
    let mut ids = Vec::new();
    for _ in 0..4 {
        let run = store.run_schedule(one, label("books"), label("hourly"));
        ids.push(run.await.expect("written").id);
        let begun = begin(&store, OffsetDateTime::now_utc())
            .await
            .expect("begun");
        store
            .finish_run(begun.id, failed(), None, 2)
            .await
            .expect("written");
    }
    let all = page(10, None);
    let runs = store.schedule_runs(one, label("books"), label("hourly"), all);
    let runs: Vec<_> = runs
        .await
        .expect("read")
        .rows
        .iter()
        .map(|run| run.id)
        .collect();
    assert_eq!(runs, [ids[3], ids[2]]);
}

#[tokio::test]
async fn a_paused_schedule_waits_but_for_who_asks() {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, one) = scheduled(folder.path()).await;
    let now = OffsetDateTime::now_utc();
    plan(&store, now).await;
    let (books, hourly) = (label("books"), label("hourly"));
    let paused = store
        .pause_schedule(one, books.clone(), hourly.clone(), true)
        .await
        .expect("written");
    assert!(paused.paused && paused.next_at.is_none());
    let due = store.due_schedules(now).await.expect("read").expect("due");
    assert!(due.iter().all(|row| row.definition.name != hourly));
    let run = store.run_schedule(one, books.clone(), hourly.clone());
    let run = run.await.expect("written");
    let later = OffsetDateTime::now_utc();
    assert_eq!(begin(&store, later).await.expect("begun").id, run.id);
    store
        .pause_schedule(one, books, hourly, false)
        .await
        .expect("written");
    assert_eq!(store.unplanned_schedules().await.expect("read").len(), 1);
}

#[tokio::test]
async fn schedules_follow_the_version() {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, one) = scheduled(folder.path()).await;
    let now = OffsetDateTime::now_utc();
    plan(&store, now).await;
    let names = async || {
        let rows = store.schedules(one, None).await.expect("read");
        let names: Vec<_> = rows
            .iter()
            .map(|row| row.definition.name.to_string())
            .collect();
        names
    };
    assert_eq!(names().await, ["hourly", "many"]);
    let before = schedule(&store, one, "hourly").await.next_at;
    assert!(before.is_some());
    run_version(&store, one, 3).await;
    assert_eq!(names().await, ["hourly", "new"]);
    assert_eq!(schedule(&store, one, "hourly").await.next_at, before);
    run_version(&store, one, 4).await;
    assert_eq!(schedule(&store, one, "hourly").await.next_at, None);
    store
        .delete_installation(one, label("books"), Precondition::Any)
        .await
        .expect("deleted");
    assert!(names().await.is_empty());
}
