//! What the suites' components have in common. Each does to one interface what `canopy driver test`
//! asks it to, and tells what came of it; which cases there are, and what is right, is known to the
//! command alone.
//!
//! A request is a JSON document by POST. Its answer is 200 with `{"ok": …}`, `{"error": {"kind", "text"}}`
//! for an error of the interface, or `{"absent": true}` where the interface has no such operation. Any
//! other answer is not the component's, and means that the call itself failed.

mod asked;
pub mod exchange;
pub mod hex;
mod key_value;
mod patience;
mod suite;
mod wasi_keyvalue;

pub use asked::{Asked, Bytes};
pub use key_value::{KeyValue, perform};
pub use patience::patiently;
pub use wasi_keyvalue::pages;

use canopy_sdk::{Json, Router, post};
use serde_json::{Value, json};

/// The application that does what it is asked to by `perform`.
pub fn serve(perform: fn(&Asked) -> Outcome) -> Router {
    Router::new().route(
        "/",
        post(move |Json(asked): Json<Asked>| Json(answer(perform(&asked)))),
    )
}

/// An error of an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Which case of the interface's error it is, as the interface calls it.
    pub kind: &'static str,
    /// What the driver says about it.
    pub text: String,
}

impl Fault {
    /// An error that says nothing further.
    pub fn bare(kind: &'static str) -> Self {
        Self {
            kind,
            text: String::new(),
        }
    }

    /// An error in the driver's words.
    pub fn said(kind: &'static str, text: impl Into<String>) -> Self {
        Self {
            kind,
            text: text.into(),
        }
    }
}

/// What came of an operation; `None`: the interface does not have it.
pub type Outcome = Option<Result<Value, Fault>>;

fn answer(outcome: Outcome) -> Value {
    match outcome {
        Some(Ok(value)) => json!({ "ok": value }),
        Some(Err(fault)) => json!({ "error": { "kind": fault.kind, "text": fault.text } }),
        None => json!({ "absent": true }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_tells_a_value_an_error_and_nothing_apart() {
        assert_eq!(answer(Some(Ok(json!(null)))), json!({ "ok": null }));
        assert_eq!(
            answer(Some(Err(Fault::said("other", "why")))),
            json!({ "error": { "kind": "other", "text": "why" } })
        );
        assert_eq!(answer(None), json!({ "absent": true }));
    }
}
