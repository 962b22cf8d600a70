//! Takes what it can get of the host, by WASI 0.2 itself and without any SDK: `/fields`,
//! `/pollables`, `/random-huge`, `/random-for-ever`, `/many-headers`, `/huge-header`,
//! `/huge-string`, `/poll-million`, `/deep` calls the host at the deepest frame, `/fill?MIB` fills memory again and
//! again, `/scan` looks for what others left in memory, `/stain` leaves something. `/pin-fields`,
//! `/pin-names`, `/pin-copies`, `/pin-bodies`, `/pin-requests`, `/pin-pollables` and `/pin-mix` take `?COUNT&MS` of
//! the host and hold it for so long, `/pin-nothing` holds nothing. `/grain` tells what the clocks say of the
//! shortest events. And answers wrongly: `/never`, `/twice`, `/set-twice`, `/tiny`, `/head-then-trap`, `/endless`.

use wasip2::clocks::{monotonic_clock, wall_clock};
use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{
    Fields, IncomingRequest, Method, OutgoingBody, OutgoingRequest, OutgoingResponse,
    ResponseOutparam,
};
use wasip2::io::poll;
use wasip2::random::random;

struct Hostile;

wasip2::http::proxy::export!(Hostile);

const PAGE: usize = 64 << 10;

impl Guest for Hostile {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let target = request.path_with_query().unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        match path {
            "/alive" => answer(out, "alive"),
            "/fields" => answer(out, &fields()),
            "/pollables" => answer(out, &pollables(usize::MAX).len().to_string()),
            "/poll-million" => poll_many(),
            "/random-huge" => answer(out, &random::get_random_bytes(u64::MAX).len().to_string()),
            "/random-for-ever" => loop {
                std::hint::black_box(random::get_random_bytes(PAGE as u64));
            },
            "/many-headers" => answer(out, &many_headers()),
            "/huge-header" => answer(out, &huge_header(1 << 20)),
            "/huge-string" => answer(out, &huge_header(16 << 20)),
            "/deep" => answer(out, &deep(1).to_string()),
            "/fill" => fill(query.parse().unwrap_or(1)),
            "/grain" => answer(out, &grain()),
            "/stain" => answer(out, &stain()),
            "/scan" => answer(out, &scan()),
            "/pin-fields" => hold(out, query, |count| {
                (0..count).map(|_| full_fields()).collect::<Vec<_>>()
            }),
            "/pin-names" => hold(out, query, |count| {
                (0..count).map(|_| many_names()).collect::<Vec<_>>()
            }),
            "/pin-requests" => hold(out, query, requests),
            "/pin-mix" => hold(out, query, mix),
            "/pin-copies" => hold(out, query, |count| copies(&request, count)),
            "/pin-bodies" => hold(out, query, bodies),
            "/pin-pollables" => hold(out, query, pollables),
            "/pin-nothing" => hold(out, query, |_| ()),
            "/never" => {}
            "/twice" => twice(out),
            "/set-twice" => set_twice(out),
            "/tiny" => tiny(out),
            "/head-then-trap" => head_then_trap(out),
            "/endless" => endless(out),
            _ => answer(out, "hostile"),
        }
    }
}

fn begin(out: ResponseOutparam) -> OutgoingBody {
    let response = OutgoingResponse::new(Fields::new());
    let body = response.body().expect("the first");
    ResponseOutparam::set(out, Ok(response));
    body
}

fn answer(out: ResponseOutparam, text: &str) {
    let body = begin(out);
    {
        let stream = body.write().expect("the first");
        stream
            .blocking_write_and_flush(text.as_bytes())
            .expect("sent");
    }
    OutgoingBody::finish(body, None).expect("whole");
}

/// Each nearly as full as the host lets it be, and none ever dropped.
fn fields() -> String {
    let mut held = Vec::new();
    let value = vec![b'x'; 10 << 10];
    while held.len() < 1_000_000 {
        let fields = Fields::new();
        for name in ["x-1", "x-2", "x-3"] {
            fields.append(name, &value).expect("in its limit");
        }
        held.push(fields);
    }
    held.len().to_string()
}

/// Takes what `take` gives and keeps it for a while, waiting in the host.
fn hold<T>(out: ResponseOutparam, query: &str, take: impl FnOnce(usize) -> T) {
    let (count, ms) = query.split_once('&').expect("a number of things and of ms");
    let taken = take(count.parse().expect("a number"));
    let ms: u64 = ms.parse().expect("a number of ms");
    monotonic_clock::subscribe_duration(ms * 1_000_000).block();
    drop(taken);
    answer(out, "held");
}

/// Nearly as large as the host lets it be; beyond that it would trap.
fn full_fields() -> Fields {
    let fields = Fields::new();
    for bytes in [10 << 10, 10 << 10, 10 << 10, 1500] {
        fields
            .append("x-pin", &vec![b'x'; bytes])
            .expect("in its limit");
    }
    fields
}

/// As many small fields as there may be in one set: for each the host keeps more than its bytes.
fn many_names() -> Fields {
    let fields = Fields::new();
    for number in 0..400 {
        fields
            .append(&format!("{number:x}"), b"")
            .expect("in its limit");
    }
    fields
}

/// Requests that are never sent, with long names for what they are.
fn requests(count: usize) -> Vec<OutgoingRequest> {
    let (method, authority) = ("M".repeat(64 << 10), "a".repeat(64 << 10));
    let request = |_| {
        let request = OutgoingRequest::new(Fields::new());
        request
            .set_method(&Method::Other(method.clone()))
            .expect("a method");
        request
            .set_authority(Some(&authority))
            .expect("an authority");
        request
    };
    (0..count).map(request).collect()
}

