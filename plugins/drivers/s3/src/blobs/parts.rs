//! Uploads in parts that the application makes over several calls.
//!
//! What names an upload is all that has to be known of it: container, name, the service's
//! identifier, and the condition. An application that makes one up reaches its own objects alone,
//! for the place is made of what the platform says of it, as everywhere.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use canopy_sdk::stream::StreamReader;
use serde::{Deserialize, Serialize};

use super::store::{Quoted, Store, info, invalid, log_and_tell, note};
use crate::bindings::exports::canopy::storage::blobs::{
    Condition, Error, ObjectInfo, PartInfo, PartPage, PutOptions, UploadInfo,
};
use crate::objects::unquoted;
use crate::pieces::Pieces;
use crate::places;
use crate::uploads::Outcome;

/// Parts of one upload, and the greatest number of one, by S3.
const MAX_PARTS: u32 = 10_000;

/// Parts of one page.
const PAGE: u32 = 1000;

#[derive(Serialize, Deserialize)]
struct Ticket {
    container: String,
    name: String,
    upload: String,
    condition: Option<Expected>,
}

#[derive(Serialize, Deserialize)]
enum Expected {
    Match(String),
    Absent,
}

impl Ticket {
    fn written(&self) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).unwrap_or_default())
    }

    fn read(text: &str) -> Result<Self, Error> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text);
        let ticket = bytes
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok());
        ticket.ok_or(Error::NoSuchUpload)
    }

    fn condition(&self) -> Option<Condition> {
        Some(match self.condition.as_ref()? {
            Expected::Match(etag) => Condition::IfMatch(etag.clone()),
            Expected::Absent => Condition::IfAbsent,
        })
    }
}

impl Store {
    pub(super) fn begin_upload(
        &self,
        container: String,
        name: String,
        options: PutOptions,
    ) -> Result<UploadInfo, Error> {
        let place = self.object(&container, &name)?;
        let headers = note(&options).headers()?;
        self.require(&container)?;
        self.prove(options.condition.as_ref())?;
        let begun = self.service().begin(&place, &headers);
        let ticket = Ticket {
            container,
            upload: begun.map_err(log_and_tell)?,
            name,
            condition: options.condition.map(|condition| match condition {
                Condition::IfMatch(etag) => Expected::Match(etag),
                Condition::IfAbsent => Expected::Absent,
            }),
        };
        let created = time::OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000;
        Ok(UploadInfo {
            id: ticket.written(),
            name: ticket.name,
            created: u64::try_from(created).unwrap_or(0),
        })
    }

    /// A part is held as a whole before it is sent, for the service wants to know its length.
    pub(super) async fn put_part(
        &self,
        upload: &str,
        number: u32,
        body: StreamReader<u8>,
    ) -> Result<PartInfo, Error> {
        let ticket = Ticket::read(upload)?;
        let place = self.object(&ticket.container, &ticket.name)?;
        if number == 0 {
            return Err(invalid("parts are counted from 1".to_owned()));
        }
        if number > MAX_PARTS {
            return Err(Error::TooLarge(format!(
                "part {number} is over the limit of {MAX_PARTS} parts"
            )));
        }
        let mut pieces = Pieces::new(body, self.settings.part_bytes);
        let bytes = pieces.next().await;
        if !pieces.ended() && !pieces.next().await.is_empty() {
            return Err(Error::TooLarge(format!(
                "the part is over the limit of {} bytes (`part_bytes` of the driver)",
                self.settings.part_bytes
            )));
        }
        let size = bytes.len() as u64;
        let put = self
            .service()
            .put_part(&place, &ticket.upload, number, bytes);
        let etag = known(put.map_err(log_and_tell)?)?;
        Ok(PartInfo { number, size, etag })
    }

    pub(super) fn list_parts(
        &self,
        upload: &str,
        cursor: Option<u32>,
        limit: u32,
    ) -> Result<PartPage, Error> {
        let ticket = Ticket::read(upload)?;
        let place = self.object(&ticket.container, &ticket.name)?;
        let after = cursor.unwrap_or(0);
        let parts = self
            .service()
            .parts(&place, &ticket.upload, after, limit.clamp(1, PAGE));
        let (parts, more) = known(parts.map_err(log_and_tell)?)?;
        Ok(PartPage {
            cursor: parts.last().filter(|_| more).map(|last| last.number),
            parts: parts
                .into_iter()
                .map(|part| PartInfo {
                    number: part.number,
                    size: part.size,
                    etag: unquoted(&part.etag),
                })
                .collect(),
        })
    }

    pub(super) fn complete_upload(
        &self,
        upload: &str,
        parts: &[(u32, String)],
    ) -> Result<ObjectInfo, Error> {
        let ticket = Ticket::read(upload)?;
        let place = self.object(&ticket.container, &ticket.name)?;
        if !parts.windows(2).all(|two| two[0].0 < two[1].0) {
            return Err(Error::InvalidPart(
                "the parts are not in rising order".to_owned(),
            ));
        }
        if parts.is_empty() {
            return Err(Error::InvalidPart("there are no parts".to_owned()));
        }
        let condition = ticket.condition();
        self.prove(condition.as_ref())?;
        self.complete(&place, &ticket.upload, parts, &Quoted::of(condition))?;
        let head = self.head(&ticket.container, &ticket.name)?;
        Ok(info(&ticket.name, head))
    }

    pub(super) fn abort_upload(&self, upload: &str) -> Result<(), Error> {
        let ticket = Ticket::read(upload)?;
        let place = self.object(&ticket.container, &ticket.name)?;
        let aborted = self.service().abort(&place, &ticket.upload);
        known(aborted.map_err(log_and_tell)?)
    }

    /// The service does not know conditions: an upload that is named by what is given here is
    /// completed without.
    pub(super) fn list_uploads(&self, container: &str) -> Result<Vec<UploadInfo>, Error> {
        self.require(container)?;
        let base = self.beginning(container, "")?;
        let mut uploads = self.service().uploads(&base).map_err(log_and_tell)?;
        uploads.sort_by_key(|upload| upload.begun);
        let named = uploads.into_iter().filter_map(|upload| {
            let name = places::read(upload.name.strip_prefix(&base)?)?;
            let ticket = Ticket {
                container: container.to_owned(),
                name,
                upload: upload.id,
                condition: None,
            };
            Some(UploadInfo {
                id: ticket.written(),
                name: ticket.name,
                created: upload.begun,
            })
        });
        Ok(named.collect())
    }
}

fn known<T>(outcome: Outcome<T>) -> Result<T, Error> {
    match outcome {
        Outcome::Done(done) => Ok(done),
        Outcome::NoUpload => Err(Error::NoSuchUpload),
        Outcome::WrongParts(text) => Err(Error::InvalidPart(text)),
        Outcome::Unheld => Err(Error::ConditionFailed(None)),
    }
}
