//! What the end-to-end cases stand on: a node of their own, its command line, and clients.

mod face;
mod guests;
mod node;
mod relay;
mod servers;

pub(crate) use face::{Face, bare};
pub(crate) use guests::{guest, plugin, python_guest, version_of};
pub(crate) use node::{Answer, Node, Output, answer};
pub(crate) use relay::Relay;
pub(crate) use servers::{Certificate, Postgres, Receiver, Redis, S3, Smtp, free_port};
