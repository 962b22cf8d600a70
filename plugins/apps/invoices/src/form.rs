//! The form of a new invoice, as people type it.

use crate::decimal::{Decimal, Percent, Quantity};
use crate::model::{DraftFields, Line};

/// One row of the form, as it was typed.
#[derive(Default, Clone)]
pub struct LineRow {
    pub description: String,
    pub quantity: String,
    pub price: String,
    pub vat_rate: String,
}

impl LineRow {
    /// What was typed as a line, or what is wrong with it.
    fn line(&self, position: usize) -> Result<Line, String> {
        let wrong = |what: &str| format!("Line {position}: {what}");
        let quantity = match self.quantity.trim() {
            "" => "1",
            typed => typed,
        };
        let price = canonical(&self.price);
        let cents = Percent::parse(&price).map(Decimal::units);
        Ok(Line {
            description: self.description.trim().to_owned(),
            quantity: Quantity::parse(&canonical(quantity)).ok_or_else(|| {
                wrong("the quantity is not a number with at most 3 decimal places")
            })?,
            unit_price_cents: cents
                .ok_or_else(|| wrong("the price is not a number with at most 2 decimal places"))?,
            vat_rate: Percent::parse(&self.vat_rate)
                .ok_or_else(|| wrong("choose a rate of tax"))?,
        })
    }

    fn is_blank(&self) -> bool {
        self.description.trim().is_empty() && self.price.trim().is_empty()
    }
}

/// A decimal comma is as good as a point.
fn canonical(typed: &str) -> String {
    typed.trim().replace(',', ".")
}

/// The form as it was sent.
#[derive(Default)]
pub struct Typed {
    pub customer: u32,
    pub rows: Vec<LineRow>,
    pub note: String,
    pub payment_days: String,
}

impl Typed {
    /// Fields of a row carry its index, as in `price-2`.
    pub fn read(pairs: Vec<(String, String)>) -> Self {
        let mut typed = Self::default();
        for (name, value) in pairs {
            match name.split_once('-') {
                None => match name.as_str() {
                    "customer" => typed.customer = value.parse().unwrap_or_default(),
                    "note" => typed.note = value,
                    "payment_days" => typed.payment_days = value,
                    _ => {}
                },
                Some((field, index)) => {
                    let Some(index) = index.parse().ok().filter(|index| *index < 1000) else {
                        continue;
                    };
                    if typed.rows.len() <= index {
                        typed.rows.resize(index + 1, LineRow::default());
                    }
                    let row = &mut typed.rows[index];
                    match field {
                        "description" => row.description = value,
                        "quantity" => row.quantity = value,
                        "price" => row.price = value,
                        "vat_rate" => row.vat_rate = value,
                        _ => {}
                    }
                }
            }
        }
        typed
    }

    pub fn fields(&self) -> Result<DraftFields, String> {
        let lines = self
            .rows
            .iter()
            .enumerate()
            .filter(|(_, row)| !row.is_blank())
            .map(|(index, row)| row.line(index + 1))
            .collect::<Result<_, _>>()?;
        let payment_days = match self.payment_days.trim() {
            "" => None,
            days => Some(
                days.parse()
                    .map_err(|_| "The days to pay within are not a whole number.".to_owned())?,
            ),
        };
        Ok(DraftFields {
            customer: self.customer,
            lines,
            note: self.note.clone(),
            payment_days,
            revision: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_becomes_lines_and_blank_rows_are_left_out() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let typed = Typed::read(vec![
            pair("customer", "3"),
            pair("description-0", "Work"),
            pair("quantity-0", "1,5"),
            pair("price-0", "80"),
            pair("vat_rate-0", "19"),
            pair("description-1", " "),
            pair("vat_rate-1", "19"),
            pair("description-99999999999", "far away"),
        ]);
        let fields = typed.fields().unwrap();
        assert_eq!((fields.customer, fields.lines.len()), (3, 1));
        assert_eq!(fields.lines[0].net_cents(), 12_000);
    }

    #[test]
    fn what_is_no_number_is_named_by_its_line() {
        let row = |quantity: &str, price: &str| LineRow {
            description: "x".into(),
            quantity: quantity.into(),
            price: price.into(),
            vat_rate: "19".into(),
        };
        assert!(
            row("x", "1")
                .line(2)
                .unwrap_err()
                .starts_with("Line 2: the quantity")
        );
        assert!(row("", "1.234").line(1).unwrap_err().contains("the price"));
        assert_eq!(row("", "1.23").line(1).unwrap().unit_price_cents, 123);
    }
}
