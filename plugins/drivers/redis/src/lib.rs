//! Serves `wasi:keyvalue` from a Redis server.
//!
//! [`keys`] says who owns which keys, [`resp`] speaks the protocol, [`connection`] keeps the
//! connection; here are the interface's functions.

mod connection;
mod keys;
mod resp;
mod settings;

use bindings::exports::canopy::driver::lifecycle;
use bindings::exports::wasi::keyvalue::store::{
    Bucket, BucketBorrow, Error, GuestBucket, KeyResponse,
};
use bindings::exports::wasi::keyvalue::{atomics, batch, store};
use canopy_sdk::{config, identity, log};
use connection::{Failure, Repeat, exchange};
use keys::{Keys, MAX_BATCH, MAX_KEY, MAX_VALUE};
use resp::Reply;
use settings::Settings;

#[canopy_sdk::driver(
    "wasi:keyvalue/store@0.2.0-draft",
    "wasi:keyvalue/atomics@0.2.0-draft",
    "wasi:keyvalue/batch@0.2.0-draft",
    "canopy:driver/lifecycle@0.1.0",
    wit = ["../../../wit/deps/keyvalue-0.2.0-draft", "../../../wit/driver/0.1.0"]
)]
struct Redis;

impl lifecycle::Guest for Redis {
    /// Connects, signs in and chooses the database.
    fn check() -> Result<(), String> {
        let settings = Settings::read().map_err(|error| error.to_string())?;
        let ping: &[&[u8]] = &[b"PING"];
        let replies = exchange(&settings, &[ping], Repeat::Harmless);
        let reply = replies.and_then(|mut replies| replies.pop().ok_or(Failure::Confused));
        reply
            .and_then(accepted)
            .map(drop)
            .map_err(|failure| failure.to_string())
    }
}

/// How many keys the server is asked for at once when listing.
const PAGE: &[u8] = b"500";

/// A bucket of the installation that opened it.
struct Opened {
    settings: Settings,
    keys: Keys,
    installation: String,
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        log::error!("{failure}");
        Self::Other(failure.to_string())
    }
}

impl From<config::Error> for Error {
    fn from(error: config::Error) -> Self {
        log::error!("{error}");
        Self::Other(error.to_string())
    }
}

impl store::Guest for Redis {
    type Bucket = Opened;

    fn open(identifier: String) -> Result<Bucket, Error> {
        let settings = Settings::read()?;
        let installation = identity::installation().ok_or(Error::AccessDenied)?;
        let keys = Keys::of(
            &settings.key_prefix,
            &identity::tenant().id,
            &installation.id,
            &identifier,
        )
        .ok_or(Error::NoSuchStore)?;
        Ok(Bucket::new(Opened {
            settings,
            keys,
            installation: installation.id,
        }))
    }
}

impl GuestBucket for Opened {
    fn get(&self, key: String) -> Result<Option<Vec<u8>>, Error> {
        let key = self.place(&key)?;
        match self.one(&[b"GET", &key], Repeat::Harmless)? {
            Reply::Bulk(value) => Ok(value),
            _ => Err(Failure::Confused.into()),
        }
    }

    fn set(&self, key: String, value: Vec<u8>) -> Result<(), Error> {
        check_value(&value)?;
        let (place, index) = (self.place(&key)?, self.keys.index());
        self.transaction(
            &[
                &[b"SET", &place, &value],
                &[b"SADD", &index, key.as_bytes()],
            ],
            Repeat::Harmless,
        )
        .map(drop)
    }

    fn delete(&self, key: String) -> Result<(), Error> {
        let (place, index) = (self.place(&key)?, self.keys.index());
        self.transaction(
            &[&[b"DEL", &place], &[b"SREM", &index, key.as_bytes()]],
            Repeat::Harmless,
        )
        .map(drop)
    }

    fn exists(&self, key: String) -> Result<bool, Error> {
        let key = self.place(&key)?;
        match self.one(&[b"EXISTS", &key], Repeat::Harmless)? {
            Reply::Integer(count) => Ok(count > 0),
            _ => Err(Failure::Confused.into()),
        }
    }

