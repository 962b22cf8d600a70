//! Publishers.

use canopy_ids::Label;
use rusqlite::{Connection, Row, params};
use time::OffsetDateTime;

use crate::sql::{Number, RowExt, Text, Time, all, fetch, next_revision, one, page};
use crate::{PageRequest, Precondition, Rows, Store, StoreError, Written};

/// A publisher.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublisherRow {
    /// Its name.
    pub name: Label,
    /// What people call it.
    pub display_name: String,
    /// When it was created.
    pub created_at: OffsetDateTime,
    /// When it was changed last.
    pub updated_at: OffsetDateTime,
    /// Of the last change.
    pub revision: u64,
}

fn read(row: &Row<'_>) -> rusqlite::Result<PublisherRow> {
    Ok(PublisherRow {
        name: row.parse("name")?,
        display_name: row.get("display_name")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
        revision: row.number("revision")?,
    })
}

pub(crate) fn find(db: &Connection, name: &Label) -> Result<Option<PublisherRow>, StoreError> {
    one(
        db,
        "SELECT * FROM publisher WHERE name = ?1",
        [Text(name)],
        read,
    )
}

impl Store {
    /// Creates or replaces a publisher.
    pub async fn put_publisher(
        &self,
        name: Label,
        display_name: String,
        condition: Precondition,
    ) -> Result<Written<PublisherRow>, StoreError> {
        self.write(move |tx, _| {
            let old = find(tx, &name)?;
            condition.check(old.as_ref().map(|old| old.revision))?;
            if let Some(old) = &old
                && old.display_name == display_name
            {
                return Ok(Written {
                    row: old.clone(),
                    created: false,
                });
            }
            let revision = Number(next_revision(tx)?);
            tx.execute(
                "INSERT INTO publisher VALUES (?1, ?2, ?3, ?3, ?4) ON CONFLICT (name) DO UPDATE \
                 SET display_name = excluded.display_name, updated_at = excluded.updated_at, \
                 revision = excluded.revision",
                params![Text(&name), display_name, Time::now(), revision],
            )?;
            let row = find(tx, &name)?.ok_or_else(|| not_found(&name))?;
            Ok(Written {
                row,
                created: old.is_none(),
            })
        })
        .await
    }

    /// One publisher.
    pub async fn publisher(&self, name: Label) -> Result<PublisherRow, StoreError> {
        self.read(move |db, _| find(db, &name)?.ok_or_else(|| not_found(&name)))
            .await
    }

    /// Publishers by name.
    pub async fn publishers(&self, request: PageRequest) -> Result<Rows<PublisherRow>, StoreError> {
        self.read(move |db, _| {
            let after = request.cursor.as_deref().unwrap_or_default();
            let sql = "SELECT * FROM publisher WHERE name > ?1 ORDER BY name LIMIT ?2";
            let rows = all(db, sql, params![after, fetch(&request)], read)?;
            Ok(page(rows, &request, |row| row.name.to_string()))
        })
        .await
    }
}

pub(crate) fn not_found(name: &Label) -> StoreError {
    StoreError::NotFound {
        noun: "publisher",
        name: name.to_string(),
    }
}