/// Of each kind a part: bodies, which are never refused, first, and what traps where it is too much last.
fn mix(count: usize) -> impl Sized {
    let bodies = bodies(40);
    let pollables = pollables(20);
    let fields: Vec<_> = (0..count).map(|_| full_fields()).collect();
    (bodies, pollables, fields)
}

/// Copies of the request's own fields, each a little different, so that each is one.
fn copies(request: &IncomingRequest, count: usize) -> Vec<Fields> {
    let fields = request.headers();
    let copy = |_| {
        let copy = fields.clone();
        copy.delete("x-one-less").expect("a copy can be changed");
        copy
    };
    (0..count).map(copy).collect()
}

/// Bodies of responses that are never sent, each with as much in it as the host takes.
fn bodies(count: usize) -> Vec<(OutgoingResponse, OutgoingBody)> {
    let piece = vec![b'x'; 1 << 20];
    let body = |_| {
        let response = OutgoingResponse::new(Fields::new());
        let body = response.body().expect("the first");
        let stream = body.write().expect("the first");
        while let Ok(room @ 1..) = stream.check_write() {
            let room = piece.len().min(room as usize);
            stream.write(&piece[..room]).expect("there is room");
        }
        drop(stream);
        (response, body)
    };
    (0..count).map(body).collect()
}

fn pollables(count: usize) -> Vec<poll::Pollable> {
    let mut held = Vec::new();
    while held.len() < count {
        held.push(monotonic_clock::subscribe_duration(u64::MAX / 2));
    }
    held
}

fn poll_many() {
    let never = pollables(10);
    let list: Vec<&poll::Pollable> = never.iter().cycle().take(1_000_000).collect();
    poll::poll(&list);
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

fn huge_header(bytes: usize) -> String {
    match Fields::new().append("x", &vec![b'y'; bytes]) {
        Ok(()) => "taken".to_owned(),
        Err(error) => format!("{error:?}"),
    }
}

/// The host is called in every frame, so that it is called in the deepest one too.
fn deep(depth: u64) -> u64 {
    let ballast = std::hint::black_box([depth; 32]);
    std::hint::black_box(random::get_random_bytes(64));
    if depth == u64::MAX {
        return 0;
    }
    deep(depth + 1).wrapping_add(ballast[31])
}

fn fill(mib: usize) {
    let mut memory = vec![0_u8; mib << 20];
    for byte in (0..=u8::MAX).cycle() {
        memory.fill(byte);
        std::hint::black_box(&memory);
    }
}

const STAIN: &[u8; 16] = b"left-by-a-tenant";

fn stain() -> String {
    let mut memory = Vec::with_capacity(16 << 20);
    while memory.len() < 16 << 20 {
        memory.extend_from_slice(STAIN);
    }
    std::hint::black_box(memory).len().to_string()
}

/// Pages that nobody of this instance has ever written to.
#[expect(unsafe_code, reason = "what is to be seen is what is not initialised")]
fn scan() -> String {
    let pages = 256;
    let begin = core::arch::wasm32::memory_grow(0, pages);
    if begin == usize::MAX {
        return "refused".to_owned();
    }
    let mut dirty = 0;
    for address in (begin * PAGE..(begin + pages) * PAGE).step_by(8) {
        // SAFETY: the pages were grown just now and belong to nobody else of this instance.
        let word = unsafe { std::ptr::read_volatile(address as *const u64) };
        dirty += usize::from(word != 0);
    }
    dirty.to_string()
}

/// Of each clock the resolution that it has, and the least step that it was seen to make, in nanoseconds.
fn grain() -> String {
    let of_day =
        |time: wall_clock::Datetime| time.seconds * 1_000_000_000 + u64::from(time.nanoseconds);
    let monotonic = least_step(monotonic_clock::now);
    let wall = least_step(|| of_day(wall_clock::now()));
    let (fine, of_day) = (
        monotonic_clock::resolution(),
        of_day(wall_clock::resolution()),
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

/// Gives two answers by the one handle that it has.
#[expect(unsafe_code, reason = "a handle is to be given away twice")]
fn set_twice(out: ResponseOutparam) {
    // SAFETY: it is no handle of this component's any more when it is used; the host has to find out.
    let again = unsafe { ResponseOutparam::from_handle(out.handle()) };
    begin(out);
    begin(again);
}

fn twice(out: ResponseOutparam) {
    let response = OutgoingResponse::new(Fields::new());
    let first = response.body().expect("the first");
    assert!(response.body().is_err(), "a second body");
    ResponseOutparam::set(out, Ok(response));
    drop(first);
}

fn tiny(out: ResponseOutparam) {
    let body = begin(out);
    let stream = body.write().expect("the first");
    for _ in 0..10_000_000 {
        if stream.blocking_write_and_flush(b"x").is_err() {
            break;
        }
    }
}

fn head_then_trap(out: ResponseOutparam) {
    let body = begin(out);
    let stream = body.write().expect("the first");
    stream
        .blocking_write_and_flush(&[b'x'; 1000])
        .expect("sent");
    panic!("this guest gives up in the middle on purpose");
}

fn endless(out: ResponseOutparam) {
    let body = begin(out);
    let stream = body.write().expect("the first");
    let piece = vec![b'x'; 4096];
    while stream.blocking_write_and_flush(&piece).is_ok() {}
}
