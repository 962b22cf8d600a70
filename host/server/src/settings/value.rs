//! How the values of settings are written and read, one module for each form.
//!
//! A form reads the values of a TOML file and the texts of environment variables, which are all
//! strings, and shows a value as TOML.

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use toml::Value;

fn text_of(value: &Value) -> Option<&str> {
    value.as_str().map(str::trim)
}

/// Whole numbers.
pub(super) mod count {
    use super::{Display, FromStr, Value, text_of};

    pub(in crate::settings) const FORM: &str = "a whole number";

    pub(in crate::settings) fn read<T: FromStr>(value: &Value) -> Result<T, String> {
        let text = match value {
            Value::Integer(number) => number.to_string(),
            other => text_of(other).unwrap_or_default().replace('_', ""),
        };
        text.parse()
            .map_err(|_| format!("expected {FORM} in range, found {value}"))
    }

    pub(in crate::settings) fn show<T: Display>(value: &T) -> String {
        value.to_string()
    }
}

/// Numbers of bytes.
pub(super) mod size {
    use super::{Display, FromStr, Value, text_of};

    pub(in crate::settings) const FORM: &str = "bytes, as in 65536, \"64 KiB\", \"1 GiB\"";

    const UNITS: [(&str, u64); 4] = [
        ("GiB", 1 << 30),
        ("MiB", 1 << 20),
        ("KiB", 1 << 10),
        ("B", 1),
    ];

    pub(in crate::settings) fn read<T: FromStr>(value: &Value) -> Result<T, String> {
        let text = match value {
            Value::Integer(number) => number.to_string(),
            other => text_of(other).unwrap_or_default().to_owned(),
        };
        let (number, unit) = UNITS
            .iter()
            .find_map(|(name, unit)| Some((text.strip_suffix(name)?, *unit)))
            .unwrap_or((&text, 1));
        let bytes = number.trim().replace('_', "").parse::<u64>().ok();
        bytes
            .and_then(|bytes| bytes.checked_mul(unit))
            .and_then(|bytes| bytes.to_string().parse().ok())
            .ok_or_else(|| format!("expected {FORM}, found {value}"))
    }

    pub(in crate::settings) fn show<T: Display>(value: &T) -> String {
        let text = value.to_string();
        let bytes: u64 = text.parse().unwrap_or_default();
        match UNITS
            .iter()
            .find(|(_, unit)| *unit > 1 && bytes > 0 && bytes.is_multiple_of(*unit))
        {
            Some((name, unit)) => format!("\"{} {name}\"", bytes / unit),
            None => text,
        }
    }
}

/// Periods of time.
pub(super) mod time {
    use super::{Duration, Value, text_of};

    pub(in crate::settings) const FORM: &str =
        "a time, as in \"100 us\", \"250 ms\", \"10 s\", \"5 min\"";

    const UNITS: [(&str, u64); 5] = [
        ("min", 60_000_000),
        ("ms", 1_000),
        ("us", 1),
        ("s", 1_000_000),
        ("h", 3_600_000_000),
    ];

    pub(in crate::settings) fn read(value: &Value) -> Result<Duration, String> {
        let text = text_of(value).unwrap_or_default();
        UNITS
            .iter()
            .find_map(|(name, unit)| {
                Some((text.strip_suffix(name)?.trim().parse::<u64>().ok()?, *unit))
            })
            .and_then(|(number, unit)| number.checked_mul(unit))
            .map(Duration::from_micros)
            .ok_or_else(|| format!("expected {FORM}, found {value}"))
    }

    pub(in crate::settings) fn show(value: &Duration) -> String {
        let us = value.as_micros();
        match us {
            0 => "\"0 s\"".to_owned(),
            us if us % 60_000_000 == 0 => format!("\"{} min\"", us / 60_000_000),
            us if us % 1_000_000 == 0 => format!("\"{} s\"", us / 1_000_000),
            us if us % 1_000 == 0 => format!("\"{} ms\"", us / 1_000),
            us => format!("\"{us} us\""),
        }
    }
}

