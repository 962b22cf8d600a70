//! Why a storage operation did not take place.

/// Why a storage operation did not take place.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// A name, a key, a value or several of them together are longer than the backend takes.
    #[error("{what} of {actual} bytes is over the limit of {limit}")]
    TooLarge {
        /// `bucket name`, `key`, `value` or `batch`.
        what: &'static str,
        /// Its length in bytes.
        actual: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// One operation names more keys than the backend takes at once.
    #[error("{actual} keys in one operation are over the limit of {limit}")]
    TooManyKeys {
        /// How many it names.
        actual: usize,
        /// How many it may name.
        limit: usize,
    },
    /// The write would exceed a quota.
    #[error("{}", quota_exceeded(*quota, *limit))]
    QuotaExceeded {
        /// Which one.
        quota: QuotaOf,
        /// How much it is, in bytes or items.
        limit: u64,
    },
    /// The value is not of the kind that the operation works on, as in an increment of a text.
    #[error("the value of this key is not a number")]
    NotANumber,
    /// The sum of an increment is no 64-bit signed number. Nothing was changed.
    #[error("the sum is beyond a 64-bit signed number")]
    Overflow,
    /// The installation's storage has been erased and takes nothing any more.
    #[error("the storage of this installation has been erased")]
    Erased,
    /// The disk of the node is full. Nothing was changed; reading goes on.
    #[error("the disk of the node is full")]
    NoSpace,
    /// What is stored is not what was written. The text is for the operator, not for the guest.
    #[error("what is stored is damaged: {0}")]
    Damaged(String),
    /// Too much is under way on the node; the operation did not begin.
    #[error("storage is busy: {0}")]
    Busy(String),
    /// The backend failed. The text is for the operator, not for the guest.
    #[error("storage failed: {0}")]
    Failed(String),
}

/// What a quota counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum QuotaOf {
    /// Bytes of one kind of storage of the installation.
    InstallationBytes,
    /// Keys, objects or databases of the installation.
    InstallationItems,
    /// Bytes of all that the tenant stores.
    TenantBytes,
}

fn quota_exceeded(quota: QuotaOf, limit: u64) -> String {
    match quota {
        QuotaOf::InstallationBytes => {
            format!("the installation's storage quota of {limit} bytes is used up")
        }
        QuotaOf::InstallationItems => {
            format!("the installation's storage quota of {limit} entries is used up")
        }
        QuotaOf::TenantBytes => format!("the tenant's storage quota of {limit} bytes is used up"),
    }
}
