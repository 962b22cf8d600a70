//! Sends a head and `?bytes=N` bytes of a body and breaks down then.

use std::io::{self, Read};

use canopy_sdk::{Body, Query, Router, any};
use serde::Deserialize;

#[derive(Deserialize)]
struct Before {
    #[serde(default = "some")]
    bytes: usize,
}

fn some() -> usize {
    1000
}

#[canopy_sdk::app]
fn app() -> Router {
    Router::new().route(
        "/",
        any(|Query(before): Query<Before>| Body::from_reader(Faulty(before.bytes))),
    )
}

/// Yields so many bytes and then panics.
struct Faulty(usize);

impl Read for Faulty {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        assert!(self.0 > 0, "this guest gives up in the middle on purpose");
        let count = self.0.min(buffer.len());
        buffer[..count].fill(b'x');
        self.0 -= count;
        Ok(count)
    }
}
