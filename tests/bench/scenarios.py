"""What a request costs: each scenario starts its servers, asks them in turn, and returns what it
found. What the node withstands is in `hardness.py`."""

import contextlib
import pathlib
import statistics
from dataclasses import dataclass, field

import servers
from load import one_request, wrk
from servers import GUESTS, Canopy

# The benchmark is about what a request costs, so no plan may end it; everything else is as shipped.
SETTINGS = """
[plan]
concurrency = 1000
requests_per_second = 1000000
burst = 1000000
cpu_per_second = "1000 s"
cpu_burst = "1000 s"
installation_requests_per_second = 1000000
installation_burst = 1000000
"""
TENANTS = 10
# So many installations are there in every scenario, whichever is asked.
OTHERS = 10


@dataclass
class Goal:
    """A figure to reach: what was found in each round, and the bound of their median."""

    what: str
    bound: float
    found: list
    unit: str = "×"
    least: bool = True


@dataclass
class Result:
    """One scenario's measurements: for each server one dictionary for each round."""

    title: str
    unit: str
    rounds: dict
    goals: list = field(default_factory=list)
    notes: list = field(default_factory=list)


def settings(options):
    return pathlib.Path(options.settings).read_text() if options.settings else SETTINGS


@contextlib.contextmanager
def node(options, *guests, reuse=False):
    """A node with 100 installations, and each of `guests` installed for tenant `t0` as well."""
    canopy = Canopy(options.canopy, settings(options))
    try:
        canopy.publish("hello-p3")
        canopy.install_all(
            [
                (f"t{tenant}", f"other{other}", "guests/hello-p3")
                for tenant in range(TENANTS)
                for other in range(OTHERS)
            ]
        )
        for guest in guests:
            name = f"{guest}-again" if reuse else guest
            canopy.publish_as(guest, name, reuse=True) if reuse else canopy.publish(guest)
            canopy.command("install", f"guests/{name}", "--tenant", "t0", "--name", guest)
        yield canopy
    finally:
        canopy.stop()


def in_turn(options, targets, path="/", **load):
    """Asks `targets` (name → server and host) one after the other, as many rounds as asked for."""
    rounds = {name: [] for name in targets}
    for number in range(options.rounds + 1):
        for name, (server, host) in targets.items():
            used = server.cpu_seconds()
            seconds = options.seconds if number else 1
            found = wrk(server.port, host, path, seconds=seconds, **load)
            found["cpu"] = (server.cpu_seconds() - used) / max(found["count"], 1) * 1e6
            found["memory"] = server.memory()
            if number:
                rounds[name].append(found)
    return rounds


def peers(options, *wanted):
    """Those of the peers `wanted` that are installed, as targets."""
    p3, p2 = GUESTS / "hello_p3.wasm", GUESTS / "hello_p2_wstd.wasm"
    pool = ["-Scli", "-Opooling-allocator"]
    scan = [*pool, "-Opooling-pagemap-scan", "-Opooling-memory-keep-resident=1048576"]
    start = {
        "wasmtime serve, 0.3": lambda: servers.wasmtime(options.wasmtime, p3, "-Scli,p3", "-Wcomponent-model-async"),
        "wasmtime serve, 0.2, pooling": lambda: servers.wasmtime(options.wasmtime, p2, *pool),
        "wasmtime serve, 0.2, pooling and pagemap scan": lambda: servers.wasmtime(options.wasmtime, p2, *scan),
        "wasmtime serve, 0.2, reused 128 times": lambda: servers.wasmtime(
            options.wasmtime, p2, *pool, "--max-instance-reuse-count", "128"
        ),
        "workerd": lambda: servers.workerd(options.workerd),
        "axum": lambda: servers.axum(options.axum),
    }
    binary = {"workerd": options.workerd, "axum": options.axum}
    targets = {}
    for name in wanted:
        if binary.get(name, options.wasmtime):
            server = start[name]()
            targets[name] = (server, server.host)
    return targets


def measure(options, title, guest, wanted, goals, path="/", reuse=False, **load):
    with node(options, guest, reuse=reuse) as canopy:
        others = peers(options, *wanted)
        try:
            targets = {"canopy": (canopy.server, canopy.host(guest, "t0")), **others}
            rounds = in_turn(options, targets, path, **load)
        finally:
            for server, _ in others.values():
                server.stop()
    return Result(title, "requests/s", rounds, [ratio(title, rounds, *goal) for goal in goals])


