//! Tells everything that `canopy:tenant/identity` says, and the headers that reached it, so that
//! a test can see what a client's forged headers came to.

use canopy_sdk::identity::{self, CallerKind};
use canopy_sdk::{HeaderMap, Json, Router, get};
use serde_json::{Value, json};

#[canopy_sdk::app]
fn app() -> Router {
    Router::new().route("/", get(tell)).fallback(tell)
}

fn tell(headers: HeaderMap) -> Json<Value> {
    let tenant = identity::tenant();
    let caller = identity::caller();
    let kind = match caller.kind {
        CallerKind::Anonymous => "anonymous",
        CallerKind::Member => "member",
        CallerKind::Service => "service",
        CallerKind::App => "app",
        CallerKind::Schedule => "schedule",
    };
    let headers: Vec<[String; 2]> = headers
        .iter()
        .map(|(name, value)| {
            [
                name.to_string(),
                String::from_utf8_lossy(value.as_bytes()).into(),
            ]
        })
        .collect();
    Json(json!({
        "tenant": {
            "id": tenant.id,
            "name": tenant.name,
            "display_name": tenant.display_name,
            "plan": tenant.plan,
            "region": tenant.region,
            "attributes": tenant.attributes,
        },
        "caller": {
            "kind": kind,
            "subject": caller.subject,
            "display_name": caller.display_name,
            "roles": caller.roles,
            "claims": caller.claims,
        },
        "installation": identity::installation().map(|installation| json!({
            "id": installation.id,
            "name": installation.name,
            "app": installation.app,
            "version": installation.version,
        })),
        "headers": headers,
    }))
}
