//! The named stores that a package keeps keys and values in.

use toml::Table;

use crate::error::Fault;
use crate::reader::Reader;

/// Bytes of the longest name of a store.
const MAX_NAME: usize = 128;
const MAX_REASON: usize = 400;
/// The store that is there without a word.
const DEFAULT: &str = "default";

/// A store of keys and values that a package asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreAsked {
    /// What the component opens it by; `*` stands for names that only the component knows.
    pub name: String,
    /// What it is for, for whoever installs the package to read.
    pub reason: String,
}

pub(crate) fn read(tables: Vec<(String, Table)>, faults: &mut Vec<Fault>) -> Vec<StoreAsked> {
    let mut stores: Vec<StoreAsked> = Vec::with_capacity(tables.len());
    for (path, table) in tables {
        let mut reader = Reader::new(path, table, faults);
        let name = reader.required_text("name", MAX_NAME);
        let reason = reader.required_text("reason", MAX_REASON);
        if name.len() > MAX_NAME {
            let message = format!(
                "has {} bytes; a store's name has at most {MAX_NAME}",
                name.len()
            );
            reader.fault("name", message);
        } else if name.chars().any(char::is_control) {
            reader.fault("name", "must not contain control characters");
        } else if name == DEFAULT {
            reader.fault("name", "`default` is always there; remove this table");
        } else if stores.iter().any(|store| store.name == name) {
            reader.fault("name", format!("`{name}` is named twice"));
        }
        reader.finish();
        stores.push(StoreAsked { name, reason });
    }
    stores
}
