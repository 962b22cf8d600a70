//! Service tokens of tenants.

use canopy_api_types::{Access, Identity, Page, SecretText, Token, TokenCreate, TokenCreated};
use canopy_ids::{Label, TokenId};
use canopy_store::{Idempotency, NewToken, Outcome, PageRequest, TokenRow, TokenScope};
use canopy_tenant::TokenKind;
use serde::Serialize;
use sha2::{Digest, Sha256};
use time::OffsetDateTime;

use crate::app::{hash_of, new_token};
use crate::{Action, App, AppError, Context, Principal, Resource, validate};

/// A key that a client sends with a request it may repeat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    /// A key of 1 to 255 visible ASCII characters.
    pub fn new(text: &str) -> Result<Self, AppError> {
        let visible = (1..=255).contains(&text.len()) && text.bytes().all(|c| c.is_ascii_graphic());
        if visible {
            Ok(Self(text.to_owned()))
        } else {
            let message = "must be 1 to 255 visible ASCII characters";
            Err(AppError::field("Idempotency-Key", message))
        }
    }

    /// What the store remembers of a request: the key is scoped to `operation`, and another
    /// `request` with the same key is told apart.
    pub(crate) fn request(
        &self,
        operation: &str,
        request: &impl Serialize,
        answer: Vec<u8>,
    ) -> Result<Idempotency, AppError> {
        let request = serde_json::to_vec(request)
            .map_err(|error| AppError::Internal(format!("a request as JSON: {error}")))?;
        let key = Sha256::new()
            .chain_update(operation)
            .chain_update("\0")
            .chain_update(&self.0);
        let fingerprint = Sha256::digest(&request).into();
        Ok(Idempotency {
            key: key.finalize().into(),
            fingerprint,
            answer,
        })
    }
}

impl App {
    /// Whose token a request carries.
    pub fn identity(&self, context: &Context) -> Identity {
        let version = env!("CARGO_PKG_VERSION").into();
        match &context.principal {
            Principal::Operator { .. } => Identity {
                version,
                tenant: None,
                subject: None,
                access: None,
            },
            Principal::Member {
                subject,
                tenant,
                access,
                ..
            } => Identity {
                version,
                tenant: Some(tenant.clone()),
                subject: Some(subject.clone()),
                access: Some(shown(*access)),
            },
        }
    }

    /// Creates a service token. Its secret is in the answer and nowhere else.
    pub async fn create_token(
        &self,
        context: &Context,
        tenant: Label,
        create: TokenCreate,
        key: Option<IdempotencyKey>,
    ) -> Result<TokenCreated, AppError> {
        context.authorize(Action::Write, Resource::Tokens(&tenant))?;
        validate::display_name("subject", &create.subject)?;
        let display_name = create
            .display_name
            .clone()
            .unwrap_or_else(|| create.subject.clone());
        validate::display_name("display_name", &display_name)?;
        validate::count("roles", create.roles.len(), self.settings.roles)?;
        for role in &create.roles {
            validate::word("roles", role)?;
        }
        let tenant = self.store.tenant(tenant).await?;
        let id = TokenId::new();
        let secret = new_token(TokenKind::Service, id)?;
        let hash = hash_of(&secret)?;
        let created_at = OffsetDateTime::now_utc();
        let created = TokenCreated {
            token: Token {
                id,
                subject: create.subject.clone(),
                display_name: display_name.clone(),
                roles: create.roles.clone(),
                access: create.access,
                created_at,
            },
            secret: SecretText::new(secret),
        };
        let idempotency = match key {
            Some(key) => {
                let answer = serde_json::to_vec(&created)
                    .map_err(|error| AppError::Internal(format!("an answer as JSON: {error}")))?;
                Some(key.request(&format!("create-token {}", tenant.id), &create, answer)?)
            }
            None => None,
        };
        let new = NewToken {
            id,
            scope: TokenScope::Tenant(tenant.id),
            subject: create.subject,
            display_name,
            roles: create.roles,
            access: create.access.map(kept),
            hash,
            created_at,
        };
        match self.store.create_token(new, idempotency).await? {
            Outcome::Done => {
                self.settled.published().await?;
                Ok(created)
            }
            Outcome::Before(answer) => serde_json::from_slice(&answer)
                .map_err(|error| AppError::Internal(format!("a kept answer: {error}"))),
        }
    }

    /// Service tokens of a tenant, without their secrets.
    pub async fn tokens(
        &self,
        context: &Context,
        tenant: Label,
        page: PageRequest,
    ) -> Result<Page<Token>, AppError> {
        context.authorize(Action::Read, Resource::Tokens(&tenant))?;
        let tenant = self.store.tenant(tenant).await?;
        let rows = self.store.tokens(tenant.id, page).await?;
        Ok(Page {
            items: rows.rows.into_iter().map(token).collect(),
            next_cursor: rows.next,
        })
    }

    /// Deletes a service token. It is not accepted any more when this returns.
    pub async fn delete_token(
        &self,
        context: &Context,
        tenant: Label,
        id: TokenId,
    ) -> Result<(), AppError> {
        context.authorize(Action::Delete, Resource::Tokens(&tenant))?;
        let tenant = self.store.tenant(tenant).await?;
        self.store.delete_token(tenant.id, id).await?;
        self.settled.published().await
    }
}

fn token(row: TokenRow) -> Token {
    Token {
        id: row.id,
        subject: row.subject,
        display_name: row.display_name,
        roles: row.roles,
        access: row.access.map(shown),
        created_at: row.created_at,
    }
}

fn kept(access: Access) -> canopy_store::Access {
    match access {
        Access::Viewer => canopy_store::Access::Viewer,
        Access::Data => canopy_store::Access::Data,
        Access::Admin => canopy_store::Access::Admin,
    }
}

fn shown(access: canopy_store::Access) -> Access {
    match access {
        canopy_store::Access::Viewer => Access::Viewer,
        canopy_store::Access::Data => Access::Data,
        canopy_store::Access::Admin => Access::Admin,
    }
}
