//! Compilation in a child process, seen from the parent: how many at once, how long, and what a
//! child's end means.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use canopy_ids::Digest;
use tokio::io::AsyncReadExt;
use tokio::process::{ChildStderr, Command};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::compile_child::{Refusal, Request};
use crate::settings::{CompileLimits, EngineSettings};

/// What is kept of a child's standard error.
const STDERR_BYTES: usize = 16 << 10;

/// How to start a compiling process: a program whose last argument reaches
/// [`crate::compile_child_main`].
#[derive(Debug, Clone)]
pub struct CompilerCommand {
    /// The program.
    pub program: PathBuf,
    /// Arguments before the request.
    pub args: Vec<OsString>,
}

/// Why a component was not compiled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// The component is not valid.
    #[error("the component is not valid: {message}")]
    Invalid {
        /// What the validator says.
        message: String,
    },
    /// The component's bytes have changed since they were stored.
    #[error("the stored component is damaged: its bytes are {found}, not {expected}")]
    OtherBytes {
        /// What was asked for.
        expected: Digest,
        /// What is there.
        found: Digest,
    },
    /// The compiler ran out of memory.
    #[error(
        "compiling the component takes more than {limit} bytes of memory (`compile.memory_bytes`)"
    )]
    Memory {
        /// What it may use.
        limit: u64,
    },
    /// The compiler ran out of CPU time.
    #[error(
        "compiling the component takes more than {limit} s of CPU time (`compile.cpu_seconds`)"
    )]
    Cpu {
        /// What it may use, in seconds.
        limit: u64,
    },
    /// The compiler took too long.
    #[error("compiling the component takes longer than {limit} s (`compile.wall_seconds`)")]
    Wall {
        /// What it may take, in seconds.
        limit: u64,
    },
    /// The native code is too large.
    #[error("the component's native code is larger than {limit} bytes (`compile.artifact_bytes`)")]
    Size {
        /// How large it may be.
        limit: u64,
    },
    /// Too many compilations wait already.
    #[error("{queue} compilations are waiting already (`compile.queue`); try again later")]
    Busy {
        /// How many may wait.
        queue: usize,
    },
    /// The compiler was killed, as a machine does that has no memory left.
    #[error(
        "the compiler was killed, perhaps because the machine ran out of memory; try again later"
    )]
    Killed,
    /// The compiler failed in a way that is nobody's limit.
    #[error("the compiler failed ({status}): {detail}")]
    Failed {
        /// How the process ended.
        status: String,
        /// What it said.
        detail: String,
    },
    /// The compiling process did not start.
    #[error("the compiler {program:?} cannot be started: {message}")]
    Start {
        /// The program.
        program: PathBuf,
        /// Why not.
        message: String,
    },
}

impl CompilerCommand {
    /// The running program, with arguments that lead to [`crate::compile_child_main`].
    pub fn this_program<A: Into<OsString>>(
        args: impl IntoIterator<Item = A>,
    ) -> std::io::Result<Self> {
        // On Linux this name stays the running program when its file has been replaced by an
        // upgrade.
        let program = if cfg!(target_os = "linux") {
            PathBuf::from("/proc/self/exe")
        } else {
            std::env::current_exe()?
        };
        Ok(Self {
            program,
            args: args.into_iter().map(Into::into).collect(),
        })
    }
}

/// Starts compiling processes, a bounded number at once.
pub(crate) struct Compiler {
    command: CompilerCommand,
    settings: EngineSettings,
    slots: Semaphore,
    waiting: AtomicUsize,
}

impl Compiler {
    pub(crate) fn new(command: CompilerCommand, settings: EngineSettings) -> Self {
        let slots = Semaphore::new(settings.compile.concurrency);
        Self {
            command,
            settings,
            slots,
            waiting: AtomicUsize::new(0),
        }
    }

