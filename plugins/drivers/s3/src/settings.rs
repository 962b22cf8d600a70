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
    /// Bytes of an object that are held and sent at once.
    pub part_bytes: usize,
    /// Scheme, and host and perhaps port, at which clients reach the service, if they may.
    pub public: Option<(String, String)>,
}

impl Settings {
    /// Reads them from the platform.
    pub fn read() -> Result<Self, config::Error> {
        let (scheme, authority) = address("endpoint", &config::require("endpoint")?)?;
        let public = config::get("public_endpoint")?;
        Ok(Self {
            scheme,
            authority,
            public: public
                .map(|public| address("public_endpoint", &public))
                .transpose()?,
            region: config::get("region")?.unwrap_or_else(|| "us-east-1".to_owned()),
            bucket: config::require("bucket")?,
            virtual_host: config::parse_or("virtual_host", false)?,
            access_key_id: config::require("access_key_id")?,
            secret_access_key: config::require("secret_access_key")?,
            session_token: config::get("session_token")?,
            prefix: config::get("prefix")?.unwrap_or_else(|| "canopy".to_owned()),
            timeout: Duration::from_millis(config::parse_or("timeout_ms", 5000)?),
            max_batch: config::parse_or("max_batch", 100)?,
            part_bytes: config::parse_or("part_bytes", 16 << 20)?,
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

/// Scheme and authority of an address.
fn address(key: &str, text: &str) -> Result<(String, String), config::Error> {
    let parts = text.trim_end_matches('/').split_once("://");
    let (scheme, authority) = parts.ok_or_else(|| config::Error::Invalid {
        key: key.to_owned(),
        reason: "it is no address".to_owned(),
    })?;
    Ok((scheme.to_owned(), authority.to_owned()))
}
