//! What the driver asks of the service: reading, writing, removing and listing objects, each as
//! signed requests, and which answers are worth another try.

use std::io::Read;
use std::rc::Rc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use canopy_sdk::{HeaderMap, client};
use md5::{Digest as _, Md5};
use time::OffsetDateTime;

use crate::answers::{self, Page};
use crate::settings::Settings;
use crate::signature::{Signed, Signer, encoded_path, encoded_query};

/// How many requests of a batch are under way at once.
pub const AT_ONCE: usize = 8;

/// Bytes of the longest refusal that is read.
const MAX_REFUSAL: u64 = 64 << 10;

/// How often a request is sent whose answer is that the service failed or is too busy.
const ATTEMPTS: u32 = 3;

/// A request as it is sent.
#[derive(Debug, Clone)]
pub struct Outgoing {
    pub method: &'static str,
    pub url: String,
    pub headers: Vec<(&'static str, String)>,
    pub body: Rc<Vec<u8>>,
}

/// An answer as it comes, with its body read or to be read.
#[derive(Debug, Clone)]
pub struct Incoming<B = Vec<u8>> {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: B,
}

impl<B> Incoming<B> {
    /// A header, if it is there and text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// What carries requests to the service.
pub trait Transport {
    /// A body that is read as it comes.
    type Body: Read + 'static;

    /// Sends `requests`, of which there are at most [`AT_ONCE`], and returns their answers in order.
    fn exchange(&self, requests: Vec<Outgoing>) -> Vec<Result<Incoming, client::Error>>;

    /// Sends a request and leaves the body of its answer to be read.
    fn fetch(&self, request: Outgoing) -> Result<Incoming<Self::Body>, client::Error>;

    /// Waits before the attempt of this number.
    fn pause(&self, attempt: u32);

    /// The time.
    fn now(&self) -> OffsetDateTime;
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The service cannot be reached, or its answer broke off.
    #[error("the S3 service cannot be used: {0}")]
    Unreachable(#[from] client::Error),
    /// The service refused.
    #[error("the S3 service refused: {status} {code}: {message}")]
    Refused {
        status: u16,
        code: String,
        message: String,
    },
    /// The answer is not one that the request has.
    #[error("the S3 service answered out of turn")]
    Confused,
}

/// On which condition an object is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition<'a> {
    /// None.
    Always,
    /// There is none of that name.
    Absent,
    /// It is as it was when it had this tag.
    Unchanged(&'a str),
}

impl Condition<'_> {
    /// The header that says it.
    pub fn header(self) -> Option<(&'static str, String)> {
        match self {
            Self::Always => None,
            Self::Absent => Some(("if-none-match", "*".to_owned())),
            Self::Unchanged(etag) => Some(("if-match", etag.to_owned())),
        }
    }
}

/// A request before it is signed.
#[derive(Debug, Default)]
pub struct Asked<'a> {
    pub method: &'static str,
    pub object: &'a str,
    pub query: &'a [(&'a str, &'a str)],
    pub headers: Vec<(&'static str, String)>,
    pub body: Rc<Vec<u8>>,
    /// Whether doing it twice is not the same as doing it once.
    pub once: bool,
}

/// The service as the settings describe it.
pub struct Service<'a, T> {
    pub settings: &'a Settings,
    pub transport: T,
}

impl<T: Transport> Service<'_, T> {
    /// The object of that name and its tag.
    pub fn get(&self, object: &str) -> Result<Option<(Vec<u8>, String)>, Failure> {
        read(self.one(get(object))?)
    }

    /// The values of objects, in order.
    pub fn get_many(&self, objects: &[String]) -> Result<Vec<Option<Vec<u8>>>, Failure> {
        let asked = objects.iter().map(|object| get(object)).collect();
        let answers = self.many(asked)?.into_iter();
        answers
            .map(|answer| Ok(read(answer)?.map(|(value, _)| value)))
            .collect()
    }

    /// Writes an object; whether the condition holds.
    pub fn put(
        &self,
        object: &str,
        value: &[u8],
        condition: Condition<'_>,
    ) -> Result<bool, Failure> {
        let mut asked = put(object, value);
        asked.headers.extend(condition.header());
        // Done twice it would meet what it wrote itself, and take that for another's.
        asked.once = condition != Condition::Always;
        Ok(held(self.one(asked)?, condition)?.is_some())
    }

