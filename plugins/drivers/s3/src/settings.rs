//! The driver's settings; `canopy.toml` says what they mean.

use std::time::Duration;

use canopy_sdk::config;

/// The settings of this driver instance.
#[derive(Clone, PartialEq, Eq)]
pub struct Settings {
    /// `http` or `https`.
    pub scheme: String,
    /// Host and perhaps port of the service.
    pub authority: String,
    pub region: String,
    pub bucket: String,
    pub virtual_host: bool,
    pub access_key_id: String,
    pub secret_access_key: String,
    pub session_token: Option<String>,
    pub prefix: String,
    pub timeout: Duration,
    /// The most keys that are read or written by one call.
    pub max_batch: usize,
}

impl Settings {
    /// Reads them from the platform.
    pub fn read() -> Result<Self, config::Error> {
        let endpoint = config::require("endpoint")?;
        let (scheme, authority) = endpoint
            .trim_end_matches('/')
            .split_once("://")
            .ok_or_else(|| config::Error::Invalid {
                key: "endpoint".to_owned(),
                reason: "it is no address".to_owned(),
            })?;
        Ok(Self {
            scheme: scheme.to_owned(),
            authority: authority.to_owned(),
            region: config::get("region")?.unwrap_or_else(|| "us-east-1".to_owned()),
            bucket: config::require("bucket")?,
            virtual_host: config::parse_or("virtual_host", false)?,
            access_key_id: config::require("access_key_id")?,
            secret_access_key: config::require("secret_access_key")?,
            session_token: config::get("session_token")?,
            prefix: config::get("prefix")?.unwrap_or_else(|| "canopy".to_owned()),
            timeout: Duration::from_millis(config::parse_or("timeout_ms", 5000)?),
            max_batch: config::parse_or("max_batch", 100)?,
        })
    }

    /// The host that requests go to.
    pub fn host(&self) -> String {
        if self.virtual_host {
            format!("{}.{}", self.bucket, self.authority)
        } else {
            self.authority.clone()
        }
    }

    /// The path of `object`, before it is encoded; of the bucket itself, if that is empty.
    pub fn path(&self, object: &str) -> String {
        if self.virtual_host {
            format!("/{object}")
        } else if object.is_empty() {
            format!("/{}", self.bucket)
        } else {
            format!("/{}/{object}", self.bucket)
        }
    }
}
