//! What all operations begin with: whose objects, and where.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::{Duration, Instant};

use canopy_sdk::{config, identity, log};

use crate::bindings::exports::canopy::storage::blobs::{Condition, Error, ObjectInfo, PutOptions};
use crate::counting::{self, Refusal};
use crate::network::Network;
use crate::objects::{Head, Note, Unusable};
use crate::places::{Places, TooLong};
use crate::service::{self, Failure, Service};
use crate::settings::Settings;

/// How long it is taken for granted that a container is there.
const KNOWN_FOR: Duration = Duration::from_secs(10);

/// Containers of which that is remembered.
const MAX_KNOWN: usize = 1000;

/// A tag that no object has.
const NO_TAG: &str = "00000000000000000000000000000000";

thread_local! {
    static KNOWN: RefCell<HashMap<String, Instant>> = RefCell::default();
}

/// The objects of the installation that calls.
pub(super) struct Store {
    pub(super) settings: Settings,
    places: Places,
}

impl Store {
    pub(super) fn open() -> Result<Self, Error> {
        let settings = Settings::read()?;
        let installation = identity::installation().ok_or(Error::AccessDenied)?;
        let places = Places::of(&settings.prefix, &identity::tenant().id, &installation.id);
        Ok(Self { settings, places })
    }

    pub(super) fn service(&self) -> Service<'_, Network> {
        Service {
            settings: &self.settings,
            transport: Network::of(&self.settings),
        }
    }

    /// Where the object `name` is.
    pub(super) fn object(&self, container: &str, name: &str) -> Result<String, Error> {
        if name.is_empty() {
            return Err(invalid("the name of the object is empty".to_owned()));
        }
        self.beginning(container, name)
    }

    /// What the places of all objects begin with whose names begin so.
    pub(super) fn beginning(&self, container: &str, prefix: &str) -> Result<String, Error> {
        self.mark(container)?;
        Ok(self.places.object(container, prefix)?)
    }

    /// What says that the container is there.
    pub(super) fn mark(&self, container: &str) -> Result<String, Error> {
        if container.is_empty() {
            return Err(invalid("the name of the container is empty".to_owned()));
        }
        Ok(self.places.container(container)?)
    }

    /// What the marks of all containers begin with.
    pub(super) fn marks(&self) -> String {
        self.places.containers()
    }

    pub(super) fn is_known(&self, mark: &str) -> bool {
        KNOWN.with_borrow(|known| known.get(mark).is_some_and(|at| at.elapsed() < KNOWN_FOR))
    }

    pub(super) fn remember(&self, mark: String) {
        KNOWN.with_borrow_mut(|known| {
            if known.len() >= MAX_KNOWN {
                known.clear();
            }
            known.insert(mark, Instant::now());
        });
    }

    pub(super) fn forget(&self, mark: &str) {
        KNOWN.with_borrow_mut(|known| known.remove(mark));
    }

    /// Refuses a container that is not there.
    pub(super) fn require(&self, container: &str) -> Result<(), Error> {
        let mark = self.mark(container)?;
        if self.is_known(&mark) {
            return Ok(());
        }
        if self.service().head(&mark).map_err(log_and_tell)?.is_none() {
            return Err(Error::NoSuchContainer);
        }
        self.remember(mark);
        Ok(())
    }

    /// What is missing where an object is not.
    pub(super) fn missing(&self, container: &str) -> Error {
        self.require(container).err().unwrap_or(Error::NoSuchObject)
    }

    /// What is known about an object.
    pub(super) fn head(&self, container: &str, name: &str) -> Result<Head, Error> {
        let place = self.object(container, name)?;
        let head = self.service().head(&place).map_err(log_and_tell)?;
        head.ok_or_else(|| self.missing(container))
    }

    /// The tag of an object, if it is there, for whoever expected something else.
    pub(super) fn unheld(&self, place: &str) -> Error {
        match self.service().head(place) {
            Ok(head) => Error::ConditionFailed(head.map(|head| head.etag)),
            Err(failure) => log_and_tell(failure),
        }
    }

    /// Refuses conditions where the service would not honour them.
    pub(super) fn prove(&self, condition: Option<&Condition>) -> Result<(), Error> {
        if condition.is_none() {
            return Ok(());
        }
        counting::prove_once(&self.service()).map_err(|refusal| match refusal {
            Refusal::Failed(failure) => log_and_tell(failure),
            other => Error::Other(other.to_string()),
        })
    }
}

/// A condition with the tag as the service writes it.
pub(super) struct Quoted(Option<Condition>);

impl Quoted {
    pub(super) fn of(condition: Option<Condition>) -> Self {
        Self(condition.map(|condition| match condition {
            Condition::IfMatch(etag) => {
                let sound = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
                let known = !etag.is_empty() && etag.bytes().all(sound);
                let etag = if known { etag.as_str() } else { NO_TAG };
                Condition::IfMatch(format!("\"{etag}\""))
            }
            Condition::IfAbsent => Condition::IfAbsent,
        }))
    }

    pub(super) fn as_service(&self) -> service::Condition<'_> {
        match &self.0 {
            None => service::Condition::Always,
            Some(Condition::IfAbsent) => service::Condition::Absent,
            Some(Condition::IfMatch(etag)) => service::Condition::Unchanged(etag),
        }
    }
}

/// What an object is put with, as the service keeps it.
pub(super) fn note(options: &PutOptions) -> Note {
    let mut metadata = options.metadata.clone();
    metadata.sort();
    Note {
        content_type: options.content_type.clone(),
        metadata,
    }
}

/// What the interface says of an object. The service does not know when there first was one of that
/// name, so it is the time of this one.
pub(super) fn info(name: &str, head: Head) -> ObjectInfo {
    ObjectInfo {
        name: name.to_owned(),
        size: head.size,
        etag: head.etag,
        content_type: head.note.content_type,
        metadata: head.note.metadata,
        created: head.modified,
        modified: head.modified,
    }
}

pub(super) fn invalid(text: String) -> Error {
    Error::Invalid(text)
}

/// What is the service's fault goes to the driver's log, and the application learns of it.
pub(super) fn log_and_tell(failure: Failure) -> Error {
    log::error!("{failure}");
    match &failure {
        Failure::Refused { code, .. } if code == "EntityTooLarge" => {
            Error::TooLarge(failure.to_string())
        }
        _ => Error::Other(failure.to_string()),
    }
}

impl From<config::Error> for Error {
    fn from(error: config::Error) -> Self {
        log::error!("{error}");
        Self::Other(error.to_string())
    }
}

impl From<TooLong> for Error {
    fn from(error: TooLong) -> Self {
        Self::TooLarge(error.to_string())
    }
}

impl From<Unusable> for Error {
    fn from(error: Unusable) -> Self {
        match error {
            Unusable::ContentType(_) => Self::Invalid(error.to_string()),
            Unusable::TooLong(_) => Self::TooLarge(error.to_string()),
        }
    }
}
