//! The interface in its versions, each a thin layer over [`Opened`].

use crate::Redis;
use crate::bucket::{Fault, Opened, other};

/// What a draft has as the other: `$package` is the module of its generated bindings. What it has in a
/// way of its own follows.
macro_rules! draft {
    (
        $package:ident,
        bucket { $($bucket:item)* }
        atomics { $($atomics:item)* }
        batch { $($batch:item)* }
    ) => {
        use crate::bindings::exports::wasi::$package::store::{
            Bucket, BucketBorrow, Error, GuestBucket, KeyResponse,
        };
        use crate::bindings::exports::wasi::$package::{atomics, batch, store};

        impl From<Fault> for Error {
            fn from(fault: Fault) -> Self {
                match fault {
                    Fault::NoSuchStore => Self::NoSuchStore,
                    Fault::AccessDenied => Self::AccessDenied,
                    Fault::Other(text) => Self::Other(text),
                }
            }
        }

        impl store::Guest for Redis {
            type Bucket = Opened;

            fn open(identifier: String) -> Result<Bucket, Error> {
                Ok(Bucket::new(Opened::open(&identifier)?))
            }
        }

        impl GuestBucket for Opened {
            fn get(&self, key: String) -> Result<Option<Vec<u8>>, Error> {
                Ok(Opened::get(self, &key)?)
            }

            fn set(&self, key: String, value: Vec<u8>) -> Result<(), Error> {
                Ok(Opened::set(self, &key, &value)?)
            }

            fn delete(&self, key: String) -> Result<(), Error> {
                Ok(Opened::delete(self, &key)?)
            }

            fn exists(&self, key: String) -> Result<bool, Error> {
                Ok(Opened::exists(self, &key)?)
            }

            $($bucket)*
        }

        impl atomics::Guest for Redis {
            $($atomics)*
        }

        impl batch::Guest for Redis {
            fn set_many(
                bucket: BucketBorrow<'_>,
                key_values: Vec<(String, Vec<u8>)>,
            ) -> Result<(), Error> {
                Ok(bucket.get::<Opened>().set_many(key_values)?)
            }

            fn delete_many(bucket: BucketBorrow<'_>, keys: Vec<String>) -> Result<(), Error> {
                Ok(bucket.get::<Opened>().delete_many(keys)?)
            }

            $($batch)*
        }
    };
}

/// `wasi:keyvalue@0.2.0-draft`.
mod draft {
    use super::{Fault, Opened, Redis, other};

    draft! {
        keyvalue0_2_0_draft,
        bucket {
            fn list_keys(&self, cursor: Option<u64>) -> Result<KeyResponse, Error> {
                let (keys, cursor) = self.list(cursor)?;
                Ok(KeyResponse { keys, cursor })
            }
        }
        atomics {
            /// Sums and steps have no sign.
            fn increment(bucket: BucketBorrow<'_>, key: String, delta: u64) -> Result<u64, Error> {
                let step = i64::try_from(delta);
                let step = step
                    .map_err(|_| other(format!("an increment of {delta} is over {}", i64::MAX)))?;
                let sum = bucket.get::<Opened>().increment(&key, step)?;
                let told = u64::try_from(sum);
                Ok(told.map_err(|_| other(format!("the number is {sum}, below zero")))?)
            }
        }
        batch {
            fn get_many(
                bucket: BucketBorrow<'_>,
                keys: Vec<String>,
            ) -> Result<Vec<Option<(String, Vec<u8>)>>, Error> {
                let values = bucket.get::<Opened>().get_many(&keys)?;
                let pair = |(key, value): (String, Option<Vec<u8>>)| value.map(|value| (key, value));
                Ok(keys.into_iter().zip(values).map(pair).collect())
            }
        }
    }
}

/// `wasi:keyvalue@0.2.0-draft2`.
mod draft2 {
    use super::{Fault, Opened, Redis, other};
    use crate::bindings::exports::wasi::keyvalue0_2_0_draft2::atomics::{Cas, CasError, GuestCas};

    /// A key, and the value that it had.
    pub struct Watched {
        bucket: Opened,
        key: String,
        value: Option<Vec<u8>>,
    }

    impl Watched {
        fn begin(bucket: Opened, key: String) -> Result<Self, Fault> {
            let value = bucket.get(&key)?;
            Ok(Self { bucket, key, value })
        }
    }

    impl GuestCas for Watched {
        fn new(bucket: BucketBorrow<'_>, key: String) -> Result<Cas, Error> {
            let bucket = bucket.get::<Opened>().clone();
            Ok(Cas::new(Self::begin(bucket, key)?))
        }

        fn current(&self) -> Result<Option<Vec<u8>>, Error> {
            self.bucket.belongs_here()?;
            Ok(self.value.clone())
        }
    }

    draft! {
        keyvalue0_2_0_draft2,
        bucket {
            fn list_keys(&self, cursor: Option<String>) -> Result<KeyResponse, Error> {
                let cursor = cursor.map(|text| text.parse()).transpose();
                let cursor = cursor.map_err(|_| other("this is no cursor of a listing".to_owned()))?;
                let (keys, cursor) = self.list(cursor)?;
                let cursor = cursor.map(|cursor| cursor.to_string());
                Ok(KeyResponse { keys, cursor })
            }
        }
        atomics {
            type Cas = Watched;

            fn increment(bucket: BucketBorrow<'_>, key: String, delta: i64) -> Result<i64, Error> {
                Ok(bucket.get::<Opened>().increment(&key, delta)?)
            }

            /// The value decides and not its version: one that has come back is the same.
            fn swap(cas: Cas, value: Vec<u8>) -> Result<(), CasError> {
                let failed = |fault: Fault| CasError::StoreError(fault.into());
                let Watched { bucket, key, value: expected } = cas.into_inner::<Watched>();
                let swapped = bucket.swap(&key, expected.as_deref(), &value);
                if swapped.map_err(failed)? {
                    return Ok(());
                }
                let again = Watched::begin(bucket, key).map_err(failed)?;
                Err(CasError::CasFailed(Cas::new(again)))
            }
        }
        batch {
            fn get_many(
                bucket: BucketBorrow<'_>,
                keys: Vec<String>,
            ) -> Result<Vec<(String, Option<Vec<u8>>)>, Error> {
                let values = bucket.get::<Opened>().get_many(&keys)?;
                Ok(keys.into_iter().zip(values).collect())
            }
        }
    }
}
