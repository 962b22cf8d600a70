//! The real servers that drivers talk to, each private to one case and gone with it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// Ports that no system gives by itself, to a connection or to whoever asks for any, between the time when
/// one is looked for here and when its server listens on it.
const PORTS: std::ops::Range<u32> = 10_000..32_000;

/// A port of the loopback address that nobody listens on, another one each time.
pub(crate) fn free_port() -> u16 {
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    // Other processes that look for ports begin elsewhere.
    let first = std::process::id().wrapping_mul(101);
    for _ in PORTS {
        let number = first.wrapping_add(TAKEN.fetch_add(1, Ordering::Relaxed));
        let port = PORTS.start + number % (PORTS.end - PORTS.start);
        let port = u16::try_from(port).expect("a port");
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    panic!("all ports of {PORTS:?} are in use");
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

impl Server {
    fn end(&mut self) {
        // It may have ended by itself; then there is nothing left to end.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

/// An authority, and files with a certificate of it for `db.example`.
pub(crate) struct Certificate {
    /// The authority's, in PEM.
    pub(crate) authority: String,
    pub(crate) folder: TempDir,
}

impl Certificate {
    pub(crate) const NAME: &str = "db.example";

    pub(crate) fn new() -> Self {
        Self::of(Self::NAME)
    }

    /// For a server of another name.
    pub(crate) fn of(name: &str) -> Self {
        let mut authority = rcgen::CertificateParams::new(Vec::new()).expect("parameters");
        authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().expect("a key");
        let certificate = authority.self_signed(&key).expect("a certificate");
        let issuer = rcgen::Issuer::new(authority, key);
        let key = rcgen::KeyPair::generate().expect("a key");
        let own = rcgen::CertificateParams::new(vec![name.to_owned()]).expect("parameters");
        let own = own.signed_by(&key, &issuer).expect("a certificate");
        let folder = tempfile::tempdir().expect("a folder");
        for (file, text) in [
            ("server.crt", own.pem()),
            ("server.key", key.serialize_pem()),
            ("authority.crt", certificate.pem()),
        ] {
            std::fs::write(folder.path().join(file), text).expect("a file");
        }
        Self {
            authority: certificate.pem(),
            folder,
        }
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// A Redis server. Unless it was started to, it keeps nothing beyond its end.
pub(crate) struct Redis {
    pub(crate) port: u16,
    server: Server,
    /// Where it keeps what it has acknowledged.
    folder: Option<TempDir>,
}

impl Redis {
    pub(crate) fn start() -> Self {
        Self::start_in(None)
    }

    /// One that has everything again after [`Self::kill`] that it had acknowledged.
    pub(crate) fn start_lasting() -> Self {
        Self::start_in(Some(tempfile::tempdir().expect("a folder")))
    }

    fn start_in(folder: Option<TempDir>) -> Self {
        let port = free_port();
        Self {
            port,
            server: Self::run_in(port, folder.as_ref()),
            folder,
        }
    }

    fn run_in(port: u16, folder: Option<&TempDir>) -> Server {
        let port_text = port.to_string();
        let mut how = vec!["--port", &port_text];
        let folder = folder.map(|folder| folder.path().display().to_string());
        if let Some(folder) = &folder {
            how.extend([
                "--dir",
                folder,
                "--appendonly",
                "yes",
                "--appendfsync",
                "always",
            ]);
        }
        Self::run(port, &how)
    }

    /// One that speaks TLS alone and asks for a password.
    pub(crate) fn start_with_tls(certificate: &Certificate, password: &str) -> Self {
        let port = free_port();
        let file = |name| certificate.file(name).display().to_string();
        let server = Self::run(
            port,
            &[
                "--port",
                "0",
                "--tls-port",
                &port.to_string(),
                "--tls-cert-file",
                &file("server.crt"),
                "--tls-key-file",
                &file("server.key"),
                "--tls-auth-clients",
                "no",
                "--requirepass",
                password,
            ],
        );
        let folder = None;
        Self {
            port,
            server,
            folder,
        }
    }

    /// Ends the server at once.
    pub(crate) fn kill(&mut self) {
        self.server.end();
    }

    /// Starts the server after [`Self::kill`].
    pub(crate) fn start_again(&mut self) {
        self.server = Self::run_in(self.port, self.folder.as_ref());
    }

    fn run(port: u16, how: &[&str]) -> Server {
        let mut command = Command::new("redis-server");
        command
            .args(["--bind", "127.0.0.1", "--save", ""])
            .args(how);
        Server::start(command, port, "redis-server")
    }
}

/// The Python that has what these servers are made of.
fn python() -> Command {
    let python = std::env::var("TEST_PYTHON")
        .expect("TEST_PYTHON names a Python with what the servers need; `tests/run` sets it");
    Command::new(python)
}

/// An SMTP server that keeps what it accepts as files.
pub(crate) struct Smtp {
    pub(crate) port: u16,
    folder: TempDir,
    server: Server,
}

impl Smtp {
    pub(crate) fn start() -> Self {
        let (port, folder) = (free_port(), tempfile::tempdir().expect("a folder"));
        let server = Self::run(port, &folder, &["-", "-", "clear"]);
        Self {
            port,
            folder,
            server,
        }
    }

    /// One that speaks TLS, by `starttls` or from the beginning (`implicit`), and lets `ada` with the
    /// password `secret` alone send mail.
    pub(crate) fn start_with_tls(certificate: &Certificate, how: &str) -> Self {
        let (port, folder) = (free_port(), tempfile::tempdir().expect("a folder"));
        let file = |name| certificate.file(name).display().to_string();
        let server = Self::run(
            port,
            &folder,
            &[&file("server.crt"), &file("server.key"), how],
        );
        Self {
            port,
            folder,
            server,
        }
    }

    /// Ends the server at once.
    pub(crate) fn kill(&mut self) {
        self.server.end();
    }

    /// Starts the server after [`Self::kill`]; it has its messages still.
    pub(crate) fn start_again(&mut self) {
        self.server = Self::run(self.port, &self.folder, &["-", "-", "clear"]);
    }

    fn run(port: u16, folder: &TempDir, how: &[&str]) -> Server {
        let mut command = python();
        command
            .arg(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/../../tests/e2e/support/smtp_server.py"
            ))
            .arg(port.to_string())
            .arg(folder.path().join("mailbox"))
            .args(how);
        Server::start(command, port, "the mail server")
    }

    /// The messages accepted so far, as they came over the wire.
    pub(crate) fn messages(&self) -> Vec<String> {
        let files = |path: &Path| std::fs::read_dir(path).into_iter().flatten().flatten();
        files(&self.folder.path().join("mailbox/new"))
            .map(|file| std::fs::read_to_string(file.path()).expect("a message"))
            .collect()
    }
}

/// A PostgreSQL server with a database of its own, which asks for the password by SCRAM-SHA-256.
pub(crate) struct Postgres {
    pub(crate) port: u16,
    folder: TempDir,
    server: Option<Child>,
}

impl Postgres {
    pub(crate) const PASSWORD: &str = "correct horse";

    pub(crate) fn start() -> Self {
        let mut postgres = Self::made();
        postgres.start_again();
        postgres
    }

    /// One that talks by TLS alone.
    pub(crate) fn start_with_tls(certificate: &Certificate) -> Self {
        let mut postgres = Self::made();
        let data = postgres.folder.path().join("data");
        for name in ["server.crt", "server.key"] {
            std::fs::copy(certificate.file(name), data.join(name)).expect("a copy");
        }
        std::fs::write(
            data.join("pg_hba.conf"),
            "hostssl all all all scram-sha-256\n",
        )
        .expect("who may come");
        let mut settings = std::fs::OpenOptions::new()
            .append(true)
            .open(data.join("postgresql.conf"))
            .expect("the settings");
        writeln!(settings, "ssl = on").expect("written");
        let key = data.join("server.key");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&key, mode).expect("the key's mode");
        if rustix::process::getuid().is_root() {
            let mut owner = Command::new("chown");
            owner.arg("-R").arg("postgres").arg(&data);
            assert!(owner.status().expect("chown").success());
        }
        postgres.start_again();
        postgres
    }

    fn made() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let secret = folder.path().join("password");
        std::fs::write(&secret, Self::PASSWORD).expect("the password");
        let mut owner = Command::new("chown");
        owner.arg("-R").arg("postgres").arg(folder.path());
        // Only root has to give the folder away, and only root can.
        if rustix::process::getuid().is_root() {
            assert!(owner.status().expect("chown").success());
        }
        let made = postgres_command("initdb")
            .args(["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C"])
            .args(["--username=canopy", "--no-sync"])
            .arg(format!("--pwfile={}", secret.display()))
            .arg(folder.path().join("data"))
            .output()
            .expect("initdb; `tests/run` installs it");
        assert!(made.status.success(), "{made:?}");
        Self {
            port: free_port(),
            folder,
            server: None,
        }
    }

    /// Starts the server after [`Self::kill`], and waits until it has recovered.
    pub(crate) fn start_again(&mut self) {
        let server = postgres_command("postgres")
            .arg("-D")
            .arg(self.folder.path().join("data"))
            .args(["-p", &self.port.to_string()])
            .args(["-c", "listen_addresses=127.0.0.1"])
            .args(["-c", "unix_socket_directories="])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("postgres");
        let server = self.server.insert(server);
        wait_for_port(self.port, server, "postgres");
        let deadline = Instant::now() + Duration::from_secs(60);
        let is_ready = || {
            postgres_command("pg_isready")
                .args(["-q", "-h", "127.0.0.1", "-p", &self.port.to_string()])
                .status()
                .expect("pg_isready")
                .success()
        };
        while !is_ready() {
            assert!(Instant::now() < deadline, "postgres does not get ready");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Ends the server at once, as a crash does: connections break and nothing is put in order.
    pub(crate) fn kill(&mut self) {
        if let Some(mut server) = self.server.take() {
            let pid = rustix::process::Pid::from_child(&server);
            // It may have ended by itself; then there is nothing left to end.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::QUIT);
            let _ = server.wait();
        }
    }

    /// What a statement gives, one row a line.
    pub(crate) fn query(&self, statement: &str) -> String {
        let output = postgres_command("psql")
            .args(["-h", "127.0.0.1", "-p", &self.port.to_string()])
            .args(["-U", "canopy", "-d", "postgres", "-Atc", statement])
            .env("PGPASSWORD", Self::PASSWORD)
            .output()
            .expect("psql");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout)
            .expect("UTF-8")
            .trim()
            .to_owned()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A program of PostgreSQL, which is not on the search path everywhere. The server does not run as
/// root, who starts it as the user that comes with it.
fn postgres_command(program: &str) -> Command {
    let versions = std::fs::read_dir("/usr/lib/postgresql");
    let newest = versions
        .into_iter()
        .flatten()
        .flatten()
        .map(|version| version.path().join("bin").join(program))
        .filter(|path| path.is_file())
        .max();
    let path = newest.unwrap_or_else(|| PathBuf::from(program));
    if !rustix::process::getuid().is_root() {
        return Command::new(path);
    }
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=postgres", "--regid=postgres", "--clear-groups"])
        .arg(path)
        .current_dir("/");
    command
}

/// An S3 server in memory, which checks signatures.
pub(crate) struct S3 {
    pub(crate) port: u16,
    /// Identifier and secret of the access key.
    pub(crate) key: (String, String),
    how: &'static [&'static str],
    server: Server,
}

impl S3 {
    pub(crate) const BUCKET: &str = "canopy-books";

    pub(crate) fn start() -> Self {
        Self::start_as(&[])
    }

    /// One that takes every signature: the other does not know those in addresses.
    pub(crate) fn start_open() -> Self {
        Self::start_as(&["open"])
    }

    fn start_as(how: &'static [&'static str]) -> Self {
        let port = free_port();
        let (server, key) = Self::run(port, how);
        Self {
            port,
            key,
            how,
            server,
        }
    }

    /// Ends the server at once.
    pub(crate) fn kill(&mut self) {
        self.server.end();
    }

    /// Starts the server after [`Self::kill`]: it is empty and has another access key.
    pub(crate) fn start_again(&mut self) {
        (self.server, self.key) = Self::run(self.port, self.how);
    }

    /// The names of all objects.
    pub(crate) fn objects(&self) -> Vec<String> {
        self.inspect("names").lines().map(str::to_owned).collect()
    }

    /// The contents of all objects, one after the other.
    pub(crate) fn content(&self) -> String {
        self.inspect("contents")
    }

    /// What the server has, as it tells somebody with its key.
    fn inspect(&self, what: &str) -> String {
        let script = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../tests/e2e/support/s3_look.py"
        );
        let output = python()
            .args([
                script,
                &self.port.to_string(),
                &self.key.0,
                &self.key.1,
                what,
            ])
            .output()
            .expect("python");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn run(port: u16, how: &[&str]) -> (Server, (String, String)) {
        let script = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../tests/e2e/support/s3_server.py"
        );
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let mut child = python()
                .arg(script)
                .arg(port.to_string())
                .args(how)
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .expect("python");
            let output = child.stdout.take().expect("its output");
            let server = Server(child);
            let mut line = String::new();
            BufReader::new(output)
                .read_line(&mut line)
                .expect("its output");
            if let Some((id, secret)) = line.trim().split_once(' ') {
                return (server, (id.to_owned(), secret.to_owned()));
            }
            // While nobody listens, a client's own port may be this one by chance, and in the way.
            assert!(Instant::now() < deadline, "the S3 server does not start");
        }
    }
}

/// A receiver of webhooks, which checks signatures by another implementation than ours.
pub(crate) struct Receiver {
    pub(crate) port: u16,
    folder: TempDir,
    _server: Server,
}

impl Receiver {
    pub(crate) fn start(secret: &str) -> Self {
        let port = free_port();
        let folder = tempfile::tempdir().expect("a folder");
        let mut command = python();
        command
            .arg(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/../../tests/e2e/support/webhook_receiver.py"
            ))
            .args([&port.to_string(), secret])
            .arg(folder.path().join("events"));
        let server = Server::start(command, port, "the receiver");
        Self {
            port,
            folder,
            _server: server,
        }
    }

    /// The requests so far: `id`, `event`, and whether the signature was `verified`.
    pub(crate) fn events(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.folder.path().join("events")).unwrap_or_default();
        let line = |line| serde_json::from_str(line).expect("a line of JSON");
        text.lines().map(line).collect()
    }
}
