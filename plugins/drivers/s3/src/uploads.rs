//! Uploads in parts, as the service has them.

use std::fmt::Write as _;

use crate::answers::{self, Part, Upload};
use crate::objects::{tag, unquoted};
use crate::service::{
    Asked, Condition, Failure, Incoming, Service, Transport, done, held, refused,
};

/// What became of an operation on an upload.
pub enum Outcome<T> {
    Done(T),
    /// There is no such upload any more.
    NoUpload,
    /// The parts are not those that are there, or too small; the text is the service's.
    WrongParts(String),
    /// The condition does not hold.
    Unheld,
}

impl<T: Transport> Service<'_, T> {
    /// Begins an upload and returns its identifier.
    pub fn begin(&self, place: &str, note: &[(&'static str, String)]) -> Result<String, Failure> {
        let answer = self.one(Asked {
            method: "POST",
            object: place,
            query: &[("uploads", "")],
            headers: note.to_vec(),
            ..Asked::default()
        })?;
        done(&answer)?;
        answers::begun(&text(&answer)).ok_or(Failure::Confused)
    }

    /// Puts a part and returns its tag.
    pub fn put_part(
        &self,
        place: &str,
        upload: &str,
        number: u32,
        body: Vec<u8>,
    ) -> Result<Outcome<String>, Failure> {
        let number = number.to_string();
        let answer = self.one(Asked {
            method: "PUT",
            object: place,
            query: &[("partNumber", &number), ("uploadId", upload)],
            body: body.into(),
            ..Asked::default()
        })?;
        outcome(answer)?.map(|answer| tag(&answer))
    }

    /// Makes the object of the parts and returns its tag.
    pub fn complete(
        &self,
        place: &str,
        upload: &str,
        parts: &[(u32, String)],
        condition: Condition<'_>,
    ) -> Result<Outcome<String>, Failure> {
        let mut body =
            "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">"
                .to_owned();
        for (number, etag) in parts {
            // Tags of this service are letters and digits; what is none is no part's.
            let sound = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
            if etag.is_empty() || !etag.bytes().all(sound) {
                return Ok(Outcome::WrongParts(format!(
                    "part {number} has no tag {etag:?}"
                )));
            }
            // Writing to a string does not fail.
            let _ = write!(
                body,
                "<Part><PartNumber>{number}</PartNumber><ETag>\"{etag}\"</ETag></Part>"
            );
        }
        body.push_str("</CompleteMultipartUpload>");
        let answer = self.one(Asked {
            method: "POST",
            object: place,
            query: &[("uploadId", upload)],
            headers: condition.header().into_iter().collect(),
            body: body.into_bytes().into(),
            // After the first time there is no such upload any more.
            once: true,
        })?;
        let Some(answer) = held_or_refused(answer, condition)? else {
            return Ok(Outcome::Unheld);
        };
        outcome(answer)?.map(|answer| {
            // It may fail after it has answered that it goes well.
            match answers::completed(&text(&answer)) {
                Some(etag) => Ok(unquoted(&etag)),
                None => Err(refused(&answer)),
            }
        })
    }

    /// Forgets an upload and its parts.
    pub fn abort(&self, place: &str, upload: &str) -> Result<Outcome<()>, Failure> {
        let answer = self.one(Asked {
            method: "DELETE",
            object: place,
            query: &[("uploadId", upload)],
            ..Asked::default()
        })?;
        outcome(answer)?.map(|_| Ok(()))
    }

    /// At most `most` parts after the one of that number, and whether there are more.
    pub fn parts(
        &self,
        place: &str,
        upload: &str,
        after: u32,
        most: u32,
    ) -> Result<Outcome<(Vec<Part>, bool)>, Failure> {
        let (after, most) = (after.to_string(), most.to_string());
        let answer = self.one(Asked {
            method: "GET",
            object: place,
            query: &[
                ("max-parts", &most),
                ("part-number-marker", &after),
                ("uploadId", upload),
            ],
            ..Asked::default()
        })?;
        outcome(answer)?.map(|answer| answers::parts(&text(&answer)).ok_or(Failure::Confused))
    }

    /// The uploads of objects whose names begin so.
    pub fn uploads(&self, prefix: &str) -> Result<Vec<Upload>, Failure> {
        let answer = self.one(Asked {
            method: "GET",
            query: &[("prefix", prefix), ("uploads", "")],
            ..Asked::default()
        })?;
        done(&answer)?;
        answers::uploads(&text(&answer)).ok_or(Failure::Confused)
    }
}

impl<T> Outcome<T> {
    fn map<R>(self, read: impl FnOnce(T) -> Result<R, Failure>) -> Result<Outcome<R>, Failure> {
        Ok(match self {
            Self::Done(done) => Outcome::Done(read(done)?),
            Self::NoUpload => Outcome::NoUpload,
            Self::WrongParts(text) => Outcome::WrongParts(text),
            Self::Unheld => Outcome::Unheld,
        })
    }
}

fn text(answer: &Incoming) -> String {
    String::from_utf8_lossy(&answer.body).into_owned()
}

/// The answer, unless it says that the condition does not hold.
fn held_or_refused(
    answer: Incoming,
    condition: Condition<'_>,
) -> Result<Option<Incoming>, Failure> {
    match answer.status {
        409 | 412 => held(answer, condition),
        _ => Ok(Some(answer)),
    }
}

fn outcome(answer: Incoming) -> Result<Outcome<Incoming>, Failure> {
    if answer.status < 300 {
        return Ok(Outcome::Done(answer));
    }
    match refused(&answer) {
        Failure::Refused { code, .. } if code == "NoSuchUpload" => Ok(Outcome::NoUpload),
        Failure::Refused { code, message, .. }
            if matches!(
                code.as_str(),
                "InvalidPart" | "InvalidPartOrder" | "EntityTooSmall"
            ) =>
        {
            Ok(Outcome::WrongParts(format!("{code}: {message}")))
        }
        failure => Err(failure),
    }
}
