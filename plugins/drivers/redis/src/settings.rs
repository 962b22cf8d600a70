//! The driver's settings; `canopy.toml` says what they mean.

use std::time::Duration;

use canopy_sdk::config;

/// The settings of this driver instance.
#[derive(Clone, PartialEq, Eq)]
pub struct Settings {
    pub host: String,
    pub port: u16,
    /// The name that the server proves by TLS, where that is spoken.
    pub tls: Option<String>,
    pub username: Option<String>,
    pub password: Option<String>,
    pub database: u32,
    pub key_prefix: String,
    pub timeout: Duration,
}

impl Settings {
    /// Reads them from the platform.
    pub fn read() -> Result<Self, config::Error> {
        let host = config::require("host")?;
        let name = config::get("server_name")?.unwrap_or_else(|| host.clone());
        Ok(Self {
            tls: config::parse_or("tls", false)?.then_some(name),
            host,
            port: config::parse_or("port", 6379)?,
            username: config::get("username")?,
            password: config::get("password")?,
            database: config::parse_or("database", 0)?,
            key_prefix: config::get("key_prefix")?.unwrap_or_else(|| "canopy".to_owned()),
            timeout: Duration::from_millis(config::parse_or("timeout_ms", 5000)?),
        })
    }
}
