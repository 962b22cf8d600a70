//! `canopy kv`: keys and values that an installation stores.

use std::io::IsTerminal as _;
use std::path::PathBuf;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use canopy_api_types::{EXPIRES_AT, KeyEntry, Page, StoreName};
use reqwest::header::ETAG;
use serde_json::json;

use super::AppArg;
use crate::ui::{bytes, moment, table};
use crate::{Context, Error, file};

/// Look at and repair the keys and values of an installation
#[derive(Debug, clap::Subcommand)]
pub enum Kv {
    /// List the stores that something is in
    Stores {
        #[command(flatten)]
        app: AppArg,
    },
    /// List keys
    List {
        #[command(flatten)]
        store: StoreArg,
        /// Only keys that begin so
        #[arg(long, default_value = "")]
        prefix: String,
        /// Only keys after this one
        #[arg(long, value_name = "KEY")]
        after: Option<String>,
        /// Keys at most
        #[arg(long, short = 'n', default_value_t = 100)]
        limit: usize,
    },
    /// Show the value of a key, or write it to a file
    Get {
        #[command(flatten)]
        store: StoreArg,
        /// The key
        key: String,
        /// Show it in hexadecimal digits
        #[arg(long, conflicts_with_all = ["base64", "output"])]
        hex: bool,
        /// Show it in base64
        #[arg(long, conflicts_with = "output")]
        base64: bool,
        /// Write it to this file as it is
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Set the value of a key
    Set {
        #[command(flatten)]
        store: StoreArg,
        /// The key
        key: String,
        /// The value [default: what --file or standard input has]
        value: Option<String>,
        /// Take the value from this file as it is
        #[arg(long, short, value_name = "FILE", conflicts_with = "value")]
        file: Option<PathBuf>,
        /// VALUE is base64
        #[arg(long, requires = "value")]
        base64: bool,
        /// Milliseconds after which the value ends to exist
        #[arg(long, value_name = "MS")]
        ttl_ms: Option<u64>,
    },
    /// Remove a key
    Delete {
        #[command(flatten)]
        store: StoreArg,
        /// The key
        key: String,
    },
}

/// A store of an installation.
#[derive(Debug, clap::Args)]
pub struct StoreArg {
    #[command(flatten)]
    app: AppArg,
    /// The store, also called bucket
    #[arg(long, default_value = "default")]
    store: String,
}

impl StoreArg {
    fn of(&self, key: &str) -> Vec<(&'static str, String)> {
        vec![("store", self.store.clone()), ("key", key.to_owned())]
    }
}

impl Kv {
    pub(super) async fn run(self, context: &Context) -> Result<(), Error> {
        let client = context.client()?;
        match self {
            Self::Stores { app } => {
                let stores: Vec<StoreName> = client
                    .list(&app.path(&["key-value", "stores"]), &[])
                    .await?;
                context.ui.result(&stores, |stores| {
                    let rows = stores.iter().map(|store| [store.name.clone()]);
                    table("Nothing is stored.", ["store"], rows)
                });
            }
            Self::List {
                store,
                prefix,
                after,
                limit,
            } => {
                let keys = list(context, &store, &prefix, after, limit).await?;
                context.ui.result(&keys, |keys| {
                    let rows = keys.iter().map(|entry| {
                        [
                            entry.key.clone(),
                            bytes(entry.bytes),
                            entry.expires_at.map(moment).unwrap_or_default(),
                        ]
                    });
                    table("No keys.", ["key", "size", "expires"], rows)
                });
            }
            Self::Get {
                store,
                key,
                hex,
                base64,
                output,
            } => {
                let path = store.app.path(&["key-value", "value"]);
                let response = client.stream(&path, &store.of(&key)).await?;
                let header = |name: &str| {
                    let value = response.headers().get(name)?;
                    Some(value.to_str().ok()?.trim_matches('"').to_owned())
                };
                let (version, expires) = (header(ETAG.as_str()), header(EXPIRES_AT));
                let value = client.whole(response).await?;
                if let Some(file) = output {
                    file::write_whole(&file, &value)?;
                    let written = json!({ "file": file, "bytes": value.len() });
                    context.ui.result(&written, |_| {
                        format!("Wrote {} to {}.", bytes(value.len() as u64), file.display())
                    });
                } else if context.ui.is_json() {
                    let value = json!({
                        "key": key,
                        "text": std::str::from_utf8(&value).ok(),
                        "base64": BASE64_STANDARD.encode(&value),
                        "version": version.and_then(|version| version.parse::<u64>().ok()),
                        "expires_at": expires,
                    });
                    context.ui.result(&value, |_| String::new());
                } else if hex || base64 {
                    context.ui.line(&encoded(&value, hex));
                } else if std::io::stdout().is_terminal() && !is_text(&value) {
                    context.ui.note(
                        "The value is not text; it is shown in hexadecimal digits. \
                         --output FILE writes it as it is.",
                    );
                    context.ui.line(&encoded(&value, true));
                } else {
                    context.ui.raw(&value);
                }
            }
            Self::Set {
                store,
                key,
                value,
                file,
                base64,
                ttl_ms,
            } => {
                let value = match value {
                    Some(text) if base64 => BASE64_STANDARD
                        .decode(text.trim())
                        .map_err(|_| Error::Usage("the value is not base64".into()))?,
                    Some(text) => text.into_bytes(),
                    None => file::read_whole(file.as_deref()).await?,
                };
                let mut query = store.of(&key);
                query.extend(ttl_ms.map(|ttl| ("ttl_ms", ttl.to_string())));
                let path = store.app.path(&["key-value", "value"]);
                let size = value.len() as u64;
                client.put_bytes(&path, &query, value.into(), None).await?;
                let set = json!({ "key": key, "bytes": size });
                context
                    .ui
                    .result(&set, |_| format!("Set {key:?} to {}.", bytes(size)));
            }
            Self::Delete { store, key } => {
                let path = store.app.path(&["key-value", "value"]);
                client.delete_one(&path, &store.of(&key)).await?;
                let deleted = json!({ "deleted": key });
                context.ui.result(&deleted, |_| format!("Removed {key:?}."));
            }
        }
        Ok(())
    }
}

/// Up to `limit` keys, page by page.
async fn list(
    context: &Context,
    store: &StoreArg,
    prefix: &str,
    mut after: Option<String>,
    limit: usize,
) -> Result<Vec<KeyEntry>, Error> {
    const PAGE: usize = 1_000;
    let client = context.client()?;
    let mut keys: Vec<KeyEntry> = Vec::new();
    while keys.len() < limit {
        let wanted = (limit - keys.len()).min(PAGE);
        let mut query = vec![
            ("store", store.store.clone()),
            ("prefix", prefix.to_owned()),
            ("limit", wanted.to_string()),
        ];
        query.extend(after.take().map(|after| ("cursor", after)));
        let path = store.app.path(&["key-value", "keys"]);
        let page: Page<KeyEntry> = client.query(&path, &query).await?;
        keys.extend(page.items);
        match page.next_cursor {
            Some(next) => after = Some(next),
            None => return Ok(keys),
        }
    }
    if after.is_some()
        && let Some(last) = keys.last()
    {
        let last = &last.key;
        context.ui.note(format_args!(
            "There are more keys: continue with --after {last:?}, or raise --limit."
        ));
    }
    Ok(keys)
}

fn encoded(value: &[u8], hex: bool) -> String {
    if hex {
        value.iter().map(|byte| format!("{byte:02x}")).collect()
    } else {
        BASE64_STANDARD.encode(value)
    }
}

/// Whether a terminal can show it as it is.
fn is_text(value: &[u8]) -> bool {
    std::str::from_utf8(value).is_ok_and(|text| {
        text.chars()
            .all(|c| !c.is_control() || matches!(c, '\n' | '\t' | '\r'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_change_a_terminal_is_not_text() {
        assert!(is_text("two\nlines\tü".as_bytes()));
        for value in [&b"\xff"[..], b"\x1b[2J", b"a\0b"] {
            assert!(!is_text(value));
        }
        assert_eq!(encoded(&[0, 255], true), "00ff");
        assert_eq!(encoded(&[0, 255], false), "AP8=");
    }
}
