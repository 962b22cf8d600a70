//! `canopy token`: with which programs invoke a tenant's applications and use the API.

use canopy_api_types::{Access, Token as Noun, TokenCreate, TokenCreated};
use canopy_ids::TokenId;

use super::TenantArg;
use crate::ui::{moment, table};
use crate::{Context, Error};

/// Manage the tokens with which programs invoke a tenant's applications and use the API
#[derive(Debug, clap::Subcommand)]
pub enum Token {
    /// Create a token; its secret is shown once
    Create {
        /// Who the applications are told calls
        subject: String,
        #[command(flatten)]
        tenant: TenantArg,
        /// What to show to people [default: the subject]
        #[arg(long)]
        display_name: Option<String>,
        /// A role that the applications are told the caller has; may be repeated
        #[arg(long = "role", value_name = "ROLE")]
        roles: Vec<String>,
        /// What the API lets the token do for the tenant [default: nothing]
        #[arg(long, value_enum)]
        access: Option<AccessArg>,
    },
    /// List a tenant's tokens, without their secrets
    List {
        #[command(flatten)]
        tenant: TenantArg,
    },
    /// Delete a token; who uses it is refused from then on
    Delete {
        /// Its id, as `canopy token list` shows it
        id: TokenId,
        #[command(flatten)]
        tenant: TenantArg,
    },
}

/// What the API lets a token do. Each includes those before it.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub enum AccessArg {
    /// Look at everything but what applications store and what is secret
    Viewer,
    /// Read and change what applications store
    Data,
    /// Install, configure and bind, and manage tokens
    Admin,
}

impl From<AccessArg> for Access {
    fn from(access: AccessArg) -> Self {
        match access {
            AccessArg::Viewer => Self::Viewer,
            AccessArg::Data => Self::Data,
            AccessArg::Admin => Self::Admin,
        }
    }
}

impl Token {
    pub(super) async fn run(self, context: &Context) -> Result<(), Error> {
        let client = context.client()?;
        match self {
            Self::Create {
                subject,
                tenant,
                display_name,
                roles,
                access,
            } => {
                let body = TokenCreate {
                    subject,
                    display_name,
                    roles,
                    access: access.map(Access::from),
                };
                let created: TokenCreated = client
                    .post(&["tenants", tenant.as_str(), "tokens"], &body)
                    .await?;
                context.ui.note("Keep the token: it cannot be shown again. Send it as `Authorization: Bearer TOKEN`.");
                context
                    .ui
                    .result(&created, |created| created.secret.reveal().to_owned());
            }
            Self::List { tenant } => {
                let tokens: Vec<Noun> = client
                    .list(&["tenants", tenant.as_str(), "tokens"], &[])
                    .await?;
                context.ui.result(&tokens, |tokens| {
                    let none = "No tokens. Create one with `canopy token create SUBJECT`.";
                    let rows = tokens.iter().map(|token| {
                        let (id, subject) = (token.id.to_string(), token.subject.clone());
                        [
                            id,
                            subject,
                            token.roles.join(", "),
                            access(token.access).to_owned(),
                            moment(token.created_at),
                        ]
                    });
                    table(none, ["id", "subject", "roles", "access", "created"], rows)
                });
            }
            Self::Delete { id, tenant } => {
                let text = id.to_string();
                client
                    .delete(&["tenants", tenant.as_str(), "tokens", &text])
                    .await?;
                context
                    .ui
                    .result(&serde_json::json!({ "deleted": text }), |_| {
                        format!("Deleted token {text}.")
                    });
            }
        }
        Ok(())
    }
}

fn access(access: Option<Access>) -> &'static str {
    match access {
        None => "",
        Some(Access::Viewer) => "viewer",
        Some(Access::Data) => "data",
        Some(Access::Admin) => "admin",
    }
}
