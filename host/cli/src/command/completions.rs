//! `canopy completions`: a script that completes this command line in a shell.

use std::io::Write as _;

use clap_complete::Shell;

use crate::Error;

/// Print a completion script for a shell
///
/// For bash: canopy completions bash > ~/.local/share/bash-completion/completions/canopy
#[derive(Debug, clap::Args)]
pub struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub(super) fn run(self, mut root: clap::Command) -> Result<(), Error> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut root, "canopy", &mut script);
        match std::io::stdout().write_all(&script) {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
                Err(Error::local("standard output", error))
            }
            _ => Ok(()),
        }
    }
}
