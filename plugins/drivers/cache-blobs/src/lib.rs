//! Serves `canopy:storage/blobs` from `canopy:storage/blobs` of another driver, and remembers what was
//! read.
//!
//! The crate `remember` is what is remembered, [`known`] what of an object; here the interface is joined
//! to it on both sides.

mod known;

use std::cell::RefCell;
use std::time::{Duration, Instant};

use bindings::canopy::storage::blobs as beneath;
use bindings::exports::canopy::storage::blobs::{
    Condition, ContainerInfo, ContainerPage, Error, Guest, ListOptions, ObjectId, ObjectInfo,
    ObjectPage, PartInfo, PartPage, PresignOptions, PutOptions, Range, Reading, UploadInfo,
};
use bindings::{wit_future, wit_stream};
use canopy_sdk::stream::{StreamReader, StreamResult, spawn};
use canopy_sdk::{config, identity, log};
use known::{Known, within};
use remember::Memory;

#[canopy_sdk::driver(
    "canopy:storage/blobs@0.1.0",
    imports = ["canopy:storage/blobs@0.1.0"],
    wit = ["../../../wit/storage/0.1.0"]
)]
struct CacheBlobs;

thread_local! {
    static MEMORY: RefCell<Memory<Known>> = RefCell::default();
    static BEGUN: Instant = Instant::now();
}

fn now() -> Duration {
    BEGUN.with(Instant::elapsed)
}

/// What is remembered for the installation that calls.
struct Front {
    installation: String,
    ttl: Duration,
    max_bytes: usize,
    max_object: u64,
}

impl Front {
    fn open() -> Result<Self, Error> {
        Ok(Self {
            installation: identity::installation().ok_or(Error::AccessDenied)?.id,
            ttl: Duration::from_millis(config::parse_or("ttl_ms", 1000)?),
            max_bytes: config::parse_or("max_bytes", 16 << 20)?,
            max_object: config::parse_or("max_object_bytes", 64 << 10)?,
        })
    }

    fn key(&self, container: &str, name: &str) -> remember::Key {
        (
            self.installation.clone(),
            container.to_owned(),
            name.to_owned(),
        )
    }

    fn known(&self, container: &str, name: &str) -> Option<Known> {
        MEMORY.with_borrow_mut(|memory| memory.get(&self.key(container, name), now()))
    }

    /// `asked` is when the question went out, after which anybody may have written.
    fn remember(&self, container: &str, name: &str, known: Known, asked: Duration) {
        let (key, until) = (self.key(container, name), asked + self.ttl);
        MEMORY.with_borrow_mut(|memory| memory.put(key, known, until, self.max_bytes));
    }

    fn forget(&self, container: &str, name: &str) {
        MEMORY.with_borrow_mut(|memory| memory.forget(&self.key(container, name)));
    }

    /// Does what changes an object. What is remembered of it is forgotten before, so that nothing is
    /// after a change whose outcome nobody knows, and after, in case it was read meanwhile.
    async fn change<T>(
        &self,
        container: &str,
        name: &str,
        change: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        self.forget(container, name);
        let changed = change.await;
        self.forget(container, name);
        changed
    }
}

impl Guest for CacheBlobs {
    async fn create_container(name: String) -> Result<bool, Error> {
        beneath::create_container(name).await
    }

    async fn delete_container(name: String, force: bool) -> Result<(), Error> {
        let front = Front::open()?;
        let forget = || {
            MEMORY.with_borrow_mut(|memory| memory.forget_all(&front.installation, &name));
        };
        forget();
        let deleted = beneath::delete_container(name.clone(), force).await;
        forget();
        deleted
    }

    async fn container(name: String) -> Result<ContainerInfo, Error> {
        beneath::container(name).await
    }

    async fn list_containers(
        prefix: String,
        cursor: Option<String>,
        limit: u32,
    ) -> Result<ContainerPage, Error> {
        beneath::list_containers(prefix, cursor, limit).await
    }

    async fn put(
        container: String,
        name: String,
        body: StreamReader<u8>,
        options: PutOptions,
    ) -> Result<ObjectInfo, Error> {
        let put = beneath::put(container.clone(), name.clone(), body, options);
        Front::open()?.change(&container, &name, put).await
    }

    async fn get(container: String, name: String, range: Option<Range>) -> Result<Reading, Error> {
        let front = Front::open()?;
        match front.known(&container, &name) {
            Some(Known::Nothing) => return Err(Error::NoSuchObject),
            Some(Known::Object(info, Some(content))) => return from_memory(info, content, range),
            // A small one is read as a whole, whatever part of it is asked for.
            Some(Known::Object(info, None)) if info.size <= front.max_object => {}
            _ if range.is_none() => {}
            _ => return beneath::get(container, name, range).await.map(passed_on),
        }
        let asked = now();
        let reading = match beneath::get(container.clone(), name.clone(), None).await {
            Err(Error::NoSuchObject) => {
                front.remember(&container, &name, Known::Nothing, asked);
                return Err(Error::NoSuchObject);
            }
            reading => reading?,
        };
        if reading.info.size > front.max_object {
            if range.is_none() {
                front.remember(
                    &container,
                    &name,
                    Known::Object(reading.info.clone(), None),
                    asked,
                );
                return Ok(passed_on(reading));
            }
            // It has grown since.
            drop(reading);
            return beneath::get(container, name, range).await.map(passed_on);
        }
        let info = reading.info.clone();
        let content = whole(reading).await?;
        let known = Known::Object(info.clone(), Some(content.clone()));
        front.remember(&container, &name, known, asked);
        from_memory(info, content, range)
    }

