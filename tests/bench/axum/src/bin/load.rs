//! Load at a constant rate: `bench-load ADDRESS HOST PATH RATE SECONDS CONNECTIONS`.
//!
//! Each request has a time at which it is due, whether or not the server keeps up, and its latency
//! counts from that time, not from when a connection was free for it. So a server that stalls is
//! charged for every request that would have come meanwhile, which `wrk` leaves out. Prints JSON, in
//! milliseconds; `late` is the p99 of how late requests were begun. `successes` are those a second,
//! and `refusals` is the p99 of how long a refusal (429 or 503) took from when it was asked for.
//!
//! One thread serves all connections: with one for each, most of what is measured on a small machine
//! is how the load's own threads take turns with the server's. Where requests are due nearly as often as
//! every [`GLANCE`], no answer wakes it, but it looks that often for all that have come: otherwise it
//! would take the processor from a server on the same machine once more for every request. So a
//! latency is up to that much too long then, whoever answers.

use std::collections::VecDeque;
use std::io::{Error, ErrorKind, Read, Write};
use std::mem;
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{Timespec, epoll};

/// A server that says nothing for so long has failed.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is asked whether one has.
const LOOK: Duration = Duration::from_secs(1);
/// Requests are due from so long after the start, when all connections are there.
const LEAD: Duration = Duration::from_millis(200);
/// How often it is looked whether answers have come.
const GLANCE: Duration = Duration::from_micros(50);
/// How many connections one look at them tells of.
const EVENTS: usize = 64;

#[derive(Default)]
struct Found {
    latencies: Vec<Duration>,
    late: Vec<Duration>,
    refused: Vec<Duration>,
    bad: usize,
}

/// What came of one request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Came {
    Success,
    Refusal,
    Failure,
}

/// A request under way.
struct Asked {
    due: Instant,
    begun: Instant,
    /// What has come of the answer.
    bytes: Vec<u8>,
}

#[derive(Default)]
struct Connection {
    /// Opened when it is needed; none after the server ended it.
    stream: Option<TcpStream>,
    asked: Option<Asked>,
}

struct Load {
    address: String,
    request: String,
    poll: OwnedFd,
    connections: Vec<Connection>,
    /// Those that nothing is asked of, the longest idle first.
    idle: VecDeque<usize>,
    buffer: Box<[u8]>,
    found: Found,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, host, path, rate, seconds, connections] = &arguments[..] else {
        return Err("usage: bench-load ADDRESS HOST PATH RATE SECONDS CONNECTIONS".into());
    };
    let (rate, seconds): (f64, f64) = (rate.parse()?, seconds.parse()?);
    let connections: usize = connections.parse()?;
    let mut load = Load {
        address: address.clone(),
        request: format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"),
        poll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
        connections: (0..connections).map(|_| Connection::default()).collect(),
        idle: (0..connections).collect(),
        buffer: vec![0; 64 << 10].into(),
        found: Found::default(),
    };
    for index in 0..connections {
        load.open(index)?;
    }
    let begun = Instant::now() + LEAD;
    load.run(begun, rate, (rate * seconds) as usize)?;
    let took = begun.elapsed().as_secs_f64();
    let mut found = load.found;
    found.latencies.sort_unstable();
    found.late.sort_unstable();
    found.refused.sort_unstable();
    println!(
        "{{\"rate\":{:.1},\"count\":{},\"p50\":{},\"p99\":{},\"p999\":{},\"late\":{},\"successes\":{:.1},\"refusals\":{},\"bad\":{}}}",
        found.latencies.len() as f64 / took,
        found.latencies.len(),
        at(&found.latencies, 0.5),
        at(&found.latencies, 0.99),
        at(&found.latencies, 0.999),
        at(&found.late, 0.99),
        (found.latencies.len() - found.bad) as f64 / took,
        at(&found.refused, 0.99),
        found.bad,
    );
    Ok(())
}

/// A quantile of sorted times, in milliseconds.
fn at(sorted: &[Duration], quantile: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    let index = (sorted.len() as f64 * quantile) as usize;
    sorted
        .get(index.min(last))
        .map_or(0.0, |time| (time.as_secs_f64() * 1e6).round() / 1e3)
}

