//! The driver's settings; `canopy.toml` says what they mean.

use std::time::Duration;

use canopy_sdk::config;

/// The settings of this driver instance.
pub struct Settings {
    pub host: String,
    pub port: u16,
    pub from: String,
    pub username: Option<String>,
    pub password: String,
    pub allow_plaintext_auth: bool,
    pub hello: String,
    pub timeout: Duration,
}

impl Settings {
    /// Reads them from the platform.
    pub fn read() -> Result<Self, config::Error> {
        Ok(Self {
            host: config::require("host")?,
            port: config::parse_or("port", 25)?,
            from: config::require("from")?,
            username: config::get("username")?,
            password: config::get("password")?.unwrap_or_default(),
            allow_plaintext_auth: config::parse_or("allow_plaintext_auth", false)?,
            hello: config::get("hello")?.unwrap_or_else(|| "[127.0.0.1]".to_owned()),
            timeout: Duration::from_millis(config::parse_or("timeout_ms", 10_000)?),
        })
    }
}
