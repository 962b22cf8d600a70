//! Access tokens, of which only a hash is kept.

use canopy_ids::{TenantId, TokenId};
use rusqlite::{Connection, Row, params};
use time::OffsetDateTime;

use crate::sql::{Json, RowExt, Text, Time, all, fetch, next_revision, one, page};
use crate::{Idempotency, Outcome, PageRequest, Rows, Store, StoreError, idempotency};

/// What a token is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TokenScope {
    /// Operating the platform.
    Operator,
    /// Invoking this tenant's applications.
    Tenant(TenantId),
}

/// What the API lets a tenant's token do. Each includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Access {
    /// To look at everything of the tenant but what its applications store.
    Viewer,
    /// To read and change what its applications store.
    Data,
    /// To install, configure and bind, and to manage tokens.
    Admin,
}

impl Access {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Data => "data",
            Self::Admin => "admin",
        }
    }
}

impl std::fmt::Display for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

impl std::str::FromStr for Access {
    type Err = UnknownAccess;

    fn from_str(text: &str) -> Result<Self, UnknownAccess> {
        [Self::Viewer, Self::Data, Self::Admin]
            .into_iter()
            .find(|access| access.as_str() == text)
            .ok_or(UnknownAccess)
    }
}

/// The text names no access.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be `viewer`, `data` or `admin`")]
pub struct UnknownAccess;

/// A token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRow {
    /// Its identifier.
    pub id: TokenId,
    /// What it is good for.
    pub scope: TokenScope,
    /// Who shows it.
    pub subject: String,
    /// What to show to people.
    pub display_name: String,
    /// The roles of whoever shows it.
    pub roles: Vec<String>,
    /// What the API lets it do; `None`: nothing, it only invokes applications.
    pub access: Option<Access>,
    /// The SHA-256 of its secret.
    pub hash: [u8; 32],
    /// When it was created.
    pub created_at: OffsetDateTime,
}

/// A token to create.
#[derive(Debug, Clone)]
pub struct NewToken {
    /// Its identifier.
    pub id: TokenId,
    /// What it is good for.
    pub scope: TokenScope,
    /// Who shows it.
    pub subject: String,
    /// What to show to people.
    pub display_name: String,
    /// The roles of whoever shows it.
    pub roles: Vec<String>,
    /// What the API lets it do; `None`: nothing, it only invokes applications.
    pub access: Option<Access>,
    /// The SHA-256 of its secret.
    pub hash: [u8; 32],
    /// When it was created.
    pub created_at: OffsetDateTime,
}

pub(crate) fn read(row: &Row<'_>) -> rusqlite::Result<TokenRow> {
    let tenant: Option<Text<TenantId>> = row.get("tenant")?;
    Ok(TokenRow {
        id: row.parse("id")?,
        scope: tenant.map_or(TokenScope::Operator, |tenant| TokenScope::Tenant(tenant.0)),
        subject: row.get("subject")?,
        display_name: row.get("display_name")?,
        roles: row.json("roles")?,
        access: row
            .get::<_, Option<Text<Access>>>("access")?
            .map(|access| access.0),
        hash: row.get("hash")?,
        created_at: row.time("created_at")?,
    })
}

fn insert(tx: &Connection, new: &NewToken) -> Result<(), StoreError> {
    let tenant = match new.scope {
        TokenScope::Operator => None,
        TokenScope::Tenant(id) => Some(id.to_string()),
    };
    tx.execute(
        "INSERT INTO token VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        params![
            Text(new.id),
            tenant,
            new.subject,
            new.display_name,
            Json(&new.roles),
            new.access.map(Text),
            new.hash,
            Time(new.created_at)
        ],
    )?;
    next_revision(tx)?;
    Ok(())
}

impl Store {
    /// Creates a token.
    pub async fn create_token(
        &self,
        new: NewToken,
        idempotency: Option<Idempotency>,
    ) -> Result<Outcome, StoreError> {
        self.write(move |tx, sealer| {
            if let TokenScope::Tenant(id) = new.scope {
                let sql = "SELECT 1 FROM tenant WHERE id = ?1";
                one(tx, sql, [Text(id)], |_| Ok(()))?.ok_or_else(|| StoreError::NotFound {
                    noun: "tenant",
                    name: id.to_string(),
                })?;
            }
            idempotency::once(tx, sealer, idempotency.as_ref(), || insert(tx, &new))
        })
        .await
    }

    /// Creates an operator's token unless there is one. Returns whether it did.
    pub async fn create_first_operator_token(&self, new: NewToken) -> Result<bool, StoreError> {
        self.write(move |tx, _| {
            let sql = "SELECT 1 FROM token WHERE tenant IS NULL LIMIT 1";
            if one(tx, sql, [], |_| Ok(()))?.is_some() {
                return Ok(false);
            }
            insert(tx, &new)?;
            Ok(true)
        })
        .await
    }

    /// Creates an operator's token and deletes all others.
    pub async fn replace_operator_tokens(&self, new: NewToken) -> Result<(), StoreError> {
        self.write(move |tx, _| {
            tx.execute("DELETE FROM token WHERE tenant IS NULL", [])?;
            insert(tx, &new)
        })
        .await
    }

    /// One token.
    pub async fn token(&self, id: TokenId) -> Result<Option<TokenRow>, StoreError> {
        self.read(move |db, _| one(db, "SELECT * FROM token WHERE id = ?1", [Text(id)], read))
            .await
    }

    /// Tokens of a tenant, in the order of their creation.
    pub async fn tokens(
        &self,
        tenant: TenantId,
        request: PageRequest,
    ) -> Result<Rows<TokenRow>, StoreError> {
        self.read(move |db, _| {
            let after = request.cursor.as_deref().unwrap_or_default();
            let sql = "SELECT * FROM token WHERE tenant = ?1 AND id > ?2 ORDER BY id LIMIT ?3";
            let rows = all(db, sql, params![Text(tenant), after, fetch(&request)], read)?;
            Ok(page(rows, &request, |row| row.id.to_string()))
        })
        .await
    }

    /// Deletes a token of a tenant.
    pub async fn delete_token(&self, tenant: TenantId, id: TokenId) -> Result<(), StoreError> {
        self.write(move |tx, _| {
            let sql = "DELETE FROM token WHERE id = ?1 AND tenant = ?2";
            if tx.execute(sql, [Text(id.to_string()), Text(tenant.to_string())])? == 0 {
                return Err(StoreError::NotFound {
                    noun: "token",
                    name: id.to_string(),
                });
            }
            next_revision(tx)?;
            Ok(())
        })
        .await
    }
}
