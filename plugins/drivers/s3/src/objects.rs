//! What the service is asked for objects of `canopy:storage/blobs`: with a type, notes and ranges.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use canopy_sdk::HeaderMap;
use time::format_description::well_known::Rfc2822;
use time::{OffsetDateTime, UtcOffset};

use crate::answers;
use crate::service::{
    Asked, Condition, Failure, Incoming, Service, Transport, done, held, refused,
};
use crate::signature::{Signed, encoded_path};

/// The header that keeps what has no header of its own.
const NOTES: &str = "x-amz-meta-canopy";

/// Bytes of the longest [`NOTES`]: the service takes 2 KiB with the name.
const MAX_NOTES: usize = 1800;

/// The type that says nothing.
const UNKNOWN: &str = "application/octet-stream";

/// What an object is put with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Note {
    pub content_type: Option<String>,
    /// In the order of the names.
    pub metadata: Vec<(String, String)>,
}

/// Why a note cannot be kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// The type cannot stand in a header.
    #[error("the content type {0:?} has characters that no header has")]
    ContentType(String),
    /// All of it is too long.
    #[error("the metadata take {0} bytes as S3 keeps them, which is over the limit of {MAX_NOTES}")]
    TooLong(usize),
}

impl Note {
    /// The headers that keep it.
    pub fn headers(&self) -> Result<Vec<(&'static str, String)>, Unusable> {
        let kind = self.content_type.as_deref().unwrap_or(UNKNOWN);
        if kind.is_empty() || !kind.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
            return Err(Unusable::ContentType(kind.to_owned()));
        }
        let mut headers = vec![("content-type", kind.to_owned())];
        if self.content_type.is_none() || !self.metadata.is_empty() {
            let notes = serde_json::to_vec(&(&self.content_type, &self.metadata));
            let notes = BASE64_URL_SAFE_NO_PAD.encode(notes.unwrap_or_default());
            if notes.len() > MAX_NOTES {
                return Err(Unusable::TooLong(notes.len()));
            }
            headers.push((NOTES, notes));
        }
        Ok(headers)
    }

    fn read(headers: &HeaderMap) -> Self {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let kept = text(NOTES).and_then(|notes| BASE64_URL_SAFE_NO_PAD.decode(notes).ok());
        let kept = kept.and_then(|notes| serde_json::from_slice(&notes).ok());
        if let Some((content_type, metadata)) = kept {
            return Self {
                content_type,
                metadata,
            };
        }
        Self {
            content_type: text("content-type").map(str::to_owned),
            metadata: Vec::new(),
        }
    }
}

/// What is known about an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    pub size: u64,
    /// Without the quotes that are around it in headers.
    pub etag: String,
    /// Milliseconds since 1970.
    pub modified: u64,
    pub note: Note,
}

/// An object, or the part of it that was asked for.
pub struct Found<B> {
    pub head: Head,
    pub offset: u64,
    pub length: u64,
    pub body: B,
}

/// What a request for a part of an object comes to.
pub enum Read<B> {
    Found(Found<B>),
    /// There is no such object.
    Nothing,
    /// The part begins at the object's end or after it, or is empty.
    Beyond,
}

/// Bytes of an object: from one, and to one or to the end; or so many at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Span {
    Between(u64, Option<u64>),
    Last(u64),
}

