//! Sends server-sent events by WASI 0.2, `?ms=` apart, as long as somebody takes them.

use std::io::{self, Read};
use std::time::Duration;

use canopy_sdk::{Body, Query, Router, get};
use serde::Deserialize;

#[derive(Deserialize)]
struct Apart {
    ms: u64,
}

#[canopy_sdk::app]
fn app() -> Router {
    Router::new().route("/", get(events))
}

fn events(Query(apart): Query<Apart>) -> ([(&'static str, &'static str); 1], Body) {
    let ticks = Ticks {
        apart: Duration::from_millis(apart.ms),
        count: 0,
    };
    (
        [("content-type", "text/event-stream")],
        Body::from_reader(ticks),
    )
}

/// An event for each time that it is read, after a while.
struct Ticks {
    apart: Duration,
    count: u64,
}

impl Read for Ticks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.count > 0 {
            std::thread::sleep(self.apart);
        }
        self.count += 1;
        let event = format!("id: {}\ndata: tick\n\n", self.count);
        buffer[..event.len()].copy_from_slice(event.as_bytes());
        Ok(event.len())
    }
}
