//! The interface in its versions, each a thin layer over [`KeyValue`](crate::KeyValue).
//!
//! Every driver has generated types of its own, so the layer is a macro.

/// Serves both drafts of `wasi:keyvalue`. `$bindings` is the driver's module of generated bindings,
/// `$driver` its type and `$opened` its [`KeyValue`](crate::KeyValue), all by their names here.
#[macro_export]
macro_rules! drafts {
    ($bindings:ident, $driver:ident, $opened:ident) => {
        /// `wasi:keyvalue@0.2.0-draft`.
        mod draft {
            $crate::draft! {
                $bindings, keyvalue0_2_0_draft, $driver, $opened,
                bucket {
                    fn list_keys(&self, cursor: Option<u64>) -> Result<KeyResponse, Error> {
                        let $crate::Page { keys, cursor } = KeyValue::page(self, cursor)?;
                        Ok(KeyResponse { keys, cursor })
                    }
                }
                atomics {
                    /// Sums and steps have no sign.
                    fn increment(
                        bucket: BucketBorrow<'_>,
                        key: String,
                        delta: u64,
                    ) -> Result<u64, Error> {
                        let step = $crate::__private::step(delta)?;
                        let sum = KeyValue::increment(bucket.get::<$opened>(), &key, step)?;
                        Ok($crate::__private::unsigned(sum)?)
                    }
                }
                batch {
                    fn get_many(
                        bucket: BucketBorrow<'_>,
                        keys: Vec<String>,
                    ) -> Result<Vec<Option<(String, Vec<u8>)>>, Error> {
                        let values = KeyValue::get_many(bucket.get::<$opened>(), &keys)?;
                        let pairs = keys.into_iter().zip(values);
                        Ok(pairs.map(|(key, value)| Some((key, value?))).collect())
                    }
                }
            }
        }

        /// `wasi:keyvalue@0.2.0-draft2`.
        mod draft2 {
            use super::$bindings::exports::wasi::keyvalue0_2_0_draft2::atomics::{
                Cas, CasError, GuestCas,
            };

            type Watched = $crate::Watched<$opened>;

            impl GuestCas for Watched {
                fn new(bucket: BucketBorrow<'_>, key: String) -> Result<Cas, Error> {
                    let bucket = bucket.get::<$opened>().clone();
                    Ok(Cas::new(Self::begin(bucket, key)?))
                }

                fn current(&self) -> Result<Option<Vec<u8>>, Error> {
                    Ok(Watched::current(self)?)
                }
            }

            $crate::draft! {
                $bindings, keyvalue0_2_0_draft2, $driver, $opened,
                bucket {
                    fn list_keys(&self, cursor: Option<String>) -> Result<KeyResponse, Error> {
                        let $crate::Page { keys, cursor } = KeyValue::page_by_text(self, cursor)?;
                        Ok(KeyResponse { keys, cursor })
                    }
                }
                atomics {
                    type Cas = Watched;

                    fn increment(
                        bucket: BucketBorrow<'_>,
                        key: String,
                        delta: i64,
                    ) -> Result<i64, Error> {
                        Ok(KeyValue::increment(bucket.get::<$opened>(), &key, delta)?)
                    }

                    fn swap(cas: Cas, value: Vec<u8>) -> Result<(), CasError> {
                        match cas.into_inner::<Watched>().swap(&value) {
                            Ok(None) => Ok(()),
                            Ok(Some(again)) => Err(CasError::CasFailed(Cas::new(again))),
                            Err(fault) => Err(CasError::StoreError(fault.into())),
                        }
                    }
                }
                batch {
                    fn get_many(
                        bucket: BucketBorrow<'_>,
                        keys: Vec<String>,
                    ) -> Result<Vec<(String, Option<Vec<u8>>)>, Error> {
                        let values = KeyValue::get_many(bucket.get::<$opened>(), &keys)?;
                        Ok(keys.into_iter().zip(values).collect())
                    }
                }
            }
        }
    };
}

/// What a draft has as the other: `$package` is the module of its generated bindings. What it has in a
/// way of its own follows.
#[doc(hidden)]
#[macro_export]
macro_rules! draft {
    (
        $bindings:ident, $package:ident, $driver:ident, $opened:ident,
        bucket { $($bucket:item)* }
        atomics { $($atomics:item)* }
        batch { $($batch:item)* }
    ) => {
        use $crate::{Fault, KeyValue};

        use super::$bindings::exports::wasi::$package::store::{
            Bucket, BucketBorrow, Error, GuestBucket, KeyResponse,
        };
        use super::$bindings::exports::wasi::$package::{atomics, batch, store};
        use super::{$driver, $opened};

        impl From<Fault> for Error {
            fn from(fault: Fault) -> Self {
                match fault {
                    Fault::NoSuchStore => Self::NoSuchStore,
                    Fault::AccessDenied => Self::AccessDenied,
                    Fault::Other(text) => Self::Other(text),
                }
            }
        }

        impl store::Guest for $driver {
            type Bucket = $opened;

            fn open(identifier: String) -> Result<Bucket, Error> {
                Ok(Bucket::new(<$opened as KeyValue>::open(&identifier)?))
            }
        }

        impl GuestBucket for $opened {
            fn get(&self, key: String) -> Result<Option<Vec<u8>>, Error> {
                Ok(KeyValue::find(self, &key)?.map(Into::into))
            }

            fn set(&self, key: String, value: Vec<u8>) -> Result<(), Error> {
                Ok(KeyValue::set(self, &key, &value)?)
            }

            fn delete(&self, key: String) -> Result<(), Error> {
                Ok(KeyValue::delete(self, &key)?)
            }

            fn exists(&self, key: String) -> Result<bool, Error> {
                Ok(KeyValue::exists(self, &key)?)
            }

            $($bucket)*
        }

        impl atomics::Guest for $driver {
            $($atomics)*
        }

        impl batch::Guest for $driver {
            fn set_many(
                bucket: BucketBorrow<'_>,
                key_values: Vec<(String, Vec<u8>)>,
            ) -> Result<(), Error> {
                Ok(KeyValue::set_many(bucket.get::<$opened>(), key_values)?)
            }

            fn delete_many(bucket: BucketBorrow<'_>, keys: Vec<String>) -> Result<(), Error> {
                Ok(KeyValue::delete_many(bucket.get::<$opened>(), keys)?)
            }

            $($batch)*
        }
    };
}
