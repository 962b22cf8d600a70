//! `canopy serve` as a process: starting, refusing to start, and ending.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address")
}

fn canopy(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_canopy"));
    command
        .current_dir(folder)
        .env_clear()
        .args(["serve", "--config", "node.toml"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A node that runs until it is stopped.
struct Node {
    process: Child,
    api: SocketAddr,
}

impl Node {
    fn start(folder: &Path) -> Self {
        Self::start_with(folder, &[])
    }

    fn start_with(folder: &Path, environment: &[(&str, &str)]) -> Self {
        let (listen, api) = (free_address(), free_address());
        let settings =
            format!("listen = \"{listen}\"\napi_listen = \"{api}\"\ndata_dir = \"data\"\n");
        std::fs::write(folder.join("node.toml"), settings).expect("written");
        let mut process = canopy(folder)
            .envs(environment.iter().copied())
            .spawn()
            .expect("started");
        let deadline = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(api).is_err() {
            let ended = process.try_wait().expect("a process");
            assert!(ended.is_none() && Instant::now() < deadline, "{ended:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
        Self { process, api }
    }

    fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(self.api).expect("connected");
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        )
        .expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("answered");
        answer
    }

    fn stop(self) -> Output {
        let pid = i32::try_from(self.process.id())
            .ok()
            .and_then(Pid::from_raw)
            .expect("a process");
        kill_process(pid, Signal::TERM).expect("it runs");
        self.process.wait_with_output().expect("ended")
    }
}

fn refused(folder: &Path, settings: &str) -> String {
    std::fs::write(folder.join("node.toml"), settings).expect("written");
    let output = canopy(folder).output().expect("started");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stderr).expect("text")
}

#[test]
fn the_token_is_shown_once_and_a_stopped_node_ends_well() {
    let folder = tempfile::tempdir().expect("a folder");
    let node = Node::start(folder.path());
    assert!(node.get("/healthz").starts_with("HTTP/1.1 2"));
    assert!(node.get("/api/v1/tenants").starts_with("HTTP/1.1 401"));
    let first = node.stop();
    assert!(first.status.success(), "{first:?}");
    assert!(String::from_utf8_lossy(&first.stdout).contains("canopy_op_"));
    let second = Node::start(folder.path()).stop();
    assert!(second.status.success(), "{second:?}");
    assert!(second.stdout.is_empty(), "{second:?}");
    assert!(!String::from_utf8_lossy(&second.stderr).contains("canopy_op_"));
}

#[test]
fn the_service_manager_is_told_when_the_node_serves_that_it_lives_and_when_it_stops() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("notify");
    let manager = UnixDatagram::bind(&socket).expect("a socket");
    let limit = Some(Duration::from_secs(30));
    manager.set_read_timeout(limit).expect("a timeout");
    let told = || {
        let mut text = [0; 256];
        let length = manager.recv(&mut text).expect("told");
        String::from_utf8_lossy(&text[..length]).into_owned()
    };
    let environment = [
        ("NOTIFY_SOCKET", socket.to_str().expect("text")),
        ("WATCHDOG_USEC", "200000"),
    ];
    let node = Node::start_with(folder.path(), &environment);
    assert_eq!(told().trim_end(), "READY=1");
    assert!(node.get("/readyz").starts_with("HTTP/1.1 2"));
    for _ in 0..3 {
        assert_eq!(told().trim_end(), "WATCHDOG=1");
    }
    assert!(node.stop().status.success());
    let last = std::iter::repeat_with(told).find(|text| text.trim_end() != "WATCHDOG=1");
    let last = last.expect("told");
    assert!(
        last.contains("STOPPING=1") && last.contains("EXTEND_TIMEOUT_USEC=30000000"),
        "{last}"
    );
}

#[test]
fn a_second_node_on_the_same_data_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let node = Node::start(folder.path());
    let address = free_address();
    let settings = format!("data_dir = \"data\"\nlisten = \"{address}\"\n");
    let message = refused(folder.path(), &settings);
    assert!(message.contains("another canopy uses it"), "{message}");
    assert!(node.stop().status.success());
}

#[test]
fn what_cannot_be_is_refused_with_one_line_that_says_why() {
    let folder = tempfile::tempdir().expect("a folder");
    let held = TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = held.local_addr().expect("an address");
    for (settings, expected) in [
        ("lisen = \"127.0.0.1:1\"", "did you mean `listen`?"),
        ("listen = ", "node.toml"),
        ("api_listen = \"0.0.0.0:8081\"", "api_public"),
        ("data_dir = \"node.toml\"", "not a folder"),
        ("[engine.pool]\ninstances = 0", "pool.instances"),
        ("[log]\nfilter = \"a=b=c\"", "log.filter"),
    ] {
        let message = refused(folder.path(), settings);
        assert!(message.contains(expected), "{settings}: {message}");
    }
    let message = refused(folder.path(), &format!("api_listen = \"{taken}\"\n"));
    assert!(message.contains("setting `api_listen`"), "{message}");
}
