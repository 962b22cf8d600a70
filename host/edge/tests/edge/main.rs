//! The edge over real connections, with applications that do what their paths say.

mod invoking;
mod limits;
mod refusals;
mod serving;
mod support;
mod tls;
mod unused;
