"""What the node withstands, and what single steps cost beside the native engine: each scenario
returns what it found, as those of `scenarios.py` do."""

import http.client
import json
import random
import statistics
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

from load import constant, constant_command, one_request, wrk
from scenarios import Goal, Result, node, peers, settings
from servers import Canopy


# Of load at a constant rate.
AHEAD = (
    "Who measures runs ahead of all else on the machine (`SCHED_FIFO`), where that is permitted, so that its own"
    " waiting for a processor is not taken for the server's."
)


def micro(options, *arguments):
    """What the program of `tests/bench/micro` prints."""
    command = [options.micro, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: {done.stdout}{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def tail(options):
    """Latency at a constant rate, 70 % of Canopy's own peak, beside the native server's."""
    title = "Latency at 70 % of Canopy's peak, WASI 0.3"
    rounds = {"canopy": [], "axum": []}
    with node(options, "hello-p3") as canopy:
        native = peers(options, "axum")
        targets = {"canopy": (canopy.server, canopy.host("hello-p3", "t0")), **native}
        try:
            for _ in range(options.rounds):
                server, host = targets["canopy"]
                peak = wrk(server.port, host, seconds=options.seconds)["rate"]
                for name, (server, host) in targets.items():
                    found = constant(options.load, server.port, host, peak * 0.7, options.seconds)
                    rounds[name].append(found)
        finally:
            for server, _ in native.values():
                server.stop()
    pairs = zip(rounds["canopy"], rounds["axum"])
    found = [ours["p99"] / theirs["p99"] for ours, theirs in pairs]
    notes = [f"Latency counts from when a request was due; `late` is how late it was begun, at p99. {AHEAD}"]
    goal = Goal("p99 at 70 % of own peak ÷ axum's at the same rate", 2, found, least=False)
    return Result(title, "ms", {k: v for k, v in rounds.items() if v}, [goal], notes)


# By what is stored, and what each way is called.
OPERATIONS = {
    "get": "get of a key",
    "set": "set of keys, 64 writers",
    "select": "select of a row",
    "insert": "insert of a row",
    "put": "put of an object",
    "read": "read of an object",
}
WAYS = {
    "beneath": "the engine alone",
    "encrypted": "the engine alone, encrypted",
    "native": "Canopy's storage",
    "guest": "through a guest",
}
FILES = {"put", "read"}


def storage(options):
    """Keys, rows and objects by the engine beneath alone, by Canopy's storage, and through a guest."""
    every = [(what, way) for what in OPERATIONS for way in WAYS]
    found = {one: [] for one in every if one[1] != "encrypted" or one[0] not in FILES}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(options.rounds):
            for what, way in found:
                sample = micro(options, "storage", folder, way, what, options.seconds)
                found[what, way].append(sample)
    rounds = {f"{OPERATIONS[what]}, {WAYS[way]}": samples for (what, way), samples in found.items()}

    def ratio(what, way):
        pairs = zip(found[what, "guest"], found[what, way])
        return [ours["rate"] / other["rate"] for ours, other in pairs]

    goals = [
        Goal("get of a key: through a guest ÷ Canopy's storage", 0.7, ratio("get", "native")),
        Goal("set of keys, 64 writers: through a guest ÷ Canopy's storage", 0.9, ratio("set", "native")),
        Goal("set of keys, 64 writers: through a guest ÷ the engine alone, encrypted", 0.9, ratio("set", "encrypted")),
    ]
    notes = [
        "Every write is on the disk when it is answered. The engine alone is SQLite (WAL, `synchronous ="
        " FULL`, one writer that puts all that waits into one commit), encrypted SQLCipher used in the same"
        " way, and plain files for objects. Canopy's storage always encrypts. Objects have 8 MiB. A guest does up to 200 operations a"
        " request, over which its times are averaged. Memory is what the process takes at most beyond what"
        " it had before the first operation; each row is a process of its own.",
    ]
    return Result("Storage", "operations/s", rounds, goals, notes)


# Microseconds that a call of a driver may take over the direct one. The stream has no goal.
OVER = {"number": 5, "1 KiB list": 8, "resource method": 8}


def driver(options):
    """A call of a driver in a store of its own, and the same composed in one store."""
    found = micro(options, "drivers", options.rounds)
    rounds, goals = {}, []
    for call, times in found.items():
        for how, each in times.items():
            rounds[f"{call}, {how}"] = [{"µs": time, "bad": 0} for time in each]
        if call in OVER:
            over = [apart - direct for apart, direct in zip(times["apart"], times["composed"])]
            what = f"call of a driver over the direct call: {call}"
            goals.append(Goal(what, OVER[call], over, unit="µs", least=False))
    return Result("Call of a driver", "µs", rounds, goals)


def neighbours(options, rate=100):
    """A victim's latency, quiet and with attackers in 9 of 10 tenants, on the plans as shipped."""
    rounds = {"quiet": [], "attacked": []}
    canopy = Canopy(options.canopy)
    try:
        for guest in ("hello-p3", "spin", "hog"):
            canopy.publish(guest)
        attackers = [f"t{number}" for number in range(1, 10)]
        apps = [(tenant, app, f"guests/{app}") for tenant in attackers for app in ("spin", "hog")]
        canopy.install_all([("t0", "hello-p3", "guests/hello-p3"), *apps])
        victim = (options.load, canopy.apps, canopy.host("hello-p3", "t0"), rate)
        constant(*victim, 1)
        for _ in range(options.rounds):
            rounds["quiet"].append(constant(*victim, options.seconds))
            # At a rate that keeps every processor busy by guests, not by those who ask.
            attacks = [
                constant_command(
                    options.load,
                    canopy.apps,
                    canopy.host(app, tenant),
                    10,
                    options.seconds + 2,
                    path="/" if app == "spin" else "/grow?mib=1024",
                    connections=32,
                )
                for tenant in attackers
                for app in ("spin", "hog")
            ]
            quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
            running = [subprocess.Popen(attack, **quiet) for attack in attacks]
            time.sleep(1)
            rounds["attacked"].append(constant(*victim, options.seconds))
            for attack in running:
                attack.terminate()
                attack.wait()
            # A node that still ends what the attackers began is not quiet.
            time.sleep(2)
    finally:
        canopy.stop()
    pairs = zip(rounds["attacked"], rounds["quiet"])
    found = [attacked["p99"] / quiet["p99"] for attacked, quiet in pairs]
    errors = [attacked["bad"] for attacked in rounds["attacked"]]
    goals = [
        Goal("victim's p99 with attackers in 9 of 10 tenants ÷ quiet", 2, found, least=False),
        Goal("victim's requests not answered meanwhile", 0, errors, unit="", least=False),
    ]
    notes = [
        f"The victim is asked {rate} times a second. Each attacker asks ten times a second for an"
        f" endless loop and as often for all memory that there is. {AHEAD}"
    ]
    return Result("Noisy neighbours", "ms", rounds, goals, notes)


def overload(options, slots=64, takes=200, lasts=20):
    """Ten times what an installation can answer: what is still answered, and how soon the rest is refused."""
    rounds = {"as much as it can": [], "ten times that": []}
    canopy = Canopy(options.canopy, settings(options))
    try:
        canopy.publish("sleep")
        canopy.install_all([("t0", "sleep", "guests/sleep")])
        host, path = canopy.host("sleep", "t0"), f"/?ms={takes}"
        wrk(canopy.apps, host, path, seconds=1, connections=slots)
        for _ in range(options.rounds):
            peak = wrk(canopy.apps, host, path, seconds=options.seconds, connections=slots)
            found = {"good": peak["rate"], "refused": 0, "late": 0, "bad": peak["bad"]}
            rounds["as much as it can"].append(found)
            # What waits, what is answered and what is refused, all at once. It begins as a burst, which may wait;
            # that is to be less than a hundredth of it.
            asked = (options.load, canopy.apps, host, 10 * peak["rate"])
            seconds = max(lasts, options.seconds)
            load = constant(*asked, seconds, path=path, connections=6 * slots)
            found = {"good": load["successes"], "refused": load["refusals"], "late": load["late"]}
            rounds["ten times that"].append(found | {"bad": load["bad"]})
    finally:
        canopy.stop()
    pairs = zip(rounds["ten times that"], rounds["as much as it can"])
    kept = [over["good"] / peak["good"] for over, peak in pairs]
    refused = [over["refused"] for over in rounds["ten times that"]]
    goals = [
        Goal("answers a second at ten times what can be answered ÷ peak", 0.8, kept),
        Goal("refusals at ten times what can be answered, p99", 5, refused, unit="ms", least=False),
    ]
    notes = [
        f"An installation of {slots} requests at once, each of which takes {takes} ms in which it does nothing: it is"
        f" slots that are wanted, not processors. It lasts {max(lasts, options.seconds)} s. Refusals are timed from when"
        f" they are asked for. {AHEAD}"
    ]
    return Result("Overload", "ms", rounds, goals, notes)


def kill_time(options, budget=50):
    """How long past its budget of CPU time an endless loop is ended."""
    count = max(300, 200 * options.rounds)
    canopy = Canopy(options.canopy, f'[limits.default]\ncpu = "{budget} ms"\n')
    try:
        canopy.publish("spin")
        canopy.install_all([("t0", "spin", "guests/spin")])
        host = canopy.host("spin", "t0")
        times, ran = [], []
        for _ in range(count + 5):
            before = canopy.server.cpu_milliseconds()
            times.append(one_request(canopy.apps, host, expected=503) - budget)
            ran.append(canopy.server.cpu_milliseconds() - before - budget)
    finally:
        canopy.stop()
    rounds = {}
    for what, found in (("by the clock", times[5:]), ("of processor time", ran[5:])):
        quantiles = statistics.quantiles(found, n=1000, method="inclusive")
        figures = {"p50": quantiles[499], "p99": quantiles[989], "p999": quantiles[998], "bad": 0}
        rounds[f"past the budget, {what}"] = [figures]
    p999 = rounds["past the budget, by the clock"][0]["p999"]
    goal = Goal("CPU limit: kill time past the budget, p99.9", 20, [p999], unit="ms", least=False)
    notes = [
        f"{count} kills, one at a time, of a budget of {budget} ms. By the clock, as the client sees"
        " it, the way there and back counts too, and time in which the machine did something else;"
        " the node's processor time is all of its threads' from before a request to after it."
    ]
    return Result("Kill time", "ms", rounds, [goal], notes)


def density(options, installations=10_000, components=100):
    """10,000 installations of 100 distinct components: start, idle memory, random requests."""
    count = 1000
    with_plan = settings(options)
    canopy = Canopy(options.canopy, with_plan)
    try:
        names = [f"dense{number}" for number in range(components)]
        with ThreadPoolExecutor(2) as pool:
            publishing = lambda name: canopy.publish_as("hello-p3", name, stamp=name.encode())
            list(pool.map(publishing, names))
        tenants = installations // 100
        made = [(f"t{n % tenants}", f"n{n}") for n in range(installations)]
        begun = time.monotonic()
        canopy.install_all(
            [(*name, f"guests/{names[n % components]}") for n, name in enumerate(made)]
        )
        installing = time.monotonic() - begun
        chosen = random.Random(1)
        rounds, starts, idle, p99 = [], [], [], []
        for _ in range(options.rounds):
            canopy.restart()
            time.sleep(1)
            starts.append(canopy.start_seconds)
            idle.append(canopy.server.memory())
            asked = [canopy.host(app, tenant) for tenant, app in chosen.sample(made, count)]
            times = [one_request(canopy.apps, host) for host in asked]
            p99.append(statistics.quantiles(times, n=100)[98])
            figures = {"start": starts[-1], "p50": statistics.median(times), "p99": p99[-1]}
            rounds.append(figures | {"idle": idle[-1], "memory": canopy.server.memory(), "bad": 0})
    finally:
        canopy.stop()
    what = f"{installations:,} installations of {components} components"
    goals = [
        Goal(f"{what}: start", 2, starts, unit="s", least=False),
        Goal(f"{what}: idle memory", 1024, idle, unit="MiB", least=False),
        Goal(f"{what}: request to a random one, p99", 10, p99, unit="ms", least=False),
    ]
    notes = [
        f"Of {tenants} tenants; {count} random requests, one at a time, each on a connection of its own."
        f" Making the installations by the API took {installing:.0f} s."
    ]
    return Result("Density", "ms", {"canopy": rounds}, goals, notes)


def publishing(options, at_once=10):
    """Serving while ten publishes are compiled at once, beside serving alone."""
    rounds = {"alone": [], "while ten publish": []}
    stamps = iter(range(1_000_000))
    with node(options, "hello-p3") as canopy:
        host = canopy.host("hello-p3", "t0")
        busy = True

        def publish(_):
            while busy:
                name = f"published{next(stamps)}"
                canopy.publish_as("hello-p2-wstd", name, stamp=name.encode())

        wrk(canopy.apps, host, seconds=1)
        for _ in range(options.rounds):
            rounds["alone"].append(wrk(canopy.apps, host, seconds=options.seconds))
            busy = True
            with ThreadPoolExecutor(at_once) as pool:
                work = [pool.submit(publish, number) for number in range(at_once)]
                time.sleep(1)
                found = wrk(canopy.apps, host, seconds=options.seconds)
                rounds["while ten publish"].append(found)
                busy = False
                for one in work:
                    one.result()
    pairs = zip(rounds["while ten publish"], rounds["alone"])
    # Two compilers at once, niced by 10: of two processors, a tenth of each is theirs, and the
    # publishers' own programs run here too.
    found = [meanwhile["rate"] / alone["rate"] for meanwhile, alone in pairs]
    goals = [Goal("requests/s while ten publish at once ÷ alone", 0.6, found)]
    notes = ["The programs that publish run on the same machine, at the same priority as the node."]
    return Result("Publishing meanwhile", "requests/s", rounds, goals, notes)


# What a guest has the host keep, by the guest that does.
PINS = {
    "hostile": ["fields", "names", "copies", "bodies", "requests", "pollables", "mix"],
    "hostile-p3": ["fields", "waits", "streams", "values", "reads", "mix"],
}
# As large as the edge lets the fields of a request be, for those who copy them.
LARGE_FIELDS = {f"x-large-{number}": "x" * 5_000 for number in range(6)}


def status(canopy, host, path):
    """The status of a request with large fields; 0 if it is not answered."""
    connection = http.client.HTTPConnection("127.0.0.1", canopy.apps, timeout=60)
    try:
        connection.request("GET", path, headers={"Host": host, **LARGE_FIELDS})
        answer = connection.getresponse()
        answer.read()
        return answer.status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()


# Further ones wait for those before, or are refused, and only take more of the guest's own memory.
MOST = {"reads": 64, "values": 64}


def most(fits, least=1, bound=1 << 14):
    """Nearly the largest number that fits, where each smaller one does."""
    while bound - least > max(1, least // 32):
        middle = (least + bound) // 2
        least, bound = (middle, bound) if fits(middle) else (least, middle)
    return least


def pinned(options, at_once=16, held=4_000):
    """What one hostile request can have the node keep outside of its linear memory."""
    rounds, worst = {}, []
    canopy = Canopy(options.canopy)
    try:
        for guest in PINS:
            canopy.publish(guest)
        canopy.install_all([("t0", guest, f"guests/{guest}") for guest in PINS])

        def growth(host, kind, count):
            """MiB by which the node grows for each of `at_once` requests that hold so much."""
            canopy.restart()
            status(canopy, host, "/pin-nothing?0&0")
            before = highest = canopy.server.own_memory()
            with ThreadPoolExecutor(at_once) as pool:
                asked = [
                    pool.submit(status, canopy, host, f"/pin-{kind}?{count}&{held}")
                    for _ in range(at_once)
                ]
                while not all(one.done() for one in asked):
                    highest = max(highest, canopy.server.own_memory())
                    time.sleep(0.02)
            bad = sum(one.result() != 200 for one in asked)
            return (highest - before) / at_once, bad

        for guest, kinds in PINS.items():
            host = canopy.host(guest, "t0")
            nothing, _ = growth(host, "nothing", 0)
            for kind in kinds:
                fits = lambda n: status(canopy, host, f"/pin-{kind}?{n}&20") == 200
                count = MOST[kind] if kind in MOST else most(fits)
                grown, bad = growth(host, kind, count)
                figures = {"held": count, "MiB": grown - nothing, "bad": bad}
                rounds[f"{guest}: {kind}"] = [figures]
                worst.append(grown - nothing)
    finally:
        canopy.stop()
    what = "host memory that one hostile request can pin outside its linear memory"
    goal = Goal(what, 8, [max(worst)], unit="MiB", least=False)
    notes = [
        f"{at_once} requests at once hold as much as they may; a node started anew for each row, its own"
        " memory (`RssAnon`) at most while they do, less what it had before and what as many take that"
        " hold nothing. `bad` are those that were ended by a limit."
    ]
    return Result("Pinned memory", "MiB", rounds, [goal], notes)


ALL = [tail, storage, driver, neighbours, overload, kill_time, pinned, density, publishing]
