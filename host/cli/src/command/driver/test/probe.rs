//! Asking a suite's component, and what its answers mean.

use serde_json::{Value, json};

/// Why a case did not pass.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// The driver does not do what it has to.
    Failed(String),
    /// The case does not apply here.
    Skipped(String),
}

pub(super) fn failed<T>(why: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Failed(why.into()))
}

pub(super) fn skipped<T>(why: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Skipped(why.into()))
}

/// What came of asking.
#[derive(Debug, PartialEq)]
pub(super) enum Answer {
    /// The driver did it.
    Done(Value),
    /// The driver answered with an error of the interface.
    Fault { kind: String, text: String },
    /// The interface has no such operation.
    Absent,
    /// The application's call failed, and with it the driver's.
    Broken(String),
}

impl Answer {
    /// Understands what a suite's component answered.
    pub(super) fn read(status: u16, body: &str) -> Self {
        let document = serde_json::from_str::<Value>(body).unwrap_or_default();
        if status == 200 {
            if let Some(value) = document.get("ok") {
                return Self::Done(value.clone());
            }
            if document["absent"] == true {
                return Self::Absent;
            }
            let error = &document["error"];
            if let (Some(kind), Some(text)) = (error["kind"].as_str(), error["text"].as_str()) {
                return Self::Fault {
                    kind: kind.to_owned(),
                    text: text.to_owned(),
                };
            }
        }
        let said = document["title"].as_str();
        let said = said.unwrap_or(body).chars().take(200).collect::<String>();
        Self::Broken(format!(
            "the application's call ended with {status}: {said}"
        ))
    }

    /// The value, where the operation has to succeed.
    pub(super) fn done(self, what: &str) -> Result<Value, Stop> {
        match self.defined(what)? {
            Ok(value) => Ok(value),
            Err(fault) => failed(format!("{what}: {fault}")),
        }
    }

    /// The error in the driver's words, where the operation must not succeed.
    pub(super) fn refused(self, what: &str) -> Result<String, Stop> {
        match self.defined(what)? {
            Ok(value) => failed(format!("{what}: expected an error, got {value}")),
            Err(fault) => Ok(fault),
        }
    }

    /// A value, or an error of the interface; everything else is a failure.
    pub(super) fn defined(self, what: &str) -> Result<Result<Value, String>, Stop> {
        match self {
            Self::Done(value) => Ok(Ok(value)),
            Self::Fault { kind, text } => Ok(Err(format!("{kind} ({text})"))),
            Self::Absent => skipped("the interface does not have it"),
            Self::Broken(why) => failed(format!("{what}: {why}")),
        }
    }
}

/// Refuses what is not as expected.
pub(super) fn same(what: &str, got: &Value, expected: &Value) -> Result<(), Stop> {
    if got == expected {
        Ok(())
    } else {
        let short = |value: &Value| value.to_string().chars().take(120).collect::<String>();
        failed(format!(
            "{what}: expected {}, got {}",
            short(expected),
            short(got)
        ))
    }
}

/// Bytes as the suites' components take and give them.
pub(super) fn hex(bytes: &[u8]) -> Value {
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    json!(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_apart() {
        assert_eq!(
            Answer::read(200, r#"{"ok":null}"#),
            Answer::Done(Value::Null)
        );
        let fault = Answer::read(200, r#"{"error":{"kind":"other","text":"why"}}"#);
        assert_eq!(fault.refused("it"), Ok("other (why)".to_owned()));
        assert_eq!(Answer::read(200, r#"{"absent":true}"#), Answer::Absent);
        for (status, body) in [(500, r#"{"title":"Trap"}"#), (200, "hello"), (200, "{}")] {
            assert!(
                matches!(Answer::read(status, body), Answer::Broken(_)),
                "{body}"
            );
        }
    }

    #[test]
    fn what_an_interface_does_not_have_is_no_failure() {
        assert!(matches!(Answer::Absent.done("it"), Err(Stop::Skipped(_))));
        assert!(matches!(
            Answer::Done(Value::Null).refused("it"),
            Err(Stop::Failed(_))
        ));
    }

    #[test]
    fn bytes_are_two_digits_each() {
        assert_eq!(hex(&[0, 10, 255]), json!("000aff"));
    }
}
