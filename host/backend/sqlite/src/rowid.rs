//! The row id that `last_insert_rowid()` gives.

use rusqlite::{Connection, ffi};

/// Makes `rowid` the row that was inserted last, as if `conn` had done it: so a handle whose
/// statements run on several connections has one answer to `SELECT last_insert_rowid()`.
pub fn set_last_insert_rowid(conn: &Connection, rowid: i64) {
    #[expect(unsafe_code, reason = "rusqlite has no function for this")]
    // SAFETY: the handle is that of an open connection, borrowed for the call.
    unsafe {
        ffi::sqlite3_set_last_insert_rowid(conn.handle(), rowid);
    }
}
