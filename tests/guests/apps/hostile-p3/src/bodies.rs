//! Outgoing bodies as nobody should write them: a byte at a time, without end, 32 MiB in one write, two GiB
//! that it does not have, a part and then nothing for an hour, a part and then an error where its trailers
//! would be, a part and a trap.

use std::cell::Cell;
use std::rc::Rc;

use wasip3::clocks::monotonic_clock::wait_for;
use wasip3::http::client;
use wasip3::http::types::{ErrorCode, Fields, Method, Request, Response, Scheme};
use wasip3::wit_bindgen::StreamWriter;
use wasip3::{spawn_local, wit_future, wit_stream};

const HOUR: u64 = 3_600_000_000_000;
const HALF_A_SECOND: u64 = 500_000_000;

/// Sends a request with such a body to `authority`, and tells how much of it was taken and what came of it.
pub(crate) async fn send(way: &str, authority: &str) -> String {
    let (writer, body) = wit_stream::new();
    let (last, trailers) = wit_future::new(|| Ok(None));
    let (request, _) = Request::new(Fields::new(), Some(body), trailers, None);
    request
        .set_method(&Method::Post)
        .and_then(|()| request.set_scheme(Some(&Scheme::Http)))
        .and_then(|()| request.set_authority(Some(authority)))
        .and_then(|()| request.set_path_with_query(Some("/")))
        .expect("a request");
    let (way, taken) = (way.to_owned(), Rc::new(Cell::new(0)));
    let count = Rc::clone(&taken);
    spawn_local(async move {
        let end = pour(&way, writer, &count).await;
        let _ = last.write(end.map(|()| None)).await;
    });
    let came = match client::send(request).await {
        Ok(answer) => answer.get_status_code().to_string(),
        Err(error) => format!("{error:?}"),
    };
    format!("{} bytes; {came}", taken.get())
}

/// An answer with such a body. If it goes on no more for half a second, its log says after how much.
pub(crate) fn answer(way: &str) -> Response {
    let (writer, body) = wit_stream::new();
    let (last, trailers) = wit_future::new(|| Ok(None));
    let (response, _) = Response::new(Fields::new(), Some(body), trailers);
    let (way, taken) = (way.to_owned(), Rc::new(Cell::new(0)));
    let (name, count) = (way.clone(), Rc::clone(&taken));
    spawn_local(async move {
        let end = pour(&way, writer, &count).await;
        let _ = last.write(end.map(|()| None)).await;
    });
    spawn_local(async move {
        let mut before = u64::MAX;
        while before != taken.get() {
            before = taken.get();
            wait_for(HALF_A_SECOND).await;
        }
        println!("{name}: no more after {before} bytes");
    });
    response
}

/// Writes a body, and counts what is taken of it.
async fn pour(way: &str, mut writer: StreamWriter<u8>, taken: &Cell<u64>) -> Result<(), ErrorCode> {
    let (piece, times) = match way {
        "tiny" => (1, 10_000_000),
        _ if way.starts_with("untaken") => (64 << 10, u64::MAX),
        "endless" => (64 << 10, u64::MAX),
        "large" => (32 << 20, 1),
        "beyond" => {
            writer.write_all(beyond()).await;
            (0, 0)
        }
        _ => (1000, 1),
    };
    for _ in 0..times {
        let rest = writer.write_all(vec![b'x'; piece]).await;
        taken.set(taken.get() + (piece - rest.len()) as u64);
        if !rest.is_empty() {
            break;
        }
    }
    match way {
        "unfinished" => wait_for(HOUR).await,
        "abandoned" => return Err(ErrorCode::InternalError(None)),
        "trapped" => panic!("this guest breaks down on purpose"),
        _ => {}
    }
    Ok(())
}

/// Two GiB, of which hardly anything is in memory. It is only ever handed to the host.
#[expect(unsafe_code, reason = "the host has to find out")]
fn beyond() -> Vec<u8> {
    let length = isize::MAX as usize;
    // SAFETY: there is none. Nothing in this component reads it; the host checks where it ends.
    unsafe { Vec::from_raw_parts(std::ptr::dangling_mut(), length, length) }
}
