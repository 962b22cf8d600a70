//! `canopy secret`: secrets of an installation or a driver. They are written and never read.

use std::io::{IsTerminal as _, Read as _};

use canopy_api_types::{SecretNames, SecretPut, SecretText};

use super::Target;
use super::settings::from_environment;
use crate::ui::printable;
use crate::{Context, Error};

/// The longest secret that is read, in bytes; enough for a chain of certificates.
const LIMIT: u64 = 256 * 1024;

/// Set secrets of an installation or a driver
#[derive(Debug, clap::Subcommand)]
pub enum Secret {
    /// Set a secret, read from standard input unless it is given otherwise
    Set {
        #[command(flatten)]
        target: Target,
        /// Its name, as the package's configuration schema declares it. With =VALUE, everybody on
        /// this machine can read the secret in the list of processes while the command runs
        #[arg(value_name = "KEY[=VALUE]")]
        key: String,
        /// Take it from this variable instead of standard input
        #[arg(long, value_name = "VARIABLE")]
        from_env: Option<String>,
    },
    /// Remove a secret
    Unset {
        #[command(flatten)]
        target: Target,
        /// Its name
        key: String,
    },
    /// List the names of the secrets that are set
    List {
        #[command(flatten)]
        target: Target,
    },
}

impl Secret {
    pub(super) async fn run(self, context: &Context) -> Result<(), Error> {
        let client = context.client()?;
        match self {
            Self::Set {
                target,
                key,
                from_env,
            } => {
                let given = key
                    .split_once('=')
                    .map(|(key, value)| (key.to_owned(), value.to_owned()));
                let (key, value) = match (given, from_env) {
                    (None, None) => (key, from_input()?),
                    (None, Some(variable)) => (key, from_environment(&variable)?),
                    (Some((key, value)), None) => (key, read(value.as_bytes())?),
                    (Some(_), Some(_)) => {
                        return Err(Error::Usage(
                            "give the secret as KEY=VALUE or by --from-env, not both".into(),
                        ));
                    }
                };
                client
                    .put_only(&target.path(&["secrets", &key]), &SecretPut { value })
                    .await?;
                context.ui.result(&serde_json::json!({ "set": key }), |_| {
                    format!("Set secret {key} of {}.", target.name)
                });
            }
            Self::Unset { target, key } => {
                client.delete(&target.path(&["secrets", &key])).await?;
                context
                    .ui
                    .result(&serde_json::json!({ "unset": key }), |_| {
                        format!("Removed secret {key} of {}.", target.name)
                    });
            }
            Self::List { target } => {
                let secrets: SecretNames = client.get(&target.path(&["secrets"])).await?;
                context.ui.result(&secrets, |secrets| {
                    let names: Vec<_> = secrets.names.iter().map(|name| printable(name)).collect();
                    if names.is_empty() {
                        "No secrets are set.".into()
                    } else {
                        names.join("\n")
                    }
                });
            }
        }
        Ok(())
    }
}

fn from_input() -> Result<SecretText, Error> {
    let input = std::io::stdin();
    if input.is_terminal() {
        return Err(Error::Usage(
            "the secret is read from standard input, which a terminal would show: pipe it in, as in \
             `canopy secret set NAME KEY -t TENANT < FILE`, or use --from-env VARIABLE"
                .into(),
        ));
    }
    read(input.lock())
}

/// Reads a secret; one line break at its end is not part of it.
fn read(input: impl std::io::Read) -> Result<SecretText, Error> {
    let mut text = String::new();
    input
        .take(LIMIT + 1)
        .read_to_string(&mut text)
        .map_err(|error| Error::local("standard input", error))?;
    if text.len() as u64 > LIMIT {
        return Err(Error::Usage(format!(
            "the secret is longer than {LIMIT} bytes"
        )));
    }
    let value = text.strip_suffix('\n').map_or(text.as_str(), |text| {
        text.strip_suffix('\r').unwrap_or(text)
    });
    if value.is_empty() {
        return Err(Error::Usage("the secret is empty".into()));
    }
    Ok(SecretText::new(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_break_at_the_end_is_dropped() {
        assert_eq!(read(&b"s3cret\n"[..]).expect("read").reveal(), "s3cret");
        assert_eq!(read(&b"a\r\n"[..]).expect("read").reveal(), "a");
        assert_eq!(read(&b"a\n\n"[..]).expect("read").reveal(), "a\n");
    }

    #[test]
    fn nothing_and_too_much_are_refused() {
        assert_eq!(read(&b"\n"[..]).expect_err("empty").code(), 2);
        let long = vec![b'x'; 256 * 1024 + 1];
        assert!(
            read(&long[..])
                .expect_err("too long")
                .to_string()
                .contains("262144")
        );
    }
}
