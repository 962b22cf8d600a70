//! Takes `?COUNT&MS` of the host by WASI 0.3 and holds it for so long: `/pin-fields` header fields,
//! `/pin-waits` calls that wait, `/pin-streams` streams and futures, `/pin-values` writes of 1 MiB that are
//! under way at once, `/pin-reads` values of 1 MiB that it reads at once and does not take, `/pin-mix` some of
//! all of these, with so many calls that wait, `/pin-nothing` nothing. `/random-huge`, `/random-for-ever`, `/many-headers` and
//! `/huge-header` ask for more than there is, `/grain` tells what the clocks say of the shortest events.
//! `/outward?PORT&SAID&GIVEN` sends a request to this machine that says of its body that it has SAID bytes
//! (`-`: nothing), and gives GIVEN, with fields in its trailers that it may not have; it tells which of them
//! the host took, and what came of it. `/pour-WAY?AUTHORITY` sends a request with such a body as `bodies.rs`
//! has ways, and `/pour-WAY` answers with one.

use std::rc::Rc;

use bindings::canopy::storage::key_value::{SetOptions, Store};
use wasip3::clocks::monotonic_clock::{self, now, wait_for};
use wasip3::clocks::system_clock;
use wasip3::http::client;
use wasip3::http::types::{ErrorCode, Fields, Method, Request, Response, Scheme};
use wasip3::random::random::get_random_bytes;
use wasip3::{spawn_local, wit_future, wit_stream};

mod bodies;

mod bindings {
    wit_bindgen::generate!({
        inline: "package guests:hostile; world hostile { import canopy:storage/key-value@0.1.0; }",
        path: "../../../../wit/storage/0.1.0",
        generate_all,
    });
}

wasip3::http::service::export!(Component);

struct Component;

impl wasip3::exports::http::handler::Guest for Component {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let target = request.get_path_with_query().unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((&target, "0&0"));
        if let Some(way) = path.strip_prefix("/pour-") {
            return Ok(match target.split_once('?') {
                Some((_, authority)) => text(bodies::send(way, authority).await),
                None => bodies::answer(way),
            });
        }
        if path == "/outward" {
            return Ok(text(outward(query).await));
        }
        let (count, ms) = query.split_once('&').expect("a number of things and of ms");
        let count: u32 = count.parse().expect("a number");
        let time = ms.parse::<u64>().expect("a number of ms") * 1_000_000;
        let mut told = "held".to_owned();
        match path {
            "/pin-fields" => {
                let held: Vec<_> = (0..count).map(|_| full_fields()).collect();
                wait_for(time).await;
                drop(held);
            }
            "/pin-waits" => {
                waits(count, time);
                wait_for(time).await;
            }
            "/pin-reads" => {
                reads(count).await;
                wait_for(time).await;
            }
            "/pin-mix" => {
                values(2).await;
                waits(count, time);
                // They begin.
                wait_for(0).await;
                let fields: Vec<_> = (0..200).map(|_| full_fields()).collect();
                reads(16).await;
                wait_for(time).await;
                drop(fields);
            }
            "/pin-streams" => {
                let pair = |_| {
                    (
                        wit_stream::new::<u8>(),
                        wit_future::new::<Result<(), ErrorCode>>(|| Ok(())),
                    )
                };
                let held: Vec<_> = (0..count).map(pair).collect();
                wait_for(time).await;
                drop(held);
            }
            "/pin-values" => {
                values(count).await;
                wait_for(time).await;
            }
            "/random-huge" => told = get_random_bytes(u64::MAX).len().to_string(),
            "/random-for-ever" => loop {
                std::hint::black_box(get_random_bytes(64 << 10));
            },
            "/many-headers" => told = many_headers(),
            "/huge-header" => {
                told = format!("{:?}", Fields::new().append("x", &vec![b'y'; 1 << 20]))
            }
            "/grain" => told = grain(),
            _ => wait_for(time).await,
        }
        Ok(text(told))
    }
}

fn text(text: String) -> Response {
    let (mut writer, body) = wit_stream::new();
    let (_, trailers) = wit_future::new(|| Ok(None));
    let (response, _) = Response::new(Fields::new(), Some(body), trailers);
    spawn_local(async move {
        writer.write_all(text.into_bytes()).await;
    });
    response
}

/// Begins like a body and goes on like a request.
const TWO_FOLD: &[u8] = b"helloGET /smuggled HTTP/1.1\r\nhost: inner\r\n\r\n";

