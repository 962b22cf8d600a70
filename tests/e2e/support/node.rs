//! A node of the release under test, with a data folder of its own.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use reqwest::header::HOST;
use serde_json::Value;
use tempfile::TempDir;

use super::servers::{free_port, wait_for_port};

/// A running `canopy serve`.
pub(crate) struct Node {
    folder: TempDir,
    child: Child,
    apps_port: u16,
    api_port: u16,
    pub(crate) http: reqwest::Client,
}

/// What a command printed, and its exit code.
pub(crate) struct Output {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Output {
    /// The command's JSON; panics with what it printed if it failed.
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.code, 0, "{}{}", self.stdout, self.stderr);
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", self.stdout))
    }
}

/// An application's answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The code of the problem document (RFC 9457) that this answer is.
    pub(crate) fn problem(&self) -> String {
        assert_eq!(
            self.headers["content-type"], "application/problem+json",
            "{self:?}"
        );
        let document = self.json();
        let kind = document["type"].as_str().expect("a type");
        kind.strip_prefix("urn:canopy:problem:")
            .expect(kind)
            .to_owned()
    }
}

impl Node {
    /// A node that may reach loopback addresses where an installation is granted them.
    pub(crate) fn start() -> Self {
        Self::start_with("")
    }

    /// A node with further tables of settings.
    pub(crate) fn start_with(settings: &str) -> Self {
        let loopback = "[egress]\nprivate_networks = [\"127.0.0.0/8\", \"::1/128\"]";
        Self::with_settings(&format!("{settings}\n{loopback}"))
    }

    /// A node that reaches public addresses alone.
    pub(crate) fn start_closed() -> Self {
        Self::with_settings("")
    }

    /// A node with these tables of settings and no others.
    pub(crate) fn with_settings(settings: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (apps_port, api_port) = (free_port(), free_port());
        let data = folder.path().join("data");
        let token = folder.path().join("operator.token");
        let text = format!(
            "data_dir = {data:?}\n\
             operator_token_file = {token:?}\n\
             listen = \"127.0.0.1:{apps_port}\"\n\
             api_listen = \"127.0.0.1:{api_port}\"\n\
             {settings}\n"
        );
        std::fs::write(folder.path().join("canopy.toml"), text).expect("the settings");
        let child = spawn(command(folder.path()), [api_port, apps_port]);
        Self {
            folder,
            child,
            apps_port,
            api_port,
            http: client(),
        }
    }

    /// The operator's.
    pub(crate) fn token(&self) -> String {
        let path = self.folder.path().join("operator.token");
        std::fs::read_to_string(path)
            .expect("the operator's token")
            .trim()
            .to_owned()
    }

