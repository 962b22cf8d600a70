//! The command line, a client of the control API.
//!
//! Each subcommand is a file under `command`. What it needs of the outside is in [`Context`]: how
//! to print ([`ui`]), and whom to ask ([`client`], found by [`profile`]). Every failure is an
//! [`Error`], which decides the exit code and says what to do next.

mod client;
mod command;
mod distrust;
mod error;
mod file;
mod profile;
mod project;
mod source;
mod toolchain;
mod ui;

use std::process::ExitCode;

pub use command::{Check, Command, ConfigArgs, Key, Restore, RotateOperator};
pub use error::Error;
pub use profile::Connection;

use client::Client;
use ui::Ui;

/// Explains the exit codes; shown after the help text.
pub const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    a local failure: a file, a compiler, a child process
  2    the command line is wrong
  3    the platform refused: invalid, in conflict, over a limit, or not permitted
  4    not found
  5    the platform could not be reached
  6    the platform failed, or something else answered in its place
  130  interrupted";

/// Options that every subcommand takes.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Globals {
    /// Address of the control API [default: that of `canopy login`, else http://127.0.0.1:8081]
    #[arg(
        long,
        global = true,
        env = "CANOPY_URL",
        value_name = "URL",
        help_heading = "Global options"
    )]
    pub url: Option<url::Url>,
    /// Token for the control API [default: that of `canopy login`]
    #[arg(
        long,
        global = true,
        env = "CANOPY_TOKEN",
        hide_env_values = true,
        value_name = "TOKEN",
        help_heading = "Global options"
    )]
    pub token: Option<String>,
    /// File of certificates (PEM) by one of which the control API's must be issued [default: that of
    /// `canopy login`, else those that the system trusts]
    #[arg(
        long,
        global = true,
        env = "CANOPY_CA",
        value_name = "FILE",
        help_heading = "Global options"
    )]
    pub ca: Option<std::path::PathBuf>,
    /// Print JSON instead of text, errors included
    #[arg(long, global = true, help_heading = "Global options")]
    pub json: bool,
    /// Change or bind drivers without asking them whether they work
    #[arg(long, global = true, help_heading = "Global options")]
    pub no_check: bool,
}

/// What a subcommand works with.
struct Context {
    globals: Globals,
    ui: Ui,
}

impl Context {
    fn client(&self) -> Result<Client, Error> {
        let client = Client::new(&profile::connection(&self.globals)?)?;
        Ok(client.checking(!self.globals.no_check))
    }
}

/// Runs a subcommand to its end and returns the process's exit code, having printed the error if
/// there was one. `root` is the whole command line, for `canopy completions`. It starts a runtime
/// of its own, so it must not be called from within one.
pub fn run(command: Command, globals: Globals, root: clap::Command) -> ExitCode {
    let ui = Ui::new(globals.json);
    let context = Context { globals, ui };
    // The client only fails to find a provider if none was installed; a second installation is
    // refused and harmless.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            return context.ui.fail(&Error::local(
                "the asynchronous runtime did not start",
                error,
            ));
        }
    };
    let outcome = runtime.block_on(command::run(command, &context, root));
    runtime.shutdown_background();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => context.ui.fail(&error),
    }
}
