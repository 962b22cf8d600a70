//! Identifiers given by the platform: UUIDs of version 7 (RFC 9562), written with a prefix that
//! names the noun, as in `ten_018f3c…`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

/// A text that is not an identifier of the expected kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a {kind} id: expected `{prefix}_` and 32 hexadecimal digits")]
pub struct InvalidId {
    text: String,
    kind: &'static str,
    prefix: &'static str,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            /// A new identifier: unique, and ordered by the time of its making.
            #[allow(clippy::new_without_default, reason = "a default identifier has no meaning")]
            pub fn new() -> Self {
                Self(Uuid::now_v7())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "_{}"), self.0.as_simple())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                text.strip_prefix(concat!($prefix, "_"))
                    .filter(|hex| hex.len() == 32)
                    .and_then(|hex| Uuid::try_parse(hex).ok())
                    .map(Self)
                    .ok_or_else(|| InvalidId {
                        text: text.chars().take(80).collect(),
                        kind: $kind,
                        prefix: $prefix,
                    })
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

id!(
    /// A tenant: a customer organisation.
    TenantId, "ten", "tenant"
);
id!(
    /// One application version installed for one tenant.
    InstallationId, "ins", "installation"
);
id!(
    /// One driver version configured for one tenant.
    DriverInstanceId, "drv", "driver instance"
);
id!(
    /// One request, from its arrival to the end of its response body.
    RequestId, "req", "request"
);
id!(
    /// An access token. The identifier is public; the secret part is not in it.
    TokenId, "tok", "token"
);
id!(
    /// Work of the control plane that takes long.
    JobId, "job", "job"
);
id!(
    /// One scheduled call, however often it is tried.
    RunId, "run", "scheduled call"
);
id!(
    /// A message, however often it is delivered.
    MessageId, "msg", "message"
);
id!(
    /// What was stored at one point in time, in a repository of backups.
    SnapshotId, "snp", "snapshot"
);
id!(
    /// An archive of a tenant that waits to be fetched.
    ExportId, "exp", "export"
);
id!(
    /// An archive of a tenant that is sent to this node.
    ImportId, "imp", "import"
);
id!(
    /// The erasure of a tenant, and the record of it.
    ErasureId, "era", "erasure"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        let id = TenantId::new();
        assert_eq!(id.to_string().parse::<TenantId>(), Ok(id));
    }

    #[test]
    fn another_kind_is_refused() {
        let text = InstallationId::new().to_string();
        assert!(text.parse::<TenantId>().is_err());
        assert!("ten_".parse::<TenantId>().is_err());
        assert!(
            "ten_018f3c2e-0000-7000-8000-000000000000"
                .parse::<TenantId>()
                .is_err()
        );
    }
}
