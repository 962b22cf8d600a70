//! What can go wrong in a command, with the exit code and the advice that follow from it.

use std::fmt::Display;
use std::process::ExitCode;

use canopy_api_types::Problem;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The command line asks for something that makes no sense.
    #[error("{0}")]
    Usage(String),
    /// The platform refused or failed, and said why.
    #[error("{problem}")]
    Problem {
        /// What the platform said.
        problem: Box<Problem>,
        /// What to do about it here, where more is known than the status says.
        advice: Option<String>,
    },
    /// There is no token to ask with.
    #[error("no token for {url}")]
    NoToken {
        /// Who was to be asked.
        url: String,
    },
    /// Nobody answered.
    #[error("{url} could not be reached: {reason}")]
    Unreachable {
        /// Who was asked.
        url: String,
        /// What the network said.
        reason: String,
    },
    /// What answered is not known to be what was asked for.
    #[error("{url} is not trusted: {reason}")]
    Untrusted {
        /// Who was asked.
        url: String,
        /// What is wrong with its certificate.
        reason: &'static str,
        /// What to do about it.
        advice: &'static str,
    },
    /// What answered does not speak the control API.
    #[error("{url} answered {status} without saying why")]
    Foreign {
        /// Who was asked.
        url: String,
        /// The status and what else is known of the answer.
        status: String,
    },
    /// A thing that was looked for does not exist.
    #[error("{0}")]
    NotFound(String),
    /// Something on this machine failed.
    #[error("{message}")]
    Local {
        /// What failed and why.
        message: String,
        /// What to do about it.
        advice: Option<String>,
    },
    /// The user interrupted.
    #[error("interrupted")]
    Interrupted,
}

impl Error {
    /// `what` failed because of `cause`.
    pub fn local(what: impl Display, cause: impl Display) -> Self {
        Self::Local {
            message: format!("{what}: {cause}"),
            advice: None,
        }
    }

    /// `message`, with advice.
    pub fn advised(message: impl Into<String>, advice: impl Into<String>) -> Self {
        Self::Local {
            message: message.into(),
            advice: Some(advice.into()),
        }
    }

    /// The same error with advice that fits where it happened.
    pub(crate) fn with_advice(self, text: impl Into<String>) -> Self {
        match self {
            Self::Problem { problem, .. } => Self::Problem {
                problem,
                advice: Some(text.into()),
            },
            Self::Local { message, .. } => Self::Local {
                message,
                advice: Some(text.into()),
            },
            other => other,
        }
    }

    /// The same error, said as what it means when something was only to be created: that `what` is
    /// there already.
    pub(crate) fn of_creating(mut self, what: &str, text: impl Into<String>) -> Self {
        if let Self::Problem { problem, advice } = &mut self
            && problem.status == 412
        {
            problem.title = "It exists already".into();
            problem.detail = what.to_owned();
            problem.members.clear();
            *advice = Some(text.into());
        }
        self
    }

    /// The status of the platform's refusal.
    pub(crate) fn status(&self) -> Option<u16> {
        match self {
            Self::Problem { problem, .. } => Some(problem.status),
            _ => None,
        }
    }

    /// The process's exit code; [`EXIT_CODES`](crate::EXIT_CODES) documents them.
    pub fn code(&self) -> u8 {
        match self {
            Self::Local { .. } => 1,
            Self::Usage(_) => 2,
            Self::Problem { problem, .. } => match problem.status {
                404 => 4,
                // The limits of a node that is busy or stopping are its failure, not the caller's.
                500.. => 6,
                _ => 3,
            },
            Self::NoToken { .. } => 3,
            Self::NotFound(_) => 4,
            Self::Unreachable { .. } | Self::Untrusted { .. } => 5,
            Self::Foreign { .. } => 6,
            Self::Interrupted => 130,
        }
    }

