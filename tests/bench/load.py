"""Load over loopback: by `wrk`, a fixed number of connections, each asking as fast as it is answered;
and at a constant rate by `axum/src/bin/load.rs`, whether or not the server keeps up."""

import functools
import http.client
import json
import re
import subprocess
import tempfile
import time

UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4}


def milliseconds(text):
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s|m)", text).groups()
    return float(number) * UNITS[unit]


def script(host, body_bytes=0, hosts=()):
    """A request to `host`, or to each of `hosts` in turn; with a body it is a POST."""
    lines = []
    if body_bytes:
        lines.append(f'wrk.method = "POST"\nwrk.body = string.rep("x", {body_bytes})')
    if hosts:
        quoted = ", ".join(f'"{name}"' for name in hosts)
        lines.append(f"local hosts = {{ {quoted} }}\nlocal asked, turn = {{}}, 0")
        lines.append(
            "init = function()\n  for i, host in ipairs(hosts) do\n"
            '    wrk.headers["Host"] = host\n    asked[i] = wrk.format()\n  end\nend\n'
            "request = function()\n  turn = turn % #hosts + 1\n  return asked[turn]\nend"
        )
    else:
        lines.append(f'wrk.headers["Host"] = "{host}"')
    return "\n".join(lines)


def wrk(port, host, path="/", seconds=5, connections=32, body_bytes=0, hosts=()):
    """Requests a second, p50 and p99 in milliseconds, and how many were not answered by 2xx."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        file.write(script(host, body_bytes, hosts))
        file.flush()
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", file.name]
        done = subprocess.run(
            [*command, f"http://127.0.0.1:{port}{path}"], capture_output=True, text=True
        )
    text = done.stdout
    count = re.search(r"(\d+) requests in", text)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    if not rate:
        raise SystemExit(f"wrk failed: {text}{done.stderr}")
    latency = dict(re.findall(r"^\s+(50|99)%\s+(\S+)$", text, re.M))
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    return {
        "rate": float(rate[1]),
        "count": int(count[1]),
        "p50": milliseconds(latency["50"]),
        "p99": milliseconds(latency["99"]),
        "bad": int(bad[1]) if bad else 0,
    }


def constant_command(binary, port, host, rate, seconds, path="/", connections=64):
    """The command line of load at a constant rate."""
    numbers = [f"{rate:.0f}", str(seconds), str(connections)]
    return [binary, f"127.0.0.1:{port}", host, path, *numbers]


@functools.cache
def ahead():
    """What a command begins with so that it runs before all that is not urgent: a measuring load that
    waits for a processor would have its own waiting taken for the server's. Nothing where that is not
    permitted."""
    urgent = ["chrt", "--fifo", "1"]
    try:
        permitted = subprocess.run([*urgent, "true"], capture_output=True).returncode == 0
    except FileNotFoundError:
        permitted = False
    return urgent if permitted else []


def constant(*arguments, **named):
    """Load at a constant rate: latencies in milliseconds from when each request was due."""
    command = [*ahead(), *constant_command(*arguments, **named)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: {done.stdout}{done.stderr}")
    return json.loads(done.stdout)


def one_request(port, host, path="/", expected=200):
    """Milliseconds of one request on a connection of its own."""
    begun = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", path, headers={"Host": host})
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    if answer.status != expected:
        raise SystemExit(f"{host}{path} answered {answer.status}: {text[:200]}")
    return (time.perf_counter() - begun) * 1e3