    /// The server's own cursor is passed on. It may name a key twice if keys are written while the
    /// listing goes on, but leaves out none that was there all the time.
    fn list_keys(&self, cursor: Option<u64>) -> Result<KeyResponse, Error> {
        let index = self.keys.index();
        let mut cursor = cursor.unwrap_or(0);
        loop {
            let from = cursor.to_string();
            let command: [&[u8]; 5] = [b"SSCAN", &index, from.as_bytes(), b"COUNT", PAGE];
            let (next, keys) = page(self.one(&command, Repeat::Harmless)?)?;
            // A page may be empty without being the last.
            if next == 0 || !keys.is_empty() {
                return Ok(KeyResponse {
                    keys,
                    cursor: (next != 0).then_some(next),
                });
            }
            cursor = next;
        }
    }
}

/// What `SSCAN` answers: the next cursor and the members found.
fn page(reply: Reply) -> Result<(u64, Vec<String>), Failure> {
    let Reply::Array(Some(parts)) = reply else {
        return Err(Failure::Confused);
    };
    let [Reply::Bulk(Some(cursor)), Reply::Array(Some(members))] = parts.as_slice() else {
        return Err(Failure::Confused);
    };
    let cursor = std::str::from_utf8(cursor)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or(Failure::Confused)?;
    let members = members
        .iter()
        .map(|member| match member {
            Reply::Bulk(Some(key)) => String::from_utf8(key.clone()).map_err(|_| Failure::Confused),
            _ => Err(Failure::Confused),
        })
        .collect::<Result<_, _>>()?;
    Ok((cursor, members))
}

impl atomics::Guest for Redis {
    /// Redis counts in signed 64-bit numbers and refuses to go beyond them, leaving the value as it
    /// was.
    fn increment(bucket: BucketBorrow<'_>, key: String, delta: u64) -> Result<u64, Error> {
        let bucket = bucket.get::<Opened>();
        if i64::try_from(delta).is_err() {
            return Err(other(format!(
                "an increment of {delta} is over {}",
                i64::MAX
            )));
        }
        let (place, index) = (bucket.place(&key)?, bucket.keys.index());
        let delta = delta.to_string();
        let replies = bucket.transaction(
            &[
                &[b"INCRBY", &place, delta.as_bytes()],
                &[b"SADD", &index, key.as_bytes()],
            ],
            Repeat::Never,
        )?;
        match replies.first() {
            Some(Reply::Integer(sum)) => {
                u64::try_from(*sum).map_err(|_| other(format!("the number is {sum}, below zero")))
            }
            _ => Err(Failure::Confused.into()),
        }
    }
}

impl batch::Guest for Redis {
    fn get_many(
        bucket: BucketBorrow<'_>,
        keys: Vec<String>,
    ) -> Result<Vec<Option<(String, Vec<u8>)>>, Error> {
        let bucket = bucket.get::<Opened>();
        check_count(keys.len())?;
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let places = bucket.places(&keys)?;
        let command = command(b"MGET", &places);
        let Reply::Array(Some(values)) = bucket.one(&command, Repeat::Harmless)? else {
            return Err(Failure::Confused.into());
        };
        if values.len() != keys.len() {
            return Err(Failure::Confused.into());
        }
        keys.into_iter()
            .zip(values)
            .map(|(key, value)| match value {
                Reply::Bulk(value) => Ok(value.map(|value| (key, value))),
                _ => Err(Failure::Confused.into()),
            })
            .collect()
    }

