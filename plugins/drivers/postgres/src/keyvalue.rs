//! `wasi:keyvalue`: each value is a row.

use std::collections::{BTreeMap, HashMap};

use canopy_sdk::{config, identity, log};

use crate::Postgres;
use crate::bindings::exports::wasi::keyvalue::store::{
    Bucket, BucketBorrow, Error, GuestBucket, KeyResponse,
};
use crate::bindings::exports::wasi::keyvalue::{atomics, batch, store};
use crate::connection::{Failure, Repeat, execute};
use crate::rows::{MAX_BATCH, MAX_KEY, MAX_VALUE, Owner, PAGE, Statement};
use crate::session::{Row, Value};
use crate::settings::Settings;

/// A bucket of the installation that opened it.
pub struct Opened {
    settings: Settings,
    owner: Owner,
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

impl store::Guest for Postgres {
    type Bucket = Opened;

    fn open(identifier: String) -> Result<Bucket, Error> {
        let settings = Settings::read()?;
        let installation = identity::installation().ok_or(Error::AccessDenied)?;
        let owner = Owner::of(&identity::tenant().id, &installation.id, &identifier)
            .ok_or(Error::NoSuchStore)?;
        Ok(Bucket::new(Opened { settings, owner }))
    }
}

impl GuestBucket for Opened {
    fn get(&self, key: String) -> Result<Option<Vec<u8>>, Error> {
        let key = self.key(&key)?;
        let rows = self.run(Statement::Get, [Value::Bytes(key)], Repeat::Harmless)?;
        Ok(rows
            .first()
            .map(|row| column(row, 0))
            .transpose()?
            .map(Into::into))
    }

    fn set(&self, key: String, value: Vec<u8>) -> Result<(), Error> {
        check_value(&value)?;
        let parameters = [Value::Bytes(self.key(&key)?), Value::Bytes(&value)];
        self.run(Statement::Set, parameters, Repeat::Harmless)
            .map(drop)
    }

    fn delete(&self, key: String) -> Result<(), Error> {
        let key = self.key(&key)?;
        self.run(Statement::Delete, [Value::Bytes(key)], Repeat::Harmless)
            .map(drop)
    }

    fn exists(&self, key: String) -> Result<bool, Error> {
        let key = self.key(&key)?;
        let rows = self.run(Statement::Exists, [Value::Bytes(key)], Repeat::Harmless)?;
        Ok(!rows.is_empty())
    }

    /// Keys come in the order in which they were first written; the cursor is the number that the
    /// last one got then, and means the same in every bucket opened by the installation.
    fn list_keys(&self, cursor: Option<u64>) -> Result<KeyResponse, Error> {
        self.check_caller()?;
        // Numbers begin at one, and none is beyond the signed ones.
        let after = i64::try_from(cursor.unwrap_or(0)).unwrap_or(i64::MAX);
        let rows = self.run(Statement::List, [Value::Integer(after)], Repeat::Harmless)?;
        let last = match rows.last() {
            Some(row) if rows.len() == PAGE => Some(number(column(row, 0)?)?),
            _ => None,
        };
        let text =
            |row: &Row| String::from_utf8(column(row, 1)?.to_vec()).map_err(|_| Failure::Confused);
        Ok(KeyResponse {
            keys: rows.iter().map(text).collect::<Result<_, _>>()?,
            cursor: last,
        })
    }
}

impl atomics::Guest for Postgres {
    /// Numbers are signed and of 64 bits; a sum beyond them is refused and leaves the value as it
    /// was.
    fn increment(bucket: BucketBorrow<'_>, key: String, delta: u64) -> Result<u64, Error> {
        let bucket = bucket.get::<Opened>();
        let delta = i64::try_from(delta)
            .map_err(|_| other(format!("an increment of {delta} is over {}", i64::MAX)))?;
        let parameters = [Value::Bytes(bucket.key(&key)?), Value::Integer(delta)];
        let rows = bucket.execute(Statement::Increment, parameters, Repeat::Never);
        let rows = rows.map_err(|failure| match &failure {
            Failure::Refused(refusal) => match refusal.code.as_str() {
                "23502" | "22P02" => other("the value of this key is not a number".to_owned()),
                "22003" => other("the sum is beyond a 64-bit signed number".to_owned()),
                _ => failure.into(),
            },
            _ => failure.into(),
        })?;
        let value = column(rows.first().ok_or(Failure::Confused)?, 0)?;
        let sum = std::str::from_utf8(value)
            .ok()
            .and_then(|text| text.parse::<i64>().ok());
        let sum = sum.ok_or(Failure::Confused)?;
        u64::try_from(sum).map_err(|_| other(format!("the number is {sum}, below zero")))
    }
}

impl batch::Guest for Postgres {
    fn get_many(
        bucket: BucketBorrow<'_>,
        keys: Vec<String>,
    ) -> Result<Vec<Option<(String, Vec<u8>)>>, Error> {
        let bucket = bucket.get::<Opened>();
        check_count(keys.len())?;
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let wanted = bucket.keys(&keys)?;
        let rows = bucket.run(
            Statement::GetMany,
            [Value::ListOfBytes(&wanted)],
            Repeat::Harmless,
        )?;
        let mut found = HashMap::with_capacity(rows.len());
        for row in &rows {
            found.insert(column(row, 0)?, column(row, 1)?);
        }
        let found = |key: String| {
            let value = found.get(key.as_bytes()).map(|value| value.to_vec());
            value.map(|value| (key, value))
        };
        Ok(keys.into_iter().map(found).collect())
    }

