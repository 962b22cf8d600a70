//! The JSON API.

use canopy_sdk::{
    Created, FromRequest, Json, Path, Problem, Query, Request, Router, StatusCode, get, post,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;
use time::{Date, OffsetDateTime};

use crate::access::{MayRead, MayWrite};
use crate::books::{Books, Page, Refusal};
use crate::model::{
    Customer, CustomerFields, Draft, DraftFields, Flaw, Invoice, Line, RateTotal, State,
};
use crate::settings::Settings;

/// The operations below `/api`.
pub fn routes() -> Router {
    Router::new()
        .route("/customers", get(customers).post(create_customer))
        .route("/customers/{id}", get(customer).put(change_customer))
        .route("/invoices", get(invoices).post(create_invoice))
        .route("/invoices/{id}", get(invoice).put(change_invoice))
        .route("/invoices/{id}/issue", post(issue))
        .route("/invoices/{id}/pay", post(pay))
}

/// What is wrong with what was sent, field by field.
pub fn invalid(flaws: &[Flaw]) -> Problem {
    let first = flaws.first().map_or(String::new(), |flaw| {
        format!(": {} {}", flaw.field, flaw.message)
    });
    Problem::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        format!("{} of the fields cannot be taken{first}.", flaws.len()),
    )
    .kind("urn:canopy:invoices:invalid")
    .with("errors", json!(flaws))
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Missing => Self::not_found("There is no such entry in the books."),
            Refusal::State(state) => Self::conflict(format!(
                "The invoice's state is `{}`, which does not allow this.",
                state.as_str()
            ))
            .kind("urn:canopy:invoices:state")
            .with("state", state.as_str()),
            Refusal::Superseded { current } => Self::conflict(format!(
                "The invoice has been changed since; its revision is {current} now."
            ))
            .kind("urn:canopy:invoices:superseded")
            .with("revision", current),
            Refusal::Full => Self::new(
                StatusCode::INSUFFICIENT_STORAGE,
                "There are as many as these books can hold.",
            ),
            Refusal::Unsuitable => Self::new(
                StatusCode::NOT_IMPLEMENTED,
                "The storage that this installation is bound to cannot number invoices without \
                 gaps: its numbers are not whole numbers of 64 bits with a sign whose overflow is \
                 refused. Bind another driver.",
            )
            .kind("urn:canopy:invoices:unsuitable-storage"),
            Refusal::Busy => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "Too many invoices are issued at this moment; try again.",
            ),
            Refusal::Store(error) => error.into(),
        }
    }
}

/// Today, by universal time.
pub fn today() -> Date {
    OffsetDateTime::now_utc().date()
}

#[derive(Deserialize)]
struct Listing {
    below: Option<u32>,
    #[serde(default = "default_limit")]
    limit: u32,
    state: Option<State>,
}

fn default_limit() -> u32 {
    50
}

#[derive(Serialize)]
struct Items<T> {
    items: Vec<T>,
    /// `?below=` of the next page.
    next: Option<u32>,
}

fn customers(_: MayRead, Query(listing): Query<Listing>) -> Result<Json<Items<Customer>>, Problem> {
    let Page { items, next } = Books::open()?.customers(listing.below, listing.limit)?;
    Ok(Json(Items { items, next }))
}

fn create_customer(
    _: MayWrite,
    Json(fields): Json<CustomerFields>,
) -> Result<Created<Json<Customer>>, Problem> {
    let customer = add_customer(fields)?;
    let location = format!("/api/customers/{}", customer.id);
    Ok(Created::at(location, Json(customer)))
}

/// Checks and adds.
pub fn add_customer(fields: CustomerFields) -> Result<Customer, Problem> {
    match fields.flaws().as_slice() {
        [] => Ok(Books::open()?.create_customer(fields)?),
        flaws => Err(invalid(flaws)),
    }
}

fn customer(_: MayRead, Path(id): Path<u32>) -> Result<Json<Customer>, Problem> {
    let customer = Books::open()?.customer(id)?.ok_or(Refusal::Missing)?;
    Ok(Json(customer))
}

fn change_customer(
    _: MayWrite,
    Path(id): Path<u32>,
    Json(fields): Json<CustomerFields>,
) -> Result<Json<Customer>, Problem> {
    match fields.flaws().as_slice() {
        [] => Ok(Json(Books::open()?.change_customer(id, fields)?)),
        flaws => Err(invalid(flaws)),
    }
}

/// An invoice with everything that follows from its content.
#[derive(Serialize)]
struct View {
    id: u32,
    state: State,
    number: Option<String>,
    revision: u16,
    customer: Customer,
    lines: Vec<LineView>,
    net_cents: i64,
    vat: Vec<RateTotal>,
    total_cents: i64,
    currency: String,
    note: String,
    payment_days: u16,
    issued_on: Option<Date>,
    due_on: Option<Date>,
    paid_on: Option<Date>,
}

