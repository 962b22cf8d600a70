//! Access tokens: `canopy_<kind>_<id>_<secret>`.
//!
//! The prefix lets secret scanners find a token that leaked, the identifier lets the platform find
//! its record without searching, and the secret is 256 random bits of which only a hash is kept.
//! A hash without salt is enough: there is nothing to guess in 256 random bits.

use std::fmt;

use canopy_ids::TokenId;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// Random bytes in a token's secret.
pub const SECRET_BYTES: usize = 32;

/// What a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TokenKind {
    /// Operating the platform through the control API.
    Operator,
    /// A program that invokes a tenant's applications.
    Service,
}

impl TokenKind {
    /// The kind as it stands in a token.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Operator => "op",
            Self::Service => "svc",
        }
    }
}

/// A token as text, taken apart. It is not printed by `Debug`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TokenText<'a> {
    /// What it is for.
    pub kind: TokenKind,
    /// Its public identifier.
    pub id: TokenId,
    secret: &'a str,
}

impl fmt::Debug for TokenText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenText")
            .field("kind", &self.kind)
            .field("id", &self.id)
            .finish()
    }
}

impl<'a> TokenText<'a> {
    /// Whether a credential claims to be one of the platform's tokens, valid or not. Such a text is
    /// never passed on to an application.
    pub fn is_ours(credential: &[u8]) -> bool {
        credential
            .get(..7)
            .is_some_and(|prefix| prefix.eq_ignore_ascii_case(b"canopy_"))
    }

    /// Takes a token apart; `None` if it has not the form of one.
    pub fn parse(text: &'a str) -> Option<Self> {
        let rest = text.strip_prefix("canopy_")?;
        let (kind, rest) = rest.split_once('_')?;
        let kind = match kind {
            "op" => TokenKind::Operator,
            "svc" => TokenKind::Service,
            _ => return None,
        };
        let (id, secret) = rest.split_once('_')?;
        let id = format!("tok_{id}").parse().ok()?;
        let hexadecimal = |c: u8| c.is_ascii_digit() || matches!(c, b'a'..=b'f');
        let whole = secret.len() == 2 * SECRET_BYTES && secret.bytes().all(hexadecimal);
        whole.then_some(Self { kind, id, secret })
    }

    /// Writes the token that consists of these parts.
    pub fn compose(kind: TokenKind, id: TokenId, secret: &[u8; SECRET_BYTES]) -> String {
        let id = id.to_string();
        let id = id.strip_prefix("tok_").unwrap_or(&id);
        let secret: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("canopy_{}_{id}_{secret}", kind.as_str())
    }

    /// The hash of its secret, which is what is kept.
    pub fn hash(&self) -> TokenHash {
        TokenHash::of_secret(self.secret)
    }
}

/// The SHA-256 of a token's secret as it stands in the token.
#[derive(Clone, Copy)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// The hash of a secret, written in hexadecimal digits.
    pub fn of_secret(secret: &str) -> Self {
        Self(Sha256::digest(secret.as_bytes()).into())
    }

    /// A hash that was kept.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes to keep.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Compares in a time that does not depend on where the two differ.
    pub fn matches(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn composed_and_taken_apart() {
        let id = TokenId::new();
        let text = TokenText::compose(TokenKind::Service, id, &[0xa5; SECRET_BYTES]);
        let token = TokenText::parse(&text).expect("well formed");
        assert_eq!((token.kind, token.id), (TokenKind::Service, id));
        assert!(
            token
                .hash()
                .matches(&TokenHash::of_secret(&"a5".repeat(SECRET_BYTES)))
        );
        assert!(
            !token
                .hash()
                .matches(&TokenHash::of_secret(&"a6".repeat(SECRET_BYTES)))
        );
    }

    #[test]
    fn what_is_not_a_token_is_refused() {
        let good = TokenText::compose(TokenKind::Operator, TokenId::new(), &[7; SECRET_BYTES]);
        let short = &good[..good.len() - 1];
        let long = format!("{good}0");
        let upper = good.to_ascii_uppercase();
        let other = good.replace("_op_", "_root_");
        for text in ["", "canopy_", "canopy_op_x_y", short, &long, &upper, &other] {
            assert_eq!(TokenText::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_damaged_token_is_still_recognised_as_ours() {
        for (text, ours) in [
            ("canopy_svc_x", true),
            ("Canopy_", true),
            ("eyJhbGciOi", false),
            ("canopy", false),
            ("é€é€é", false),
        ] {
            assert_eq!(TokenText::is_ours(text.as_bytes()), ours, "{text}");
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        let text = TokenText::compose(TokenKind::Service, TokenId::new(), &[0xa5; SECRET_BYTES]);
        let token = TokenText::parse(&text).expect("well formed");
        assert!(!format!("{token:?} {:?}", token.hash()).contains("a5a5"));
    }
}
