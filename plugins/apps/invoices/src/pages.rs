//! The pages. They work without scripts; the one script only adds rows to a form.
//!
//! Everything that is shown goes through the templates, which escape it.

use askama::Template;
use canopy_sdk::extract::SameOrigin;
use canopy_sdk::{
    Form, Html, IntoResponse, Path, Problem, Query, Redirect, Response, Router, StatusCode, get,
    post,
};
use serde::Deserialize;

use crate::books::{Books, MAX_PAGE, Refusal};
use crate::decimal::money;
use crate::form::{LineRow, Typed};
use crate::model::{Customer, CustomerFields, Invoice};
use crate::settings::Settings;
use crate::{access, api};

/// Rows of an empty form.
const ROWS: usize = 4;

/// The pages' routes.
pub fn routes() -> Router {
    Router::new()
        .route("/", get(home))
        .route("/customers", get(customers).post(create_customer))
        .route("/customers/new", get(new_customer))
        .route("/invoices", post(create_invoice))
        .route("/invoices/new", get(new_invoice))
        .route("/invoices/{id}", get(invoice))
        .route("/invoices/{id}/issue", post(issue))
        .route("/invoices/{id}/pay", post(pay))
        .route(
            "/static/style.css",
            get(|| asset("text/css", include_str!("../static/style.css"))),
        )
        .route(
            "/static/rows.js",
            get(|| asset("text/javascript", include_str!("../static/rows.js"))),
        )
}

fn asset(kind: &'static str, text: &'static str) -> Response {
    let headers = [("content-type", kind), ("cache-control", "max-age=300")];
    (headers, text).into_response()
}

/// A problem, shown as a page.
struct Failure(Problem);

impl<E: Into<Problem>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

#[derive(Template)]
#[template(path = "failure.html")]
struct FailurePage<'a> {
    title: &'a str,
    detail: String,
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = self.0.status();
        let page = FailurePage {
            title: status.canonical_reason().unwrap_or("Problem"),
            detail: self.0.to_string(),
        };
        (status, show(&page)).into_response()
    }
}

