//! Tenants on their way out, the erasure of their rows, and the records that stay.

use canopy_ids::{ErasureId, JobId, Label, TenantId};
use rusqlite::{Connection, Row, params};
use time::OffsetDateTime;

use crate::erasure::Erasure;
use crate::job::{self, NewJob};
use crate::seal::Place;
use crate::sql::{RowExt, Text, Time, all, fetch, next_revision, one, page};
use crate::{PageRequest, Rows, Store, StoreError, tenant};

/// A tenant that answers no more and will be erased.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tombstone {
    /// Which tenant.
    pub tenant: TenantId,
    /// The job that will erase it.
    pub job: JobId,
    /// When.
    pub erase_at: OffsetDateTime,
}

/// A signed record of an erasure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErasureRecordRow {
    /// Its identifier.
    pub id: ErasureId,
    /// Whose data was erased.
    pub tenant: TenantId,
    /// The name that it had.
    pub name: Label,
    /// What was signed.
    pub record: String,
    /// With what it can be verified.
    pub public_key: String,
    /// The signature.
    pub signature: String,
    /// When everything was gone.
    pub erased_at: OffsetDateTime,
}

const SIGNING_KEY: Place<'static> = Place {
    kind: "signing-key",
    owner: "node",
    key: "1",
};

fn read(row: &Row<'_>) -> rusqlite::Result<ErasureRecordRow> {
    Ok(ErasureRecordRow {
        id: row.parse("id")?,
        tenant: row.parse("tenant")?,
        name: row.parse("name")?,
        record: row.get("record")?,
        public_key: row.get("public_key")?,
        signature: row.get("signature")?,
        erased_at: row.time("erased_at")?,
    })
}

/// Takes the tombstone away that waits for `job`; the tenant answers again.
pub(crate) fn lift(tx: &Connection, job: JobId) -> Result<(), StoreError> {
    if tx.execute("DELETE FROM tombstone WHERE job = ?1", [Text(job)])? > 0 {
        next_revision(tx)?;
    }
    Ok(())
}

/// The tenants that have one.
pub(crate) fn tenants(db: &Connection) -> Result<Vec<TenantId>, StoreError> {
    all(db, "SELECT tenant FROM tombstone", [], |row| {
        row.parse("tenant")
    })
}

impl Store {
    /// Puts a tombstone on `tenant`, with the job that will erase it. From this revision on none of
    /// its applications answers. One that has a tombstone keeps it.
    pub async fn bury_tenant(
        &self,
        tenant: TenantId,
        erasing: NewJob,
    ) -> Result<Tombstone, StoreError> {
        self.write(move |tx, _| {
            if let Some(old) = find(tx, tenant)? {
                return Ok(old);
            }
            job::insert(tx, &erasing)?;
            tx.execute(
                "INSERT INTO tombstone VALUES (?1, ?2, ?3)",
                params![Text(tenant), Text(erasing.id), Time(erasing.not_before)],
            )?;
            next_revision(tx)?;
            find(tx, tenant)?.ok_or_else(|| StoreError::Corrupt("a tombstone is gone".into()))
        })
        .await
    }

    /// Lets the job of a tombstone begin at once.
    pub async fn hasten_erasure(&self, job: JobId) -> Result<(), StoreError> {
        self.write(move |tx, _| {
            tx.execute(
                "UPDATE job SET not_before = ?2 WHERE id = ?1 AND state = 'queued'",
                params![Text(job), Time::now()],
            )?;
            Ok(())
        })
        .await
    }

    /// The tombstone of a tenant, if it has one.
    pub async fn tombstone(&self, tenant: TenantId) -> Result<Option<Tombstone>, StoreError> {
        self.read(move |db, _| find(db, tenant)).await
    }

    /// Deletes all rows of a tenant and keeps the record, in one transaction. What has storage or
    /// logs elsewhere is in [`Store::erasures`] from then on.
    pub async fn erase_tenant_rows(
        &self,
        record: ErasureRecordRow,
    ) -> Result<Vec<Erasure>, StoreError> {
        self.write(move |tx, _| {
            let owners = tenant::delete(tx, record.tenant)?;
            tx.execute(
                "DELETE FROM archive WHERE tenant = ?1",
                [Text(record.tenant)],
            )?;
            tx.execute(
                "INSERT INTO erasure_record VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                params![
                    Text(record.id),
                    Text(record.tenant),
                    Text(&record.name),
                    record.record,
                    record.public_key,
                    record.signature,
                    Time(record.erased_at),
                ],
            )?;
            Ok(owners)
        })
        .await
    }

    /// Puts what was deleted out of the database's files as well: out of free pages, which
    /// `secure_delete` overwrites, and out of the log of writes, which this empties.
    pub async fn scrub(&self) -> Result<(), StoreError> {
        self.outside_transaction(|connection| checkpoint(connection))
            .await
    }

    /// One record.
    pub async fn erasure_record(&self, id: ErasureId) -> Result<ErasureRecordRow, StoreError> {
        self.read(move |db, _| {
            let sql = "SELECT * FROM erasure_record WHERE id = ?1";
            one(db, sql, [Text(id)], read)?.ok_or_else(|| StoreError::NotFound {
                noun: "erasure",
                name: id.to_string(),
            })
        })
        .await
    }

    /// Records, the oldest first.
    pub async fn erasure_records(
        &self,
        request: PageRequest,
    ) -> Result<Rows<ErasureRecordRow>, StoreError> {
        self.read(move |db, _| {
            let after = request.cursor.as_deref().unwrap_or_default();
            let sql = "SELECT * FROM erasure_record WHERE id > ?1 ORDER BY id LIMIT ?2";
            let rows = all(db, sql, params![after, fetch(&request)], read)?;
            Ok(page(rows, &request, |row| row.id.to_string()))
        })
        .await
    }

    /// The seed of the key with which this node signs, `new` if it has none yet.
    pub async fn signing_seed(&self, new: [u8; 32]) -> Result<[u8; 32], StoreError> {
        self.write(move |tx, sealer| {
            let sql = "SELECT sealed FROM signing_key WHERE id = 1";
            let Some(sealed) = one(tx, sql, [], |row| row.get::<_, Vec<u8>>(0))? else {
                let sealed = sealer.seal(&SIGNING_KEY, &new)?;
                tx.execute("INSERT INTO signing_key VALUES (1, ?1)", [sealed])?;
                return Ok(new);
            };
            let seed = sealer.open_sealed(&SIGNING_KEY, &sealed)?;
            seed.try_into()
                .map_err(|_| StoreError::Corrupt("the signing key has another length".into()))
        })
        .await
    }
}

fn find(db: &Connection, tenant: TenantId) -> Result<Option<Tombstone>, StoreError> {
    let sql = "SELECT * FROM tombstone WHERE tenant = ?1";
    one(db, sql, [Text(tenant)], |row| {
        Ok(Tombstone {
            tenant: row.parse("tenant")?,
            job: row.parse("job")?,
            erase_at: row.time("erase_at")?,
        })
    })
}

/// Puts everything that was written into the database's own file.
pub(crate) fn checkpoint(connection: &Connection) -> Result<(), StoreError> {
    let busy: i64 =
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
    if busy == 0 {
        Ok(())
    } else {
        let why = "the log of writes is still being read";
        Err(StoreError::Failed(why.into()))
    }
}
