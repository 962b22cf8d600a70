//! Records in the installation's log.
//!
//! ```no_run
//! use canopy_sdk::log;
//!
//! let (customer, count) = ("c-17", 3);
//! log::info!("{count} invoices of {customer} are overdue");
//! ```
//!
//! The standard library's `println!` and `eprintln!` arrive in the same log, line by line and
//! without a level.

use std::fmt;

/// How much a record matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Every step, for whoever follows control and data.
    Trace,
    /// What helps to find a fault.
    Debug,
    /// What happened, in the ordinary course.
    Info,
    /// What may become a fault.
    Warn,
    /// What did not work.
    Error,
    /// What keeps the whole from working.
    Critical,
}

/// Appends one record. `context` groups records; the macros of this module set the module's path.
pub fn record(level: Level, context: &str, message: fmt::Arguments<'_>) {
    write(level, context, &message.to_string());
}

#[cfg(target_family = "wasm")]
fn write(level: Level, context: &str, message: &str) {
    use crate::bindings::wasi::logging::logging as wit;

    let level = match level {
        Level::Trace => wit::Level::Trace,
        Level::Debug => wit::Level::Debug,
        Level::Info => wit::Level::Info,
        Level::Warn => wit::Level::Warn,
        Level::Error => wit::Level::Error,
        Level::Critical => wit::Level::Critical,
    };
    wit::log(level, context, message);
}

/// Outside of the platform, as in unit tests, records go to standard error.
#[cfg(not(target_family = "wasm"))]
fn write(level: Level, context: &str, message: &str) {
    eprintln!("{level:?} {context}: {message}");
}

macro_rules! levels {
    ($dollar:tt $($name:ident $hidden:ident $level:ident;)*) => {
        $(
            #[doc(hidden)]
            #[macro_export]
            macro_rules! $hidden {
                ($dollar($dollar argument:tt)+) => {
                    $crate::log::record(
                        $crate::log::Level::$level,
                        ::std::module_path!(),
                        ::std::format_args!($dollar($dollar argument)+),
                    )
                };
            }
            #[doc = concat!("Appends a record of level [`Level::", stringify!($level), "`].")]
            pub use $hidden as $name;
        )*
    };
}

levels! { $
    trace __canopy_log_trace Trace;
    debug __canopy_log_debug Debug;
    info __canopy_log_info Info;
    warn __canopy_log_warn Warn;
    error __canopy_log_error Error;
    critical __canopy_log_critical Critical;
}
