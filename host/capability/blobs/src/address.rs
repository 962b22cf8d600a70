//! Pre-signed addresses: who has one may up- or download one object until it expires.
//!
//! What is signed is everything that the address allows, with whose object it is, by a key that is
//! derived for one installation alone. An address says nothing about whether the object exists, and
//! nothing is kept about it: it ends with its time, or with the tenant's key.

use std::sync::Arc;
use std::time::SystemTime;

use canopy_backend::blob::{AddressKey, BlobProvider, Blobs};
use canopy_backend::{Scope, StorageError};
use url::form_urlencoded;

use crate::storage::unix_seconds;

/// Where addresses are, on every host name of every application. No application sees requests for
/// what begins so.
pub const PREFIX: &str = "/.canopy/";
/// The path of every address; what it is about follows as its query.
const PATH: &str = "/.canopy/blobs/object";

/// What an address is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressMethod {
    /// Downloading.
    Get,
    /// Uploading.
    Put,
}

impl AddressMethod {
    fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Put => "put",
        }
    }
}

/// What an address allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// What for.
    pub method: AddressMethod,
    /// The container.
    pub container: String,
    /// The object in it.
    pub name: String,
    /// Until when, in seconds since 1970.
    pub expires: u64,
    /// Of an upload: the most bytes.
    pub max_size: Option<u64>,
    /// Of an upload: what its content type must be. Of a download: what it is said to be.
    pub content_type: Option<String>,
    /// Of a download: as which file it is to be saved.
    pub file_name: Option<String>,
}

/// Why an address is not followed.
#[derive(Debug, thiserror::Error)]
pub enum AddressError {
    /// There is nothing at this path.
    #[error("there is nothing at this address")]
    Unknown,
    /// It was not made by the platform for this installation, or changed since.
    #[error("the address is not one that the application has given out")]
    Forged,
    /// Its time is over.
    #[error("the address has expired")]
    Expired,
    /// It cannot be told.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl Address {
    /// Why no address can be made of it.
    pub(crate) fn fault(&self) -> Option<&'static str> {
        let header = |text: &Option<String>| {
            text.as_deref().is_none_or(|text| {
                !text.is_empty() && text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
            })
        };
        let named = self.file_name.as_deref();
        if self.container.is_empty() || self.name.is_empty() {
            Some("the container's or the object's name is empty")
        } else if !header(&self.content_type) {
            Some("`content-type` is not a text of visible ASCII characters")
        } else if named.is_some_and(|name| name.is_empty() || name.chars().any(char::is_control)) {
            Some("`file-name` is empty or has control characters")
        } else if self.method == AddressMethod::Get && self.max_size.is_some() {
            Some("`max-size` is for uploads")
        } else if self.method == AddressMethod::Put && self.file_name.is_some() {
            Some("`file-name` is for downloads")
        } else {
            None
        }
    }

    /// Under `key`, for the objects of `scope`.
    fn signature(&self, scope: Scope, key: &AddressKey) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(&key.key);
        let numbers = [Some(self.expires), self.max_size].map(|n| n.map(|n| n.to_string()));
        let fields = [
            Some("canopy address 1"),
            Some(&scope.to_string()),
            Some(self.method.as_str()),
            Some(&self.container),
            Some(&self.name),
            numbers[0].as_deref(),
            numbers[1].as_deref(),
            self.content_type.as_deref(),
            self.file_name.as_deref(),
        ];
        // Each with whether it is there and its length, so that no two lists read the same.
        for field in fields {
            let bytes = field.unwrap_or_default().as_bytes();
            hasher.update(&[field.is_some().into()]);
            hasher.update(&(bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
        }
        hasher.finalize()
    }

    fn path(&self, scope: Scope, key: &AddressKey) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query
            .append_pair("c", &self.container)
            .append_pair("n", &self.name)
            .append_pair("m", self.method.as_str())
            .append_pair("e", &self.expires.to_string());
        if let Some(max_size) = self.max_size {
            query.append_pair("s", &max_size.to_string());
        }
        if let Some(content_type) = &self.content_type {
            query.append_pair("t", content_type);
        }
        if let Some(file_name) = &self.file_name {
            query.append_pair("f", file_name);
        }
        query
            .append_pair("k", &key.version.to_string())
            .append_pair("g", &self.signature(scope, key).to_hex());
        format!("{PATH}?{}", query.finish())
    }
}

/// An address as it was sent, not yet believed.
#[derive(Debug, PartialEq, Eq)]
struct Claim {
    address: Address,
    key_version: u32,
    signature: blake3::Hash,
}

impl Claim {
    /// What `query` says; `None` if that cannot be.
    fn parse(query: &str) -> Option<Self> {
        let mut fields: [Option<String>; 9] = Default::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let at = ["c", "n", "m", "e", "s", "t", "f", "k", "g"]
                .iter()
                .position(|known| *known == name)?;
            if fields[at].replace(value.into_owned()).is_some() {
                return None;
            }
        }
        let [c, n, m, e, s, t, f, k, g] = fields;
        Some(Self {
            address: Address {
                method: match m?.as_str() {
                    "get" => AddressMethod::Get,
                    "put" => AddressMethod::Put,
                    _ => return None,
                },
                container: c?,
                name: n?,
                expires: e?.parse().ok()?,
                max_size: match s {
                    Some(size) => Some(size.parse().ok()?),
                    None => None,
                },
                content_type: t,
                file_name: f,
            },
            key_version: k?.parse().ok()?,
            signature: blake3::Hash::from_hex(g?).ok()?,
        })
    }
}

