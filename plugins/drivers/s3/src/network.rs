//! How requests get to the service.

use std::io::{self, Read};
use std::rc::Rc;
use std::time::Duration;

use canopy_sdk::{Body, Method, client};
use time::OffsetDateTime;

use crate::service::{Incoming, Outgoing, Transport};
use crate::settings::Settings;

/// The longest answer that is read at once: a value of the largest size, or a page of names, with
/// room.
const MAX_ANSWER: usize = 4 << 20;

/// The network as the platform lets the driver reach it.
pub struct Network {
    timeout: Duration,
}

impl Network {
    /// With the time limits of the settings.
    pub fn of(settings: &Settings) -> Self {
        Self {
            timeout: settings.timeout,
        }
    }
}

impl Transport for Network {
    type Body = Body;

    fn exchange(&self, requests: Vec<Outgoing>) -> Vec<Result<Incoming, client::Error>> {
        let begun: Vec<_> = requests
            .into_iter()
            .map(|request| self.begin(request))
            .collect();
        begun
            .into_iter()
            .map(|begun| {
                let answer = received(begun?)?;
                Ok(Incoming {
                    status: answer.status,
                    headers: answer.headers,
                    body: answer.body.read_to_vec(MAX_ANSWER)?,
                })
            })
            .collect()
    }

    fn fetch(&self, request: Outgoing) -> Result<Incoming<Body>, client::Error> {
        received(self.begin(request)?)
    }

    fn pause(&self, attempt: u32) {
        std::thread::sleep(Duration::from_millis(50) * 2_u32.pow(attempt));
    }

    fn now(&self) -> OffsetDateTime {
        OffsetDateTime::now_utc()
    }
}

impl Network {
    fn begin(&self, request: Outgoing) -> Result<client::Pending, client::Error> {
        let method = Method::from_bytes(request.method.as_bytes())
            .map_err(|error| client::Error::Malformed(error.to_string()))?;
        let mut call = client::request(method, request.url).timeout(self.timeout);
        for (name, value) in request.headers {
            call = call.header(name, value);
        }
        if matches!(request.method, "PUT" | "POST") {
            // An object may be empty, and its length must be told all the same.
            call = call.header("content-length", request.body.len());
        }
        if request.body.is_empty() {
            return call.begin();
        }
        call.body(Body::from_reader(Shared {
            bytes: request.body,
            read: 0,
        }))
        .begin()
    }
}

fn received(begun: client::Pending) -> Result<Incoming<Body>, client::Error> {
    let reply = begun.wait()?;
    Ok(Incoming {
        status: reply.status.as_u16(),
        headers: reply.headers,
        body: reply.body,
    })
}

/// Bytes that are kept, for they may have to be sent again.
struct Shared {
    bytes: Rc<Vec<u8>>,
    read: usize,
}

impl Read for Shared {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.bytes[self.read..].as_ref().read(buffer)?;
        self.read += read;
        Ok(read)
    }
}
