//! `wasi:keyvalue`: keys and values of one bucket on the server.

use buckets::{Fault, KeyValue, Page, check_count, check_key, check_value};
use canopy_sdk::{identity, log};

use crate::connection::{Failure, Repeat, exchange};
use crate::keys::{Keys, MAX_BATCH};
use crate::resp::Reply;
use crate::settings::Settings;

/// How many keys the server is asked for at once when listing.
const PAGE: &[u8] = b"500";

/// Sets a value if that stored is the expected one (a flag says whether there is one), and says whether
/// it was.
const SWAP: &[u8] = b"local stored = redis.call('GET', KEYS[1]) \
    if ARGV[1] == '0' and stored or ARGV[1] == '1' and stored ~= ARGV[2] then return 0 end \
    redis.call('SET', KEYS[1], ARGV[3]) \
    redis.call('SADD', KEYS[2], ARGV[4]) \
    return 1";

/// A bucket of the installation that opened it.
#[derive(Clone)]
pub struct Opened {
    settings: Settings,
    keys: Keys,
    installation: String,
}

impl From<Failure> for Fault {
    fn from(failure: Failure) -> Self {
        log::error!("{failure}");
        Self::Other(failure.to_string())
    }
}

impl KeyValue for Opened {
    type Found = Vec<u8>;

    fn open(identifier: &str) -> Result<Self, Fault> {
        let settings = Settings::read()?;
        let installation = identity::installation().ok_or(Fault::AccessDenied)?;
        let keys = Keys::of(
            &settings.key_prefix,
            &identity::tenant().id,
            &installation.id,
            identifier,
        )
        .ok_or(Fault::NoSuchStore)?;
        Ok(Self {
            settings,
            keys,
            installation: installation.id,
        })
    }

    fn check_caller(&self) -> Result<(), Fault> {
        buckets::check_caller(&self.installation)
    }

    fn find(&self, key: &str) -> Result<Option<Vec<u8>>, Fault> {
        let key = self.place(key)?;
        match self.one(&[b"GET", &key], Repeat::Harmless)? {
            Reply::Bulk(value) => Ok(value),
            _ => Err(Failure::Confused.into()),
        }
    }

    fn set(&self, key: &str, value: &[u8]) -> Result<(), Fault> {
        check_value(value)?;
        let (place, index) = (self.place(key)?, self.keys.index());
        self.transaction(
            &[&[b"SET", &place, value], &[b"SADD", &index, key.as_bytes()]],
            Repeat::Harmless,
        )
        .map(drop)
    }

    fn delete(&self, key: &str) -> Result<(), Fault> {
        let (place, index) = (self.place(key)?, self.keys.index());
        self.transaction(
            &[&[b"DEL", &place], &[b"SREM", &index, key.as_bytes()]],
            Repeat::Harmless,
        )
        .map(drop)
    }

    fn exists(&self, key: &str) -> Result<bool, Fault> {
        let key = self.place(key)?;
        match self.one(&[b"EXISTS", &key], Repeat::Harmless)? {
            Reply::Integer(count) => Ok(count > 0),
            _ => Err(Failure::Confused.into()),
        }
    }

    /// The server's own cursor is passed on. It may name a key twice if keys are written while the
    /// listing goes on, but leaves out none that was there all the time.
    fn page(&self, cursor: Option<u64>) -> Result<Page<u64>, Fault> {
        self.check_caller()?;
        let index = self.keys.index();
        let mut cursor = cursor.unwrap_or(0);
        loop {
            let from = cursor.to_string();
            let command: [&[u8]; 5] = [b"SSCAN", &index, from.as_bytes(), b"COUNT", PAGE];
            let (next, keys) = scanned(self.one(&command, Repeat::Harmless)?)?;
            // A page may be empty without being the last.
            if next == 0 || !keys.is_empty() {
                let cursor = (next != 0).then_some(next);
                return Ok(Page { keys, cursor });
            }
            cursor = next;
        }
    }