    /// All or none: the server does it in one transaction.
    fn set_many(bucket: BucketBorrow<'_>, key_values: Vec<(String, Vec<u8>)>) -> Result<(), Error> {
        let bucket = bucket.get::<Opened>();
        check_count(key_values.len())?;
        if key_values.is_empty() {
            return Ok(());
        }
        let mut pairs = Vec::with_capacity(key_values.len() * 2);
        let mut names = vec![bucket.keys.index()];
        for (key, value) in key_values {
            check_value(&value)?;
            pairs.push(bucket.place(&key)?);
            pairs.push(value);
            names.push(key.into_bytes());
        }
        let commands = [command(b"MSET", &pairs), command(b"SADD", &names)];
        bucket
            .transaction(&[&commands[0], &commands[1]], Repeat::Harmless)
            .map(drop)
    }

    /// All or none: the server does it in one transaction.
    fn delete_many(bucket: BucketBorrow<'_>, keys: Vec<String>) -> Result<(), Error> {
        let bucket = bucket.get::<Opened>();
        check_count(keys.len())?;
        if keys.is_empty() {
            return Ok(());
        }
        let places = bucket.places(&keys)?;
        let mut names = vec![bucket.keys.index()];
        names.extend(keys.into_iter().map(String::into_bytes));
        let commands = [command(b"DEL", &places), command(b"SREM", &names)];
        bucket
            .transaction(&[&commands[0], &commands[1]], Repeat::Harmless)
            .map(drop)
    }
}

impl Opened {
    /// Where the value of `key` is on the server. A bucket works for the installation that opened
    /// it and nobody else, whoever may hold it.
    fn place(&self, key: &str) -> Result<Vec<u8>, Error> {
        let caller = identity::installation();
        if caller.is_none_or(|caller| caller.id != self.installation) {
            return Err(Error::AccessDenied);
        }
        if key.len() > MAX_KEY {
            return Err(other(format!(
                "a key of {} bytes is over the limit of {MAX_KEY}",
                key.len()
            )));
        }
        Ok(self.keys.value(key))
    }

    fn places(&self, keys: &[String]) -> Result<Vec<Vec<u8>>, Error> {
        keys.iter().map(|key| self.place(key)).collect()
    }

    fn one(&self, command: &[&[u8]], repeat: Repeat) -> Result<Reply, Error> {
        let reply = exchange(&self.settings, &[command], repeat)?.pop();
        Ok(accepted(reply.ok_or(Failure::Confused)?)?)
    }

    /// Does `commands` with nobody in between, and returns their answers.
    fn transaction(&self, commands: &[&[&[u8]]], repeat: Repeat) -> Result<Vec<Reply>, Error> {
        let begin: &[&[u8]] = &[b"MULTI"];
        let end: &[&[u8]] = &[b"EXEC"];
        let mut all = vec![begin];
        all.extend_from_slice(commands);
        all.push(end);
        let mut replies = exchange(&self.settings, &all, repeat)?;
        let done = replies.pop().ok_or(Failure::Confused)?;
        for queued in replies {
            accepted(queued)?;
        }
        match accepted(done)? {
            Reply::Array(Some(replies)) => replies
                .into_iter()
                .map(|reply| Ok(accepted(reply)?))
                .collect(),
            _ => Err(Failure::Confused.into()),
        }
    }
}

fn accepted(reply: Reply) -> Result<Reply, Failure> {
    match reply {
        Reply::Error(text) => Err(Failure::Refused(text)),
        other => Ok(other),
    }
}

fn command<'a>(name: &'a [u8], arguments: &'a [Vec<u8>]) -> Vec<&'a [u8]> {
    std::iter::once(name)
        .chain(arguments.iter().map(Vec::as_slice))
        .collect()
}

fn check_value(value: &[u8]) -> Result<(), Error> {
    if value.len() > MAX_VALUE {
        return Err(other(format!(
            "a value of {} bytes is over the limit of {MAX_VALUE}",
            value.len()
        )));
    }
    Ok(())
}

fn check_count(count: usize) -> Result<(), Error> {
    if count > MAX_BATCH {
        return Err(other(format!(
            "a batch of {count} keys is over the limit of {MAX_BATCH}"
        )));
    }
    Ok(())
}

fn other(text: String) -> Error {
    Error::Other(text)
}
