//! The interface's function.

use canopy_backend_logs::Level;

use crate::bindings::logging::{self, Host};
use crate::ctx::LogView;

impl Host for LogView<'_> {
    fn log(&mut self, level: logging::Level, context: String, message: String) {
        let level = match level {
            logging::Level::Trace => Level::Trace,
            logging::Level::Debug => Level::Debug,
            logging::Level::Info => Level::Info,
            logging::Level::Warn => Level::Warn,
            logging::Level::Error => Level::Error,
            logging::Level::Critical => Level::Critical,
        };
        self.ctx.append(level, &context, &message);
    }
}