    /// Of the node's process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub(crate) fn apps_port(&self) -> u16 {
        self.apps_port
    }

    pub(crate) fn api_url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.api_port)
    }

    /// What the node wrote to standard error.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("stderr.log")).expect("the node's log")
    }

    /// Waits until the node's log says so: it is written a moment after what it tells of.
    #[track_caller]
    pub(crate) fn logs(&self, what: &str) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !self.log().contains(what) {
            assert!(Instant::now() < deadline, "the node's log lacks `{what}`");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Runs the command line against this node.
    pub(crate) fn cli<S: AsRef<std::ffi::OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = S>,
    ) -> Output {
        self.cli_with(arguments, &[])
    }

    /// The same with further variables of the environment.
    pub(crate) fn cli_with<S: AsRef<std::ffi::OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = S>,
        environment: &[(&str, &str)],
    ) -> Output {
        let output = Command::new(env!("CARGO_BIN_EXE_canopy"))
            .args(arguments)
            .envs(environment.iter().copied())
            .env("CANOPY_URL", self.api_url(""))
            .env("CANOPY_TOKEN", self.token())
            .env("XDG_CONFIG_HOME", self.folder.path().join("config"))
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .output()
            .expect("canopy runs");
        Output {
            code: output.status.code().expect("an exit code"),
            stdout: String::from_utf8(output.stdout).expect("UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("UTF-8"),
        }
    }

    /// Runs a command line given as one text, which must succeed, and returns its JSON.
    pub(crate) fn run(&self, line: &str) -> Value {
        let output = self.cli(line.split_whitespace().chain(["--json"]));
        assert_eq!(
            output.code, 0,
            "`canopy {line}`: {}{}",
            output.stdout, output.stderr
        );
        if output.stdout.trim().is_empty() {
            Value::Null
        } else {
            output.json()
        }
    }

    /// Publishes the package in `project`, creating its publisher.
    pub(crate) fn publish(&self, project: &Path) {
        self.run(&format!("publish {} --create-publisher", project.display()));
    }

    /// Publishes `project` and installs it for each of `tenants`, who are created.
    pub(crate) fn serve(&self, project: &Path, package: &str, tenants: &[&str]) {
        self.publish(project);
        for tenant in tenants {
            if self.cli(["tenant", "show", tenant]).code != 0 {
                self.run(&format!("tenant create {tenant}"));
            }
            self.run(&format!("install {package} --tenant {tenant}"));
        }
    }

    /// A request to an application by its host name, such as `invoices.acme`.
    pub(crate) fn request(
        &self,
        method: reqwest::Method,
        app: &str,
        path: &str,
    ) -> reqwest::RequestBuilder {
        let port = self.apps_port;
        self.http
            .request(method, format!("http://127.0.0.1:{port}{path}"))
            .header(HOST, format!("{app}.localhost:{port}"))
    }

    pub(crate) async fn get(&self, app: &str, path: &str) -> Answer {
        answer(self.request(reqwest::Method::GET, app, path)).await
    }

    pub(crate) async fn post(&self, app: &str, path: &str, body: Value) -> Answer {
        answer(self.request(reqwest::Method::POST, app, path).json(&body)).await
    }

    /// A request to the control API with the operator's token.
    pub(crate) fn api(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        self.http
            .request(method, self.api_url(path))
            .bearer_auth(self.token())
    }

    /// Ends the node as `kill -9` does.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it is running");
        self.wait();
    }

    /// Ends the node as `kill -9` does, and starts it again on the same data.
    pub(crate) fn kill_and_restart(&mut self) {
        self.kill();
        self.start_again();
    }

    /// Starts the node again and kills it after a time in which it may not have come far.
    pub(crate) fn kill_while_starting(&mut self, after: Duration) {
        self.child = command(self.folder.path()).spawn().expect("it starts");
        std::thread::sleep(after);
        self.kill();
    }

    /// Whether it has ended by itself, or was killed.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("its state").is_some()
    }

    /// Asks the node to end and waits until it has.
    pub(crate) fn terminate(&mut self) -> ExitStatus {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it is running");
        self.wait()
    }

    /// Waits until the node has ended.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.child.wait().expect("it ends")
    }

    /// Starts the node again after it has ended.
    pub(crate) fn start_again(&mut self) {
        self.start_again_with(|_| {});
    }

    /// The same, with changes to how it is started.
    pub(crate) fn start_again_with(&mut self, change: impl FnOnce(&mut Command)) {
        let mut command = command(self.folder.path());
        change(&mut command);
        self.child = spawn(command, [self.api_port, self.apps_port]);
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the node's log\n{}", self.log());
        }
        // It may have been ended by the case.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a request and reads the answer to its end.
pub(crate) async fn answer(request: reqwest::RequestBuilder) -> Answer {
    let response = request.send().await.expect("an answer");
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Answer {
        status,
        headers,
        body: response.text().await.expect("a whole body"),
    }
}

fn client() -> reqwest::Client {
    // A second installation of the provider is refused and harmless.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(Duration::from_secs(60))
        // Sooner than the node: a request on a connection that is just being closed has no answer.
        .pool_idle_timeout(Duration::from_secs(2))
        .build()
        .expect("a client")
}

fn command(folder: &Path) -> Command {
    let log = File::options()
        .create(true)
        .append(true)
        .open(folder.join("stderr.log"))
        .expect("the node's log");
    let mut command = Command::new(env!("CARGO_BIN_EXE_canopy"));
    command
        .arg("serve")
        .arg("--config")
        .arg(folder.join("canopy.toml"))
        // A node that writes backtraces of its own keeps its debug information in memory, which no
        // measurement of its memory expects.
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log);
    command
}

/// Starts a node and waits until it listens.
fn spawn(mut command: Command, ports: [u16; 2]) -> Child {
    let mut child = command.spawn().expect("canopy starts");
    for port in ports {
        wait_for_port(port, &mut child, "canopy serve");
    }
    child
}
