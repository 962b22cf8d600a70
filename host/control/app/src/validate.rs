//! Checks of texts and sets that people send, each with its limit.

use std::collections::BTreeMap;

use canopy_api_types::Config;

use crate::catalog::Release;
use crate::{AppError, AppSettings, egress};

const MAX_NAME: usize = 200;
const MAX_WORD: usize = 64;
const MAX_ATTRIBUTE: usize = 1_024;

/// A text that is shown to people.
pub(crate) fn display_name(field: &str, text: &str) -> Result<(), AppError> {
    text_within(field, text, MAX_NAME)
}

/// A word such as a plan, a region or a role.
pub(crate) fn word(field: &str, text: &str) -> Result<(), AppError> {
    text_within(field, text, MAX_WORD)
}

fn text_within(field: &str, text: &str, limit: usize) -> Result<(), AppError> {
    let length = text.chars().count();
    if text.trim().is_empty() {
        Err(AppError::field(field, "must not be empty"))
    } else if length > limit {
        let message = format!("has {length} characters; at most {limit} are allowed");
        Err(AppError::field(field, message))
    } else if text.chars().any(is_deceptive) {
        Err(AppError::field(
            field,
            "must not contain control or direction characters",
        ))
    } else {
        Ok(())
    }
}

/// Control characters, and those that change the direction of what is shown.
fn is_deceptive(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A set of at most `limit` members.
pub(crate) fn count(field: &str, actual: usize, limit: usize) -> Result<(), AppError> {
    if actual > limit {
        let message = format!("has {actual} entries; at most {limit} are allowed");
        Err(AppError::field(field, message))
    } else {
        Ok(())
    }
}

/// A tenant's attributes.
pub(crate) fn attributes(
    attributes: &BTreeMap<String, String>,
    settings: &AppSettings,
) -> Result<(), AppError> {
    count("attributes", attributes.len(), settings.attributes)?;
    for (key, value) in attributes {
        word("attributes", key)?;
        let field = format!("attributes.{key}");
        if value.len() > MAX_ATTRIBUTE {
            let message = format!(
                "has {} bytes; at most {MAX_ATTRIBUTE} are allowed",
                value.len()
            );
            return Err(AppError::field(field, message));
        }
        if value.chars().any(char::is_control) {
            return Err(AppError::field(
                field,
                "must not contain control characters",
            ));
        }
    }
    Ok(())
}

/// A whole configuration with the secrets that would be set.
pub(crate) fn config(
    release: &Release,
    config: &Config,
    secrets: &BTreeMap<String, String>,
    settings: &AppSettings,
) -> Result<(), AppError> {
    let size = serde_json::to_string(config).map_or(usize::MAX, |text| text.len());
    if size > settings.config_bytes {
        let limit = settings.config_bytes;
        let message = format!("has {size} bytes as JSON; at most {limit} are allowed");
        return Err(AppError::field("config", message));
    }
    release
        .manifest
        .config
        .check(config, secrets)
        .map_err(|faults| AppError::InvalidConfig {
            package: release.package.clone(),
            version: release.version.clone(),
            faults,
        })?;
    let effective = release.manifest.config.effective(config, secrets);
    egress::tls(&release.manifest, &effective)
        .check()
        .map_err(|error| AppError::field("config", error.to_string()))
}

/// One secret that is to be set.
pub(crate) fn secret(
    release: &Release,
    key: &str,
    value: &str,
    settings: &AppSettings,
) -> Result<(), AppError> {
    if value.len() > settings.secret_bytes {
        let (size, limit) = (value.len(), settings.secret_bytes);
        let message = format!("has {size} bytes; at most {limit} are allowed");
        return Err(AppError::field("value", message));
    }
    release
        .manifest
        .config
        .check_secret(key, value)
        .map_err(|fault| AppError::InvalidConfig {
            package: release.package.clone(),
            version: release.version.clone(),
            faults: vec![fault],
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_mislead_are_refused() {
        for text in ["", "  ", "a\0b", "a\u{202e}b", "a\nb", &"x".repeat(201)] {
            assert!(display_name("display_name", text).is_err(), "{text:?}");
        }
        assert!(display_name("display_name", "Größe & Söhne 株式会社").is_ok());
    }
}
