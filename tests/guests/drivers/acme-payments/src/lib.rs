//! Serves `acme:payments/charge`. Like the test numbers of a payment company, what a card's number
//! begins with says what happens: `trap`, `spin`, `hang`, `exit`, `declined`.
//!
//! Deliberately keeps in globals who has called and how many resources live, so that a test can
//! see who shares an instance with whom and that nothing leaks.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::time::Duration;

use bindings::exports::acme::payments::charge::{
    Account, AccountBorrow, Amount, Currency, Error, Guest, GuestAccount, GuestReceipt, Method,
    Order, Receipt, ReceiptBorrow,
};
use canopy_sdk::identity;

#[canopy_sdk::driver("acme:payments/charge@1.2.0", wit = ["../../wit/payments/1.2.0"])]
struct Payments;

thread_local! {
    static ACCOUNTS: Cell<u32> = const { Cell::new(0) };
    static RECEIPTS: Cell<u32> = const { Cell::new(0) };
    static PAID: Cell<u64> = const { Cell::new(0) };
    static SEEN: RefCell<BTreeSet<String>> = const { RefCell::new(BTreeSet::new()) };
}

fn count(counter: &'static std::thread::LocalKey<Cell<u32>>, up: bool) {
    counter.set(if up {
        counter.get() + 1
    } else {
        counter.get() - 1
    });
}

fn note_caller() {
    if let Some(installation) = identity::installation() {
        SEEN.with_borrow_mut(|seen| seen.insert(installation.id));
    }
}

fn euros(minor_units: i64) -> Amount {
    Amount {
        minor_units,
        currency: Currency::Eur,
    }
}

struct Holding {
    holder: String,
    cents: Cell<i64>,
}

impl Drop for Holding {
    fn drop(&mut self) {
        count(&ACCOUNTS, false);
    }
}

impl GuestAccount for Holding {
    fn new(holder: String) -> Self {
        note_caller();
        count(&ACCOUNTS, true);
        Self {
            holder,
            cents: Cell::new(0),
        }
    }

    fn holder(&self) -> String {
        self.holder.clone()
    }

    fn balance(&self) -> Amount {
        euros(self.cents.get())
    }

    fn deposit(&self, amount: Amount) -> Result<Amount, Error> {
        if amount.currency != Currency::Eur {
            return Err(Error::Declined("only euros".to_owned()));
        }
        self.cents.set(self.cents.get() + amount.minor_units);
        Ok(self.balance())
    }

    fn find(holder: String) -> Result<Account, Error> {
        if holder == "nobody" {
            return Err(Error::Declined("nobody has no account".to_owned()));
        }
        Ok(Account::new(Self::new(holder)))
    }
}

struct Paid {
    id: u64,
    holder: String,
    total: i64,
    order: Order,
}

impl Drop for Paid {
    fn drop(&mut self) {
        count(&RECEIPTS, false);
    }
}

impl GuestReceipt for Paid {
    fn id(&self) -> String {
        format!("receipt-{}", self.id)
    }

    fn total(&self) -> Amount {
        euros(self.total)
    }

    fn order(&self) -> Order {
        self.order.clone()
    }

    fn same_holder(&self, other: ReceiptBorrow<'_>) -> bool {
        self.holder == other.get::<Paid>().holder
    }
}

/// Does what the number of a card says.
fn present(card: &str) -> Result<(), Error> {
    match card.split('-').next() {
        Some("trap") => panic!("this driver gives up on purpose"),
        Some("spin") => loop {
            std::hint::black_box(card);
        },
        Some("hang") => {
            std::thread::sleep(Duration::from_secs(3600));
            Ok(())
        }
        Some("exit") => std::process::exit(1),
        Some("declined") => Err(Error::Declined(format!("{card} is declined"))),
        _ => Ok(()),
    }
}

impl Guest for Payments {
    type Account = Holding;
    type Receipt = Paid;

    fn pay(account: AccountBorrow<'_>, order: Order) -> Result<Receipt, Error> {
        note_caller();
        let account = account.get::<Holding>();
        if let Method::Card(number) = &order.method {
            present(number)?;
        }
        let total = order
            .lines
            .iter()
            .map(|line| line.unit.minor_units * i64::from(line.quantity))
            .sum();
        let missing = total - account.cents.get();
        if missing > 0 {
            return Err(Error::ShortOf(euros(missing)));
        }
        account.cents.set(account.cents.get() - total);
        PAID.set(PAID.get() + 1);
        count(&RECEIPTS, true);
        Ok(Receipt::new(Paid {
            id: PAID.get(),
            holder: account.holder.clone(),
            total,
            order,
        }))
    }

    fn close(account: Account) -> Amount {
        euros(account.get::<Holding>().cents.get())
    }

    fn live() -> (u32, u32) {
        (ACCOUNTS.get(), RECEIPTS.get())
    }

    fn seen() -> Vec<String> {
        note_caller();
        SEEN.with_borrow(|seen| seen.iter().cloned().collect())
    }

    fn reflect(order: Order) -> Order {
        order
    }

    fn tax(amount: Amount, card: String) -> Amount {
        // A card that is declined has nowhere to say so in this function.
        let _ = present(&card);
        Amount {
            minor_units: amount.minor_units * 19 / 100,
            currency: amount.currency,
        }
    }
}
