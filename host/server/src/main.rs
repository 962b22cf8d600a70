//! The `canopy` binary: the node (`serve`), its compiling child, and the command line's client.

mod api_listener;
mod data_dir;
mod invoke;
mod listen;
mod logging;
mod machine;
mod offline;
mod operator_key;
mod serve;
mod service;
mod settings;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use settings::Settings;

/// What a request takes, another thread often gives back, and bursts are to leave nothing behind (decision 0046).
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// A multi-tenant platform for WebAssembly components
#[derive(Debug, Parser)]
#[command(name = "canopy", version, propagate_version = true, after_help = canopy_cli::EXIT_CODES)]
struct Arguments {
    #[command(flatten)]
    globals: canopy_cli::Globals,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a node
    Serve(Serve),
    /// Compile one component; started by the node itself
    #[command(hide = true)]
    Compile {
        /// What to compile, as the node wrote it.
        request: String,
    },
    #[command(flatten)]
    Client(canopy_cli::Command),
}

/// Run a node
///
/// SIGTERM and SIGINT let requests under way finish; a second one ends the node at once.
#[derive(Debug, clap::Args)]
struct Serve {
    /// File of settings; `canopy config` prints one to start from
    #[arg(long, short, env = "CANOPY_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Folder of everything that the node keeps, in place of the setting `data_dir`
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Write the first operator token to this file instead of printing it
    #[arg(long, value_name = "FILE")]
    operator_token_file: Option<PathBuf>,
    /// Create an operator token in place of all that there are, for one that was lost
    #[arg(long)]
    new_operator_token: bool,
}

fn main() -> ExitCode {
    let command = Arguments::command();
    let matches = command.clone().get_matches();
    let arguments = match Arguments::from_arg_matches(&matches) {
        Ok(arguments) => arguments,
        Err(error) => error.exit(),
    };
    let json = arguments.globals.json;
    match arguments.command {
        Command::Serve(arguments) => serve(arguments),
        Command::Compile { request } => ExitCode::from(canopy_engine::compile_child_main(&request)),
        Command::Client(canopy_cli::Command::Config(arguments))
            if arguments.asks_for_settings() =>
        {
            print(&settings::documentation())
        }
        Command::Client(canopy_cli::Command::Restore(arguments)) if arguments.is_offline() => {
            ended(offline::restore(&arguments, json))
        }
        Command::Client(canopy_cli::Command::Check(arguments)) if arguments.is_offline() => {
            ended(offline::check(&arguments, json))
        }
        Command::Client(canopy_cli::Command::Key(canopy_cli::Key::RotateOperator(arguments))) => {
            ended(offline::rotate_operator(&arguments, json))
        }
        Command::Client(client) => canopy_cli::run(client, arguments.globals, command),
    }
}

/// The exit code of work on a stopped node.
fn ended(outcome: anyhow::Result<ExitCode>) -> ExitCode {
    outcome.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

/// After how many polls of tasks a busy thread looks for what has happened on sockets and timers. A
/// poll of a guest that never waits takes two ticks of the engine, so with tokio's own number, 61,
/// many such guests would keep everybody else's bytes unread for a tenth of a second.
const EVENT_INTERVAL: u32 = 4;

fn serve(arguments: Serve) -> ExitCode {
    match start(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("canopy serve: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(arguments: Serve) -> anyhow::Result<()> {
    let variables = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let (mut settings, warnings) = Settings::load(arguments.config.as_deref(), variables)?;
    if let Some(folder) = arguments.data_dir {
        settings.data_dir = settings::FilePath(folder);
    }
    if let Some(file) = arguments.operator_token_file {
        settings.operator_token_file = Some(settings::FilePath(file));
    }
    // Dropped last, so that the log has all that was said.
    let _log = logging::start(&settings.log)?;
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .event_interval(EVENT_INTERVAL)
        .build()?;
    runtime.block_on(serve::run(settings, arguments.new_operator_token))
}

/// Prints a text; a reader that has had enough, as `head`, is no error.
fn print(text: &str) -> ExitCode {
    use std::io::Write as _;
    let _ = std::io::stdout().write_all(text.as_bytes());
    ExitCode::SUCCESS
}
