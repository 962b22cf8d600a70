//! `canopy toolchain`: find or bring the compiler for guest components.

use std::path::PathBuf;

use crate::toolchain::{self, Source, TARGET};
use crate::ui::fields;
use crate::{Context, Error};

/// Find or bring the compiler for guest components
///
/// In this order: the active Rust toolchain, if it has the target wasm32-wasip2; rustup, if it can
/// add the target; Debian's packages, unpacked into $XDG_CACHE_HOME/canopy/toolchain and nowhere
/// else. Running it again is quick and changes nothing.
#[derive(Debug, clap::Args)]
pub struct Toolchain {
    /// The project whose toolchain counts
    #[arg(default_value = ".", value_name = "DIR")]
    dir: PathBuf,
    /// Only this source
    #[arg(long, value_name = "SOURCE")]
    from: Option<Source>,
}

impl Toolchain {
    pub(super) async fn run(self, context: &Context) -> Result<(), Error> {
        let toolchain = toolchain::ensure(&context.ui, &self.dir, self.from).await?;
        context.ui.result(&toolchain, |toolchain| {
            let source = match toolchain.source {
                Source::Target => "the active Rust toolchain",
                Source::Debian => "Debian's packages, in the cache",
            };
            fields([
                (
                    "compiler",
                    format!("rustc {} ({source})", toolchain.version),
                ),
                ("target", TARGET.into()),
                (
                    "RUSTC",
                    toolchain
                        .rustc
                        .iter()
                        .map(|path| path.display().to_string())
                        .collect(),
                ),
                (
                    "linkers",
                    toolchain
                        .linkers
                        .iter()
                        .map(|path| format!("{}\n", path.display()))
                        .collect(),
                ),
            ])
        });
        Ok(())
    }
}
