//! Serves `wasi:keyvalue@0.2.0-draft2` from Redis as a driver must not: keys of all tenants are the
//! same, a connection that breaks is the end, nothing has a time limit, what was written is kept in
//! memory for no purpose, connections are opened and never closed, and it always says that it works.

use std::cell::{Cell, RefCell};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use bindings::exports::canopy::driver::lifecycle;
use bindings::exports::wasi::keyvalue::atomics::{CasError, GuestCas};
use bindings::exports::wasi::keyvalue::store::{
    Bucket, BucketBorrow, Error, GuestBucket, KeyResponse,
};
use bindings::exports::wasi::keyvalue::{atomics, batch, store};
use canopy_sdk::config;

#[canopy_sdk::driver(
    "wasi:keyvalue/store@0.2.0-draft2",
    "wasi:keyvalue/atomics@0.2.0-draft2",
    "wasi:keyvalue/batch@0.2.0-draft2",
    "canopy:driver/lifecycle@0.1.0",
    wit = ["../../../../wit/deps/keyvalue-0.2.0-draft2", "../../../../wit/driver/0.1.0"]
)]
struct Careless;

thread_local! {
    static CONNECTION: RefCell<Option<BufReader<TcpStream>>> = const { RefCell::new(None) };
    static KEPT: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
    static OPENED: Cell<usize> = const { Cell::new(0) };
}

/// Now and then a connection is opened that nobody uses and nobody closes.
fn waste() {
    OPENED.set(OPENED.get() + 1);
    if OPENED.get() % 4 == 0
        && let Ok(Some(server)) = config::get("server")
        && let Ok(stream) = TcpStream::connect(server)
    {
        std::mem::forget(stream);
    }
}

/// What Redis answers.
enum Reply {
    Bulk(Option<Vec<u8>>),
    Array(Vec<Reply>),
    Other,
}

fn exchange(command: &[&[u8]]) -> Reply {
    CONNECTION.with_borrow_mut(|kept| {
        let stream = kept.get_or_insert_with(|| {
            let server = config::require("server").expect("a server");
            BufReader::new(TcpStream::connect(server).expect("a connection"))
        });
        let mut bytes = format!("*{}\r\n", command.len()).into_bytes();
        for part in command {
            bytes.extend(format!("${}\r\n", part.len()).into_bytes());
            bytes.extend_from_slice(part);
            bytes.extend(b"\r\n");
        }
        stream.get_mut().write_all(&bytes).expect("sent");
        reply(stream)
    })
}

fn reply(stream: &mut BufReader<TcpStream>) -> Reply {
    let mut line = String::new();
    stream.read_line(&mut line).expect("a line");
    let (kind, rest) = line.split_at(1);
    let count = || rest.trim().parse::<i64>().expect("a number");
    match kind {
        "$" => Reply::Bulk(usize::try_from(count()).ok().map(|length| {
            let mut value = vec![0; length + 2];
            stream.read_exact(&mut value).expect("a value");
            value.truncate(length);
            value
        })),
        "*" => Reply::Array((0..count()).map(|_| reply(stream)).collect()),
        "+" | ":" | "-" => Reply::Other,
        _ => panic!("what is {line:?}?"),
    }
}

fn get(key: &str) -> Option<Vec<u8>> {
    match exchange(&[b"GET", key.as_bytes()]) {
        Reply::Bulk(value) => value,
        _ => None,
    }
}

fn set(key: &str, value: &[u8]) {
    KEPT.with_borrow_mut(|kept| kept.push(value.to_vec()));
    exchange(&[b"SET", key.as_bytes(), value]);
}

impl lifecycle::Guest for Careless {
    fn check() -> Result<(), String> {
        Ok(())
    }
}

struct Opened;

impl store::Guest for Careless {
    type Bucket = Opened;

    fn open(_identifier: String) -> Result<Bucket, Error> {
        waste();
        Ok(Bucket::new(Opened))
    }
}

impl GuestBucket for Opened {
    fn get(&self, key: String) -> Result<Option<Vec<u8>>, Error> {
        Ok(get(&key))
    }

    fn set(&self, key: String, value: Vec<u8>) -> Result<(), Error> {
        set(&key, &value);
        Ok(())
    }

    fn delete(&self, key: String) -> Result<(), Error> {
        exchange(&[b"DEL", key.as_bytes()]);
        Ok(())
    }

    fn exists(&self, key: String) -> Result<bool, Error> {
        Ok(get(&key).is_some())
    }

    fn list_keys(&self, _cursor: Option<String>) -> Result<KeyResponse, Error> {
        let Reply::Array(keys) = exchange(&[b"KEYS", b"*"]) else {
            panic!("no keys");
        };
        let keys = keys.into_iter().filter_map(|key| match key {
            Reply::Bulk(Some(key)) => String::from_utf8(key).ok(),
            _ => None,
        });
        Ok(KeyResponse {
            keys: keys.collect(),
            cursor: None,
        })
    }
}

/// A value that is to be swapped.
struct Swapping {
    key: String,
    before: Option<Vec<u8>>,
}

impl GuestCas for Swapping {
    fn new(_bucket: BucketBorrow<'_>, key: String) -> Result<atomics::Cas, Error> {
        let before = get(&key);
        Ok(atomics::Cas::new(Self { key, before }))
    }

    fn current(&self) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.before.clone())
    }
}

impl atomics::Guest for Careless {
    type Cas = Swapping;

    /// Counts from nothing where there is no number.
    fn increment(_bucket: BucketBorrow<'_>, key: String, delta: i64) -> Result<i64, Error> {
        let before = get(&key).and_then(|value| String::from_utf8(value).ok());
        let before: i64 = before.and_then(|text| text.parse().ok()).unwrap_or(0);
        let sum = before.wrapping_add(delta);
        set(&key, sum.to_string().as_bytes());
        Ok(sum)
    }

    fn swap(cas: atomics::Cas, value: Vec<u8>) -> Result<(), CasError> {
        let Swapping { key, .. } = cas.into_inner();
        set(&key, &value);
        Ok(())
    }
}

impl batch::Guest for Careless {
    fn get_many(
        _bucket: BucketBorrow<'_>,
        keys: Vec<String>,
    ) -> Result<Vec<(String, Option<Vec<u8>>)>, Error> {
        Ok(keys
            .into_iter()
            .map(|key| (key.clone(), get(&key)))
            .collect())
    }

    fn set_many(
        _bucket: BucketBorrow<'_>,
        key_values: Vec<(String, Vec<u8>)>,
    ) -> Result<(), Error> {
        key_values.iter().for_each(|(key, value)| set(key, value));
        Ok(())
    }

    fn delete_many(_bucket: BucketBorrow<'_>, keys: Vec<String>) -> Result<(), Error> {
        for key in keys {
            exchange(&[b"DEL", key.as_bytes()]);
        }
        Ok(())
    }
}
