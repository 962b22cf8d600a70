//! Erasing tenants, and the records that stay of it.

use canopy_api_types::{Amount, ErasureCreate, ErasurePlan, ErasureRecord, Job, Page, SigningKey};
use canopy_ids::{ErasureId, Label};
use canopy_store::{ErasureRecordRow, PageRequest};
use time::OffsetDateTime;

use crate::upkeep::UpkeepError;
use crate::work::Work;
use crate::{Action, App, AppError, Context, Resource, work};

impl App {
    /// What erasing a tenant would remove, and when.
    pub async fn plan_erasure(
        &self,
        context: &Context,
        tenant: Label,
    ) -> Result<ErasurePlan, AppError> {
        context.authorize(Action::Delete, Resource::Tenant(&tenant))?;
        let named = self.named_tenant(tenant).await?;
        let amounts = work::erase::amounts(self, &named).await?;
        let tombstone = self.store.tombstone(named.id).await?;
        let asked_now = OffsetDateTime::now_utc() + self.upkeep_settings().tombstone;
        Ok(ErasurePlan {
            tenant: named.id,
            name: named.name,
            amounts: amounts
                .into_iter()
                .map(|one| Amount {
                    what: one.what,
                    items: one.items,
                    bytes: one.bytes,
                })
                .collect(),
            erase_at: tombstone.map_or(asked_now, |tombstone| tombstone.erase_at),
            job: tombstone.map(|tombstone| tombstone.job),
        })
    }

    /// Erases a tenant: it answers no more when this returns, and is gone for good when the job is
    /// done. Until then the job can be taken back.
    pub async fn erase_tenant(
        &self,
        context: &Context,
        tenant: Label,
        create: ErasureCreate,
    ) -> Result<Job, AppError> {
        context.authorize(Action::Delete, Resource::Tenant(&tenant))?;
        if create.confirm != tenant {
            return Err(UpkeepError::NotConfirmed {
                name: tenant,
                confirm: create.confirm,
            }
            .into());
        }
        let named = self.named_tenant(tenant.clone()).await?;
        let id = named.id;
        let requested_at = OffsetDateTime::now_utc();
        let work = Work::Erase {
            tenant: named,
            erasure: ErasureId::new(),
            requested_by: context.principal.to_string(),
            requested_at,
        };
        let not_before = if create.now {
            requested_at
        } else {
            requested_at + self.upkeep_settings().tombstone
        };
        let new = work.job(context.principal.to_string(), Some(tenant), not_before)?;
        let tombstone = self.store.bury_tenant(id, new).await?;
        if create.now {
            self.store.hasten_erasure(tombstone.job).await?;
        }
        self.settled.published().await?;
        self.upkeep.wake();
        Ok(self.show_job(self.store.job(tombstone.job).await?))
    }

    /// One record.
    pub async fn erasure(
        &self,
        context: &Context,
        id: ErasureId,
    ) -> Result<ErasureRecord, AppError> {
        context.authorize(Action::Read, Resource::Platform)?;
        Ok(record(self.store.erasure_record(id).await?))
    }

    /// Records, the oldest first.
    pub async fn erasures(
        &self,
        context: &Context,
        page: PageRequest,
    ) -> Result<Page<ErasureRecord>, AppError> {
        context.authorize(Action::Read, Resource::Platform)?;
        let rows = self.store.erasure_records(page).await?;
        Ok(Page {
            items: rows.rows.into_iter().map(record).collect(),
            next_cursor: rows.next,
        })
    }

    /// The key with which this node signs its records.
    pub async fn signing_key(&self, context: &Context) -> Result<SigningKey, AppError> {
        context.authorize(Action::Read, Resource::Platform)?;
        Ok(SigningKey {
            algorithm: "ed25519".into(),
            public_key: work::erase::signing_key(self).await?.public(),
        })
    }
}

fn record(row: ErasureRecordRow) -> ErasureRecord {
    ErasureRecord {
        id: row.id,
        tenant: row.tenant,
        name: row.name,
        erased_at: row.erased_at,
        record: row.record,
        public_key: row.public_key,
        signature: row.signature,
    }
}
