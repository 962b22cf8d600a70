//! What commands run on this machine beside themselves: a node, other servers, and how these end.

pub(super) mod child;
pub(super) mod interrupt;
pub(super) mod node;
pub(super) mod ports;
