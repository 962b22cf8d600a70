//! The driver's settings; `canopy.toml` says what they mean.

use std::time::Duration;

use canopy_sdk::config;

/// When TLS begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tls {
    /// Never.
    Off,
    /// After the greeting, by STARTTLS.
    Later,
    /// Before the greeting.
    Implicit,
}

/// The settings of this driver instance.
pub struct Settings {
    pub host: String,
    pub port: u16,
    pub tls: Tls,
    /// The name that the server proves.
    pub server_name: String,
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
        let host = config::require("host")?;
        Ok(Self {
            tls: match config::get("tls")?.as_deref() {
                Some("starttls") => Tls::Later,
                Some("implicit") => Tls::Implicit,
                _ => Tls::Off,
            },
            server_name: config::get("server_name")?.unwrap_or_else(|| host.clone()),
            host,
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