/// In trailers one of its own, and those of the platform, of the connection and of the length.
const TRAILERS: [&str; 8] = [
    "x-own",
    "x-canopy-tenant",
    "x-canopy-depth",
    "host",
    "connection",
    "transfer-encoding",
    "te",
    "content-length",
];

async fn outward(query: &str) -> String {
    let mut numbers = query.split('&');
    let mut number = || numbers.next().expect("a port and two lengths");
    let (port, said, given) = (number(), number(), number());
    let given: usize = given.parse().expect("a number of bytes");
    let head = Fields::new();
    if said != "-" {
        head.append("content-length", said.as_bytes())
            .expect("its own word");
    }
    head.append("trailer", TRAILERS.join(", ").as_bytes())
        .expect("its own word");
    let fields = Fields::new();
    let took = |name: &&str| fields.append(name, b"1").is_ok();
    let taken: Vec<_> = TRAILERS.into_iter().filter(took).collect();
    let (mut writer, body) = wit_stream::new();
    let (last, trailers) = wit_future::new(|| Ok(None));
    let (request, _) = Request::new(head, Some(body), trailers, None);
    request
        .set_method(&Method::Post)
        .and_then(|()| request.set_scheme(Some(&Scheme::Http)))
        .and_then(|()| request.set_authority(Some(&format!("127.0.0.1:{port}"))))
        .and_then(|()| request.set_path_with_query(Some(&format!("/{said}/{given}"))))
        .expect("a request");
    spawn_local(async move {
        writer.write_all(TWO_FOLD[..given].to_vec()).await;
        drop(writer);
        let _ = last.write(Ok(Some(fields))).await;
    });
    let came = match client::send(request).await {
        Ok(answer) => answer.get_status_code().to_string(),
        Err(error) => format!("{error:?}"),
    };
    format!("took {}; {came}", taken.join(" "))
}

fn many_headers() -> String {
    let fields = Fields::new();
    for number in 0..40_000 {
        if let Err(error) = fields.append(&format!("x-{number}"), b"y") {
            return format!("{number}: {error:?}");
        }
    }
    "all".to_owned()
}

/// Of each clock the resolution that it has, and the least step that it was seen to make, in nanoseconds.
fn grain() -> String {
    let of_day = || {
        let time = system_clock::now();
        time.seconds.unsigned_abs() * 1_000_000_000 + u64::from(time.nanoseconds)
    };
    let monotonic = least_step(monotonic_clock::now);
    let wall = least_step(of_day);
    let (fine, of_day) = (
        monotonic_clock::get_resolution(),
        system_clock::get_resolution(),
    );
    format!("{fine} {monotonic}\n{of_day} {wall}\n")
}

/// Asks a clock as often as it takes to see it move a few times.
fn least_step(now: impl Fn() -> u64) -> u64 {
    let (mut last, mut least) = (now(), u64::MAX);
    for _ in 0..20 {
        let next = loop {
            let next = now();
            if next != last {
                break next;
            }
        };
        least = least.min(next.saturating_sub(last));
        last = next;
    }
    least
}

/// As large as the host lets it be: field after field, each smaller than the one before.
fn full_fields() -> Fields {
    let fields = Fields::new();
    let mut bytes = 10 << 10;
    while bytes > 8 {
        if fields.append("x-pin", &vec![b'x'; bytes]).is_err() {
            bytes /= 2;
        }
    }
    fields
}

/// So many calls that wait.
fn waits(count: u32, time: u64) {
    for _ in 0..count {
        spawn_local(wait_for(time));
    }
}

/// Begins so many readings of a value of 1 MiB, and computes while they come in.
async fn reads(count: u32) {
    let store = Rc::new(Store::open(String::new()).await.expect("a store"));
    let options = SetOptions {
        ttl_ms: None,
        condition: None,
    };
    let value = vec![b'x'; 1 << 20];
    // Where it is refused it may be there of another request.
    let _ = store.set("read".to_owned(), value, options).await;
    for _ in 0..count {
        let store = store.clone();
        spawn_local(async move {
            // Some are refused.
            let _ = store.get("read".to_owned()).await;
        });
    }
    wait_for(1_000_000).await;
    let begun = now();
    while now() - begun < 100_000_000 {
        std::hint::spin_loop();
    }
}

/// Begins so many writes and waits for none of them.
async fn values(count: u32) {
    let store = Rc::new(Store::open(String::new()).await.expect("a store"));
    for number in 0..count {
        let store = store.clone();
        spawn_local(async move {
            let options = SetOptions {
                ttl_ms: None,
                condition: None,
            };
            let value = vec![b'x'; 1 << 20];
            let _ = store.set((number % 8).to_string(), value, options).await;
        });
    }
}
