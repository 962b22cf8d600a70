//! The record of an erasure: a statement of what was erased and when, signed by the node.
//!
//! What is signed is the text of the statement, byte for byte as it is kept, so that whoever
//! verifies needs no agreement about how JSON is written.

use canopy_ids::{ErasureId, Label, TenantId};
use ed25519_dalek::Signer as _;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::ArchiveError;

/// The key with which a node signs its records: Ed25519 (RFC 8032).
pub struct SigningKey(ed25519_dalek::SigningKey);

impl SigningKey {
    /// A new seed of a key.
    pub fn seed() -> Result<[u8; 32], ArchiveError> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|error| {
            ArchiveError::damaged("the system's source of random bytes", error.to_string())
        })?;
        Ok(seed)
    }

    /// The key of a seed.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(ed25519_dalek::SigningKey::from_bytes(seed))
    }

    /// With what others verify, in hexadecimal digits.
    pub fn public(&self) -> String {
        hex(self.0.verifying_key().as_bytes())
    }
}

/// A data key that was destroyed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErasedKey {
    /// The file that held it, wrapped.
    pub file: String,
    /// The blake3 digest of that file, in hexadecimal digits.
    pub blake3: String,
}

/// What of one kind was erased.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErasedCount {
    /// Of what, as in `key-value` or `installations`.
    pub what: String,
    /// How many.
    pub items: u64,
    /// Their bytes, where they have any.
    pub bytes: u64,
}

/// What was erased, when, and who asked for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErasureStatement {
    /// The format of this statement.
    pub format: u64,
    /// Its identifier.
    pub id: ErasureId,
    /// The tenant's identifier, which is never used again.
    pub tenant: TenantId,
    /// The name that it had.
    pub name: Label,
    /// Who asked.
    pub requested_by: String,
    /// When.
    #[serde(with = "time::serde::rfc3339")]
    pub requested_at: OffsetDateTime,
    /// When everything was gone.
    #[serde(with = "time::serde::rfc3339")]
    pub erased_at: OffsetDateTime,
    /// The version of the platform that did it.
    pub made_by: String,
    /// The keys that were destroyed, before anything else.
    pub keys: Vec<ErasedKey>,
    /// What was counted before it went.
    pub erased: Vec<ErasedCount>,
    /// Snapshots of the backup repository out of which the tenant was taken.
    pub snapshots: u64,
    /// What it means, for people.
    pub statement: String,
}

impl ErasureStatement {
    /// The newest format.
    pub const FORMAT: u64 = 1;
}

/// A signed statement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErasureRecord {
    /// The statement as JSON; these very bytes are signed.
    pub record: String,
    /// The key, in hexadecimal digits.
    pub public_key: String,
    /// The signature, in hexadecimal digits.
    pub signature: String,
}

impl ErasureRecord {
    /// Signs a statement.
    pub fn sign(statement: &ErasureStatement, key: &SigningKey) -> Result<Self, ArchiveError> {
        let record = serde_json::to_string(statement)
            .map_err(|error| ArchiveError::damaged("a record of erasure", error.to_string()))?;
        let signature = key.0.sign(record.as_bytes()).to_bytes();
        Ok(Self {
            public_key: key.public(),
            signature: hex(&signature),
            record,
        })
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::{Signature, VerifyingKey};

    use super::*;

    fn bytes<const N: usize>(hex: &str) -> [u8; N] {
        let mut bytes = [0; N];
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&hex[2 * index..2 * index + 2], 16).expect("digits");
        }
        bytes
    }

    #[test]
    fn a_signature_holds_for_the_very_text_alone() {
        let now = OffsetDateTime::now_utc();
        let statement = ErasureStatement {
            format: ErasureStatement::FORMAT,
            id: ErasureId::new(),
            tenant: TenantId::new(),
            name: "acme".parse().expect("a name"),
            requested_by: "operator".into(),
            requested_at: now,
            erased_at: now,
            made_by: "0.1.0".into(),
            keys: Vec::new(),
            erased: Vec::new(),
            snapshots: 0,
            statement: "gone".into(),
        };
        let key = SigningKey::from_seed(&SigningKey::seed().expect("random bytes"));
        let record = ErasureRecord::sign(&statement, &key).expect("signed");
        let public = VerifyingKey::from_bytes(&bytes(&record.public_key)).expect("a key");
        let signature = Signature::from_bytes(&bytes(&record.signature));
        public
            .verify_strict(record.record.as_bytes(), &signature)
            .expect("genuine");
        let forged = record.record.replace("acme", "evil");
        assert!(public.verify_strict(forged.as_bytes(), &signature).is_err());
        let read: ErasureStatement = serde_json::from_str(&record.record).expect("a statement");
        assert_eq!(read, statement);
    }
}
