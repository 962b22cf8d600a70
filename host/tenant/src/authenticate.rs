//! Who calls.
//!
//! In order: (1) no `Authorization` header, or one that is not ours: anonymous, and the header goes
//! on to the application, which may have a scheme of its own; (2) a header of ours is taken out of
//! the request, valid or not, so that no application ever sees a credential of the platform; (3) it
//! must name a service token of the very tenant whose application is called, and carry its secret;
//! (4) an anonymous caller reaches only the paths that the application's manifest opens.

use std::sync::Arc;

use canopy_runtime::Caller;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};

use crate::{Route, Snapshot, TokenKind, TokenText};

/// Why a caller is turned away. The two cases look alike from outside but for the explanation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuthenticationError {
    /// A credential is needed and none was shown.
    #[error("this path needs a token of the tenant")]
    Required,
    /// The credential is one of the platform's, and not valid for this tenant.
    #[error("the token is not valid for this tenant")]
    Invalid,
}

/// Finds out who calls `path` of `route`, and takes the platform's credential out of `headers`.
pub fn authenticate(
    snapshot: &Snapshot,
    route: &Route,
    path: &str,
    headers: &mut HeaderMap,
) -> Result<Arc<Caller>, AuthenticationError> {
    let shown: Vec<HeaderValue> = headers.get_all(AUTHORIZATION).iter().cloned().collect();
    if !shown.iter().any(|value| bearer(value.as_bytes()).is_some()) {
        return if route.anonymous.allows(path) {
            Ok(Arc::new(Caller::anonymous()))
        } else {
            Err(AuthenticationError::Required)
        };
    }

    headers.remove(AUTHORIZATION);
    let [only] = &shown[..] else {
        return Err(AuthenticationError::Invalid);
    };
    let token = bearer(only.as_bytes())
        .and_then(|credential| std::str::from_utf8(credential).ok())
        .and_then(TokenText::parse)
        .filter(|token| token.kind == TokenKind::Service)
        .ok_or(AuthenticationError::Invalid)?;
    let entry = snapshot
        .token(&token.id)
        .ok_or(AuthenticationError::Invalid)?;
    let valid = entry.hash.matches(&token.hash()) && entry.tenant == route.spec.tenant.id;
    if valid {
        Ok(Arc::clone(&entry.caller))
    } else {
        Err(AuthenticationError::Invalid)
    }
}

/// The credential of a `Bearer` header if it claims to be the platform's.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let value = value.trim_ascii();
    let space = value.iter().position(u8::is_ascii_whitespace)?;
    let (scheme, credential) = value.split_at(space);
    let credential = credential.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"bearer") && TokenText::is_ours(credential)).then_some(credential)
}