/// Yes or no.
pub(super) mod flag {
    use super::{Value, text_of};

    pub(in crate::settings) const FORM: &str = "true or false";

    pub(in crate::settings) fn read(value: &Value) -> Result<bool, String> {
        value
            .as_bool()
            .or_else(|| text_of(value)?.parse().ok())
            .ok_or_else(|| format!("expected {FORM}, found {value}"))
    }

    pub(in crate::settings) fn show(value: &bool) -> String {
        value.to_string()
    }
}

/// Texts that mean something: addresses, names, paths.
pub(super) mod text {
    use super::{Display, FromStr, Value};

    pub(in crate::settings) const FORM: &str = "a text";

    pub(in crate::settings) fn read<T: FromStr<Err: Display>>(value: &Value) -> Result<T, String> {
        let text = value
            .as_str()
            .ok_or_else(|| format!("expected {FORM}, found {value}"))?;
        text.parse()
            .map_err(|error: T::Err| format!("`{text}`: {error}"))
    }

    pub(in crate::settings) fn show<T: Display>(value: &T) -> String {
        Value::String(value.to_string()).to_string()
    }
}

/// Lists of such texts; in an environment variable divided by commas.
pub(super) mod list {
    use super::{Display, FromStr, Value, text};

    pub(in crate::settings) const FORM: &str = "a list of texts";

    pub(in crate::settings) fn read<T: FromStr<Err: Display>>(
        value: &Value,
    ) -> Result<Vec<T>, String> {
        match value {
            Value::Array(items) => items.iter().map(text::read).collect(),
            Value::String(items) => items
                .split(',')
                .map(str::trim)
                .filter(|item| !item.is_empty())
                .map(|item| text::read(&Value::String(item.to_owned())))
                .collect(),
            other => Err(format!("expected {FORM}, found {other}")),
        }
    }

    pub(in crate::settings) fn show<T: Display>(value: &[T]) -> String {
        let items: Vec<_> = value.iter().map(text::show).collect();
        format!("[{}]", items.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn string(text: &str) -> Value {
        Value::String(text.to_owned())
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("65536", 65536),
            ("64 KiB", 65536),
            ("64KiB", 65536),
            ("1 GiB", 1 << 30),
        ] {
            assert_eq!(size::read::<u64>(&string(text)), Ok(bytes), "{text}");
        }
        assert_eq!(size::read::<u64>(&Value::Integer(5)), Ok(5));
        assert_eq!(size::show(&65536_u64), "\"64 KiB\"");
        for text in ["", "x", "-1", "1 KB", "1 TiB", "99999999999 GiB", "1.5 GiB"] {
            assert!(size::read::<u64>(&string(text)).is_err(), "{text}");
        }
        assert!(size::read::<u32>(&string("8 GiB")).is_err());
    }

    #[test]
    fn times() {
        for (text, ms) in [
            ("250 ms", 250),
            ("10s", 10_000),
            ("5 min", 300_000),
            ("1 h", 3_600_000),
        ] {
            assert_eq!(
                time::read(&string(text)),
                Ok(Duration::from_millis(ms)),
                "{text}"
            );
        }
        for value in [
            string("10"),
            string("s"),
            string("-1 s"),
            Value::Integer(10),
        ] {
            assert!(time::read(&value).is_err(), "{value}");
        }
    }

    #[test]
    fn lists_of_a_file_and_of_the_environment() {
        let file = Value::Array(vec![Value::from("10.0.0.0/8"), Value::from("::1/128")]);
        let file = list::read::<ipnet::IpNet>(&file).expect("networks");
        assert_eq!(list::read(&string("10.0.0.0/8, ::1/128")), Ok(file));
        assert!(list::read::<ipnet::IpNet>(&string("10.0.0.0/8,x")).is_err());
        assert_eq!(list::read::<String>(&string("")), Ok(vec![]));
    }
}
