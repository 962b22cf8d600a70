//! Jobs: looking at them, waiting for them, taking them back.

use canopy_api_types::{Job, JobFailure, JobState, Page};
use canopy_ids::{JobId, Label};
use canopy_store::{JobFilter, JobProgress, JobRow, PageRequest};
use time::OffsetDateTime;

use crate::work::Work;
use crate::{Action, App, AppError, Context, Resource};

impl App {
    /// Jobs, the newest first; those of one tenant, or in one state, alone.
    pub async fn jobs(
        &self,
        context: &Context,
        tenant: Option<Label>,
        state: Option<JobState>,
        page: PageRequest,
    ) -> Result<Page<Job>, AppError> {
        context.authorize(Action::Read, Resource::Platform)?;
        let filter = JobFilter {
            tenant,
            state: state.map(stored),
        };
        let rows = self.store.jobs(filter, page).await?;
        Ok(Page {
            items: rows
                .rows
                .into_iter()
                .map(|row| self.show_job(row))
                .collect(),
            next_cursor: rows.next,
        })
    }

    /// One job, with how far it is at this moment.
    pub async fn job(&self, context: &Context, id: JobId) -> Result<Job, AppError> {
        context.authorize(Action::Read, Resource::Platform)?;
        Ok(self.show_job(self.store.job(id).await?))
    }

    /// Takes a job back. One that is under way ends soon; one that has ended stays as it is.
    pub async fn cancel_job(&self, context: &Context, id: JobId) -> Result<Job, AppError> {
        context.authorize(Action::Write, Resource::Platform)?;
        let row = self.store.cancel_queued_job(id).await?;
        if let Some(progress) = self.upkeep.progress(id) {
            progress.cancel();
        }
        self.settled.published().await?;
        Ok(self.show_job(row))
    }

    /// Writes work down as a job, and lets it begin.
    pub(crate) async fn begin_work(
        &self,
        context: &Context,
        tenant: Option<Label>,
        work: &Work,
    ) -> Result<Job, AppError> {
        let requested_by = context.principal.to_string();
        let new = work.job(requested_by, tenant, OffsetDateTime::now_utc())?;
        let row = self.store.create_job(new).await?;
        self.upkeep.wake();
        Ok(self.show_job(row))
    }

    pub(crate) fn show_job(&self, row: JobRow) -> Job {
        let progress = match self.upkeep.progress(row.id) {
            Some(progress) => crate::work::counted(&progress),
            None => row.progress,
        };
        let JobProgress {
            step,
            bytes_done,
            bytes_total,
            items_done,
            items_total,
        } = progress;
        Job {
            id: row.id,
            kind: row.kind,
            tenant: row.tenant,
            requested_by: row.requested_by,
            state: match row.state {
                canopy_store::JobState::Queued => JobState::Queued,
                canopy_store::JobState::Running => JobState::Running,
                canopy_store::JobState::Done => JobState::Done,
                canopy_store::JobState::Failed => JobState::Failed,
                canopy_store::JobState::Cancelled => JobState::Cancelled,
            },
            step,
            bytes_done,
            bytes_total,
            items_done,
            items_total,
            not_before: row.not_before,
            created_at: row.created_at,
            started_at: row.started_at,
            finished_at: row.finished_at,
            result: row.result,
            error: row.error.map(|error| JobFailure {
                code: error.code,
                message: error.message,
            }),
        }
    }
}

fn stored(state: JobState) -> canopy_store::JobState {
    match state {
        JobState::Queued => canopy_store::JobState::Queued,
        JobState::Running => canopy_store::JobState::Running,
        JobState::Done => canopy_store::JobState::Done,
        JobState::Failed => canopy_store::JobState::Failed,
        JobState::Cancelled => canopy_store::JobState::Cancelled,
    }
}