    /// Compiles `component` into `artifact`, an empty file that exists. Dropping the future kills
    /// the child.
    pub(crate) async fn compile(
        &self,
        digest: &Digest,
        component: &Path,
        artifact: &Path,
    ) -> Result<(), CompileError> {
        let _slot = self.slot().await?;
        let limits = &self.settings.compile;
        let mut child = self.start(digest, component, artifact)?;
        // The child ends when this closes.
        let _alive = child.stdin.take();
        let stderr = child.stderr.take();
        let ended = timeout(Duration::from_secs(limits.wall_seconds), async {
            tokio::join!(child.wait(), last_words(stderr))
        });
        match ended.await {
            Ok((Ok(status), said)) => outcome(status, &said, limits, digest),
            Ok((Err(error), said)) => Err(CompileError::Failed {
                status: error.to_string(),
                detail: said,
            }),
            Err(_elapsed) => {
                // Killed and waited for, so that nothing writes the artifact from here on.
                let _ = child.kill().await;
                Err(CompileError::Wall {
                    limit: limits.wall_seconds,
                })
            }
        }
    }

    async fn slot(&self) -> Result<tokio::sync::SemaphorePermit<'_>, CompileError> {
        struct Waiting<'a>(&'a AtomicUsize);
        impl Drop for Waiting<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Relaxed);
            }
        }
        if let Ok(slot) = self.slots.try_acquire() {
            return Ok(slot);
        }
        let queue = self.settings.compile.queue;
        let before = self.waiting.fetch_add(1, Relaxed);
        let _waiting = Waiting(&self.waiting);
        if before >= queue {
            return Err(CompileError::Busy { queue });
        }
        self.slots
            .acquire()
            .await
            .map_err(|_closed| CompileError::Busy { queue })
    }

    fn start(
        &self,
        digest: &Digest,
        component: &Path,
        artifact: &Path,
    ) -> Result<tokio::process::Child, CompileError> {
        let failed = |message: String| CompileError::Start {
            program: self.command.program.clone(),
            message,
        };
        let absolute = |path| std::path::absolute(path).map_err(|error| failed(error.to_string()));
        let request = serde_json::to_string(&Request {
            settings: self.settings.clone(),
            digest: *digest,
            component: absolute(component)?,
            artifact: absolute(artifact)?,
        })
        .map_err(|error| failed(error.to_string()))?;
        Command::new(&self.command.program)
            .args(&self.command.args)
            .arg(request)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| failed(error.to_string()))
    }
}

/// The end of what the child said; all of it is read, so that the child is never held up.
async fn last_words(stderr: Option<ChildStderr>) -> String {
    let mut kept = Vec::new();
    if let Some(mut stderr) = stderr {
        let mut buffer = [0; 4096];
        while let Ok(read @ 1..) = stderr.read(&mut buffer).await {
            kept.extend_from_slice(&buffer[..read]);
            if kept.len() > STDERR_BYTES {
                kept.drain(..kept.len() - STDERR_BYTES);
            }
        }
    }
    String::from_utf8_lossy(&kept).trim().to_owned()
}

fn outcome(
    status: ExitStatus,
    said: &str,
    limits: &CompileLimits,
    digest: &Digest,
) -> Result<(), CompileError> {
    use rustix::process::Signal;
    if status.success() {
        return Ok(());
    }
    let refusal = said
        .lines()
        .last()
        .and_then(|line| serde_json::from_str(line).ok());
    if let Some(refusal) = refusal {
        return Err(match refusal {
            Refusal::Invalid(message) => CompileError::Invalid { message },
            Refusal::OtherBytes(found) => CompileError::OtherBytes {
                expected: *digest,
                found,
            },
            Refusal::OutOfMemory => CompileError::Memory {
                limit: limits.memory_bytes,
            },
            Refusal::ArtifactTooLarge(_) => CompileError::Size {
                limit: limits.artifact_bytes,
            },
            Refusal::System(detail) => CompileError::Failed {
                status: status.to_string(),
                detail,
            },
        });
    }
    let signal = status.signal();
    let is = |wanted: Signal| signal == Some(wanted.as_raw());
    Err(if is(Signal::XCPU) {
        CompileError::Cpu {
            limit: limits.cpu_seconds,
        }
    } else if is(Signal::XFSZ) {
        CompileError::Size {
            limit: limits.artifact_bytes,
        }
    } else if said.contains("memory allocation of") {
        // What Rust prints before it aborts; the allocator has no other way to tell.
        CompileError::Memory {
            limit: limits.memory_bytes,
        }
    } else if is(Signal::KILL) {
        CompileError::Killed
    } else {
        CompileError::Failed {
            status: status.to_string(),
            detail: said.to_owned(),
        }
    })
}
