//! Serves `acme:pipes`: takes streams of the host, reads from and writes to those that are lent, and
//! gives its own standard output away. It may have three stores, prints who is bound to it, and refuses
//! where its token is `closed`.

use std::cell::RefCell;
use std::time::Duration;

use bindings::exports::acme::pipes::pipes::Guest;
use bindings::exports::canopy::driver::bindings as bound;
use bindings::wasi::cli::stdout::get_stdout;
use bindings::wasi::io::streams::{InputStream, OutputStream, StreamError};
use canopy_sdk::config;

#[canopy_sdk::driver(
    "acme:pipes/pipes@0.1.0",
    "canopy:driver/bindings@0.2.0",
    imports = ["wasi:cli/stdout@0.2.12"],
    wit = [
        "../../../../wit/deps/io-0.2.12",
        "../../../../wit/deps/clocks-0.2.12",
        "../../../../wit/deps/random-0.2.12",
        "../../../../wit/deps/filesystem-0.2.12",
        "../../../../wit/deps/sockets-0.2.12",
        "../../../../wit/deps/cli-0.2.12",
        "../../wit/pipes/0.1.0",
        "../../../../wit/driver/0.2.0",
    ]
)]
struct Pipes;

thread_local! {
    static KEPT: RefCell<Option<InputStream>> = const { RefCell::new(None) };
}

impl bound::Guest for Pipes {
    fn on_bind(binding: bound::Binding) -> Result<(), String> {
        if config::get("token").is_ok_and(|token| token.as_deref() == Some("closed")) {
            return Err(format!("{} is one too many", binding.name));
        }
        println!(
            "bound: {} ({}) to {}",
            binding.name, binding.app, binding.bound
        );
        Ok(())
    }

    fn on_unbind(binding: bound::Binding) -> Result<(), String> {
        println!(
            "unbound: {} ({}) from {}",
            binding.name, binding.app, binding.bound
        );
        Ok(())
    }
}

impl Guest for Pipes {
    fn count(stream: InputStream) -> Result<u64, String> {
        let mut bytes = 0;
        loop {
            match stream.blocking_read(64 << 10) {
                Ok(chunk) => bytes += chunk.len() as u64,
                Err(StreamError::Closed) => return Ok(bytes),
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    fn some(stream: &InputStream, bytes: u64) -> Result<Vec<u8>, String> {
        stream
            .blocking_read(bytes)
            .map_err(|error| error.to_string())
    }

    fn line(stream: &OutputStream, text: String) -> Result<(), String> {
        let line = format!("{text}\n");
        let written = stream.blocking_write_and_flush(line.as_bytes());
        written.map_err(|error| error.to_string())
    }

    fn journal() -> OutputStream {
        get_stdout()
    }

    fn keep(stream: InputStream) {
        KEPT.set(Some(stream));
    }

    fn back() -> Option<InputStream> {
        KEPT.take()
    }

    fn nap(ms: u64) -> Result<(), String> {
        std::thread::sleep(Duration::from_millis(ms));
        Ok(())
    }

    fn token() -> Result<String, String> {
        let token = config::get("token").map_err(|error| error.to_string())?;
        Ok(token.unwrap_or_default())
    }

    fn trap(_: &InputStream) -> Result<(), String> {
        panic!("this driver gives up on purpose")
    }
}