    async fn head(container: String, name: String) -> Result<ObjectInfo, Error> {
        let front = Front::open()?;
        match front.known(&container, &name) {
            Some(Known::Nothing) => return Err(Error::NoSuchObject),
            Some(Known::Object(info, _)) => return Ok(info),
            None => {}
        }
        let asked = now();
        let found = beneath::head(container.clone(), name.clone()).await;
        match &found {
            Ok(info) => {
                front.remember(&container, &name, Known::Object(info.clone(), None), asked);
            }
            Err(Error::NoSuchObject) => front.remember(&container, &name, Known::Nothing, asked),
            Err(_) => {}
        }
        found
    }

    async fn delete(
        container: String,
        name: String,
        condition: Option<Condition>,
    ) -> Result<bool, Error> {
        let delete = beneath::delete(container.clone(), name.clone(), condition);
        Front::open()?.change(&container, &name, delete).await
    }

    async fn delete_many(container: String, names: Vec<String>) -> Result<u64, Error> {
        let front = Front::open()?;
        let forget = || names.iter().for_each(|name| front.forget(&container, name));
        forget();
        let deleted = beneath::delete_many(container.clone(), names.clone()).await;
        forget();
        deleted
    }

    async fn list(container: String, options: ListOptions) -> Result<ObjectPage, Error> {
        beneath::list(container, options).await
    }

    async fn copy(
        source: ObjectId,
        target: ObjectId,
        condition: Option<Condition>,
    ) -> Result<ObjectInfo, Error> {
        let (container, name) = (target.container.clone(), target.name.clone());
        let copy = beneath::copy(source, target, condition);
        Front::open()?.change(&container, &name, copy).await
    }

    async fn move_(
        source: ObjectId,
        target: ObjectId,
        condition: Option<Condition>,
    ) -> Result<ObjectInfo, Error> {
        let front = Front::open()?;
        let (from, to) = (source.clone(), target.clone());
        let moving = beneath::move_(source, target, condition);
        let moving = front.change(&from.container, &from.name, moving);
        front.change(&to.container, &to.name, moving).await
    }

    async fn begin_upload(
        container: String,
        name: String,
        options: PutOptions,
    ) -> Result<UploadInfo, Error> {
        beneath::begin_upload(container, name, options).await
    }

    async fn put_part(
        upload: String,
        number: u32,
        body: StreamReader<u8>,
    ) -> Result<PartInfo, Error> {
        beneath::put_part(upload, number, body).await
    }

    async fn list_parts(
        upload: String,
        cursor: Option<u32>,
        limit: u32,
    ) -> Result<PartPage, Error> {
        beneath::list_parts(upload, cursor, limit).await
    }

    /// Which object it is of is not known before: all of the installation's are forgotten.
    async fn complete_upload(
        upload: String,
        parts: Vec<(u32, String)>,
    ) -> Result<ObjectInfo, Error> {
        let front = Front::open()?;
        let forget = || MEMORY.with_borrow_mut(|memory| memory.forget_of(&front.installation));
        forget();
        let completed = beneath::complete_upload(upload, parts).await;
        forget();
        completed
    }

    async fn abort_upload(upload: String) -> Result<(), Error> {
        beneath::abort_upload(upload).await
    }

    async fn list_uploads(container: String) -> Result<Vec<UploadInfo>, Error> {
        beneath::list_uploads(container).await
    }

    async fn presign(
        container: String,
        name: String,
        options: PresignOptions,
    ) -> Result<String, Error> {
        beneath::presign(container, name, options).await
    }
}

/// All of a small object.
async fn whole(reading: Reading) -> Result<Vec<u8>, Error> {
    let mut body = reading.body;
    // One byte more than there should be, so that a longer one would be seen.
    let length = usize::try_from(reading.length).unwrap_or(usize::MAX);
    let mut content = Vec::with_capacity(length.saturating_add(1));
    loop {
        let before = content.len();
        let (result, read) = body.read(content).await;
        content = read;
        let ended = matches!(result, StreamResult::Dropped) && content.len() == before;
        if ended || content.len() > length {
            break;
        }
    }
    drop(body);
    reading.outcome.await?;
    match content.len() == length {
        true => Ok(content),
        false => Err(Error::Damaged),
    }
}

/// What comes from beneath, its bytes untouched. What it comes to is told by a future of this driver's:
/// one of the platform's own does not cross to another component.
fn passed_on(reading: Reading) -> Reading {
    let (end, outcome) = wit_future::new(|| {
        Err(Error::Other(
            "the driver ended before the object".to_owned(),
        ))
    });
    let beneath = reading.outcome;
    spawn(async move {
        // It fails if nobody waits for it any more; then nobody misses it.
        let _ = end.write(beneath.await).await;
    });
    Reading { outcome, ..reading }
}

/// What is remembered, or a part of it, as if it came from beneath.
fn from_memory(info: ObjectInfo, content: Vec<u8>, range: Option<Range>) -> Result<Reading, Error> {
    let (offset, length) = within(range, info.size).ok_or(Error::InvalidRange(info.size))?;
    let (mut writer, body) = wit_stream::new();
    let (end, outcome) = wit_future::new(|| Ok(()));
    let begin = usize::try_from(offset).unwrap_or(usize::MAX);
    let bytes = content.into_iter().skip(begin);
    let bytes: Vec<u8> = bytes
        .take(usize::try_from(length).unwrap_or(usize::MAX))
        .collect();
    spawn(async move {
        // Who does not read on knows.
        let _ = writer.write_all(bytes).await;
        drop(writer);
        let _ = end.write(Ok(())).await;
    });
    Ok(Reading {
        info,
        offset,
        length,
        body,
        outcome,
    })
}

impl From<config::Error> for Error {
    fn from(error: config::Error) -> Self {
        log::error!("{error}");
        Self::Other(error.to_string())
    }
}