/// Makes addresses, and says which are right.
#[derive(Clone)]
pub struct Addresses {
    provider: Arc<dyn BlobProvider>,
}

impl Addresses {
    /// Addresses of objects of `provider`.
    pub fn new(provider: Arc<dyn BlobProvider>) -> Self {
        Self { provider }
    }

    /// The path by which `address`, of an object of `scope`, is followed.
    pub async fn sign(&self, scope: Scope, address: &Address) -> Result<String, StorageError> {
        let key = self.provider.address_key(scope, None).await?;
        let key = key.ok_or(StorageError::Erased)?;
        Ok(address.path(scope, &key))
    }

    /// What a path and its query allow with objects of `scope`.
    pub async fn verify(
        &self,
        scope: Scope,
        path: &str,
        query: Option<&str>,
    ) -> Result<Address, AddressError> {
        if path != PATH {
            return Err(AddressError::Unknown);
        }
        let claim = Claim::parse(query.unwrap_or_default()).ok_or(AddressError::Forged)?;
        let key = self
            .provider
            .address_key(scope, Some(claim.key_version))
            .await?
            .ok_or(AddressError::Forged)?;
        // Compared in constant time.
        if claim.address.signature(scope, &key) != claim.signature {
            return Err(AddressError::Forged);
        }
        if unix_seconds(SystemTime::now()) >= claim.address.expires {
            return Err(AddressError::Expired);
        }
        Ok(claim.address)
    }

    /// The most bytes that one upload can have.
    pub fn object_bytes(&self) -> u64 {
        self.provider.limits().object_bytes
    }

    /// The objects of `scope`.
    pub async fn objects(&self, scope: Scope) -> Result<Arc<dyn Blobs>, StorageError> {
        self.provider.open(scope).await
    }
}

#[cfg(test)]
mod tests {
    use canopy_ids::{InstallationId, TenantId};
    use proptest::prelude::*;

    use super::*;

    fn scope() -> Scope {
        Scope {
            tenant: TenantId::new(),
            installation: InstallationId::new(),
        }
    }

    fn addresses() -> impl Strategy<Value = Address> {
        let text = ".{1,20}";
        let parts = (any::<bool>(), text, text, any::<u64>());
        let limits = (
            any::<Option<u64>>(),
            proptest::option::of(text),
            proptest::option::of(text),
        );
        (parts, limits).prop_map(
            |((put, container, name, expires), (max_size, content_type, file_name))| Address {
                method: if put {
                    AddressMethod::Put
                } else {
                    AddressMethod::Get
                },
                container,
                name,
                expires,
                max_size,
                content_type,
                file_name,
            },
        )
    }

    proptest! {
        #[test]
        fn an_address_comes_back_from_its_path(address in addresses()) {
            let (scope, key) = (scope(), AddressKey { version: 3, key: [7; 32] });
            let path = address.path(scope, &key);
            let (before, query) = path.split_once('?').expect("a query");
            prop_assert_eq!(before, PATH);
            prop_assert!(path.is_ascii());
            let claim = Claim::parse(query).expect("a claim");
            prop_assert_eq!(&claim.address, &address);
            prop_assert_eq!(claim.signature, address.signature(scope, &key));
        }

        #[test]
        fn two_addresses_have_two_signatures(one in addresses(), other in addresses()) {
            let (scope, key) = (scope(), AddressKey { version: 3, key: [7; 32] });
            let same = one.signature(scope, &key) == other.signature(scope, &key);
            prop_assert_eq!(same, one == other);
        }

        #[test]
        fn any_query_is_read_or_refused(query in ".*") {
            let _ = Claim::parse(&query);
        }
    }

    #[test]
    fn nothing_is_left_out_or_said_twice() {
        let key = AddressKey {
            version: 3,
            key: [7; 32],
        };
        let address = Address {
            method: AddressMethod::Get,
            container: "c".into(),
            name: "../a/b".into(),
            expires: 1,
            max_size: None,
            content_type: None,
            file_name: None,
        };
        let path = address.path(scope(), &key);
        let (_, query) = path.split_once('?').expect("a query");
        assert!(Claim::parse(query).is_some());
        assert!(Claim::parse(&format!("{query}&n=other")).is_none());
        assert!(Claim::parse(&format!("{query}&x=1")).is_none());
        for (at, _) in query.match_indices('&') {
            assert!(Claim::parse(&query[..at]).is_none(), "{}", &query[..at]);
        }
    }

    #[test]
    fn the_signature_is_of_one_installation_and_key() {
        let key = |byte| AddressKey {
            version: 3,
            key: [byte; 32],
        };
        let address = Address {
            method: AddressMethod::Put,
            container: "c".into(),
            name: "n".into(),
            expires: 1,
            max_size: Some(1),
            content_type: None,
            file_name: None,
        };
        let (one, other) = (scope(), scope());
        let signature = address.signature(one, &key(1));
        assert_ne!(signature, address.signature(other, &key(1)));
        assert_ne!(signature, address.signature(one, &key(2)));
    }
}