#[derive(Serialize)]
struct LineView {
    #[serde(flatten)]
    line: Line,
    net_cents: i64,
}

impl From<Invoice> for Json<View> {
    fn from(invoice: Invoice) -> Self {
        Self(View::from(invoice))
    }
}

impl From<Invoice> for View {
    fn from(invoice: Invoice) -> Self {
        let totals = invoice.totals();
        Self {
            id: invoice.id,
            state: invoice.state(),
            number: invoice.number(),
            revision: invoice.revision,
            issued_on: invoice.issued.as_ref().map(|issued| issued.on),
            due_on: invoice.due_on(),
            paid_on: invoice.paid.as_ref().map(|paid| paid.on),
            net_cents: totals.net_cents,
            vat: totals.vat,
            total_cents: totals.total_cents,
            currency: invoice.draft.currency,
            note: invoice.draft.note,
            payment_days: invoice.draft.payment_days,
            customer: invoice.draft.customer,
            lines: invoice
                .draft
                .lines
                .into_iter()
                .map(|line| LineView {
                    net_cents: line.net_cents(),
                    line,
                })
                .collect(),
        }
    }
}

/// A page holds the invoices of a range of identifiers; with `state`, those of them that are in
/// it, which may be none while there is a next page.
fn invoices(_: MayRead, Query(listing): Query<Listing>) -> Result<Json<Items<View>>, Problem> {
    let page = Books::open()?.invoices(listing.below, listing.limit)?;
    let wanted = |invoice: &Invoice| listing.state.is_none_or(|state| invoice.state() == state);
    Ok(Json(Items {
        items: page
            .items
            .into_iter()
            .filter(wanted)
            .map(View::from)
            .collect(),
        next: page.next,
    }))
}

fn invoice(_: MayRead, Path(id): Path<u32>) -> Result<Json<View>, Problem> {
    Ok(Books::open()?.invoice(id)?.ok_or(Refusal::Missing)?.into())
}

fn create_invoice(
    _: MayWrite,
    Json(fields): Json<DraftFields>,
) -> Result<Created<Json<View>>, Problem> {
    let books = Books::open()?;
    let invoice = books.create_invoice(draft(&books, fields)?)?;
    let location = format!("/api/invoices/{}", invoice.id);
    Ok(Created::at(location, invoice.into()))
}

/// Checks the fields and completes them by the customer and the settings of today.
pub fn draft(books: &Books, fields: DraftFields) -> Result<Draft, Problem> {
    let settings = Settings::read()?;
    let mut flaws = fields.flaws(&settings.vat_rates);
    let customer = books.customer(fields.customer)?;
    if customer.is_none() {
        flaws.push(Flaw {
            field: "customer".to_owned(),
            message: "does not exist".to_owned(),
        });
    }
    match (customer, flaws.as_slice()) {
        (Some(customer), []) => Ok(Draft {
            customer,
            lines: fields.lines,
            note: fields.note,
            payment_days: fields.payment_days.unwrap_or(settings.payment_days),
            currency: settings.currency,
            number_prefix: settings.number_prefix,
        }),
        (_, flaws) => Err(invalid(flaws)),
    }
}

fn change_invoice(
    _: MayWrite,
    Path(id): Path<u32>,
    Json(fields): Json<DraftFields>,
) -> Result<Json<View>, Problem> {
    let books = Books::open()?;
    let expected = fields.revision;
    let draft = draft(&books, fields)?;
    Ok(books.change_invoice(id, draft, expected)?.into())
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Issue {
    /// The revision that was looked at: if another has come since, nothing is issued.
    revision: Option<u16>,
}

fn issue(
    _: MayWrite,
    Path(id): Path<u32>,
    OptionalJson(Issue { revision }): OptionalJson<Issue>,
) -> Result<Json<View>, Problem> {
    Ok(Books::open()?.issue(id, revision, today())?.into())
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Payment {
    /// The day on which the money came; today if left out.
    on: Option<Date>,
}

fn pay(
    _: MayWrite,
    Path(id): Path<u32>,
    OptionalJson(Payment { on }): OptionalJson<Payment>,
) -> Result<Json<View>, Problem> {
    Ok(Books::open()?.pay(id, on.unwrap_or_else(today))?.into())
}

/// A body in JSON all of whose members may be left out, and the body with them.
struct OptionalJson<T>(T);

impl<T: DeserializeOwned + Default> FromRequest for OptionalJson<T> {
    type Rejection = Problem;

    fn from_request(request: &mut Request) -> Result<Self, Problem> {
        let body = Vec::<u8>::from_request(request)?;
        if body.is_empty() {
            return Ok(Self(T::default()));
        }
        *request.body_mut() = body.into();
        Json::from_request(request).map(|Json(value)| Self(value))
    }
}
