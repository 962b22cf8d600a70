//! The books: customers and invoices in key-value storage.
//!
//! | key | holds |
//! | --- | --- |
//! | `count/customer`, `count/invoice` | the last identifier given; a number of the store |
//! | `customer/ID` | the customer |
//! | `invoice/ID/revisions` | the last revision begun; a number of the store |
//! | `invoice/ID/revision/N` | the content in revision N; never changed |
//! | `invoice/ID/head` | the revision that counts |
//! | `invoice/ID/issued` | number, revision and day, as its register says |
//! | `invoice/ID/paid` | the payment |
//! | `number/N`, `number/last`, `number/proof` | see [`crate::numbering`] |
//!
//! Identifiers are counted, so a page of a list is a range of them and is fetched in two calls
//! whatever the engine; nothing needs the keys listed. An identifier whose creator died before it
//! had written anything is left out, for identifiers may have gaps: only numbers must not.

use canopy_sdk::kv::{self, Bucket};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use time::Date;

use crate::model::{Customer, CustomerFields, Draft, Invoice, Issued, Paid, State};
use crate::numbering::{self, Claim, MAX_INVOICE, MAX_REVISION};

/// The most entries of one page of a list.
pub const MAX_PAGE: u32 = 100;

/// Why the books were not changed.
#[derive(Debug)]
pub enum Refusal {
    /// There is no such customer or invoice.
    Missing,
    /// The invoice is not in a state that allows it.
    State(State),
    /// Another revision has come since.
    Superseded { current: u16 },
    /// There are as many as can be.
    Full,
    /// The store's numbers cannot number invoices.
    Unsuitable,
    /// Too many are issued at the same time.
    Busy,
    /// The store failed.
    Store(kv::Error),
}

impl From<kv::Error> for Refusal {
    fn from(error: kv::Error) -> Self {
        Self::Store(error)
    }
}