    /// Writes objects.
    pub fn put_many(&self, objects: &[(String, Vec<u8>)]) -> Result<(), Failure> {
        let asked = objects.iter().map(|(object, value)| put(object, value));
        for answer in self.many(asked.collect())? {
            done(&answer)?;
        }
        Ok(())
    }

    /// Removes an object, which need not be there.
    pub fn delete(&self, object: &str) -> Result<(), Failure> {
        let asked = Asked {
            method: "DELETE",
            object,
            ..Asked::default()
        };
        done(&self.one(asked)?)
    }

    /// Removes at most 1,000 objects, which need not be there.
    pub fn delete_many(&self, objects: &[String]) -> Result<(), Failure> {
        // The names of this driver have nothing that has a meaning in XML.
        let listed: String = objects
            .iter()
            .map(|object| format!("<Object><Key>{object}</Key></Object>"))
            .collect();
        let body = format!(
            "<Delete xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Quiet>true</Quiet>{listed}</Delete>"
        );
        let answer = self.one(Asked {
            method: "POST",
            query: &[("delete", "")],
            headers: vec![
                ("content-type", "application/xml".to_owned()),
                // The service insists on it for this request.
                (
                    "content-md5",
                    BASE64_STANDARD.encode(Md5::digest(body.as_bytes())),
                ),
            ],
            body: Rc::new(body.into_bytes()),
            ..Asked::default()
        })?;
        done(&answer)?;
        // What could not be removed is in the answer, whose status is one of success.
        match answers::refusal(&String::from_utf8_lossy(&answer.body)) {
            None => Ok(()),
            Some((code, message)) => Err(Failure::Refused {
                status: answer.status,
                code,
                message,
            }),
        }
    }

    /// Whether there is an object of that name.
    pub fn exists(&self, object: &str) -> Result<bool, Failure> {
        let answer = self.one(Asked {
            method: "HEAD",
            object,
            ..Asked::default()
        })?;
        match answer.status {
            200..=299 => Ok(true),
            // An answer without a body does not say whether it is the bucket that is missing; the
            // first name that begins with this one is this one, if it is there.
            404 => Ok(self
                .list(object, None, 1)?
                .objects
                .first()
                .is_some_and(|first| first.name == object)),
            _ => Err(refused(&answer)),
        }
    }

    /// Names that begin with `prefix` and come after `after`.
    pub fn list(&self, prefix: &str, after: Option<&str>, most: usize) -> Result<Page, Failure> {
        let most = most.to_string();
        let mut query = vec![
            ("list-type", "2"),
            ("encoding-type", "url"),
            ("max-keys", most.as_str()),
            ("prefix", prefix),
        ];
        query.extend(after.map(|after| ("start-after", after)));
        let answer = self.one(Asked {
            method: "GET",
            query: &query,
            ..Asked::default()
        })?;
        done(&answer)?;
        let text = std::str::from_utf8(&answer.body).map_err(|_| Failure::Confused)?;
        answers::page(text).ok_or(Failure::Confused)
    }

    /// Sends what is asked and returns the answer.
    pub fn one(&self, asked: Asked<'_>) -> Result<Incoming, Failure> {
        self.many(vec![asked])?.pop().ok_or(Failure::Confused)
    }

    /// Sends what is asked, and leaves the body of the answer to be read if it is one of success.
    pub fn fetch(&self, asked: &Asked<'_>) -> Result<Result<Incoming<T::Body>, Incoming>, Failure> {
        let mut attempt = 1;
        loop {
            let answer = self.transport.fetch(self.signed(asked)?)?;
            if answer.status < 300 {
                return Ok(Ok(answer));
            }
            if answer.status < 500 || attempt == ATTEMPTS {
                let mut body = Vec::new();
                // A refusal whose words break off is one all the same.
                let _ = answer.body.take(MAX_REFUSAL).read_to_end(&mut body);
                return Ok(Err(Incoming {
                    status: answer.status,
                    headers: answer.headers,
                    body,
                }));
            }
            attempt += 1;
            self.transport.pause(attempt);
        }
    }

