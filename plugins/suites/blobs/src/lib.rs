//! The suite of `canopy:storage/blobs@0.1.0`: an object is a value under its name.

mod objects;

use canopy_sdk::Body;
use canopy_sdk::stream::{block_on, offer};
use interface::canopy::storage::blobs::{
    self, Error, ListOptions, ObjectInfo, PutOptions, Range, Reading,
};
use probe::{Asked, Fault, KeyValue, Outcome, pages};

canopy_sdk::import!(
    interface: "canopy:storage/blobs@0.1.0",
    wit = ["../../../wit/storage/0.1.0"]
);

probe::suite! { probe::perform::<Container>, Error {
    Error::NoSuchContainer => "no-such-container";
    Error::NoSuchObject => "no-such-object";
    Error::NoSuchUpload => "no-such-upload";
    Error::ContainerNotEmpty => "container-not-empty";
    Error::Invalid(text) => "invalid", text;
    Error::ConditionFailed(etag) => "condition-failed", etag.unwrap_or_default();
    Error::InvalidRange(size) => "invalid-range", size.to_string();
    Error::InvalidPart(text) => "invalid-part", text;
    Error::WrongSize => "wrong-size";
    Error::TooLarge(text) => "too-large", text;
    Error::QuotaExceeded(text) => "quota-exceeded", text;
    Error::Busy => "busy";
    Error::AccessDenied => "access-denied";
    Error::Damaged => "damaged";
    Error::Other(text) => "other", text;
}}

/// A container, by its name.
struct Container(String);

fn plain(size: Option<u64>) -> PutOptions {
    PutOptions {
        content_type: None,
        metadata: Vec::new(),
        condition: None,
        size,
    }
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

/// Hands `body` over to `take`.
fn send<T, F: Future<Output = Result<T, Error>>>(
    body: Vec<u8>,
    take: impl FnOnce(canopy_sdk::stream::StreamReader<u8>) -> F,
) -> Result<T, Fault> {
    offer(Body::from(body), take)
        .map_err(|error| Fault::said("body", error.to_string()))?
        .map_err(fault)
}

/// All bytes of what is read, if they are all.
fn bytes(reading: Reading) -> Result<Vec<u8>, Fault> {
    block_on(async {
        let bytes = reading.body.collect().await;
        reading.outcome.await.map_err(fault)?;
        if length(&bytes) == reading.length {
            Ok(bytes)
        } else {
            Err(Fault::said(
                "broken-promise",
                format!("{} bytes of {}", bytes.len(), reading.length),
            ))
        }
    })
}

impl Container {
    fn put(&self, name: &str, body: Vec<u8>, options: PutOptions) -> Result<ObjectInfo, Fault> {
        let put = |body| blobs::put(self.0.clone(), name.to_owned(), body, options);
        send(body, put)
    }

    fn read(&self, name: &str, range: Option<Range>) -> Result<Reading, Fault> {
        block_on(blobs::get(self.0.clone(), name.to_owned(), range)).map_err(fault)
    }

    fn list(&self, options: ListOptions) -> Result<blobs::ObjectPage, Fault> {
        block_on(blobs::list(self.0.clone(), options)).map_err(fault)
    }
}

impl KeyValue for Container {
    fn open(name: &str) -> Result<Self, Fault> {
        block_on(blobs::create_container(name.to_owned())).map_err(fault)?;
        Ok(Self(name.to_owned()))
    }

    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Fault> {
        match self.read(key, None) {
            Ok(reading) => bytes(reading).map(Some),
            Err(fault) if fault.kind == "no-such-object" => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    fn set(&self, key: &str, value: &[u8]) -> Result<(), Fault> {
        self.put(key, value.to_vec(), plain(Some(length(value))))
            .map(drop)
    }

    fn delete(&self, key: &str) -> Result<(), Fault> {
        let deleted = blobs::delete(self.0.clone(), key.to_owned(), None);
        block_on(deleted).map(drop).map_err(fault)
    }

    fn exists(&self, key: &str) -> Result<bool, Fault> {
        match block_on(blobs::head(self.0.clone(), key.to_owned())) {
            Ok(_) => Ok(true),
            Err(Error::NoSuchObject) => Ok(false),
            Err(error) => Err(fault(error)),
        }
    }

    fn keys(&self) -> Result<Vec<String>, Fault> {
        pages(|cursor| {
            let page = self.list(ListOptions {
                prefix: String::new(),
                delimiter: None,
                cursor,
                limit: u32::MAX,
            })?;
            let names = page.objects.into_iter().map(|object| object.name);
            Ok((names.collect(), page.cursor))
        })
    }

    fn delete_many(&self, keys: &[String]) -> Result<(), Fault> {
        let deleted = blobs::delete_many(self.0.clone(), keys.to_vec());
        block_on(deleted).map(drop).map_err(fault)
    }

    /// A body that nobody reads.
    fn abandon(&self, asked: &Asked) -> Result<(), Fault> {
        self.read(&asked.key, None).map(drop)
    }

    fn own(&self, asked: &Asked) -> Outcome {
        objects::perform(self, asked)
    }
}
