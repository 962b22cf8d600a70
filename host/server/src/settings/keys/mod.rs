//! Every setting, once: its key, where it goes, its form, and what it means. Reading a file,
//! reading the environment, and `canopy config` all work from these tables.

use toml::Value;

use super::Settings;

/// One setting.
pub(super) struct Key {
    /// Its key in the file, with the tables it is in, divided by dots.
    pub(super) name: &'static str,
    /// What it means.
    pub(super) doc: &'static str,
    /// How its value is written.
    pub(super) form: &'static str,
    /// Sets it.
    pub(super) set: fn(&mut Settings, &Value) -> Result<(), String>,
    /// Shows it as TOML; `None` if it is not set and has no default.
    pub(super) show: fn(&Settings) -> Option<String>,
}

impl Key {
    /// The environment variable that overrides it.
    pub(super) fn variable(&self) -> String {
        format!(
            "CANOPY_{}",
            self.name.replace('.', "_").to_ascii_uppercase()
        )
    }
}

macro_rules! keys {
    ($($form:ident $name:literal => $($field:ident).+ $(as $wrap:ident)? : $doc:literal;)*) => {
        /// In the order in which they are explained.
        pub(super) static KEYS: &[Key] = &[$(Key {
            name: $name,
            doc: $doc,
            form: value::$form::FORM,
            set: keys!(@set $form $($field).+ $(as $wrap)?),
            show: keys!(@show $form $($field).+ $(as $wrap)?),
        }),*];
    };
    (@set $form:ident $($field:ident).+) => {
        |settings, value| {
            settings.$($field).+ = value::$form::read(value)?;
            Ok(())
        }
    };
    (@set $form:ident $($field:ident).+ as option) => {
        |settings, value| {
            settings.$($field).+ = Some(value::$form::read(value)?);
            Ok(())
        }
    };
    (@show $form:ident $($field:ident).+) => {
        |settings| Some(value::$form::show(&settings.$($field).+))
    };
    (@show $form:ident $($field:ident).+ as option) => {
        |settings| settings.$($field).+.as_ref().map(value::$form::show)
    };
}

mod guests;
mod node;
mod storage;
mod work;

/// All settings, in the order in which they are explained.
pub(super) fn keys() -> impl Iterator<Item = &'static Key> {
    let tables = [node::KEYS, guests::KEYS, storage::KEYS, work::KEYS];
    tables.into_iter().flatten()
}