    /// Sends all that is asked and returns the answers in order.
    pub fn many(&self, asked: Vec<Asked<'_>>) -> Result<Vec<Incoming>, Failure> {
        let mut answers = Vec::with_capacity(asked.len());
        for some in asked.chunks(AT_ONCE) {
            let mut found: Vec<Option<Incoming>> = vec![None; some.len()];
            for attempt in 1..=ATTEMPTS {
                let open: Vec<usize> = (0..some.len()).filter(|n| found[*n].is_none()).collect();
                if open.is_empty() {
                    break;
                }
                if attempt > 1 {
                    self.transport.pause(attempt);
                }
                let requests = open.iter().map(|n| self.signed(&some[*n]));
                let requests = requests.collect::<Result<_, _>>()?;
                for (n, answer) in open.into_iter().zip(self.transport.exchange(requests)) {
                    let answer = answer?;
                    let again = answer.status >= 500 && !some[n].once && attempt < ATTEMPTS;
                    found[n] = (!again).then_some(answer);
                }
            }
            answers.extend(found.into_iter().flatten());
        }
        Ok(answers)
    }

    fn signed(&self, asked: &Asked<'_>) -> Result<Outgoing, Failure> {
        let settings = self.settings;
        let (host, path) = (settings.host(), settings.path(asked.object));
        let signer = self.signer();
        let request = Signed {
            method: asked.method,
            host: &host,
            path: &path,
            query: asked.query,
            headers: &asked.headers,
            body: &asked.body,
        };
        let added = signer.sign(request, self.transport.now());
        let mut headers = asked.headers.clone();
        headers.extend(added.map_err(|_| Failure::Confused)?);
        let mut url = format!("{}://{host}{}", settings.scheme, encoded_path(&path));
        if !asked.query.is_empty() {
            url.push('?');
            url.push_str(&encoded_query(asked.query));
        }
        Ok(Outgoing {
            method: asked.method,
            url,
            headers,
            body: Rc::clone(&asked.body),
        })
    }

    /// Signs with the access key of the settings.
    pub fn signer(&self) -> Signer<'_> {
        let settings = self.settings;
        Signer {
            access_key_id: &settings.access_key_id,
            secret_access_key: &settings.secret_access_key,
            session_token: settings.session_token.as_deref(),
            region: &settings.region,
        }
    }
}

fn get(object: &str) -> Asked<'_> {
    Asked {
        method: "GET",
        object,
        ..Asked::default()
    }
}

fn put<'a>(object: &'a str, value: &[u8]) -> Asked<'a> {
    Asked {
        method: "PUT",
        object,
        headers: vec![("content-type", "application/octet-stream".to_owned())],
        body: Rc::new(value.to_vec()),
        ..Asked::default()
    }
}

fn read(answer: Incoming) -> Result<Option<(Vec<u8>, String)>, Failure> {
    match answer.status {
        200 => {
            let etag = answer.header("etag").ok_or(Failure::Confused)?.to_owned();
            Ok(Some((answer.body, etag)))
        }
        404 => match refused(&answer) {
            Failure::Refused { code, .. } if code == "NoSuchKey" => Ok(None),
            failure => Err(failure),
        },
        _ => Err(refused(&answer)),
    }
}

/// What a write on a condition answered, or nothing if the condition does not hold.
pub fn held(answer: Incoming, condition: Condition<'_>) -> Result<Option<Incoming>, Failure> {
    match answer.status {
        200..=299 => Ok(Some(answer)),
        409 | 412 if condition != Condition::Always => Ok(None),
        // It has been removed meanwhile.
        404 if matches!(condition, Condition::Unchanged(_)) => match refused(&answer) {
            Failure::Refused { code, .. } if code == "NoSuchKey" => Ok(None),
            failure => Err(failure),
        },
        _ => Err(refused(&answer)),
    }
}

/// Whether the answer is one of success.
pub fn done(answer: &Incoming) -> Result<(), Failure> {
    match answer.status {
        200..=299 => Ok(()),
        _ => Err(refused(answer)),
    }
}

/// Why the service refused.
pub fn refused(answer: &Incoming) -> Failure {
    let text = String::from_utf8_lossy(&answer.body);
    let (code, message) = answers::refusal(&text).unwrap_or_default();
    Failure::Refused {
        status: answer.status,
        code,
        message,
    }
}

#[cfg(test)]
#[path = "service_tests.rs"]
mod tests;
