//! The driver's settings; `canopy.toml` says what they mean.

use std::str::FromStr;
use std::time::Duration;

use canopy_sdk::config;

/// Whether TLS is spoken with the server. There is no TLS here without proof of the server's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SslMode {
    /// In the clear.
    Disable,
    /// By TLS; the server shows a certificate of a trusted authority for its name.
    VerifyFull,
}

/// A mode that the driver does not have.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the modes are `disable` and `verify-full`; TLS without proof of the server's name is not spoken"
)]
struct UnknownSslMode;

impl FromStr for SslMode {
    type Err = UnknownSslMode;

    fn from_str(text: &str) -> Result<Self, UnknownSslMode> {
        match text {
            "disable" => Ok(Self::Disable),
            "verify-full" => Ok(Self::VerifyFull),
            _ => Err(UnknownSslMode),
        }
    }
}

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
    /// Connections that an application may have open by `spin:postgres`.
    pub max_connections: usize,
    /// Bytes of rows that are held at once for `spin:postgres`.
    pub max_result_bytes: usize,
}

impl Settings {
    /// Reads them from the platform.
    pub fn read() -> Result<Self, config::Error> {
        let username = config::require("username")?;
        let host = config::require("host")?;
        let name = config::get("server_name")?.unwrap_or_else(|| host.clone());
        let mode = config::parse_or("sslmode", SslMode::Disable)?;
        Ok(Self {
            tls: (mode == SslMode::VerifyFull).then_some(name),
            host,
            port: config::parse_or("port", 5432)?,
            password: config::get("password")?,
            database: config::get("database")?.unwrap_or_else(|| username.clone()),
            username,
            table: config::get("table")?.unwrap_or_else(|| "canopy_keyvalue".to_owned()),
            timeout: Duration::from_millis(config::parse_or("timeout_ms", 5000)?),
            max_connections: config::parse_or("max_connections", 32)?,
            max_result_bytes: config::parse_or("max_result_bytes", 8 << 20)?,
        })
    }

    /// Where the server is, for people.
    pub fn server(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::{SslMode, UnknownSslMode};

    #[test]
    fn a_mode_that_would_not_prove_the_server_is_refused_and_not_taken_for_none() {
        assert_eq!("disable".parse(), Ok(SslMode::Disable));
        assert_eq!("verify-full".parse(), Ok(SslMode::VerifyFull));
        for mode in ["allow", "prefer", "require", "verify-ca", "VERIFY-FULL", ""] {
            assert_eq!(mode.parse::<SslMode>(), Err(UnknownSslMode), "{mode}");
        }
    }
}
