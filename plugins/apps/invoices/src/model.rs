//! Customers and invoices: their fields, what is valid, and what they add up to.

use serde::{Deserialize, Serialize};
use time::Date;

use crate::decimal::{Percent, Quantity, divide_rounded};

/// The longest of the short texts (names, descriptions) and of the long ones, in characters.
const MAX_SHORT: usize = 200;
const MAX_LONG: usize = 2000;

/// Lines of one invoice.
pub const MAX_LINES: usize = 200;

/// The largest price of a unit, in cents, and the largest quantity: what fits leaves every sum of
/// [`MAX_LINES`] lines far from the end of the numbers.
const MAX_PRICE: i64 = 100_000_000_000;
const MAX_QUANTITY: &str = "1000000";

/// One thing that is wrong with what was sent.
#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
pub struct Flaw {
    /// The field, as in `lines/0/quantity`.
    pub field: String,
    /// What is wrong with it.
    pub message: String,
}

fn flaw(flaws: &mut Vec<Flaw>, field: impl Into<String>, message: impl Into<String>) {
    flaws.push(Flaw {
        field: field.into(),
        message: message.into(),
    });
}

/// What a customer is made of.
#[derive(Debug, Clone, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct CustomerFields {
    #[serde(default)]
    pub name: String,
    /// Several lines.
    #[serde(default)]
    pub address: String,
    #[serde(default)]
    pub email: String,
    #[serde(default)]
    pub vat_id: String,
}

impl CustomerFields {
    /// What is wrong; nothing if all is well.
    pub fn flaws(&self) -> Vec<Flaw> {
        let mut flaws = Vec::new();
        if self.name.trim().is_empty() {
            flaw(&mut flaws, "name", "is missing");
        }
        check_text(&mut flaws, "name", &self.name, MAX_SHORT, false);
        check_text(&mut flaws, "address", &self.address, MAX_LONG, true);
        check_text(&mut flaws, "email", &self.email, MAX_SHORT, false);
        check_text(&mut flaws, "vat_id", &self.vat_id, MAX_SHORT, false);
        let email = self.email.trim();
        let is_email = email.split_once('@').is_some_and(|(local, host)| {
            !local.is_empty() && !host.is_empty() && !host.contains('@')
        });
        if !email.is_empty() && (!is_email || email.contains(char::is_whitespace)) {
            flaw(&mut flaws, "email", "must be of the form name@host");
        }
        flaws
    }
}

fn check_text(flaws: &mut Vec<Flaw>, field: &str, text: &str, limit: usize, lines: bool) {
    let count = text.chars().count();
    if count > limit {
        flaw(
            flaws,
            field,
            format!("has {count} characters; at most {limit} are allowed"),
        );
    }
    let unwelcome = |c: char| c.is_control() && !(lines && matches!(c, '\n' | '\r' | '\t'));
    if text.chars().any(unwelcome) {
        flaw(flaws, field, "has control characters in it");
    }
}

/// A customer.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub struct Customer {
    pub id: u32,
    #[serde(flatten)]
    pub fields: CustomerFields,
}

/// One line of an invoice.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Line {
    pub description: String,
    pub quantity: Quantity,
    /// Without tax; negative for a discount.
    pub unit_price_cents: i64,
    pub vat_rate: Percent,
}

impl Line {
    /// The line's amount without tax, in cents, rounded once.
    pub fn net_cents(&self) -> i64 {
        let exact = i128::from(self.quantity.units()) * i128::from(self.unit_price_cents);
        narrow(divide_rounded(exact, i128::from(Quantity::SCALE)))
    }
}

/// The limits of a valid invoice keep every sum within the range.
fn narrow(cents: i128) -> i64 {
    i64::try_from(cents).unwrap_or(if cents < 0 { i64::MIN } else { i64::MAX })
}

/// What a client sends to create or to change a draft.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DraftFields {
    pub customer: u32,
    pub lines: Vec<Line>,
    #[serde(default)]
    pub note: String,
    /// Days from the issue to the day on which payment is due; the configured ones if left out.
    pub payment_days: Option<u16>,
    /// The revision that is replaced: if another has come since, nothing is changed.
    pub revision: Option<u16>,
}

