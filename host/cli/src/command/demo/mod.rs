//! `canopy demo`: the whole platform on this machine, with everything real but small.
//!
//! In this order: build the samples; start a mail server in this process, Redis if there is one,
//! and a node as a child; publish the samples; create two tenants and install for them; print where
//! everything is; wait. Each step finds what an earlier start has done, so starting again is quick
//! and loses nothing.

mod login;
mod mail;
mod redis;
mod setup;
mod summary;

use std::fs::{File, TryLockError};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::AbortHandle;

use super::build;
use super::local::child::{self, Child};
use super::local::interrupt::Interrupt;
use super::local::{node, ports};
use crate::{Connection, Context, Error};
use mail::{Mailbox, OnMessage};

/// How long the node and Redis may take to end.
const GRACE: Duration = Duration::from_secs(15);

/// Try everything: build the samples, start a node, publish, install
///
/// Ctrl-C ends it; started again, everything is still there. All of it is in one folder, which can
/// be deleted when it is no longer wanted.
#[derive(Debug, clap::Args)]
pub struct Demo {
    /// Folder for everything that the demo keeps [default: canopy-demo beside the samples' folder]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Folder of the samples [default: the folder `plugins` here or in a folder above]
    #[arg(long, value_name = "DIR")]
    plugins: Option<PathBuf>,
    /// Port at which applications answer [default: 8080, or a free one]
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
    /// Port of the control API [default: 8081, or a free one]
    #[arg(long, value_name = "PORT")]
    api_port: Option<u16>,
}

/// What runs beside this process, to be ended before it ends.
#[derive(Default)]
struct Running {
    node: Option<Child>,
    redis: Option<Child>,
    mail: Option<AbortHandle>,
    /// Held so that no second demo works in the same folder.
    lock: Option<File>,
    /// The node, once everything was set up and the user was told.
    serving: Option<Connection>,
}

impl Running {
    async fn stop(&mut self) {
        // The node first: its requests under way still use the others.
        for child in [self.node.take(), self.redis.take()].into_iter().flatten() {
            child.stop(GRACE).await;
        }
        if let Some(mail) = self.mail.take() {
            mail.abort();
        }
    }
}

impl Demo {
    pub(super) async fn run(self, context: &Context) -> Result<(), Error> {
        let mut interrupt = Interrupt::listen()?;
        let mut running = Running::default();
        let outcome = tokio::select! {
            outcome = self.play(context, &mut running) => outcome,
            () = interrupt.wait() => Err(Error::Interrupted),
        };
        let serving = running.serving.take();
        if let Some(connection) = &serving {
            if let Err(error) = login::forget(connection) {
                context.ui.warn(error);
            }
            context
                .ui
                .note("\nEnding the demo. `canopy demo` starts it again where it stopped.");
        }
        tokio::select! {
            () = running.stop() => {}
            () = interrupt.wait() => context.ui.warn("interrupted again: ending everything at once"),
        }
        match outcome {
            Err(Error::Interrupted) if serving.is_some() => Ok(()),
            outcome => outcome,
        }
    }

    async fn play(&self, context: &Context, running: &mut Running) -> Result<(), Error> {
        let plugins = self.plugins()?;
        let dir = self.dir(&plugins)?;
        running.lock = Some(lock(&dir)?);
        context
            .ui
            .note("Building the sample applications and drivers");
        for sample in setup::SAMPLES {
            build::build(context, &plugins.join(sample), false).await?;
        }

        for name in [node::NAME, redis::NAME] {
            if child::end_leftover(name, &dir, GRACE).await? {
                context.ui.warn(format_args!(
                    "ended the {name} that an earlier demo left running"
                ));
            }
        }
        let (listener, mail_port) = ports::listen(ports::MAIL).await?;
        let mailbox = Arc::new(Mailbox {
            dir: dir.join("mail"),
            on_message: note_mail(context),
        });
        running.mail = Some(tokio::spawn(mail::serve(listener, mailbox)).abort_handle());

        let redis = redis::start(&dir).await?;
        let redis = redis.map(|(child, server)| {
            running.redis = Some(child);
            server
        });
        let apps = ports::choose(context, self.port, ports::APPS, "--port")?;
        let api = ports::choose(context, self.api_port, ports::API, "--api-port")?;
        let progress = context.ui.spinner("Starting the node");
        let child = running.node.insert(node::start(&dir, apps, api)?);
        let connection = node::ready(child, &dir, api).await?;
        drop(progress);

        let client = crate::client::Client::new(&connection)?;
        let places = setup::Places {
            dir: &dir,
            plugins: &plugins,
            apps,
            mail: mail_port,
            redis,
        };
        let done = setup::run(context, &client, &places).await?;
        let remembered = login::remember(&connection).await?;
        summary::print(context, &places, &connection, &done, remembered);
        running.serving = Some(connection);
        match (&mut running.node, &mut running.redis) {
            (Some(node), Some(redis)) => tokio::select! {
                error = node.ended() => Err(error),
                error = redis.ended() => Err(error),
            },
            (Some(node), None) => Err(node.ended().await),
            (None, _) => Ok(()),
        }
    }

    /// The folder of the samples.
    fn plugins(&self) -> Result<PathBuf, Error> {
        let here =
            std::env::current_dir().map_err(|error| Error::local("the current folder", error))?;
        let found = match &self.plugins {
            Some(dir) => Some(dir.clone()).filter(|dir| dir.join("Cargo.toml").is_file()),
            None => here
                .ancestors()
                .map(|dir| dir.join("plugins"))
                .find(|dir| dir.join("Cargo.toml").is_file()),
        };
        let found = found.ok_or_else(|| {
            Error::advised(
                "the sample applications are not here",
                "run `canopy demo` in a checkout of Canopy, or name its folder `plugins` with --plugins",
            )
        })?;
        found
            .canonicalize()
            .map_err(|error| Error::local(found.display(), error))
    }

    /// The demo's own folder, made if it is missing.
    fn dir(&self, plugins: &Path) -> Result<PathBuf, Error> {
        let beside = plugins.parent().unwrap_or(plugins).join("canopy-demo");
        let dir = self.data.clone().unwrap_or(beside);
        let make = std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&dir);
        make.and_then(|()| dir.canonicalize())
            .map_err(|error| Error::local(dir.display(), error))
    }
}

/// Says so when a message arrives.
fn note_mail(context: &Context) -> OnMessage {
    let quiet = context.ui.is_json();
    Box::new(move |to, path| {
        if !quiet {
            crate::ui::tell(format_args!(
                "Mail for {}: {}",
                crate::ui::printable(&to.join(", ")),
                path.display()
            ));
        }
    })
}

/// Keeps others out of the demo's folder; however this process ends, the lock ends with it.
fn lock(dir: &Path) -> Result<File, Error> {
    let path = dir.join("lock");
    let file = File::create(&path).map_err(|error| Error::local(path.display(), error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::advised(
            format!("another demo runs in {}", dir.display()),
            "end it, or name another folder with --data",
        )),
        Err(TryLockError::Error(error)) => Err(Error::local(path.display(), error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_serves_one_demo_at_a_time() {
        let dir = tempfile::tempdir().expect("a folder");
        let first = lock(dir.path()).expect("free");
        let second = lock(dir.path()).expect_err("held");
        assert!(second.to_string().contains("another demo runs in"));
        drop(first);
        lock(dir.path()).expect("free again");
    }
}
