//! Serves `canopy:webhook/sender` by signed HTTP requests.
//!
//! [`signature`] signs, [`delivery`] says what is sent and when it is tried again; here the
//! interface, the settings and the network are joined to them.

mod delivery;
mod signature;

use std::fmt::Write as _;
use std::time::Duration;

use bindings::exports::canopy::webhook::sender::{self, Error, Receipt};
use canopy_sdk::{client, config, log};
use delivery::{Event, Failure, Outgoing, Transport};
use signature::Secret;
use time::OffsetDateTime;

#[canopy_sdk::driver("canopy:webhook/sender@0.1.0", wit = ["../../../wit/webhook/0.1.0"])]
struct Webhook;

impl From<config::Error> for Error {
    fn from(error: config::Error) -> Self {
        log::error!("{error}");
        Self::NotConfigured(error.to_string())
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        log::warn!("{failure}");
        match failure {
            Failure::Refused(status) => Self::Refused(status),
            Failure::Unavailable { .. } => Self::Unavailable(failure.to_string()),
            Failure::Setup(error) => Self::NotConfigured(error.to_string()),
        }
    }
}

impl sender::Guest for Webhook {
    fn send(event: sender::Event) -> Result<Receipt, Error> {
        let mut secrets = vec![secret(
            "signing_secret",
            config::require("signing_secret")?,
        )?];
        if let Some(old) = config::get("old_signing_secret")? {
            secrets.push(secret("old_signing_secret", old)?);
        }
        let id = match event.id {
            Some(id) => id,
            None => identifier()?,
        };
        let happened = match event.happened {
            None => OffsetDateTime::now_utc(),
            Some(seconds) => i64::try_from(seconds)
                .ok()
                .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
                .ok_or_else(|| Error::BadEvent("the time is beyond all calendars".to_owned()))?,
        };
        let event = Event::new(id, &event.kind, happened, &event.data).map_err(Error::BadEvent)?;
        let network = Network {
            url: config::require("url")?,
            pause: Duration::from_millis(config::parse_or("pause_ms", 500)?),
            timeout: Duration::from_millis(config::parse_or("timeout_ms", 5000)?),
        };
        let delivered = event.deliver(&secrets, config::parse_or("attempts", 3)?, &network)?;
        Ok(Receipt {
            id: event.id,
            status: delivered.status,
            attempts: delivered.attempts,
        })
    }
}

fn secret(key: &str, text: String) -> Result<Secret, Error> {
    Secret::read(&text).ok_or_else(|| {
        let invalid = config::Error::Invalid {
            key: key.to_owned(),
            reason: "it is not `whsec_` and 24 to 64 bytes as base64".to_owned(),
        };
        invalid.into()
    })
}

/// An identifier that no other event has.
fn identifier() -> Result<String, Error> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).map_err(|error| Error::NotConfigured(error.to_string()))?;
    let mut id = "evt_".to_owned();
    for byte in bytes {
        // Writing to a string does not fail.
        let _ = write!(id, "{byte:02x}");
    }
    Ok(id)
}

/// The network as the platform lets the driver reach it.
struct Network {
    url: String,
    pause: Duration,
    timeout: Duration,
}

impl Transport for Network {
    fn post(&self, request: &Outgoing) -> Result<u16, client::Error> {
        let mut call = client::post(self.url.as_str()).timeout(self.timeout);
        for (name, value) in &request.headers {
            call = call.header(*name, value);
        }
        // What the receiver says besides is of no concern.
        Ok(call.body(request.body.clone()).send()?.status.as_u16())
    }

    fn pause(&self, attempt: u32) {
        std::thread::sleep(self.pause * 2_u32.saturating_pow(attempt.saturating_sub(2)));
    }

    fn now(&self) -> OffsetDateTime {
        OffsetDateTime::now_utc()
    }
}