fn show(page: &impl Template) -> Response {
    match page.render() {
        Ok(text) => Html(text).into_response(),
        Err(error) => {
            canopy_sdk::log::error!("a page could not be written: {error}");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

#[derive(Deserialize)]
struct Below {
    below: Option<u32>,
}

/// One row of the list of invoices.
struct Row {
    id: u32,
    number: String,
    customer: String,
    state: &'static str,
    on: String,
    due: String,
    total: String,
}

impl From<&Invoice> for Row {
    fn from(invoice: &Invoice) -> Self {
        Self {
            id: invoice.id,
            number: invoice
                .number()
                .unwrap_or_else(|| format!("Draft {}", invoice.id)),
            customer: invoice.draft.customer.fields.name.clone(),
            state: invoice.state().as_str(),
            on: invoice
                .issued
                .as_ref()
                .map_or(String::new(), |issued| issued.on.to_string()),
            due: invoice
                .due_on()
                .map_or(String::new(), |due| due.to_string()),
            total: amount(invoice.totals().total_cents, &invoice.draft.currency),
        }
    }
}

fn amount(cents: i64, currency: &str) -> String {
    format!("{} {currency}", money(cents))
}

#[derive(Template)]
#[template(path = "home.html")]
struct Home {
    rows: Vec<Row>,
    next: Option<u32>,
    first: bool,
    may_write: bool,
}

fn home(Query(page): Query<Below>) -> Result<Response, Failure> {
    access::read()?;
    let invoices = Books::open()?.invoices(page.below, 50)?;
    Ok(show(&Home {
        rows: invoices.items.iter().map(Row::from).collect(),
        next: invoices.next,
        first: page.below.is_none(),
        may_write: access::write().is_ok(),
    }))
}

#[derive(Template)]
#[template(path = "customers.html")]
struct Customers {
    customers: Vec<Customer>,
    next: Option<u32>,
    may_write: bool,
}

fn customers(Query(page): Query<Below>) -> Result<Response, Failure> {
    access::read()?;
    let customers = Books::open()?.customers(page.below, 50)?;
    Ok(show(&Customers {
        customers: customers.items,
        next: customers.next,
        may_write: access::write().is_ok(),
    }))
}

#[derive(Template)]
#[template(path = "customer_form.html")]
struct CustomerForm {
    fields: CustomerFields,
    problem: Option<String>,
}

fn new_customer() -> Result<Response, Failure> {
    access::write()?;
    Ok(show(&CustomerForm {
        fields: CustomerFields::default(),
        problem: None,
    }))
}

fn create_customer(_: SameOrigin, Form(fields): Form<CustomerFields>) -> Result<Response, Failure> {
    access::write()?;
    match api::add_customer(fields.clone()) {
        Ok(_) => Ok(Redirect::to("/customers").into_response()),
        Err(problem) if problem.status() == StatusCode::UNPROCESSABLE_ENTITY => {
            let page = CustomerForm {
                fields,
                problem: Some(problem.to_string()),
            };
            Ok((problem.status(), show(&page)).into_response())
        }
        Err(problem) => Err(problem.into()),
    }
}

#[derive(Template)]
#[template(path = "invoice_form.html")]
struct InvoiceForm {
    customers: Vec<Customer>,
    customer: u32,
    rows: Vec<LineRow>,
    rates: Vec<String>,
    note: String,
    payment_days: String,
    currency: String,
    problem: Option<String>,
}

#[derive(Deserialize)]
struct For {
    customer: Option<u32>,
}

fn new_invoice(Query(chosen): Query<For>) -> Result<Response, Failure> {
    access::write()?;
    let typed = Typed {
        customer: chosen.customer.unwrap_or_default(),
        ..Typed::default()
    };
    invoice_form(typed, None)
}

fn invoice_form(mut typed: Typed, problem: Option<String>) -> Result<Response, Failure> {
    let settings = Settings::read()?;
    let rows = typed.rows.len().max(ROWS);
    typed.rows.resize(rows, LineRow::default());
    Ok(show(&InvoiceForm {
        customers: Books::open()?.customers(None, MAX_PAGE)?.items,
        customer: typed.customer,
        rows: typed.rows,
        rates: settings.vat_rates.iter().map(ToString::to_string).collect(),
        note: typed.note,
        payment_days: typed.payment_days,
        currency: settings.currency,
        problem,
    }))
}

fn create_invoice(
    _: SameOrigin,
    Form(pairs): Form<Vec<(String, String)>>,
) -> Result<Response, Failure> {
    access::write()?;
    let typed = Typed::read(pairs);
    let books = Books::open()?;
    let draft = typed
        .fields()
        .map_err(|text| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, text))
        .and_then(|fields| api::draft(&books, fields));
    match draft {
        Ok(draft) => {
            let invoice = books.create_invoice(draft)?;
            Ok(Redirect::to(format!("/invoices/{}", invoice.id)).into_response())
        }
        Err(problem) if problem.status() == StatusCode::UNPROCESSABLE_ENTITY => {
            let page = invoice_form(typed, Some(problem.to_string()))?;
            Ok((problem.status(), page).into_response())
        }
        Err(problem) => Err(problem.into()),
    }
}

/// One printed line.
struct PrintedLine {
    description: String,
    quantity: String,
    price: String,
    rate: String,
    net: String,
}

#[derive(Template)]
#[template(path = "invoice.html")]
struct InvoicePage {
    id: u32,
    revision: u16,
    number: String,
    state: &'static str,
    seller: String,
    customer: CustomerFields,
    lines: Vec<PrintedLine>,
    net: String,
    /// Rate and amount.
    vat: Vec<(String, String)>,
    total: String,
    note: String,
    payment_days: u16,
    on: Option<String>,
    due: Option<String>,
    paid: Option<String>,
    may_write: bool,
}

fn invoice(Path(id): Path<u32>) -> Result<Response, Failure> {
    access::read()?;
    let invoice = Books::open()?.invoice(id)?.ok_or(Refusal::Missing)?;
    let totals = invoice.totals();
    let currency = &invoice.draft.currency;
    Ok(show(&InvoicePage {
        id,
        revision: invoice.revision,
        number: invoice.number().unwrap_or_else(|| format!("Draft {id}")),
        state: invoice.state().as_str(),
        seller: Settings::read()?.seller,
        customer: invoice.draft.customer.fields.clone(),
        lines: invoice
            .draft
            .lines
            .iter()
            .map(|line| PrintedLine {
                description: line.description.clone(),
                quantity: line.quantity.to_string(),
                price: money(line.unit_price_cents),
                rate: line.vat_rate.to_string(),
                net: money(line.net_cents()),
            })
            .collect(),
        net: amount(totals.net_cents, currency),
        vat: totals
            .vat
            .iter()
            .map(|total| (total.rate.to_string(), amount(total.vat_cents, currency)))
            .collect(),
        total: amount(totals.total_cents, currency),
        note: invoice.draft.note.clone(),
        payment_days: invoice.draft.payment_days,
        on: invoice.issued.as_ref().map(|issued| issued.on.to_string()),
        due: invoice.due_on().map(|due| due.to_string()),
        paid: invoice.paid.as_ref().map(|paid| paid.on.to_string()),
        may_write: access::write().is_ok(),
    }))
}

#[derive(Deserialize)]
struct Seen {
    revision: Option<u16>,
}

fn issue(_: SameOrigin, Path(id): Path<u32>, Form(seen): Form<Seen>) -> Result<Redirect, Failure> {
    access::write()?;
    Books::open()?.issue(id, seen.revision, api::today())?;
    Ok(Redirect::to(format!("/invoices/{id}")))
}

fn pay(_: SameOrigin, Path(id): Path<u32>) -> Result<Redirect, Failure> {
    access::write()?;
    Books::open()?.pay(id, api::today())?;
    Ok(Redirect::to(format!("/invoices/{id}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ATTACK: &str = "<script>alert('1')</script>\" onfocus=\"x";

    #[test]
    fn what_people_typed_is_escaped_in_every_place() {
        let fields = CustomerFields {
            name: ATTACK.into(),
            address: ATTACK.into(),
            email: ATTACK.into(),
            vat_id: ATTACK.into(),
        };
        let customers = vec![Customer {
            id: 1,
            fields: fields.clone(),
        }];
        let row = LineRow {
            description: ATTACK.into(),
            quantity: ATTACK.into(),
            price: ATTACK.into(),
            vat_rate: ATTACK.into(),
        };
        let pages = [
            FailurePage {
                title: ATTACK,
                detail: ATTACK.into(),
            }
            .render(),
            CustomerForm {
                fields: fields.clone(),
                problem: Some(ATTACK.into()),
            }
            .render(),
            Customers {
                customers: customers.clone(),
                next: None,
                may_write: true,
            }
            .render(),
            Home {
                rows: vec![Row {
                    id: 1,
                    number: ATTACK.into(),
                    customer: ATTACK.into(),
                    state: "draft",
                    on: ATTACK.into(),
                    due: ATTACK.into(),
                    total: ATTACK.into(),
                }],
                next: None,
                first: true,
                may_write: true,
            }
            .render(),
            InvoiceForm {
                customers,
                customer: 1,
                rows: vec![row],
                rates: vec![ATTACK.into()],
                note: ATTACK.into(),
                payment_days: ATTACK.into(),
                currency: ATTACK.into(),
                problem: Some(ATTACK.into()),
            }
            .render(),
            InvoicePage {
                id: 1,
                revision: 1,
                number: ATTACK.into(),
                state: "draft",
                seller: ATTACK.into(),
                customer: fields,
                lines: vec![PrintedLine {
                    description: ATTACK.into(),
                    quantity: ATTACK.into(),
                    price: ATTACK.into(),
                    rate: ATTACK.into(),
                    net: ATTACK.into(),
                }],
                net: ATTACK.into(),
                vat: vec![(ATTACK.into(), ATTACK.into())],
                total: ATTACK.into(),
                note: ATTACK.into(),
                payment_days: 14,
                on: Some(ATTACK.into()),
                due: Some(ATTACK.into()),
                paid: Some(ATTACK.into()),
                may_write: true,
            }
            .render(),
        ];
        for page in pages {
            let page = page.unwrap();
            assert!(
                page.contains("&#60;script&#62;") || page.contains("&lt;script&gt;"),
                "{page}"
            );
            assert!(
                !page.contains("<script>") && !page.contains("\" onfocus"),
                "{page}"
            );
        }
    }
}
