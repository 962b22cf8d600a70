//! What the drivers that encrypt have in common: the keys that a tenant gives, and values encrypted
//! under them.

pub mod envelope;
pub mod keyring;
