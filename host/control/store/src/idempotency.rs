//! Requests that a client may repeat without doing twice what they do.
//!
//! A key and what was answered are written in the transaction of the operation itself. The answer
//! may hold a secret, so it is sealed.

use rusqlite::{Connection, params};

use crate::StoreError;
use crate::seal::{Place, Sealer};
use crate::sql::{Time, one};

/// How long a key is remembered.
const KEPT: time::Duration = time::Duration::hours(24);

/// A request that carries a key.
#[derive(Debug, Clone)]
pub struct Idempotency {
    /// A hash of the key and of whatever it is scoped to.
    pub key: [u8; 32],
    /// A hash of the request.
    pub fingerprint: [u8; 32],
    /// What is answered if it takes place now.
    pub answer: Vec<u8>,
}

/// What came of a request that carries a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It took place.
    Done,
    /// It took place before; this is what was answered then.
    Before(Vec<u8>),
}

const PLACE: Place<'static> = Place {
    kind: "answer",
    owner: "",
    key: "",
};

/// Finds out whether the request took place before, and writes it down if not.
pub(crate) fn once(
    tx: &Connection,
    sealer: &Sealer,
    request: Option<&Idempotency>,
    work: impl FnOnce() -> Result<(), StoreError>,
) -> Result<Outcome, StoreError> {
    let Some(request) = request else {
        work()?;
        return Ok(Outcome::Done);
    };
    let now = Time::now();
    tx.execute(
        "DELETE FROM idempotency WHERE created_at < ?1",
        [Time(now.0 - KEPT)],
    )?;
    if let Some(answer) = find(tx, sealer, request)? {
        return Ok(Outcome::Before(answer));
    }
    work()?;
    let sealed = sealer.seal(&PLACE, &request.answer)?;
    tx.execute(
        "INSERT INTO idempotency VALUES (?1, ?2, ?3, ?4)",
        params![request.key, request.fingerprint, sealed, now],
    )?;
    Ok(Outcome::Done)
}

/// What was answered to this request before.
pub(crate) fn find(
    db: &Connection,
    sealer: &Sealer,
    request: &Idempotency,
) -> Result<Option<Vec<u8>>, StoreError> {
    let sql = "SELECT fingerprint, sealed FROM idempotency WHERE key = ?1 AND created_at >= ?2";
    let parameters = params![request.key, Time(Time::now().0 - KEPT)];
    let before = one(db, sql, parameters, |row| {
        Ok((row.get::<_, [u8; 32]>(0)?, row.get::<_, Vec<u8>>(1)?))
    })?;
    match before {
        Some((fingerprint, _)) if fingerprint != request.fingerprint => Err(StoreError::KeyReused),
        Some((_, sealed)) => sealer.open_sealed(&PLACE, &sealed).map(Some),
        None => Ok(None),
    }
}