    /// The same, as the standard library wants it.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code())
    }

    /// What the user can do next.
    pub fn advice(&self) -> Option<String> {
        match self {
            Self::Local { advice, .. } => advice.clone(),
            Self::NoToken { .. } => Some(
                "run `canopy login --url URL --token TOKEN`, or set CANOPY_TOKEN; a node prints its \
                 operator token when it starts for the first time"
                    .into(),
            ),
            Self::Unreachable { .. } => Some(
                "start a node with `canopy demo` or `canopy serve --config FILE`, or name another \
                 with --url or CANOPY_URL"
                    .into(),
            ),
            Self::Untrusted { advice, .. } => Some((*advice).into()),
            Self::Foreign { .. } => Some(
                "check that --url or CANOPY_URL names the control API, not an application".into(),
            ),
            Self::Problem { problem, advice } => advice
                .clone()
                .or_else(|| problem_advice(problem).map(Into::into)),
            Self::Usage(_) | Self::NotFound(_) | Self::Interrupted => None,
        }
    }

    /// The error as `--json` prints it.
    pub fn to_json(&self) -> serde_json::Value {
        let mut body = match self {
            Self::Problem { problem, .. } => serde_json::to_value(problem).unwrap_or_default(),
            other => serde_json::json!({ "title": other.kind(), "detail": other.to_string() }),
        };
        body["exit_code"] = self.code().into();
        if let Some(advice) = self.advice() {
            body["advice"] = advice.into();
        }
        serde_json::json!({ "error": body })
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Usage(_) => "Usage",
            Self::Problem { .. } => "Refused",
            Self::NoToken { .. } => "No token",
            Self::Unreachable { .. } => "Unreachable",
            Self::Untrusted { .. } => "Untrusted",
            Self::Foreign { .. } => "Foreign answer",
            Self::NotFound(_) => "Not found",
            Self::Local { .. } => "Local failure",
            Self::Interrupted => "Interrupted",
        }
    }
}

fn problem_advice(problem: &Problem) -> Option<&'static str> {
    match problem.status {
        401 => Some("run `canopy login --token TOKEN`, or set CANOPY_TOKEN"),
        412 => Some("somebody else changed it in the meantime: look at it again and repeat"),
        429 | 503 => Some("try again in a moment"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(status: u16) -> Error {
        let text = serde_json::json!({
            "type": "urn:canopy:problem:x", "title": "T", "status": status, "detail": "D", "limit": 3
        });
        let problem = Box::new(serde_json::from_value(text).expect("a problem"));
        Error::Problem {
            problem,
            advice: None,
        }
    }

    #[test]
    fn the_status_decides_the_exit_code() {
        for (status, code) in [
            (400, 3),
            (401, 3),
            (404, 4),
            (409, 3),
            (412, 3),
            (413, 3),
            (500, 6),
            (503, 6),
        ] {
            assert_eq!(problem(status).code(), code, "{status}");
        }
    }

    #[test]
    fn every_other_failure_has_its_own_exit_code() {
        assert_eq!(Error::local("x", "y").code(), 1);
        assert_eq!(Error::Usage("x".into()).code(), 2);
        assert_eq!(Error::NoToken { url: "u".into() }.code(), 3);
        assert_eq!(Error::NotFound("x".into()).code(), 4);
        assert_eq!(
            Error::Unreachable {
                url: "u".into(),
                reason: "r".into()
            }
            .code(),
            5
        );
        assert_eq!(
            Error::Untrusted {
                url: "u".into(),
                reason: "r",
                advice: "a"
            }
            .code(),
            5
        );
        assert_eq!(
            Error::Foreign {
                url: "u".into(),
                status: "502".into()
            }
            .code(),
            6
        );
        assert_eq!(Error::Interrupted.code(), 130);
    }

    #[test]
    fn json_keeps_the_members_of_a_problem_and_adds_the_exit_code() {
        let body = problem(413).to_json();
        assert_eq!(body["error"]["limit"], 3);
        assert_eq!(body["error"]["exit_code"], 3);
    }

    #[test]
    fn what_exists_already_is_said_so() {
        let error = problem(412).of_creating("tenant acme", "do that");
        assert_eq!(error.to_string(), "It exists already: tenant acme");
        assert_eq!(
            (error.code(), error.advice().as_deref()),
            (3, Some("do that"))
        );
        assert!(
            !problem(404)
                .of_creating("x", "y")
                .to_string()
                .contains("exists")
        );
    }

    #[test]
    fn who_is_not_signed_in_is_told_how_to() {
        assert!(
            problem(401)
                .advice()
                .expect("advice")
                .contains("canopy login")
        );
    }
}
