//! The task that makes scheduled calls.
//!
//! In order, whenever something was committed or a time has come: (1) schedules that are new or
//! have changed get the time at which they come next; (2) of those whose time has come a call is
//! written down, one for however many times have passed meanwhile, and in the same transaction the
//! next time; (3) calls that wait are begun, as many at once as may be, each written down as under
//! way before it is made; (4) what came of one is written down: done, to be tried again later, or
//! given up. A process that ends between (3) and (4) leaves a call that the next one makes again:
//! at least once, with an identifier that stays the same.
//!
//! Where the clock was set back, what was planned by it is planned again before all that.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use canopy_backend_logs::{Entry, Level, LogContext, Source};
use canopy_manifest::Timetable;
use canopy_runtime::{Caller, CallerKind};
use canopy_store::{Attempt, NextRun, RunRow, ScheduleRow, StoreError};
use parking_lot::Mutex;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::app::Inner;
use crate::invoke::{Answered, Invocation, Invoke};
use crate::{App, AppError};

/// How long it sleeps at most: the clock of the machine may be set meanwhile.
const LOOK: Duration = Duration::from_secs(30);
/// How long after a failure of the database it looks again.
const RETRY: Duration = Duration::from_secs(5);
/// By less than this the clock may be set back without anything being planned again.
const SET_BACK: Duration = Duration::from_secs(5);
/// More of why a call failed is not worth its place.
const ERROR_KEPT: usize = 300;

/// Limits of scheduled calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduleSettings {
    /// The shortest time between two calls of one schedule. Default 60 s.
    pub interval: Duration,
    /// Calls of the node under way at once. Default 64.
    pub concurrency: usize,
    /// Calls of one tenant under way at once. Default 8.
    pub tenant_concurrency: usize,
    /// How often one call is tried. Default 5.
    pub attempts: u32,
    /// After what time a call that failed is tried again; twice as long each further time.
    /// Default 10 s.
    pub retry_after: Duration,
    /// After what time at most. Default 15 min.
    pub retry_after_most: Duration,
    /// Calls of one schedule that have ended and are remembered. Default 50.
    pub kept: usize,
}

impl Default for ScheduleSettings {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(60),
            concurrency: 64,
            tenant_concurrency: 8,
            attempts: 5,
            retry_after: Duration::from_secs(10),
            retry_after_most: Duration::from_secs(15 * 60),
            kept: 50,
        }
    }
}

impl ScheduleSettings {
    /// After what time a call is tried again that has been tried `attempts` times; `None`: not.
    fn retry(&self, attempts: u64) -> Option<Duration> {
        if attempts >= self.attempts.into() {
            return None;
        }
        let doubled = u32::try_from(attempts.saturating_sub(1)).unwrap_or(u32::MAX);
        let factor = 2_u32.saturating_pow(doubled);
        let wait = self.retry_after.saturating_mul(factor);
        Some(wait.min(self.retry_after_most))
    }
}

/// The task, once it runs.
#[derive(Default)]
pub(crate) struct Scheduler {
    stop: CancellationToken,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Drop for Scheduler {
    fn drop(&mut self) {
        if let Some(task) = self.task.get_mut() {
            task.abort();
        }
    }
}

impl Scheduler {
    /// Begins no further calls, and waits until those under way have ended, for `grace` at most.
    /// What has not ended by then is made again after the next start.
    async fn finish(&self, grace: Duration) {
        self.stop.cancel();
        let task = self.task.lock().take();
        if let Some(mut task) = task
            && tokio::time::timeout(grace, &mut task).await.is_err()
        {
            tracing::warn!("scheduled calls did not end in time; they will be made again");
            task.abort();
            // It ends as cancelled, as it should.
            let _ = task.await;
        }
    }
}

impl App {
    /// Starts making scheduled calls, by way of `invoke`.
    pub async fn start_schedules(&self, invoke: Arc<dyn Invoke>) -> Result<(), AppError> {
        let again = self.store.requeue_runs().await?;
        if again > 0 {
            tracing::info!(
                calls = again,
                "scheduled calls that were interrupted are made again"
            );
        }
        let stop = self.scheduler.stop.clone();
        let task = tokio::spawn(run(self.downgrade(), invoke, stop));
        *self.scheduler.task.lock() = Some(task);
        Ok(())
    }

    /// Begins no further scheduled calls, and waits until those under way have ended, for `grace`
    /// at most.
    pub async fn finish_schedules(&self, grace: Duration) {
        self.scheduler.finish(grace).await;
    }
}

/// The clock of the machine beside one that nobody sets.
struct Clock {
    wall: OffsetDateTime,
    monotonic: Instant,
}

impl Clock {
    fn now() -> Self {
        Self {
            wall: OffsetDateTime::now_utc(),
            monotonic: Instant::now(),
        }
    }

