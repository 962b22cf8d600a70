//! What a guest says: `wasi:logging`, standard output and standard error, each to the log of the
//! installation or driver instance.
//!
//! Nothing here waits for a disk and nothing grows with what a guest writes: a line is cut at
//! [`MAX_LINE`] bytes, and what the log cannot take it drops and counts.

mod bindings;
mod ctx;
mod host;
mod lines;
mod stream;

pub use bindings::add_to_linker;
pub use ctx::{LogCtx, LogView, Output};
pub use lines::MAX_LINE;