impl DraftFields {
    /// What is wrong; nothing if all is well. `rates` are those of the configuration.
    pub fn flaws(&self, rates: &[Percent]) -> Vec<Flaw> {
        let mut flaws = Vec::new();
        match self.lines.len() {
            0 => flaw(&mut flaws, "lines", "must have at least one line"),
            count if count > MAX_LINES => {
                flaw(
                    &mut flaws,
                    "lines",
                    format!("{count} are over the limit of {MAX_LINES}"),
                );
            }
            _ => {}
        }
        let most = Quantity::parse(MAX_QUANTITY).unwrap_or_default();
        for (index, line) in self.lines.iter().enumerate() {
            let field = |name: &str| format!("lines/{index}/{name}");
            if line.description.trim().is_empty() {
                flaw(&mut flaws, field("description"), "is missing");
            }
            check_text(
                &mut flaws,
                &field("description"),
                &line.description,
                MAX_SHORT,
                false,
            );
            if line.quantity <= Quantity::default() || line.quantity > most {
                flaw(
                    &mut flaws,
                    field("quantity"),
                    format!("must be above 0 and at most {MAX_QUANTITY}"),
                );
            }
            if line.unit_price_cents.unsigned_abs() > MAX_PRICE.unsigned_abs() {
                flaw(
                    &mut flaws,
                    field("unit_price_cents"),
                    format!("must be at most {MAX_PRICE}"),
                );
            }
            if !rates.contains(&line.vat_rate) {
                let rates: Vec<String> = rates.iter().map(ToString::to_string).collect();
                flaw(
                    &mut flaws,
                    field("vat_rate"),
                    format!("must be one of {}", rates.join(", ")),
                );
            }
        }
        check_text(&mut flaws, "note", &self.note, MAX_LONG, true);
        if self.payment_days.is_some_and(|days| days > 365) {
            flaw(&mut flaws, "payment_days", "must be at most 365");
        }
        if flaws.is_empty() && Totals::of(&self.lines).total_cents < 0 {
            flaw(&mut flaws, "lines", "must not add up to less than nothing");
        }
        flaws
    }
}

/// One revision of an invoice's content. Stored once and never changed, so whoever knows an
/// invoice's identifier and revision knows all that is in it, the customer's address of that day
/// included.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub struct Draft {
    pub customer: Customer,
    pub lines: Vec<Line>,
    pub note: String,
    pub payment_days: u16,
    pub currency: String,
    pub number_prefix: String,
}

/// What an invoice has become by being issued.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub struct Issued {
    pub number: u64,
    pub revision: u16,
    pub on: Date,
}

/// A payment in full.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub struct Paid {
    pub on: Date,
}

/// Where an invoice is in its life.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Draft,
    Issued,
    Paid,
}

impl State {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Issued => "issued",
            Self::Paid => "paid",
        }
    }
}

/// An invoice as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invoice {
    pub id: u32,
    pub revision: u16,
    pub draft: Draft,
    pub issued: Option<Issued>,
    pub paid: Option<Paid>,
}

impl Invoice {
    pub fn state(&self) -> State {
        match (&self.issued, &self.paid) {
            (Some(_), Some(_)) => State::Paid,
            (Some(_), None) => State::Issued,
            (None, _) => State::Draft,
        }
    }

    /// The number as it is printed, such as `INV-00042`.
    pub fn number(&self) -> Option<String> {
        let issued = self.issued.as_ref()?;
        Some(format!("{}{:05}", self.draft.number_prefix, issued.number))
    }

    /// The day by which it is to be paid.
    pub fn due_on(&self) -> Option<Date> {
        let issued = self.issued.as_ref()?;
        issued
            .on
            .checked_add(time::Duration::days(self.draft.payment_days.into()))
    }

    pub fn totals(&self) -> Totals {
        Totals::of(&self.draft.lines)
    }
}

/// What the lines of one rate add up to.
#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
pub struct RateTotal {
    pub rate: Percent,
    pub net_cents: i64,
    pub vat_cents: i64,
}

/// What all lines add up to.
///
/// Each line is rounded to cents, the lines of one rate are added, and their tax is rounded once:
/// the way of the European standard for invoices (EN 16931, BR-CO-17), by which the printed
/// amounts add up.
#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
pub struct Totals {
    pub net_cents: i64,
    /// By rate, the highest first.
    pub vat: Vec<RateTotal>,
    pub total_cents: i64,
}