    /// Whether it was set back between `self` and `later`.
    fn was_set_back(&self, later: &Self) -> bool {
        let passed = later.monotonic.saturating_duration_since(self.monotonic);
        later.wall + SET_BACK < self.wall + passed
    }
}

/// Makes calls until it is told to stop or the control plane is gone.
async fn run(app: Weak<Inner>, invoke: Arc<dyn Invoke>, stop: CancellationToken) {
    let mut calls = JoinSet::new();
    let Some(mut commits) = App::upgrade(&app).map(|app| app.store.commits()) else {
        return;
    };
    let slots = App::upgrade(&app).map_or(1, |app| app.settings.schedules.concurrency.max(1));
    let slots = Arc::new(Semaphore::new(slots));
    let mut clock = Clock::now();
    while !stop.is_cancelled() {
        let Some(strong) = App::upgrade(&app) else {
            return;
        };
        commits.mark_unchanged();
        let passed = async {
            let now = Clock::now();
            if clock.was_set_back(&now) {
                let latest = now.wall + strong.settings.schedules.retry_after_most;
                strong.store.replan_schedules(now.wall, latest).await?;
            }
            clock = now;
            pass(&strong, &invoke, &slots, &mut calls).await
        };
        let wait = match passed.await {
            Ok(wait) => wait,
            Err(AppError::Store(StoreError::Closed)) => return,
            Err(error) => {
                tracing::error!(%error, "scheduled calls could not be looked at");
                RETRY
            }
        };
        drop(strong);
        tokio::select! {
            () = stop.cancelled() => {}
            changed = commits.changed() => {
                if changed.is_err() {
                    return;
                }
            }
            Some(_) = calls.join_next() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
    while calls.join_next().await.is_some() {}
}

/// Does all that there is to do now. Returns after what time to look again.
async fn pass(
    app: &App,
    invoke: &Arc<dyn Invoke>,
    slots: &Arc<Semaphore>,
    calls: &mut JoinSet<()>,
) -> Result<Duration, AppError> {
    let now = OffsetDateTime::now_utc();
    for schedule in app.store.unplanned_schedules().await? {
        if let Some(next) = next_after(&schedule, now) {
            app.store.plan_schedule(schedule, next).await?;
        }
    }
    let mut wait = LOOK;
    let until = |at: OffsetDateTime| Duration::try_from(at - now).unwrap_or_default();
    match app.store.due_schedules(now).await? {
        Ok(due) => {
            for schedule in due {
                take(app, schedule, now).await?;
            }
            wait = Duration::ZERO;
        }
        Err(Some(next)) => wait = wait.min(until(next)),
        Err(None) => {}
    }
    let per_tenant = app.settings.schedules.tenant_concurrency as u64;
    while let Ok(slot) = Arc::clone(slots).try_acquire_owned() {
        match app.store.begin_run(now, per_tenant).await? {
            NextRun::Begun(begun) => {
                let (schedule, run) = *begun;
                let (app, invoke) = (app.downgrade(), Arc::clone(invoke));
                calls.spawn(async move {
                    make(app, invoke, schedule, run).await;
                    drop(slot);
                });
            }
            NextRun::At(at) => {
                wait = wait.min(until(at));
                break;
            }
            NextRun::Nothing => break,
        }
    }
    Ok(wait)
}

/// Writes down the call of a schedule whose time has come.
async fn take(app: &App, schedule: ScheduleRow, now: OffsetDateTime) -> Result<(), AppError> {
    let (Some(due), Some(next)) = (schedule.next_at, next_after(&schedule, now)) else {
        return Ok(());
    };
    // Of several times that have passed, the last: the others would ask for the same again.
    let last = timetable(&schedule)
        .and_then(|timetable| timetable.last_until(now.unix_timestamp()))
        .and_then(|last| OffsetDateTime::from_unix_timestamp(last).ok())
        .map_or(due, |last| last.max(due));
    app.store.take_schedule(schedule, last, next).await?;
    Ok(())
}

fn next_after(schedule: &ScheduleRow, now: OffsetDateTime) -> Option<OffsetDateTime> {
    let next = timetable(schedule)?.next_after(now.unix_timestamp())?;
    OffsetDateTime::from_unix_timestamp(next).ok()
}

/// When a schedule comes. It was read before it was stored; if it cannot be read now, its time zone
/// is none any more, and it makes no calls.
fn timetable(schedule: &ScheduleRow) -> Option<Timetable> {
    let definition = &schedule.definition;
    match Timetable::new(&definition.cron, &definition.timezone) {
        Ok(timetable) => Some(timetable),
        Err(error) => {
            let (tenant, app, name) = (
                &schedule.tenant_name,
                &schedule.installation_name,
                &definition.name,
            );
            tracing::error!(%tenant, %app, schedule = %name, "a schedule {error}");
            None
        }
    }
}

/// Makes one call, and writes down what came of it.
async fn make(app: Weak<Inner>, invoke: Arc<dyn Invoke>, schedule: ScheduleRow, run: RunRow) {
    let Some(strong) = App::upgrade(&app) else {
        return;
    };
    let request = request(&strong, &schedule, &run);
    drop(strong);
    let attempt = match request {
        Ok(request) => {
            let invocation = Invocation {
                installation: schedule.installation,
                caller: caller(&schedule, &run),
                request,
            };
            judged(invoke.invoke(invocation).await)
        }
        Err(error) => Attempt {
            error: Some(error.to_string()),
            ..Attempt::default()
        },
    };
    let Some(app) = App::upgrade(&app) else {
        return;
    };
    let settings = &app.settings.schedules;
    let retry = match &attempt.error {
        Some(_) => settings.retry(run.attempts),
        None => None,
    };
    if let Some(error) = &attempt.error {
        write_down(&app, &schedule, &run, &attempt, error, retry);
    }
    let again = retry.map(|wait| OffsetDateTime::now_utc() + wait);
    let kept = settings.kept as u64;
    if let Err(error) = app.store.finish_run(run.id, attempt, again, kept).await {
        tracing::error!(run = %run.id, %error, "that a scheduled call has ended could not be written down");
    }
}

fn request(
    app: &App,
    schedule: &ScheduleRow,
    run: &RunRow,
) -> Result<http::Request<bytes::Bytes>, http::Error> {
    let (name, tenant) = (&schedule.installation_name, &schedule.tenant_name);
    let url = app
        .settings
        .url(&format!("{name}.{tenant}.{}", app.settings.base));
    let scheduled_at = run.scheduled_at.format(&Rfc3339).unwrap_or_default();
    http::Request::builder()
        .method(schedule.definition.method.as_str())
        .uri(format!("{url}{}", schedule.definition.path))
        .header("canopy-schedule", schedule.definition.name.as_str())
        .header("canopy-scheduled-at", scheduled_at)
        .header("canopy-run", run.id.to_string())
        .header("canopy-attempt", run.attempts)
        .body(bytes::Bytes::new())
}

fn caller(schedule: &ScheduleRow, run: &RunRow) -> Arc<Caller> {
    let name = schedule.definition.name.to_string();
    Arc::new(Caller {
        kind: CallerKind::Schedule,
        display_name: name.clone(),
        subject: name,
        roles: Vec::new(),
        claims: vec![("run".into(), run.id.to_string())],
    })
}

/// A call is done if the application says so; anything else is a failure.
fn judged(answered: Answered) -> Attempt {
    let (status, error) = match answered.outcome {
        Ok(status) if (200..300).contains(&status) => (Some(status), None),
        Ok(status) => (Some(status), Some(format!("the answer was {status}"))),
        Err(error) => (None, Some(error.chars().take(ERROR_KEPT).collect())),
    };
    Attempt {
        request_id: Some(answered.request_id),
        status,
        error,
    }
}

/// Says in the installation's log that a call failed, and what follows.
fn write_down(
    app: &App,
    schedule: &ScheduleRow,
    run: &RunRow,
    attempt: &Attempt,
    error: &str,
    retry: Option<Duration>,
) {
    let log = app.logs.log(
        schedule.installation,
        LogContext {
            tenant: schedule.tenant_name.clone(),
            app: Some(schedule.installation_name.clone()),
            driver: None,
            package: schedule.package.clone(),
            version: schedule.version.clone(),
        },
    );
    let follows = match retry {
        Some(wait) => format!("it is tried again in {} s", wait.as_secs_f64().ceil()),
        None => "it is given up".to_owned(),
    };
    let text = format!(
        "schedule `{}`, call {}, attempt {} of {}: {error}; {follows}",
        schedule.definition.name, run.id, run.attempts, app.settings.schedules.attempts,
    );
    let mut entry = Entry::new(Level::Warn, Source::Platform, &text);
    if let Some(id) = attempt.request_id {
        entry = entry.request(id);
    }
    log.append(entry);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_goes_on_or_ahead_was_not_set_back() {
        let then = Clock::now();
        let after = |wall: i64| Clock {
            wall: then.wall + time::Duration::seconds(wall),
            monotonic: then.monotonic + Duration::from_secs(100),
        };
        for wall in [100, 96, 105, 100 + 24 * 3600] {
            assert!(!then.was_set_back(&after(wall)), "{wall}");
        }
        for wall in [94, 0, 100 - 24 * 3600] {
            assert!(then.was_set_back(&after(wall)), "{wall}");
        }
    }

    #[test]
    fn each_further_attempt_waits_twice_as_long_up_to_a_limit() {
        let settings = ScheduleSettings {
            attempts: 9,
            ..ScheduleSettings::default()
        };
        let waits: Vec<_> = (1..=9)
            .map(|attempts| settings.retry(attempts).map(|wait| wait.as_secs()))
            .collect();
        let expected = [10, 20, 40, 80, 160, 320, 640, 900];
        assert_eq!(waits[..8], expected.map(Some));
        assert_eq!(
            waits[8], None,
            "the last attempt is not followed by another"
        );
    }
}
