"""Canopy and its peers, each started on a port of its own and ended afterwards."""

import atexit
import http.client
import json
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
GUESTS = ROOT / "tests/guests/target/wasm32-wasip2/release"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def resident_mib(pid, of="VmRSS"):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{of}:"):
            return int(line.split()[1]) / 1024
    return 0.0


def section(stamp):
    """A custom section `stamp` to append to a component; nothing where there is no stamp."""
    if not stamp:
        return b""
    content = bytes([5]) + b"stamp" + stamp
    assert len(content) < 128, "its length takes one byte"
    return bytes([0, len(content)]) + content


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

    def cpu_milliseconds(self):
        """Time of all threads on a processor so far, exact where the kernel tells."""
        total = 0
        for task in pathlib.Path(f"/proc/{self.process.pid}/task").iterdir():
            try:
                total += int((task / "schedstat").read_text().split()[0])
            except FileNotFoundError:
                continue  # The thread has ended.
        return total / 1e6

    def memory(self):
        return resident_mib(self.process.pid)

    def own_memory(self):
        """Without files that are mapped."""
        return resident_mib(self.process.pid, "RssAnon")

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

    def put_all(self, writes, connections=4):
        """Writes each (path, body) by the API, over a few connections that are kept open."""
        todo = iter(writes)
        lock = threading.Lock()
        headers = {"authorization": f"Bearer {self.token}", "content-type": "application/json"}

        def work(_):
            connection = http.client.HTTPConnection("127.0.0.1", self.api)
            while True:
                with lock:
                    write = next(todo, None)
                if write is None:
                    return connection.close()
                path, body = write
                connection.request("PUT", f"/api/v1/{path}", json.dumps(body), headers)
                answer = connection.getresponse()
                text = answer.read()
                if answer.status >= 300:
                    raise SystemExit(f"PUT {path}: {answer.status} {text.decode()}")

        with ThreadPoolExecutor(connections) as pool:
            list(pool.map(work, range(connections)))

    def install_all(self, installations):
        """Installs each (tenant, name, package), and makes the tenants."""
        tenants = sorted({tenant for tenant, _, _ in installations})
        self.put_all((f"tenants/{tenant}", {"display_name": tenant}) for tenant in tenants)
        self.put_all(
            (f"tenants/{tenant}/installations/{name}", {"package": package})
            for tenant, name, package in installations
        )

    def publish(self, guest):
        project = ROOT / "tests/guests/apps" / guest
        self.command("publish", str(project), "--create-publisher")

    def publish_as(self, guest, name, stamp=b"", reuse=False):
        """Publishes `guest` as `guests/NAME`; with a stamp its bytes and so its digest differ."""
        source = ROOT / "tests/guests/apps" / guest
        file = f"{guest.replace('-', '_')}.wasm"
        manifest = (source / "canopy.toml").read_text()
        manifest = manifest.replace(f'name = "guests/{guest}"', f'name = "guests/{name}"')
        manifest = manifest.replace(f"target/wasm32-wasip2/release/{file}", file)
        if reuse:
            manifest = manifest.replace("[http]", "[http]\nreuse = true")
        with tempfile.TemporaryDirectory() as folder:
            (pathlib.Path(folder) / "canopy.toml").write_text(manifest)
            component = (GUESTS / file).read_bytes()
            (pathlib.Path(folder) / file).write_bytes(component + section(stamp))
            self.command("publish", folder, "--create-publisher")

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
