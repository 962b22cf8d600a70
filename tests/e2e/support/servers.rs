//! The real servers that drivers talk to, each private to one case and gone with it.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A port of the loopback address that nobody listens on.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address").port()
}

/// Waits until something accepts connections on `port`.
pub(crate) fn wait_for_port(port: u16, child: &mut Child, what: &str) {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let deadline = Instant::now() + Duration::from_secs(60);
    while TcpStream::connect(address).is_err() {
        if let Some(status) = child.try_wait().expect("its state") {
            panic!("{what} ended with {status} instead of listening on {port}");
        }
        assert!(
            Instant::now() < deadline,
            "{what} does not listen on {port}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

struct Server(Child);

impl Server {
    fn start(mut command: Command, port: u16, what: &str) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{what}: {error}; `tests/run` installs it"));
        wait_for_port(port, &mut child, what);
        Self(child)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing left to end.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A Redis server that keeps nothing.
pub(crate) struct Redis {
    pub(crate) port: u16,
    _server: Server,
}

impl Redis {
    pub(crate) fn start() -> Self {
        let port = free_port();
        let mut command = Command::new("redis-server");
        command.args([
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
            "--port",
        ]);
        command.arg(port.to_string());
        Self {
            port,
            _server: Server::start(command, port, "redis-server"),
        }
    }
}

/// An SMTP server that keeps what it accepts as files.
pub(crate) struct Smtp {
    pub(crate) port: u16,
    mailbox: PathBuf,
    _folder: TempDir,
    _server: Server,
}

impl Smtp {
    pub(crate) fn start() -> Self {
        let port = free_port();
        let folder = tempfile::tempdir().expect("a folder");
        let mailbox = folder.path().join("mailbox");
        let python = std::env::var("TEST_PYTHON")
            .expect("TEST_PYTHON names a Python with aiosmtpd; `tests/run` sets it");
        let mut command = Command::new(python);
        command.args(["-m", "aiosmtpd", "--nosetuid", "--listen"]);
        command.arg(format!("127.0.0.1:{port}"));
        command
            .args(["--class", "aiosmtpd.handlers.Mailbox"])
            .arg(&mailbox);
        let server = Server::start(command, port, "aiosmtpd");
        Self {
            port,
            mailbox,
            _folder: folder,
            _server: server,
        }
    }

    /// The messages accepted so far, as they came over the wire.
    pub(crate) fn messages(&self) -> Vec<String> {
        let files = |path: &Path| std::fs::read_dir(path).into_iter().flatten().flatten();
        files(&self.mailbox.join("new"))
            .map(|file| std::fs::read_to_string(file.path()).expect("a message"))
            .collect()
    }
}
