//! Schedules of installations: looking at them, pausing them, and asking for a call now.

use canopy_api_types::{Page, RunState as RunStateShown, Schedule, ScheduleRun};
use canopy_ids::Label;
use canopy_store::{PageRequest, RunRow, RunState, ScheduleRow};

use crate::{Action, App, AppError, Context, Resource};

impl App {
    /// The schedules of a tenant, or of one of its installations.
    pub async fn schedules(
        &self,
        context: &Context,
        tenant: Label,
        installation: Option<Label>,
    ) -> Result<Page<Schedule>, AppError> {
        context.authorize(Action::Read, Resource::Installations(&tenant))?;
        let tenant = self.store.tenant(tenant).await?;
        if let Some(name) = &installation {
            self.store.installation(tenant.id, name.clone()).await?;
        }
        let rows = self.store.schedules(tenant.id, installation).await?;
        Ok(Page {
            items: rows.into_iter().map(show).collect(),
            next_cursor: None,
        })
    }

    /// One schedule.
    pub async fn schedule(
        &self,
        context: &Context,
        tenant: Label,
        installation: Label,
        name: Label,
    ) -> Result<Schedule, AppError> {
        context.authorize(Action::Read, Resource::Installations(&tenant))?;
        let tenant = self.store.tenant(tenant).await?;
        Ok(show(
            self.store.schedule(tenant.id, installation, name).await?,
        ))
    }

    /// The calls of a schedule that are remembered, the last first.
    pub async fn schedule_runs(
        &self,
        context: &Context,
        tenant: Label,
        installation: Label,
        name: Label,
        page: PageRequest,
    ) -> Result<Page<ScheduleRun>, AppError> {
        context.authorize(Action::Read, Resource::Installations(&tenant))?;
        let tenant = self.store.tenant(tenant).await?;
        let store = &self.store;
        let rows = store
            .schedule_runs(tenant.id, installation, name, page)
            .await?;
        Ok(Page {
            items: rows.rows.into_iter().map(show_run).collect(),
            next_cursor: rows.next,
        })
    }

    /// Has a schedule make no calls, or make them again from its next time on.
    pub async fn pause_schedule(
        &self,
        context: &Context,
        tenant: Label,
        installation: Label,
        name: Label,
        paused: bool,
    ) -> Result<Schedule, AppError> {
        context.authorize(Action::Write, Resource::Installations(&tenant))?;
        let tenant = self.store.tenant(tenant).await?;
        let row = self
            .store
            .pause_schedule(tenant.id, installation, name, paused)
            .await?;
        Ok(show(row))
    }

    /// Asks for a call of a schedule now, whether it is paused or not.
    pub async fn run_schedule(
        &self,
        context: &Context,
        tenant: Label,
        installation: Label,
        name: Label,
    ) -> Result<ScheduleRun, AppError> {
        context.authorize(Action::Write, Resource::Installations(&tenant))?;
        let tenant = self.store.tenant(tenant).await?;
        let row = self
            .store
            .run_schedule(tenant.id, installation, name)
            .await?;
        Ok(show_run(row))
    }
}

fn show(row: ScheduleRow) -> Schedule {
    let definition = row.definition;
    Schedule {
        installation: row.installation_name,
        name: definition.name,
        cron: definition.cron,
        timezone: definition.timezone,
        method: definition.method,
        path: definition.path,
        overlap: definition.overlap,
        reason: definition.reason,
        paused: row.paused,
        next_at: row.next_at,
        skipped: row.skipped,
        last_run: row.last.map(show_run),
    }
}

fn show_run(row: RunRow) -> ScheduleRun {
    ScheduleRun {
        id: row.id,
        scheduled_at: row.scheduled_at,
        manual: row.manual,
        state: match row.state {
            RunState::Waiting => RunStateShown::Waiting,
            RunState::Running => RunStateShown::Running,
            RunState::Done => RunStateShown::Done,
            RunState::Failed => RunStateShown::Failed,
        },
        attempts: row.attempts,
        next_attempt_at: (row.state == RunState::Waiting).then_some(row.not_before),
        started_at: row.started_at,
        finished_at: row.finished_at,
        request_id: row.request_id,
        status: row.status,
        error: row.error,
    }
}
