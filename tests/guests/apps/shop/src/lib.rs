//! Uses `acme:payments/charge` in every way that its types allow. Paths that end in `{card}` let
//! the driver do what the card's number says.

use acme::payments::charge::{
    Account, Amount, Currency, Error, Line, Method, Options, Order, Receipt, close, live, pay,
    reflect, seen, tax,
};
use canopy_sdk::{IntoResponse, Json, Path, Response, Router, StatusCode, any};
use payments::acme;
use serde_json::json;

canopy_sdk::import!(payments: "acme:payments/charge@1.2.0", wit = ["../../wit/payments/1.2.0"]);

#[canopy_sdk::app]
fn app() -> Router {
    Router::new()
        .route("/buy/{card}", any(buy))
        .route("/tax/{card}", any(|Path(card): Path<String>| taxed(&card)))
        .route("/survive/{card}", any(survive))
        .route("/reflect", any(reflected))
        .route("/account/{holder}", any(account))
        .route("/keep/{count}", any(keep))
        .route("/abandon/{count}", any(abandon))
        .route("/live", any(|| Json(live())))
        .route("/seen", any(|| Json(seen())))
}

fn euros(minor_units: i64) -> Amount {
    Amount {
        minor_units,
        currency: Currency::Eur,
    }
}

fn order(card: &str) -> Order {
    Order {
        reference: "größe-42 \u{1f6d2}".to_owned(),
        lines: vec![
            Line {
                text: "apple".to_owned(),
                quantity: 3,
                unit: euros(50),
                weight: Some(0.25),
            },
            Line {
                text: "pear".to_owned(),
                quantity: 1,
                unit: euros(75),
                weight: None,
            },
        ],
        method: Method::Card(card.to_owned()),
        options: Options::CAPTURE | Options::RECURRING,
        marker: '\u{10ffff}',
        digest: (0..=255).collect(),
    }
}

fn refused(error: Error) -> Response {
    let (kind, detail) = match error {
        Error::Declined(text) => ("declined", text),
        Error::ShortOf(amount) => ("short-of", amount.minor_units.to_string()),
        Error::Unavailable(text) => ("unavailable", text),
    };
    let body = Json(json!({ "error": kind, "detail": detail }));
    (StatusCode::PAYMENT_REQUIRED, body).into_response()
}

fn purchase(card: &str, money: i64) -> Result<(Account, Receipt), Error> {
    let account = Account::new("Ada");
    account.deposit(euros(money))?;
    let receipt = pay(&account, &order(card))?;
    Ok((account, receipt))
}

/// A whole purchase: constructor, methods, borrows both ways, a resource received and one given
/// away.
fn buy(Path(card): Path<String>) -> Response {
    let money = if card == "poor" { 1 } else { 1000 };
    match purchase(&card, money) {
        Ok((account, receipt)) => {
            let bought = json!({
                "holder": account.holder(),
                "receipt": receipt.id(),
                "total": receipt.total().minor_units,
                "lines": receipt.order().lines.len(),
                "same": receipt.same_holder(&receipt),
                "left": close(account).minor_units,
            });
            Json(bought).into_response()
        }
        Err(error) => refused(error),
    }
}

fn taxed(card: &str) -> String {
    tax(euros(1000), card).minor_units.to_string()
}

/// Calls again after the driver failed: the account is gone with its instance, a new one works.
fn survive(Path(card): Path<String>) -> Response {
    let before = Account::new("before");
    let first = pay(&before, &order(&card)).err().map(describe);
    let stale = before.deposit(euros(1)).err().map(describe);
    drop(before);
    let again = match purchase("fine", 1000) {
        Ok((_, receipt)) => receipt.id(),
        Err(error) => describe(error),
    };
    Json(json!({ "first": first, "stale": stale, "again": again })).into_response()
}

fn describe(error: Error) -> String {
    match error {
        Error::Declined(text) => format!("declined: {text}"),
        Error::ShortOf(amount) => format!("short of {}", amount.minor_units),
        Error::Unavailable(text) => format!("unavailable: {text}"),
    }
}

fn reflected() -> Json<bool> {
    let mut sent = order("4242");
    let mut same = true;
    for method in [
        Method::Cash,
        Method::Transfer(("DE00".to_owned(), None)),
        Method::Transfer(("DE00".to_owned(), Some("BIC".to_owned()))),
    ] {
        sent.method = method;
        same &= format!("{:?}", reflect(&sent)) == format!("{sent:?}");
    }
    Json(same)
}

fn account(Path(holder): Path<String>) -> Response {
    match Account::find(&holder) {
        Ok(account) => account.holder().into_response(),
        Err(error) => refused(error),
    }
}

/// Opens accounts, and ends with all of them open.
fn keep(Path(count): Path<u32>) -> Json<(u32, u32)> {
    for number in 0..count {
        std::mem::forget(Account::new(&format!("forgotten {number}")));
    }
    Json(live())
}

/// Opens accounts and breaks down.
fn abandon(Path(count): Path<u32>) -> Json<(u32, u32)> {
    let accounts: Vec<Account> = (0..count)
        .map(|number| Account::new(&format!("abandoned {number}")))
        .collect();
    panic!(
        "this guest leaves {} accounts behind on purpose",
        accounts.len()
    )
}
