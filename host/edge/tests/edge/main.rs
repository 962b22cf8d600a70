//! The edge over real connections, with applications that do what their paths say.

mod refusals;
mod serving;
mod support;
