//! Load at a constant rate: `bench-load ADDRESS HOST PATH RATE SECONDS CONNECTIONS`.
//!
//! Each request has a time at which it is due, whether or not the server keeps up, and its latency
//! counts from that time, not from when a connection was free for it. So a server that stalls is
//! charged for every request that would have come meanwhile, which `wrk` leaves out. Prints JSON, in
//! milliseconds; `late` is the p99 of how late requests were begun. `successes` are those a second,
//! and `refusals` is the p99 of how long a refusal (429 or 503) took from when it was asked for.

use std::io::{Error, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// A server that says nothing for so long has failed.
const PATIENCE: Duration = Duration::from_secs(10);
/// Requests are due from so long after the start, when all connections are there.
const LEAD: Duration = Duration::from_millis(200);

#[derive(Clone)]
struct Plan {
    address: String,
    request: String,
    rate: f64,
    count: u64,
    begun: Instant,
    next: Arc<AtomicU64>,
}

#[derive(Default)]
struct Found {
    latencies: Vec<Duration>,
    late: Vec<Duration>,
    refused: Vec<Duration>,
    bad: u64,
}

/// What came of one request.
#[derive(PartialEq, Eq)]
enum Came {
    Success,
    Refusal,
    Failure,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, host, path, rate, seconds, connections] = &arguments[..] else {
        return Err("usage: bench-load ADDRESS HOST PATH RATE SECONDS CONNECTIONS".into());
    };
    let (rate, seconds): (f64, f64) = (rate.parse()?, seconds.parse()?);
    let plan = Plan {
        address: address.clone(),
        request: format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"),
        rate,
        count: (rate * seconds) as u64,
        begun: Instant::now() + LEAD,
        next: Arc::default(),
    };
    let threads: Vec<_> = (0..connections.parse()?)
        .map(|_| {
            let plan = plan.clone();
            thread::spawn(move || ask(&plan))
        })
        .collect();
    let mut all = Found::default();
    for thread in threads {
        let found = thread.join().map_err(|_| "a connection's thread failed")?;
        all.latencies.extend(found.latencies);
        all.late.extend(found.late);
        all.refused.extend(found.refused);
        all.bad += found.bad;
    }
    let took = plan.begun.elapsed().as_secs_f64();
    all.latencies.sort_unstable();
    all.late.sort_unstable();
    all.refused.sort_unstable();
    println!(
        "{{\"rate\":{:.1},\"count\":{},\"p50\":{},\"p99\":{},\"p999\":{},\"late\":{},\"successes\":{:.1},\"refusals\":{},\"bad\":{}}}",
        all.latencies.len() as f64 / took,
        all.latencies.len(),
        at(&all.latencies, 0.5),
        at(&all.latencies, 0.99),
        at(&all.latencies, 0.999),
        at(&all.late, 0.99),
        (all.latencies.len() as u64 - all.bad) as f64 / took,
        at(&all.refused, 0.99),
        all.bad,
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

/// Takes what is due next, for as long as there is something.
fn ask(plan: &Plan) -> Found {
    let mut found = Found::default();
    let mut stream = None;
    loop {
        let number = plan.next.fetch_add(1, Ordering::Relaxed);
        if number >= plan.count {
            return found;
        }
        let due = plan.begun + Duration::from_secs_f64(number as f64 / plan.rate);
        let now = Instant::now();
        if due > now {
            thread::sleep(due - now);
        }
        found.late.push(due.elapsed());
        let begun = Instant::now();
        let came = answer(&mut stream, plan).unwrap_or_else(|_| {
            stream = None;
            Came::Failure
        });
        if came == Came::Refusal {
            found.refused.push(begun.elapsed());
        }
        found.bad += u64::from(came != Came::Success);
        found.latencies.push(due.elapsed());
    }
}

/// What the answer, read whole, says. A connection that the server ended is opened anew.
fn answer(kept: &mut Option<TcpStream>, plan: &Plan) -> Result<Came, Error> {
    if kept.is_none() {
        let stream = TcpStream::connect(&plan.address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        *kept = Some(stream);
    }
    let Some(stream) = kept else {
        return Err(ErrorKind::NotConnected.into());
    };
    stream.write_all(plan.request.as_bytes())?;
    let mut bytes = Vec::new();
    let mut buffer = [0; 16 << 10];
    loop {
        let read = stream.read(&mut buffer)?;
        if read == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        bytes.extend_from_slice(&buffer[..read]);
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
            continue;
        };
        let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
        let length: usize = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length:"))
            .and_then(|value| value.trim().parse().ok())
            .ok_or_else(|| Error::other("an answer without its length"))?;
        if bytes.len() >= end + 4 + length {
            if head.contains("connection: close") {
                *kept = None;
            }
            return Ok(match head.split(' ').nth(1) {
                Some(status) if status.starts_with('2') => Came::Success,
                Some("429" | "503") => Came::Refusal,
                _ => Came::Failure,
            });
        }
    }
}