    /// Redis counts in signed 64-bit numbers and refuses to go beyond them, leaving the value as it
    /// was.
    fn increment(&self, key: &str, delta: i64) -> Result<i64, Fault> {
        let (place, index) = (self.place(key)?, self.keys.index());
        let delta = delta.to_string();
        let replies = self.transaction(
            &[
                &[b"INCRBY", &place, delta.as_bytes()],
                &[b"SADD", &index, key.as_bytes()],
            ],
            Repeat::Never,
        )?;
        match replies.first() {
            Some(Reply::Integer(sum)) => Ok(*sum),
            _ => Err(Failure::Confused.into()),
        }
    }

    fn swap(&self, key: &str, expected: Option<&Vec<u8>>, value: &[u8]) -> Result<bool, Fault> {
        check_value(value)?;
        let (place, index) = (self.place(key)?, self.keys.index());
        let flag: &[u8] = if expected.is_some() { b"1" } else { b"0" };
        let expected = expected.map_or(&[][..], Vec::as_slice);
        let command = [
            b"EVAL",
            SWAP,
            b"2",
            &place,
            &index,
            flag,
            expected,
            value,
            key.as_bytes(),
        ];
        match self.one(&command, Repeat::Never)? {
            Reply::Integer(done) => Ok(done == 1),
            _ => Err(Failure::Confused.into()),
        }
    }

    fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Vec<u8>>>, Fault> {
        check_count(keys.len(), MAX_BATCH)?;
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let places = self.places(keys)?;
        let command = command(b"MGET", &places);
        let Reply::Array(Some(values)) = self.one(&command, Repeat::Harmless)? else {
            return Err(Failure::Confused.into());
        };
        if values.len() != keys.len() {
            return Err(Failure::Confused.into());
        }
        let value = |reply| match reply {
            Reply::Bulk(value) => Ok(value),
            _ => Err(Failure::Confused.into()),
        };
        values.into_iter().map(value).collect()
    }

    /// All or none: the server does it in one transaction.
    fn set_many(&self, key_values: Vec<(String, Vec<u8>)>) -> Result<(), Fault> {
        check_count(key_values.len(), MAX_BATCH)?;
        if key_values.is_empty() {
            return Ok(());
        }
        let mut pairs = Vec::with_capacity(key_values.len() * 2);
        let mut names = vec![self.keys.index()];
        for (key, value) in key_values {
            check_value(&value)?;
            pairs.push(self.place(&key)?);
            pairs.push(value);
            names.push(key.into_bytes());
        }
        let commands = [command(b"MSET", &pairs), command(b"SADD", &names)];
        self.transaction(&[&commands[0], &commands[1]], Repeat::Harmless)
            .map(drop)
    }

    /// All or none: the server does it in one transaction.
    fn delete_many(&self, keys: Vec<String>) -> Result<(), Fault> {
        check_count(keys.len(), MAX_BATCH)?;
        if keys.is_empty() {
            return Ok(());
        }
        let places = self.places(&keys)?;
        let mut names = vec![self.keys.index()];
        names.extend(keys.into_iter().map(String::into_bytes));
        let commands = [command(b"DEL", &places), command(b"SREM", &names)];
        self.transaction(&[&commands[0], &commands[1]], Repeat::Harmless)
            .map(drop)
    }
}

impl Opened {
    /// Where the value of `key` is on the server.
    fn place(&self, key: &str) -> Result<Vec<u8>, Fault> {
        self.check_caller()?;
        check_key(key)?;
        Ok(self.keys.value(key))
    }

    fn places(&self, keys: &[String]) -> Result<Vec<Vec<u8>>, Fault> {
        keys.iter().map(|key| self.place(key)).collect()
    }

    fn one(&self, command: &[&[u8]], repeat: Repeat) -> Result<Reply, Fault> {
        let reply = exchange(&self.settings, &[command], repeat)?.pop();
        Ok(accepted(reply.ok_or(Failure::Confused)?)?)
    }

    /// Does `commands` with nobody in between, and returns their answers.
    fn transaction(&self, commands: &[&[&[u8]]], repeat: Repeat) -> Result<Vec<Reply>, Fault> {
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

/// What `SSCAN` answers: the next cursor and the members found.
fn scanned(reply: Reply) -> Result<(u64, Vec<String>), Failure> {
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

pub fn accepted(reply: Reply) -> Result<Reply, Failure> {
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