impl From<numbering::Error> for Refusal {
    fn from(error: numbering::Error) -> Self {
        match error {
            numbering::Error::Store(error) => Self::Store(error),
            numbering::Error::Unsuitable => Self::Unsuitable,
            numbering::Error::Busy => Self::Busy,
            numbering::Error::OutOfRange => Self::Full,
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Head {
    revision: u16,
}

/// A page of a list, the newest first.
pub struct Page<T> {
    pub items: Vec<T>,
    /// The identifier below which the next page begins.
    pub next: Option<u32>,
}

/// The books of one installation.
pub struct Books {
    bucket: Bucket,
}

impl Books {
    pub fn open() -> Result<Self, kv::Error> {
        Ok(Self {
            bucket: Bucket::open("default")?,
        })
    }

    pub fn customer(&self, id: u32) -> Result<Option<Customer>, kv::Error> {
        self.bucket.get(&customer_key(id))
    }

    pub fn create_customer(&self, fields: CustomerFields) -> Result<Customer, Refusal> {
        let id = self.next_id("count/customer", u32::MAX)?;
        self.set_customer(Customer { id, fields })
    }

    /// Invoices keep the name and the address that they were written with.
    pub fn change_customer(&self, id: u32, fields: CustomerFields) -> Result<Customer, Refusal> {
        if !self.bucket.exists(&customer_key(id))? {
            return Err(Refusal::Missing);
        }
        self.set_customer(Customer { id, fields })
    }

    fn set_customer(&self, customer: Customer) -> Result<Customer, Refusal> {
        self.bucket.set(&customer_key(customer.id), &customer)?;
        Ok(customer)
    }

    pub fn customers(&self, below: Option<u32>, limit: u32) -> Result<Page<Customer>, kv::Error> {
        let (ids, next) = self.range("count/customer", below, limit)?;
        let keys: Vec<String> = ids.iter().map(|id| customer_key(*id)).collect();
        let items = self.bucket.get_many(&keys)?.into_iter().flatten().collect();
        Ok(Page { items, next })
    }

    pub fn invoice(&self, id: u32) -> Result<Option<Invoice>, kv::Error> {
        Ok(self.load(&[id])?.pop())
    }

    pub fn invoices(&self, below: Option<u32>, limit: u32) -> Result<Page<Invoice>, kv::Error> {
        let (ids, next) = self.range("count/invoice", below, limit)?;
        Ok(Page {
            items: self.load(&ids)?,
            next,
        })
    }

    pub fn create_invoice(&self, draft: Draft) -> Result<Invoice, Refusal> {
        let id = self.next_id("count/invoice", MAX_INVOICE)?;
        self.add_revision(id, draft)
    }

    /// Replaces the content of a draft. `expected` is the revision that the change was made from.
    pub fn change_invoice(
        &self,
        id: u32,
        draft: Draft,
        expected: Option<u16>,
    ) -> Result<Invoice, Refusal> {
        let before = self.invoice(id)?.ok_or(Refusal::Missing)?;
        match before.state() {
            State::Draft => {}
            state => return Err(Refusal::State(state)),
        }
        if expected.is_some_and(|expected| expected != before.revision) {
            return Err(Refusal::Superseded {
                current: before.revision,
            });
        }
        let changed = self.add_revision(id, draft)?;
        // Whoever issued it meanwhile issued what was there before.
        match self.issued(id)? {
            Some(issued) if issued.revision != changed.revision => {
                Err(Refusal::State(State::Issued))
            }
            _ => Ok(changed),
        }
    }

    fn add_revision(&self, id: u32, draft: Draft) -> Result<Invoice, Refusal> {
        let count = self
            .bucket
            .increment(&format!("invoice/{id}/revisions"), 1)?;
        let revision = u16::try_from(count)
            .ok()
            .filter(|revision| *revision <= MAX_REVISION);
        let revision = revision.ok_or(Refusal::Full)?;
        self.bucket.set(&revision_key(id, revision), &draft)?;
        self.bucket
            .set(&format!("invoice/{id}/head"), &Head { revision })?;
        Ok(Invoice {
            id,
            revision,
            draft,
            issued: None,
            paid: None,
        })
    }

    /// Gives the invoice its number and its day. Asking again changes nothing.
    pub fn issue(&self, id: u32, expected: Option<u16>, today: Date) -> Result<Invoice, Refusal> {
        let invoice = self.invoice(id)?.ok_or(Refusal::Missing)?;
        if invoice.issued.is_some() {
            return Ok(invoice);
        }
        if expected.is_some_and(|expected| expected != invoice.revision) {
            return Err(Refusal::Superseded {
                current: invoice.revision,
            });
        }
        let claim = Claim {
            invoice: id,
            revision: invoice.revision,
            on: today,
        };
        numbering::issue(
            &self.bucket,
            claim,
            |id| Ok(self.issued(id)?.map(|issued| issued.number)),
            |number, claim| {
                let issued = Issued {
                    number,
                    revision: claim.revision,
                    on: claim.on,
                };
                self.bucket
                    .set(&format!("invoice/{}/issued", claim.invoice), &issued)
            },
        )?;
        self.invoice(id)?.ok_or(Refusal::Missing)
    }

    /// Notes the payment. Asking again changes nothing.
    pub fn pay(&self, id: u32, on: Date) -> Result<Invoice, Refusal> {
        let mut invoice = self.invoice(id)?.ok_or(Refusal::Missing)?;
        match invoice.state() {
            State::Draft => Err(Refusal::State(State::Draft)),
            State::Paid => Ok(invoice),
            State::Issued => {
                let paid = Paid { on };
                self.bucket.set(&format!("invoice/{id}/paid"), &paid)?;
                invoice.paid = Some(paid);
                Ok(invoice)
            }
        }
    }

    fn issued(&self, id: u32) -> Result<Option<Issued>, kv::Error> {
        self.bucket.get(&format!("invoice/{id}/issued"))
    }

    /// The invoices of `ids` that exist, in their order, in two calls.
    fn load(&self, ids: &[u32]) -> Result<Vec<Invoice>, kv::Error> {
        let keys = |part: &str| -> Vec<String> {
            ids.iter()
                .map(|id| format!("invoice/{id}/{part}"))
                .collect()
        };
        let [heads, issued, paid] = [keys("head"), keys("issued"), keys("paid")];
        let all = [heads, issued, paid].concat();
        let mut values = self.bucket.get_many::<serde_json::Value>(&all)?.into_iter();
        let mut take = || values.by_ref().take(ids.len()).collect::<Vec<_>>();
        let (heads, issued, paid) = (take(), take(), take());

        let mut found = Vec::new();
        for (((id, head), issued), paid) in ids.iter().zip(heads).zip(issued).zip(paid) {
            let Some(head) = read::<Head>(*id, head)? else {
                continue;
            };
            let issued = read::<Issued>(*id, issued)?;
            let revision = issued
                .as_ref()
                .map_or(head.revision, |issued| issued.revision);
            found.push((*id, revision, issued, read::<Paid>(*id, paid)?));
        }
        let keys: Vec<String> = found
            .iter()
            .map(|(id, revision, ..)| revision_key(*id, *revision))
            .collect();
        let drafts = self.bucket.get_many::<Draft>(&keys)?;
        Ok(found
            .into_iter()
            .zip(drafts)
            .filter_map(|((id, revision, issued, paid), draft)| {
                Some(Invoice {
                    id,
                    revision,
                    draft: draft?,
                    issued,
                    paid,
                })
            })
            .collect())
    }

    /// The identifiers of a page, the newest first.
    fn range(
        &self,
        counter: &str,
        below: Option<u32>,
        limit: u32,
    ) -> Result<(Vec<u32>, Option<u32>), kv::Error> {
        let top = match below {
            Some(below) => below,
            None => last_id(self.bucket.number(counter)?).saturating_add(1),
        };
        let bottom = top.saturating_sub(limit.clamp(1, MAX_PAGE)).max(1);
        let next = (bottom > 1).then_some(bottom);
        Ok(((bottom..top).rev().collect(), next))
    }

    fn next_id(&self, counter: &str, most: u32) -> Result<u32, Refusal> {
        let id = self.bucket.increment(counter, 1)?;
        u32::try_from(id)
            .ok()
            .filter(|id| *id <= most)
            .ok_or(Refusal::Full)
    }
}

fn read<T: DeserializeOwned>(
    id: u32,
    value: Option<serde_json::Value>,
) -> Result<Option<T>, kv::Error> {
    value
        .map(serde_json::from_value)
        .transpose()
        .map_err(|error| kv::Error::Mismatch {
            key: format!("invoice/{id}"),
            reason: error.to_string(),
        })
}

fn last_id(count: Option<u64>) -> u32 {
    u32::try_from(count.unwrap_or(0)).unwrap_or(u32::MAX)
}

fn customer_key(id: u32) -> String {
    format!("customer/{id}")
}

fn revision_key(id: u32, revision: u16) -> String {
    format!("invoice/{id}/revision/{revision}")
}
