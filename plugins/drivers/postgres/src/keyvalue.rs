//! `wasi:keyvalue`: each value is a row.

use std::collections::{BTreeMap, HashMap};

use buckets::{Fault, KeyValue, Page, check_count, check_key, check_value, other};
use canopy_sdk::{identity, log};

use crate::connection::{Failure, Repeat, execute};
use crate::rows::{MAX_BATCH, Owner, PAGE, Statement};
use crate::session::{Row, Value};
use crate::settings::Settings;
use crate::{Postgres, bindings};

buckets::drafts!(bindings, Postgres, Opened);

/// A bucket of the installation that opened it.
#[derive(Clone)]
pub struct Opened {
    settings: Settings,
    owner: Owner,
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
        let owner = Owner::of(&identity::tenant().id, &installation.id, identifier)
            .ok_or(Fault::NoSuchStore)?;
        Ok(Self { settings, owner })
    }

    fn check_caller(&self) -> Result<(), Fault> {
        buckets::check_caller(&self.owner.installation)
    }

    fn find(&self, key: &str) -> Result<Option<Vec<u8>>, Fault> {
        let key = self.key(key)?;
        let rows = self.run(Statement::Get, [Value::Bytes(key)], Repeat::Harmless)?;
        let value = rows.first().map(|row| column(row, 0)).transpose()?;
        Ok(value.map(<[u8]>::to_vec))
    }

    fn set(&self, key: &str, value: &[u8]) -> Result<(), Fault> {
        check_value(value)?;
        let parameters = [Value::Bytes(self.key(key)?), Value::Bytes(value)];
        self.run(Statement::Set, parameters, Repeat::Harmless)
            .map(drop)
    }

    fn delete(&self, key: &str) -> Result<(), Fault> {
        let key = self.key(key)?;
        self.run(Statement::Delete, [Value::Bytes(key)], Repeat::Harmless)
            .map(drop)
    }

    fn exists(&self, key: &str) -> Result<bool, Fault> {
        let key = self.key(key)?;
        let rows = self.run(Statement::Exists, [Value::Bytes(key)], Repeat::Harmless)?;
        Ok(!rows.is_empty())
    }

    /// Keys come in the order in which they were first written; the cursor is the number that the
    /// last one got then, and means the same in every bucket opened by the installation.
    fn page(&self, cursor: Option<u64>) -> Result<Page<u64>, Fault> {
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
        Ok(Page {
            keys: rows.iter().map(text).collect::<Result<_, _>>()?,
            cursor: last,
        })
    }

    fn increment(&self, key: &str, delta: i64) -> Result<i64, Fault> {
        let parameters = [Value::Bytes(self.key(key)?), Value::Integer(delta)];
        let rows = self.execute(Statement::Increment, parameters, Repeat::Never);
        let rows = rows.map_err(|failure| match &failure {
            Failure::Refused(refusal) => match refusal.code.as_str() {
                "23502" | "22P02" => other("the value of this key is not a number"),
                "22003" => other("the sum is beyond a 64-bit signed number"),
                _ => failure.into(),
            },
            _ => failure.into(),
        })?;
        let value = column(rows.first().ok_or(Failure::Confused)?, 0)?;
        let sum = std::str::from_utf8(value)
            .ok()
            .and_then(|text| text.parse().ok());
        Ok(sum.ok_or(Failure::Confused)?)
    }

    /// The server waits for whoever writes the row at the same time and looks at it again then.
    fn swap(&self, key: &str, expected: Option<&Vec<u8>>, value: &[u8]) -> Result<bool, Fault> {
        check_value(value)?;
        let (key, value) = (Value::Bytes(self.key(key)?), Value::Bytes(value));
        let written = match expected {
            None => self.run(Statement::Add, [key, value], Repeat::Never),
            Some(expected) => {
                let parameters = [key, Value::Bytes(expected), value];
                self.run(Statement::Replace, parameters, Repeat::Never)
            }
        };
        Ok(!written?.is_empty())
    }

    fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Vec<u8>>>, Fault> {
        check_count(keys.len(), MAX_BATCH)?;
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let wanted = self.keys(keys)?;
        let rows = self.run(
            Statement::GetMany,
            [Value::ListOfBytes(&wanted)],
            Repeat::Harmless,
        )?;
        let mut found = HashMap::with_capacity(rows.len());
        for row in &rows {
            found.insert(column(row, 0)?, column(row, 1)?);
        }
        let value = |key: &&[u8]| found.get(key).map(|value| value.to_vec());
        Ok(wanted.iter().map(value).collect())
    }

    /// All or none: it is one statement.
    fn set_many(&self, key_values: Vec<(String, Vec<u8>)>) -> Result<(), Fault> {
        check_count(key_values.len(), MAX_BATCH)?;
        if key_values.is_empty() {
            return Ok(());
        }
        let mut given = BTreeMap::new();
        for (key, value) in &key_values {
            check_value(value)?;
            given.insert(self.key(key)?, value.as_slice());
        }
        let (keys, values): (Vec<_>, Vec<_>) = given.into_iter().unzip();
        self.run(
            Statement::SetMany,
            [Value::ListOfBytes(&keys), Value::ListOfBytes(&values)],
            Repeat::Harmless,
        )
        .map(drop)
    }

    /// All or none: it is one statement.
    fn delete_many(&self, keys: Vec<String>) -> Result<(), Fault> {
        check_count(keys.len(), MAX_BATCH)?;
        if keys.is_empty() {
            return Ok(());
        }
        let keys = self.keys(&keys)?;
        self.run(
            Statement::DeleteMany,
            [Value::ListOfBytes(&keys)],
            Repeat::Harmless,
        )
        .map(drop)
    }
}

impl Opened {
    fn key<'a>(&self, key: &'a str) -> Result<&'a [u8], Fault> {
        self.check_caller()?;
        check_key(key)?;
        Ok(key.as_bytes())
    }

    fn keys<'a>(&self, keys: &'a [String]) -> Result<Vec<&'a [u8]>, Fault> {
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
    ) -> Result<Vec<Row>, Fault> {
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