    /// All or none: it is one statement. Of a key that is there twice the last value counts.
    fn set_many(bucket: BucketBorrow<'_>, key_values: Vec<(String, Vec<u8>)>) -> Result<(), Error> {
        let bucket = bucket.get::<Opened>();
        check_count(key_values.len())?;
        if key_values.is_empty() {
            return Ok(());
        }
        let mut given = BTreeMap::new();
        for (key, value) in &key_values {
            check_value(value)?;
            given.insert(bucket.key(key)?, value.as_slice());
        }
        let (keys, values): (Vec<_>, Vec<_>) = given.into_iter().unzip();
        bucket
            .run(
                Statement::SetMany,
                [Value::ListOfBytes(&keys), Value::ListOfBytes(&values)],
                Repeat::Harmless,
            )
            .map(drop)
    }

    /// All or none: it is one statement.
    fn delete_many(bucket: BucketBorrow<'_>, keys: Vec<String>) -> Result<(), Error> {
        let bucket = bucket.get::<Opened>();
        check_count(keys.len())?;
        if keys.is_empty() {
            return Ok(());
        }
        let keys = bucket.keys(&keys)?;
        bucket
            .run(
                Statement::DeleteMany,
                [Value::ListOfBytes(&keys)],
                Repeat::Harmless,
            )
            .map(drop)
    }
}

impl Opened {
    /// A bucket works for the installation that opened it and nobody else, whoever may hold it.
    fn check_caller(&self) -> Result<(), Error> {
        let caller = identity::installation();
        if caller.is_none_or(|caller| caller.id != self.owner.installation) {
            return Err(Error::AccessDenied);
        }
        Ok(())
    }

    fn key<'a>(&self, key: &'a str) -> Result<&'a [u8], Error> {
        self.check_caller()?;
        if key.len() > MAX_KEY {
            return Err(other(format!(
                "a key of {} bytes is over the limit of {MAX_KEY}",
                key.len()
            )));
        }
        Ok(key.as_bytes())
    }

    fn keys<'a>(&self, keys: &'a [String]) -> Result<Vec<&'a [u8]>, Error> {
        keys.iter().map(|key| self.key(key)).collect()
    }

    fn execute<const N: usize>(
        &self,
        statement: Statement,
        parameters: [Value<'_>; N],
        repeat: Repeat,
    ) -> Result<Vec<Row>, Failure> {
        execute(
            &self.settings,
            statement,
            &self.owner.with(parameters),
            repeat,
        )
    }

    fn run<const N: usize>(
        &self,
        statement: Statement,
        parameters: [Value<'_>; N],
        repeat: Repeat,
    ) -> Result<Vec<Row>, Error> {
        Ok(self.execute(statement, parameters, repeat)?)
    }
}

/// The column of a row that has no nulls.
fn column(row: &Row, index: usize) -> Result<&[u8], Failure> {
    let column = row.get(index).and_then(Option::as_deref);
    column.ok_or(Failure::Confused)
}

/// A number that is not below zero, from its binary form.
fn number(bytes: &[u8]) -> Result<u64, Failure> {
    let bytes = bytes.try_into().map_err(|_| Failure::Confused)?;
    u64::try_from(i64::from_be_bytes(bytes)).map_err(|_| Failure::Confused)
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
