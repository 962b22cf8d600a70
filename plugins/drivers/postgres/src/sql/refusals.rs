//! What the server says instead of an answer, as the interface says it.

use canopy_sdk::log;

use super::text::Flaw;
use crate::bindings::exports::canopy::storage::sql::{Constraint, Error, Violation};
use crate::connection::{Failure, failure};
use crate::session::{Fault, Refusal};
use crate::settings::Settings;

/// What an application learns of a fault of its statement.
pub fn error(settings: &Settings, fault: Fault) -> Error {
    match fault {
        Fault::Refused(refusal) => match refused(&refusal) {
            Some(error) => error,
            None => unusable(failure(settings, Fault::Refused(refusal))),
        },
        other => unusable(failure(settings, other)),
    }
}

/// What is the server's fault goes to the driver's log, and the application learns of it.
pub fn unusable(failure: Failure) -> Error {
    log::error!("{failure}");
    Error::Other(failure.to_string())
}

/// The classes of codes are those of the SQL standard and of PostgreSQL.
fn refused(refusal: &Refusal) -> Option<Error> {
    let text = || refusal.to_string();
    let violated = |constraint| {
        Error::Constraint(Violation {
            constraint,
            message: text(),
        })
    };
    Some(match refusal.code.as_str() {
        "23505" => violated(Constraint::Unique),
        "23503" => violated(Constraint::ForeignKey),
        "23502" => violated(Constraint::NotNull),
        "23514" => violated(Constraint::Check),
        "25P02" => Error::TransactionOver(
            "a statement of the transaction was refused, after which it takes only a rollback, or one to a \
             savepoint"
                .to_owned(),
        ),
        "25P03" => Error::TransactionOver("the transaction was open for too long".to_owned()),
        "40001" | "40P01" | "55P03" | "53300" => Error::Busy,
        "42501" => Error::AccessDenied(text()),
        "53100" => Error::QuotaExceeded(text()),
        "57014" => Error::Timeout(text()),
        code => match code.get(..2)? {
            "23" | "44" => violated(Constraint::Other),
            "54" => Error::TooLarge(text()),
            // Values that do not fit, statements that make no sense, and what there is none of.
            "0A" | "21" | "22" | "25" | "26" | "2F" | "34" | "3F" | "42" | "P0" => {
                Error::InvalidStatement(text())
            }
            _ => return None,
        },
    })
}

impl From<Flaw> for Error {
    fn from(flaw: Flaw) -> Self {
        match flaw {
            Flaw::Closed(..) => Self::AccessDenied(flaw.to_string()),
            Flaw::Mixed | Flaw::Number => Self::InvalidStatement(flaw.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_told_apart() {
        let of = |code: &str| {
            refused(&Refusal {
                code: code.to_owned(),
                message: "m".to_owned(),
                ..Refusal::default()
            })
        };
        assert!(matches!(
            of("23505"),
            Some(Error::Constraint(violation)) if violation.constraint == Constraint::Unique
        ));
        assert!(matches!(
            of("23P01"),
            Some(Error::Constraint(violation)) if violation.constraint == Constraint::Other
        ));
        assert!(
            matches!(of("42P01"), Some(Error::InvalidStatement(text)) if text.contains("42P01"))
        );
        assert!(matches!(of("42501"), Some(Error::AccessDenied(_))));
        assert!(matches!(of("40001"), Some(Error::Busy)));
        assert!(matches!(of("57014"), Some(Error::Timeout(_))));
        assert!(matches!(of("54000"), Some(Error::TooLarge(_))));
        assert!(of("XX000").is_none() && of("").is_none());
    }
}
