//! Who may do what.
//!
//! Threat: the documents are an organisation's. Order of evaluation, for every page by its first line
//! and for every operation of the API by its first parameter:
//!
//! 1. A caller whom the platform has verified may read and write.
//! 2. Anybody else may what `anonymous_access` says: nothing, unless the tenant has set it.
//! 3. Forms that a page of another site sends are refused, whoever sends them: their handlers take
//!    `SameOrigin`.

use canopy_sdk::{FromRequest, Problem, Request, StatusCode, config, identity};

/// The caller may look.
pub struct MayRead;

/// The caller may change.
pub struct MayWrite;

impl FromRequest for MayRead {
    type Rejection = Problem;

    fn from_request(_: &mut Request) -> Result<Self, Problem> {
        read().map(|()| Self)
    }
}

impl FromRequest for MayWrite {
    type Rejection = Problem;

    fn from_request(_: &mut Request) -> Result<Self, Problem> {
        write().map(|()| Self)
    }
}

/// Refuses callers who may not look.
pub fn read() -> Result<(), Problem> {
    check(&["read", "write"])
}

/// Refuses callers who may not change anything.
pub fn write() -> Result<(), Problem> {
    check(&["write"])
}

fn check(enough: &[&str]) -> Result<(), Problem> {
    if !identity::caller().is_anonymous() {
        return Ok(());
    }
    let granted = config::get("anonymous_access").ok().flatten();
    if granted.is_some_and(|granted| enough.contains(&granted.as_str())) {
        return Ok(());
    }
    Err(Problem::new(
        StatusCode::UNAUTHORIZED,
        "This needs a credential: send `Authorization: Bearer` and a service token of the tenant, \
         or let the tenant set `anonymous_access`.",
    ))
}
