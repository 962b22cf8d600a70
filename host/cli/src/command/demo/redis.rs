//! The demo's Redis, where the machine has one: private, with a password, and durable.

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::process::Command;

use super::super::local::child::Child;
use super::super::local::ports;
use crate::Error;
use crate::profile::write_private;

/// Its log is `redis.log`.
pub(super) const NAME: &str = "redis";
const PROGRAM: &str = "redis-server";
/// How long Redis may take to listen.
const START_LIMIT: Duration = Duration::from_secs(15);

/// A running Redis.
pub(super) struct Server {
    pub(super) port: u16,
    pub(super) password: String,
}

/// Starts Redis and waits until it listens; `None` where the machine has none.
pub(super) async fn start(dir: &Path) -> Result<Option<(Child, Server)>, Error> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    if !std::env::split_paths(&path).any(|dir| dir.join(PROGRAM).is_file()) {
        return Ok(None);
    }
    let home = dir.join("redis");
    let failed = |error: std::io::Error| Error::local(home.display(), error);
    std::fs::create_dir_all(&home).map_err(failed)?;
    let password = password(&home)?;
    let port = ports::free(ports::REDIS)?;
    let settings = home.join("redis.conf");
    let text = format!(
        "bind 127.0.0.1\nport {port}\ndir \"{}\"\nrequirepass {password}\n\
         appendonly yes\nappendfsync always\nsave \"\"\ndaemonize no\n",
        home.display()
    );
    write_private(&settings, &text).map_err(failed)?;
    let mut command = Command::new(PROGRAM);
    command.arg(&settings);
    let mut child = Child::start(NAME, dir, &mut command)?;
    let deadline = Instant::now() + START_LIMIT;
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port))
        .await
        .is_err()
    {
        if let Some(ended) = child.has_ended() {
            return Err(ended);
        }
        if Instant::now() > deadline {
            let log = dir.join("redis.log");
            return Err(Error::advised(
                "redis-server does not listen",
                format!("see {}", log.display()),
            ));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(Some((child, Server { port, password })))
}

/// The password, made at the first start.
fn password(home: &Path) -> Result<String, Error> {
    let path = home.join("password");
    if let Ok(text) = std::fs::read_to_string(&path)
        && !text.is_empty()
    {
        return Ok(text);
    }
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| Error::local("no random numbers", error))?;
    let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    write_private(&path, &text).map_err(|error| Error::local(path.display(), error))?;
    Ok(text)
}
