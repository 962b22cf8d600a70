//! The installation's settings; `canopy.toml` says what they mean.

use canopy_sdk::config;

use crate::decimal::Percent;

/// What goes into new drafts and onto printed invoices.
pub struct Settings {
    pub seller: String,
    pub number_prefix: String,
    pub currency: String,
    pub vat_rates: Vec<Percent>,
    pub payment_days: u16,
}

impl Settings {
    pub fn read() -> Result<Self, config::Error> {
        let text = |key, default: &str| -> Result<String, config::Error> {
            Ok(config::get(key)?.unwrap_or_else(|| default.to_owned()))
        };
        Ok(Self {
            seller: text("seller", "")?,
            number_prefix: text("number_prefix", "INV-")?,
            currency: text("currency", "EUR")?,
            vat_rates: rates(&text("vat_rates", "19,7,0")?)?,
            payment_days: config::parse_or("payment_days", 14)?,
        })
    }
}

fn rates(text: &str) -> Result<Vec<Percent>, config::Error> {
    text.split(',')
        .map(|rate| {
            Percent::parse(rate.trim()).ok_or_else(|| config::Error::Invalid {
                key: "vat_rates".to_owned(),
                reason: format!("{rate:?} is not a percentage with at most 2 decimal places"),
            })
        })
        .collect()
}
