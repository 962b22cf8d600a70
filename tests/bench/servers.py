"""Canopy and its peers, each started on a port of its own and ended afterwards."""

import atexit
import json
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
GUESTS = ROOT / "tests/guests/target/wasm32-wasip2/release"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def resident_mib(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


class Server:
    """A process that answers HTTP on `port`; `host` is what it wants to be called."""

    def __init__(self, name, command, port, cwd=None):
        self.name, self.port, self.host = name, port, f"127.0.0.1:{port}"
        self.log = tempfile.NamedTemporaryFile(prefix="canopy-bench-", suffix=".log")
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, cwd=cwd
        )
        atexit.register(self.stop)
        self.wait()

    def wait(self, seconds=60):
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if self.process.poll() is not None:
                raise SystemExit(f"{self.name} ended at once:\n{self.output()}")
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                time.sleep(0.02)
        raise SystemExit(f"{self.name} does not answer:\n{self.output()}")

    def output(self):
        return pathlib.Path(self.log.name).read_text(errors="replace")[-4000:]

    def cpu_seconds(self):
        """User and system time of the process so far."""
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory(self):
        return resident_mib(self.process.pid)

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Canopy:
    """A node with everything on, and what a benchmark installs in it."""

    def __init__(self, binary, settings=""):
        self.binary = binary
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="canopy-bench-"))
        self.apps, self.api = free_port(), free_port()
        (self.folder / "canopy.toml").write_text(
            f'data_dir = "{self.folder}/data"\n'
            f'operator_token_file = "{self.folder}/token"\n'
            f'listen = "127.0.0.1:{self.apps}"\napi_listen = "127.0.0.1:{self.api}"\n{settings}\n'
        )
        self.start()

    def start(self):
        config = str(self.folder / "canopy.toml")
        begun = time.monotonic()
        self.server = Server("canopy", [self.binary, "serve", "--config", config], self.apps)
        self.start_seconds = time.monotonic() - begun
        self.token = (self.folder / "token").read_text().strip()

    def restart(self):
        self.server.stop()
        self.start()

    def stop(self):
        self.server.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def command(self, *arguments):
        environment = dict(
            os.environ,
            CANOPY_URL=f"http://127.0.0.1:{self.api}",
            CANOPY_TOKEN=self.token,
            XDG_CONFIG_HOME=str(self.folder / "config"),
            NO_COLOR="1",
        )
        done = subprocess.run(
            [self.binary, *arguments], env=environment, capture_output=True, text=True
        )
        if done.returncode:
            raise SystemExit(f"canopy {' '.join(arguments)}: {done.stdout}{done.stderr}")
        return done.stdout

    def put(self, path, body):
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.api}/v1/{path}",
            data=json.dumps(body).encode(),
            method="PUT",
            headers={
                "authorization": f"Bearer {self.token}",
                "content-type": "application/json",
            },
        )
        with urllib.request.urlopen(request) as answer:
            return answer.status

    def publish(self, guest):
        project = ROOT / "tests/guests/apps" / guest
        self.command("publish", str(project), "--create-publisher")

    def host(self, app, tenant):
        return f"{app}.{tenant}.localhost:{self.apps}"


def wasmtime(binary, component, *options):
    port = free_port()
    command = [binary, "serve", "--addr", f"127.0.0.1:{port}", *options, str(component)]
    return Server("wasmtime", command, port)


def workerd(binary):
    port = free_port()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="canopy-bench-workerd-"))
    (folder / "worker.js").write_text(
        'export default { async fetch() { return new Response("Hello, world!\\n"); } };\n'
    )
    (folder / "config.capnp").write_text(
        'using Workerd = import "/workerd/workerd.capnp";\n'
        "const config :Workerd.Config = (\n"
        '  services = [ (name = "main", worker = .worker) ],\n'
        f'  sockets = [ (name = "http", address = "127.0.0.1:{port}", http = (), service = "main") ],\n'
        ");\n"
        "const worker :Workerd.Worker = (\n"
        '  modules = [ (name = "worker", esModule = embed "worker.js") ],\n'
        '  compatibilityDate = "2026-01-01",\n'
        ");\n"
    )
    return Server("workerd", [binary, "serve", "config.capnp"], port, cwd=folder)


def axum(binary):
    port = free_port()
    return Server("axum", [binary, f"127.0.0.1:{port}"], port)