impl<T: Transport> Service<'_, T> {
    /// What is known about an object, if it is there.
    pub fn head(&self, place: &str) -> Result<Option<Head>, Failure> {
        Ok(self.heads(&[place.to_owned()])?.pop().flatten())
    }

    /// What is known about objects, in order.
    pub fn heads(&self, places: &[String]) -> Result<Vec<Option<Head>>, Failure> {
        let asked = places.iter().map(|place| Asked {
            method: "HEAD",
            object: place,
            ..Asked::default()
        });
        let answers = self.many(asked.collect())?;
        let heads = answers.into_iter().map(|answer| match answer.status {
            404 => Ok(None),
            _ => {
                done(&answer)?;
                head(&answer).map(Some)
            }
        });
        heads.collect()
    }

    /// Reads an object, or a part of it.
    pub fn read(&self, place: &str, span: Option<Span>) -> Result<Read<T::Body>, Failure> {
        let range = span.map(|span| match span {
            Span::Between(from, Some(to)) => format!("bytes={from}-{to}"),
            Span::Between(from, None) => format!("bytes={from}-"),
            Span::Last(length) => format!("bytes=-{length}"),
        });
        let asked = Asked {
            method: "GET",
            object: place,
            headers: range.map(|range| ("range", range)).into_iter().collect(),
            ..Asked::default()
        };
        match self.fetch(&asked)? {
            Ok(answer) => found(answer).map(Read::Found),
            Err(answer) if answer.status == 416 => Ok(Read::Beyond),
            Err(answer) => match refused(&answer) {
                Failure::Refused { code, .. } if code == "NoSuchKey" => Ok(Read::Nothing),
                failure => Err(failure),
            },
        }
    }

    /// Writes an object; its tag, or nothing if the condition does not hold.
    pub fn write(
        &self,
        place: &str,
        body: Vec<u8>,
        note: &[(&'static str, String)],
        condition: Condition<'_>,
    ) -> Result<Option<String>, Failure> {
        let answer = self.one(Asked {
            method: "PUT",
            object: place,
            headers: note.iter().cloned().chain(condition.header()).collect(),
            body: body.into(),
            once: condition != Condition::Always,
            ..Asked::default()
        })?;
        held(answer, condition)?
            .map(|answer| tag(&answer))
            .transpose()
    }

    /// Removes an object as long as it has this tag; whether it had.
    pub fn delete_unchanged(&self, place: &str, etag: &str) -> Result<bool, Failure> {
        let condition = Condition::Unchanged(etag);
        let answer = self.one(Asked {
            method: "DELETE",
            object: place,
            headers: condition.header().into_iter().collect(),
            once: true,
            ..Asked::default()
        })?;
        Ok(held(answer, condition)?.is_some())
    }

    /// Copies an object with its notes; whether it was there.
    pub fn copy(&self, source: &str, target: &str) -> Result<bool, Failure> {
        let from = format!("/{}/{source}", self.settings.bucket);
        let answer = self.one(Asked {
            method: "PUT",
            object: target,
            headers: vec![("x-amz-copy-source", encoded_path(&from))],
            ..Asked::default()
        })?;
        if answer.status == 404 {
            return match refused(&answer) {
                Failure::Refused { code, .. } if code == "NoSuchKey" => Ok(false),
                failure => Err(failure),
            };
        }
        done(&answer)?;
        // It may fail after it has answered that it goes well.
        let text = String::from_utf8_lossy(&answer.body);
        match answers::copied(&text) {
            Some(_) => Ok(true),
            None => Err(refused(&answer)),
        }
    }

    /// An address by which whoever has it may do `method` to an object for `seconds`.
    pub fn presign(
        &self,
        (scheme, authority): &(String, String),
        method: &'static str,
        place: &str,
        query: &[(&str, &str)],
        headers: &[(&'static str, String)],
        seconds: u32,
    ) -> Result<String, Failure> {
        let mut settings = self.settings.clone();
        settings.authority.clone_from(authority);
        let (host, path) = (settings.host(), settings.path(place));
        let request = Signed {
            method,
            host: &host,
            path: &path,
            query,
            headers,
            body: b"",
        };
        let query = self
            .signer()
            .presign(request, seconds, self.transport.now());
        let query = query.map_err(|_| Failure::Confused)?;
        Ok(format!("{scheme}://{host}{}?{query}", encoded_path(&path)))
    }
}

/// The tag of what was written.
pub fn tag(answer: &Incoming) -> Result<String, Failure> {
    Ok(unquoted(answer.header("etag").ok_or(Failure::Confused)?))
}

/// A tag without its quotes.
pub fn unquoted(etag: &str) -> String {
    etag.trim_matches('"').to_owned()
}

fn length<B>(answer: &Incoming<B>) -> Option<u64> {
    answer.header("content-length")?.parse().ok()
}

fn described<B>(answer: &Incoming<B>, size: u64) -> Result<Head, Failure> {
    let etag = answer.header("etag").ok_or(Failure::Confused)?;
    let modified = answer.header("last-modified").and_then(moment);
    Ok(Head {
        size,
        etag: unquoted(etag),
        modified: modified.unwrap_or(0),
        note: Note::read(&answer.headers),
    })
}

fn head(answer: &Incoming) -> Result<Head, Failure> {
    described(answer, length(answer).ok_or(Failure::Confused)?)
}

fn found<B>(answer: Incoming<B>) -> Result<Found<B>, Failure> {
    let length = length(&answer).ok_or(Failure::Confused)?;
    let (offset, size) = match answer.header("content-range") {
        None => (0, length),
        Some(range) => span(range).ok_or(Failure::Confused)?,
    };
    Ok(Found {
        head: described(&answer, size)?,
        offset,
        length,
        body: answer.body,
    })
}

/// Where in the object an answer begins, and the size of the whole: `bytes 2-4/10`.
fn span(text: &str) -> Option<(u64, u64)> {
    let (range, size) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (from, _) = range.split_once('-')?;
    Some((from.parse().ok()?, size.parse().ok()?))
}

/// The moment of a header, in milliseconds since 1970.
fn moment(text: &str) -> Option<u64> {
    // HTTP says GMT where the format of mail wants an offset.
    let text = text.replace("GMT", "+0000");
    let moment = OffsetDateTime::parse(&text, &Rfc2822).ok()?;
    let seconds = moment.to_offset(UtcOffset::UTC).unix_timestamp();
    u64::try_from(seconds).ok()?.checked_mul(1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(note: &Note) -> Note {
        let headers = note.headers().unwrap();
        let headers = headers.into_iter().map(|(name, value)| {
            (
                canopy_sdk::HeaderName::from_static(name),
                value.parse().unwrap(),
            )
        });
        Note::read(&headers.collect())
    }

    #[test]
    fn notes_come_back_as_they_were() {
        let metadata = vec![
            ("Größe".to_owned(), "1\n2".to_owned()),
            (String::new(), String::new()),
        ];
        for note in [
            Note::default(),
            Note {
                content_type: Some("text/plain; charset=utf-8".to_owned()),
                metadata: Vec::new(),
            },
            Note {
                content_type: None,
                metadata: metadata.clone(),
            },
            Note {
                content_type: Some("a/b".to_owned()),
                metadata,
            },
        ] {
            assert_eq!(kept(&note), note);
        }
    }

    #[test]
    fn notes_that_no_header_takes_are_refused() {
        let mut note = Note::default();
        for wrong in ["", "a\r\nx: y", "text/plain\0", "ü/b"] {
            note.content_type = Some(wrong.to_owned());
            assert_eq!(
                note.headers(),
                Err(Unusable::ContentType(wrong.to_owned())),
                "{wrong:?}"
            );
        }
        note.content_type = None;
        note.metadata = vec![("x".repeat(2000), String::new())];
        assert!(matches!(note.headers(), Err(Unusable::TooLong(_))));
    }

    #[test]
    fn ranges_and_times_of_answers_are_read() {
        assert_eq!(span("bytes 2-4/10"), Some((2, 10)));
        for wrong in ["", "bytes */10", "bytes 2-4/*", "2-4/10"] {
            assert_eq!(span(wrong), None, "{wrong}");
        }
        assert_eq!(moment("Thu, 01 Jan 1970 00:00:02 GMT"), Some(2000));
        assert_eq!(moment("yesterday"), None);
    }
}