def ratio(title, rounds, peer, bound):
    """The goal that Canopy's rate is so many times a peer's, round by round."""
    pairs = zip(rounds["canopy"], rounds.get(peer, ()))
    found = [ours["rate"] / theirs["rate"] for ours, theirs in pairs]
    return Goal(f"{title}: requests/s ÷ {peer}", bound, found)


def hello_p3(options):
    """WASI 0.3 greeting; instances serve up to 128 requests, one after the other."""
    goals = [("wasmtime serve, 0.3", 1.3), ("workerd", 2.0), ("axum", 0.5)]
    wanted = [name for name, _ in goals]
    return measure(options, "WASI 0.3 greeting", "hello-p3", wanted, goals)


def hello_p2(options):
    """WASI 0.2 greeting; a fresh instance for every request."""
    goals = [
        ("wasmtime serve, 0.2, pooling", 3.0),
        ("wasmtime serve, 0.2, pooling and pagemap scan", 1.6),
    ]
    wanted = [name for name, _ in goals]
    return measure(options, "WASI 0.2 greeting, fresh instances", "hello-p2-wstd", wanted, goals)


def hello_p2_reuse(options):
    """WASI 0.2 greeting of a package that asks for its instances to be used again."""
    goals = [("wasmtime serve, 0.2, reused 128 times", 1.2)]
    wanted = [goals[0][0]]
    title = "WASI 0.2 greeting, reused instances"
    return measure(options, title, "hello-p2-wstd", wanted, goals, reuse=True)


def bytes_100k(options):
    """A response of 100 KiB, WASI 0.2, fresh instances."""
    title, path = "Response of 100 KiB", f"/bytes?n={100 << 10}"
    return measure(options, title, "bench", ["axum"], [], path=path)


def echo_1m(options):
    """An upload of 1 MiB echoed, WASI 0.3."""
    title = "Upload of 1 MiB echoed"
    return measure(
        options, title, "probe-p3", ["axum"], [], path="/echo", body_bytes=1 << 20, connections=8
    )


def kv_json(options):
    """JSON with three key-value operations, one of them a durable write."""
    return measure(options, "JSON with three key-value operations", "bench", [], [], path="/kv")


def rotation(options, installations=1000):
    """1,000 installations asked in turn."""
    with node(options) as canopy:
        names = [(f"t{n % TENANTS}", f"n{n}") for n in range(installations)]
        canopy.install_all([(*name, "guests/hello-p3") for name in names])
        hosts = [canopy.host(app, tenant) for tenant, app in names]
        targets = {"canopy": (canopy.server, "")}
        rounds = in_turn(options, targets, hosts=hosts)
    return Result("1,000 installations in rotation, WASI 0.3", "requests/s", rounds)


def first_request(options, components=50):
    """First request of an installation since the node started, its native code on disk."""
    samples = {"first": [], "second": []}
    with node(options) as canopy:
        names = [f"first{number}" for number in range(components)]
        for name in names:
            canopy.publish_as("hello-p3", name, stamp=name.encode())
        canopy.install_all([("t0", name, f"guests/{name}") for name in names])
        for _ in range(options.rounds):
            canopy.restart()
            # What the node itself does for the first time is not what is measured.
            one_request(canopy.apps, canopy.host("other0", "t0"))
            for kind in samples.values():
                kind.append([one_request(canopy.apps, canopy.host(name, "t0")) for name in names])
    title = "First request of an installation"
    rounds = {f"{which} request": summary(found) for which, found in samples.items()}
    p99 = [one["p99"] for one in rounds["first request"]]
    goal = Goal(f"{title} not in memory, p99", 5, p99, unit="ms", least=False)
    notes = [f"{components} installations of as many components, one request at a time."]
    return Result(title, "ms", rounds, [goal], notes)


def summary(rounds):
    """Quantiles of the samples of each round."""
    return [
        {"p50": statistics.median(times), "p99": statistics.quantiles(times, n=100)[98], "bad": 0}
        for times in rounds
    ]


ALL = [hello_p3, hello_p2, hello_p2_reuse, bytes_100k, echo_1m, kv_json, rotation, first_request]