impl Totals {
    pub fn of(lines: &[Line]) -> Self {
        let mut rates: Vec<Percent> = lines.iter().map(|line| line.vat_rate).collect();
        rates.sort_unstable_by(|a, b| b.cmp(a));
        rates.dedup();
        let vat: Vec<RateTotal> = rates
            .into_iter()
            .map(|rate| {
                let of_rate = lines.iter().filter(|line| line.vat_rate == rate);
                let net: i128 = of_rate.map(|line| i128::from(line.net_cents())).sum();
                let hundred = i128::from(Percent::SCALE) * 100;
                RateTotal {
                    rate,
                    net_cents: narrow(net),
                    vat_cents: narrow(divide_rounded(net * i128::from(rate.units()), hundred)),
                }
            })
            .collect();
        let net: i128 = vat.iter().map(|total| i128::from(total.net_cents)).sum();
        let tax: i128 = vat.iter().map(|total| i128::from(total.vat_cents)).sum();
        Self {
            net_cents: narrow(net),
            vat,
            total_cents: narrow(net + tax),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(quantity: &str, unit_price_cents: i64, rate: &str) -> Line {
        Line {
            description: "thing".into(),
            quantity: Quantity::parse(quantity).unwrap(),
            unit_price_cents,
            vat_rate: Percent::parse(rate).unwrap(),
        }
    }

    fn fields(lines: Vec<Line>) -> DraftFields {
        DraftFields {
            customer: 1,
            lines,
            note: String::new(),
            payment_days: None,
            revision: None,
        }
    }

    fn rates() -> Vec<Percent> {
        ["19", "7", "0"]
            .map(|rate| Percent::parse(rate).unwrap())
            .to_vec()
    }

    #[test]
    fn tax_is_rounded_once_per_rate() {
        // Three times 0.33 at 19 %: by the sum 0.1881, by the line 0.0627 each.
        let totals = Totals::of(&[
            line("1", 33, "19"),
            line("1", 33, "19"),
            line("1", 33, "19"),
        ]);
        assert_eq!(
            (
                totals.net_cents,
                totals.vat[0].vat_cents,
                totals.total_cents
            ),
            (99, 19, 118)
        );
    }

    #[test]
    fn rates_are_added_apart_and_the_highest_comes_first() {
        let totals = Totals::of(&[
            line("2.5", 1999, "7"),
            line("1", 10_000, "19"),
            line("1", -500, "19"),
            line("3", 100, "0"),
        ]);
        let by_rate: Vec<(String, i64, i64)> = totals
            .vat
            .iter()
            .map(|total| (total.rate.to_string(), total.net_cents, total.vat_cents))
            .collect();
        // 2.5 × 19.99 is 49.975, which becomes 49.98; 7 % of it is 3.4986.
        let expected = [
            ("19".into(), 9500, 1805),
            ("7".into(), 4998, 350),
            ("0".into(), 300, 0),
        ];
        assert_eq!(by_rate, expected);
        assert_eq!(totals.net_cents, 14_798);
        assert_eq!(totals.total_cents, 16_953);
    }

    #[test]
    fn the_largest_valid_invoice_adds_up() {
        let lines = vec![line("1000000", MAX_PRICE, "19"); 1];
        assert!(fields(lines.clone()).flaws(&rates()).is_empty());
        assert_eq!(Totals::of(&lines).total_cents, 119_000_000_000_000_000);
    }

    #[test]
    fn every_flaw_is_named_at_once_by_its_field() {
        let mut bad = line("0", MAX_PRICE + 1, "3");
        bad.description = " ".into();
        let mut draft = fields(vec![line("1", 1, "19"), bad]);
        draft.payment_days = Some(366);
        let named: Vec<String> = draft
            .flaws(&rates())
            .into_iter()
            .map(|flaw| flaw.field)
            .collect();
        assert_eq!(
            named,
            [
                "lines/1/description",
                "lines/1/quantity",
                "lines/1/unit_price_cents",
                "lines/1/vat_rate",
                "payment_days"
            ]
        );
        assert_eq!(fields(Vec::new()).flaws(&rates())[0].field, "lines");
        let refund = fields(vec![line("1", -1, "19")]);
        assert!(
            refund.flaws(&rates())[0]
                .message
                .contains("less than nothing")
        );
    }

    #[test]
    fn a_customer_needs_a_name_and_an_email_that_is_one() {
        let named = |name: &str, email: &str| CustomerFields {
            name: name.into(),
            email: email.into(),
            ..CustomerFields::default()
        };
        assert!(named("Ada", "").flaws().is_empty());
        assert!(named("Ada", "a@b").flaws().is_empty());
        for customer in [
            named(" ", ""),
            named("A\u{0}", ""),
            named("Ada", "ada"),
            named("Ada", "a@b c"),
        ] {
            assert_eq!(customer.flaws().len(), 1, "{customer:?}");
        }
    }
}
