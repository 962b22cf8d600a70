//! SQL databases on SQLite.
//!
//! Each database of an installation is a file of its own, `<dir>/<tenant>/<installation>/sql/
//! <name>.db`, encrypted with a key of its own, apart from the platform's other tables: no
//! statement of an application can see those, or hold them up.
//!
//! - **Acknowledged is durable**, and an error of the disk while committing ends the process, as in
//!   all storage of the node.
//! - **A statement ends.** It has a time, memory, rows and bytes of its own, and ends soon when
//!   nobody waits for it any more. It runs on a thread that may wait; how many run at once is
//!   bounded by database, tenant and node.
//! - **A statement stays in its database.** What it may do is listed in `policy`, and SQLite asks
//!   for every action of every statement, view, trigger and virtual table.
//! - **One writes at a time**; others read what was committed before, and wait to write.
//!
//! What no limit ends: a single function of SQLite, which looks at neither clock nor cancellation.
//! The longest are those that search a long text in a long text (`instr`, `replace`, `trim`), and
//! it is the length of a value, 1 MiB by default, that bounds them.

mod account;
mod connection;
mod database;
mod error;
mod guard;
mod handle;
mod maintenance;
mod migrate;
mod node;
mod policy;
mod portable;
mod rows;
mod run;
mod settings;
mod storage;
mod text;
mod transaction;

pub use settings::SqlSettings;
pub use storage::{OpenError, SqlStorage};
