//! What all guests of a node may have of memory: a share of the machine's, or a size.

use std::fmt;
use std::str::FromStr;

use toml::Value;

use super::value::size;

/// A share of the machine's memory, or a size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NodeMemory {
    /// So many hundredths.
    Percent(u64),
    /// So many bytes.
    Bytes(u64),
}

impl Default for NodeMemory {
    /// The rest is for the node itself, its databases and what the system keeps of files.
    fn default() -> Self {
        Self::Percent(70)
    }
}

impl NodeMemory {
    /// As a number of bytes, on a machine that has `machine`; `None` where that is not known and has
    /// to be.
    pub(crate) fn of(self, machine: Option<u64>) -> Option<usize> {
        let bytes = match self {
            Self::Bytes(bytes) => bytes,
            Self::Percent(percent) => {
                let hundredths = u128::from(machine?) * u128::from(percent);
                u64::try_from(hundredths / 100).ok()?
            }
        };
        usize::try_from(bytes).ok()
    }
}

impl FromStr for NodeMemory {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let Some(percent) = text.strip_suffix('%') else {
            return match size::read(&Value::String(text.to_owned())) {
                Ok(0) => Err("there has to be some".to_owned()),
                Ok(bytes) => Ok(Self::Bytes(bytes)),
                Err(_) => Err(format!("expected {}, or a share, as \"70 %\"", size::FORM)),
            };
        };
        match percent.trim().parse() {
            Ok(percent @ 1..=100) => Ok(Self::Percent(percent)),
            _ => Err("a share is from 1 % to 100 %".to_owned()),
        }
    }
}

impl fmt::Display for NodeMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Percent(percent) => write!(f, "{percent} %"),
            Self::Bytes(bytes) => f.write_str(size::show(bytes).trim_matches('"')),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_or_a_size_is_read_and_shown() {
        for (text, memory) in [
            ("70 %", NodeMemory::Percent(70)),
            ("100 %", NodeMemory::Percent(100)),
            ("8 GiB", NodeMemory::Bytes(8 << 30)),
            ("1000", NodeMemory::Bytes(1000)),
        ] {
            assert_eq!(text.parse(), Ok(memory), "{text}");
            assert_eq!(memory.to_string(), text);
        }
        assert_eq!("5%".parse(), Ok(NodeMemory::Percent(5)));
        for text in ["", "0", "0 %", "101 %", "-1 %", "x %", "8 GB", "all"] {
            assert!(text.parse::<NodeMemory>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_share_is_of_what_the_machine_has_and_a_size_is_not() {
        assert_eq!(NodeMemory::Percent(70).of(Some(1000)), Some(700));
        assert_eq!(NodeMemory::Percent(70).of(None), None);
        assert_eq!(NodeMemory::Bytes(9).of(None), Some(9));
    }
}
