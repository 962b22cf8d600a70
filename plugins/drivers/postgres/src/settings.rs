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
    pub username: String,
    pub password: Option<String>,
    pub database: String,
    pub table: String,
    pub timeout: Duration,
}

impl Settings {
    /// Reads them from the platform.
    pub fn read() -> Result<Self, config::Error> {
        let username = config::require("username")?;
        let host = config::require("host")?;
        let name = config::get("server_name")?.unwrap_or_else(|| host.clone());
        let verified = config::get("sslmode")?.is_some_and(|mode| mode == "verify-full");
        Ok(Self {
            tls: verified.then_some(name),
            host,
            port: config::parse_or("port", 5432)?,
            password: config::get("password")?,
            database: config::get("database")?.unwrap_or_else(|| username.clone()),
            username,
            table: config::get("table")?.unwrap_or_else(|| "canopy_keyvalue".to_owned()),
            timeout: Duration::from_millis(config::parse_or("timeout_ms", 5000)?),
        })
    }

    /// Where the server is, for people.
    pub fn server(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}
