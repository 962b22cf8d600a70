//! Decimal numbers of a fixed number of places, kept as whole numbers of the last place.

use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// A number with up to `PLACES` decimal places. In JSON it is a text such as `"1.5"`; a JSON number
/// is read as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Decimal<const PLACES: u32>(i64);

/// Hours, pieces, kilogrammes.
pub type Quantity = Decimal<3>;

/// A rate of tax in percent.
pub type Percent = Decimal<2>;

impl<const PLACES: u32> Decimal<PLACES> {
    /// The number of last places in one.
    pub const SCALE: i64 = 10_i64.pow(PLACES);

    /// How often the last place is in the number.
    pub fn units(self) -> i64 {
        self.0
    }

    /// Reads digits with an optional sign and fraction, and nothing else.
    pub fn parse(text: &str) -> Option<Self> {
        let (negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
        let all_digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        let places = fraction.trim_end_matches('0');
        if !all_digits(whole) || !all_digits(fraction) || places.len() > PLACES as usize {
            return None;
        }
        let padded = format!("{places:0<width$}", width = PLACES as usize);
        let fraction: i64 = if padded.is_empty() {
            0
        } else {
            padded.parse().ok()?
        };
        let whole: i64 = whole.parse().ok()?;
        let units = whole.checked_mul(Self::SCALE)?.checked_add(fraction)?;
        Some(Self(if negative { -units } else { units }))
    }
}

impl<const PLACES: u32> std::fmt::Display for Decimal<PLACES> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let units = self.0.unsigned_abs();
        let scale = Self::SCALE.unsigned_abs();
        let fraction = format!("{:0width$}", units % scale, width = PLACES as usize);
        match fraction.trim_end_matches('0') {
            "" => write!(f, "{sign}{}", units / scale),
            places => write!(f, "{sign}{}.{places}", units / scale),
        }
    }
}

impl<const PLACES: u32> Serialize for Decimal<PLACES> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de, const PLACES: u32> Deserialize<'de> for Decimal<PLACES> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader<const PLACES: u32>;

        impl<const PLACES: u32> Visitor<'_> for Reader<PLACES> {
            type Value = Decimal<PLACES>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "a number with at most {PLACES} decimal places")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Decimal::parse(text)
                    .ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Self::Value, E> {
                self.visit_str(&number.to_string())
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
                self.visit_str(&number.to_string())
            }

            // The shortest text that reads back as the same number is the one that was sent.
            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Self::Value, E> {
                self.visit_str(&number.to_string())
            }
        }

        deserializer.deserialize_any(Reader)
    }
}

/// `numerator / denominator` to the nearest whole number, halves away from zero.
pub fn divide_rounded(numerator: i128, denominator: i128) -> i128 {
    let half = denominator / 2;
    (numerator + if numerator < 0 { -half } else { half }) / denominator
}

/// An amount of cents for people: `-1234567` is `-12,345.67`.
pub fn money(cents: i64) -> String {
    let sign = if cents < 0 { "-" } else { "" };
    let cents = cents.unsigned_abs();
    let digits = (cents / 100).to_string();
    let mut whole = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            whole.push(',');
        }
        whole.push(digit);
    }
    format!("{sign}{whole}.{:02}", cents % 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_read_exactly_or_not_at_all() {
        for (text, units) in [
            ("0", 0),
            ("1.5", 1500),
            ("-0.001", -1),
            ("12", 12_000),
            ("1.5000", 1500),
        ] {
            assert_eq!(
                Quantity::parse(text).map(Decimal::units),
                Some(units),
                "{text}"
            );
        }
        for text in [
            "",
            "-",
            ".5",
            "1.",
            "1,5",
            "1.2345",
            "1e3",
            " 1",
            "+1",
            "--1",
            "9223372036854775807",
            "٣",
        ] {
            assert_eq!(Quantity::parse(text), None, "{text}");
        }
    }

    #[test]
    fn json_numbers_and_texts_mean_the_same() {
        for json in ["5.5", "\"5.5\"", "5.50", "\"5.50\""] {
            let percent: Percent = serde_json::from_str(json).unwrap();
            assert_eq!(serde_json::to_string(&percent).unwrap(), "\"5.5\"");
        }
        assert!(serde_json::from_str::<Percent>("5.555").is_err());
        assert!(serde_json::from_str::<Percent>("1e300").is_err());
        assert!(serde_json::from_str::<Percent>("null").is_err());
    }

    #[test]
    fn halves_are_rounded_away_from_zero() {
        for (numerator, expected) in [(14, 1), (15, 2), (16, 2), (-14, -1), (-15, -2), (0, 0)] {
            assert_eq!(divide_rounded(numerator, 10), expected, "{numerator}");
        }
    }

    #[test]
    fn money_is_grouped() {
        assert_eq!(money(0), "0.00");
        assert_eq!(money(-5), "-0.05");
        assert_eq!(money(123_456_789), "1,234,567.89");
    }
}