impl Load {
    /// Asks `count` times, and waits for all answers.
    fn run(&mut self, begun: Instant, rate: f64, count: usize) -> Result<(), Error> {
        let due = |number: usize| begun + Duration::from_secs_f64(number as f64 / rate);
        let mut events = Vec::with_capacity(EVENTS);
        let (mut next, mut looked) = (0, Instant::now());
        let glances = rate * GLANCE.as_secs_f64() > 0.25;
        while self.found.latencies.len() < count {
            let now = Instant::now();
            while next < count
                && due(next) <= now
                && let Some(index) = self.idle.pop_front()
            {
                self.begin(index, due(next));
                next += 1;
            }
            let mut wait = match next < count && !self.idle.is_empty() {
                true => due(next)
                    .saturating_duration_since(Instant::now())
                    .min(LOOK),
                false => LOOK,
            };
            if glances {
                thread::sleep(wait.min(GLANCE));
                wait = Duration::ZERO;
            }
            let wait = Timespec::try_from(wait).map_err(Error::other)?;
            events.clear();
            epoll::wait(
                &self.poll,
                rustix::buffer::spare_capacity(&mut events),
                Some(&wait),
            )?;
            for event in &events {
                self.take(event.data.u64() as usize);
            }
            if looked.elapsed() > LOOK {
                looked = Instant::now();
                self.give_up();
            }
        }
        Ok(())
    }

    fn open(&mut self, index: usize) -> Result<(), Error> {
        let stream = TcpStream::connect(&self.address)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let data = epoll::EventData::new_u64(index as u64);
        epoll::add(&self.poll, &stream, data, epoll::EventFlags::IN)?;
        self.connections[index].stream = Some(stream);
        Ok(())
    }

    fn begin(&mut self, index: usize, due: Instant) {
        let begun = Instant::now();
        self.found.late.push(begun.saturating_duration_since(due));
        self.connections[index].asked = Some(Asked {
            due,
            begun,
            bytes: Vec::new(),
        });
        if self.ask(index).is_err() {
            self.fail(index);
        }
    }

    fn ask(&mut self, index: usize) -> Result<(), Error> {
        if self.connections[index].stream.is_none() {
            self.open(index)?;
        }
        match &mut self.connections[index].stream {
            Some(stream) => stream.write_all(self.request.as_bytes()),
            None => Err(ErrorKind::NotConnected.into()),
        }
    }

    /// Takes what a connection has to tell.
    fn take(&mut self, index: usize) {
        match self.read(index) {
            Ok(None) => {}
            Ok(Some(came)) => self.end(index, came),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => self.fail(index),
        }
    }

    /// What came of the request when its answer is there whole. A connection that the server ended is
    /// opened anew for the next.
    fn read(&mut self, index: usize) -> Result<Option<Came>, Error> {
        let connection = &mut self.connections[index];
        let Some(stream) = &mut connection.stream else {
            return Ok(None);
        };
        let read = stream.read(&mut self.buffer)?;
        let Some(asked) = &mut connection.asked else {
            connection.stream = None;
            return Ok(None);
        };
        if read == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        asked.bytes.extend_from_slice(&self.buffer[..read]);
        let Some(end) = asked.bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
            return Ok(None);
        };
        let head = String::from_utf8_lossy(&asked.bytes[..end]).to_ascii_lowercase();
        let body = &asked.bytes[end + 4..];
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length:"))
            .and_then(|value| value.trim().parse::<usize>().ok());
        let is_whole = match length {
            Some(length) => body.len() >= length,
            None if head.contains("transfer-encoding: chunked") => body.ends_with(b"0\r\n\r\n"),
            None => return Err(Error::other("an answer without its length")),
        };
        if !is_whole {
            return Ok(None);
        }
        if head.contains("connection: close") {
            connection.stream = None;
        }
        Ok(Some(match head.split(' ').nth(1) {
            Some(status) if status.starts_with('2') => Came::Success,
            Some("429" | "503") => Came::Refusal,
            _ => Came::Failure,
        }))
    }

    fn fail(&mut self, index: usize) {
        self.connections[index].stream = None;
        self.end(index, Came::Failure);
    }

    fn end(&mut self, index: usize, came: Came) {
        let Some(asked) = mem::take(&mut self.connections[index].asked) else {
            return;
        };
        if came == Came::Refusal {
            self.found.refused.push(asked.begun.elapsed());
        }
        self.found.bad += usize::from(came != Came::Success);
        self.found.latencies.push(asked.due.elapsed());
        self.idle.push_back(index);
    }

    /// Fails what has waited for longer than anyone would.
    fn give_up(&mut self) {
        for index in 0..self.connections.len() {
            let asked = &self.connections[index].asked;
            if asked
                .as_ref()
                .is_some_and(|asked| asked.begun.elapsed() > PATIENCE)
            {
                self.fail(index);
            }
        }
    }
}
