"""What was found, as a table, a page and a chart."""

import datetime
import json
import os
import platform
import statistics


def spread(values):
    """Median and, in brackets, the least and the most."""
    median = number(statistics.median(values))
    if len(values) == 1:
        return median
    return f"{median} ({number(min(values))}–{number(max(values))})"


def number(value):
    digits = 0 if value >= 100 or value == int(value) else 1 if value >= 10 else 2
    return f"{value:,.{digits}f}"


def median(rounds, key):
    return statistics.median(found[key] for found in rounds)


TITLES = {
    "rate": "a second",
    "µs": "µs",
    "p50us": "p50 µs",
    "p99us": "p99 µs",
    "p50": "p50 ms",
    "p99": "p99 ms",
    "p999": "p99.9 ms",
    "good": "answered a second",
    "refused": "refused p99 ms",
    "late": "late ms",
    "cpu": "CPU µs a request",
    "start": "start s",
    "idle": "idle MiB",
    "memory": "memory MiB",
    "held": "held",
    "MiB": "MiB a request",
}
ROWS = {"requests/s": "server", "operations/s": "operation"}


def table(result):
    """One scenario's figures, its goals and its notes."""
    measured = next(iter(result["rounds"].values()))[0]
    columns = [(key, title) for key, title in TITLES.items() if key in measured]
    lines = [
        f"| {ROWS.get(result['unit'], 'what')} | "
        + " | ".join(title for _, title in columns)
        + " | not answered |",
        "|---|" + "---|" * (len(columns) + 1),
    ]
    for name, rounds in result["rounds"].items():
        cells = [spread([found[key] for found in rounds]) for key, _ in columns]
        bad = sum(found["bad"] for found in rounds)
        lines.append(f"| {name} | " + " | ".join(cells) + f" | {bad} |")
    for goal in result["goals"]:
        lines.append(f"\n{goal['what']}: **{found_text(goal)}**, goal {bound(goal)}: {verdict(goal)}.")
    lines.extend(f"\n{note}" for note in result["notes"])
    return "\n".join(lines)


def bound(goal):
    return f"{'≥' if goal['least'] else '≤'} {goal['bound']:,} {goal['unit']}".strip()


def found_text(goal):
    return f"{spread(goal['found'])} {goal['unit']}".strip() if goal["found"] else "–"


def verdict(goal):
    if not goal["found"]:
        return "not measured, the peer is not installed"
    median = statistics.median(goal["found"])
    reached = median >= goal["bound"] if goal["least"] else median <= goal["bound"]
    return "reached" if reached else "not reached"


# Goals that something else measures, so that the table below is whole.
ELSEWHERE = [
    ("cold clone to first answered request; warm build", "≤ 15 min; ≤ 5 s", "by hand, as it needs a machine without anything"),
]


# What `tests/faults/run` leaves: the name of the file, and of the columns of its rows.
FAULTS = "faults.json"
KILLS = "kills.json"
COUNTS = ["indices", "runs", "acknowledged", "lost", "half", "unopened", "wrong"]


def read(folder, name, default):
    file = folder / name
    return json.loads(file.read_text()) if file.exists() else default


def lost(folder):
    """What the fault runs lost in all, as a row of the goals."""
    rows, kills = read(folder, FAULTS, []), read(folder, KILLS, {})
    what = "acknowledged writes lost over kill -9, every call that changes a file, and power failures"
    if not rows or not kills:
        return f"| {what} | 0 | – | not measured here | `tests/faults/run` |"
    found = sum(row["lost"] + row["half"] + row["unopened"] for row in rows)
    found += kills["lost"] + kills["half"]
    runs = sum(row["runs"] for row in rows) + kills["kills"]
    return f"| {what} | ≤ 0 | {found} in {runs:,} | {'reached' if found == 0 else 'not reached'} | |"


def faults(folder):
    """The totals of the fault runs."""
    rows, kills = read(folder, FAULTS, []), read(folder, KILLS, {})
    if not rows and not kills:
        return []
    lines = ["", "## Faults", "", "By `tests/faults/run`; [tests/faults](../../tests/faults) says what is done and what counts."]
    if rows:
        lines += ["", "| store | fault | " + " | ".join(COUNTS) + " |", "|---|---|" + "---|" * len(COUNTS)]
        for row in rows:
            counts = " | ".join(f"{row[count]:,}" for count in COUNTS)
            lines.append(f"| {row['store']} | {row['fault']} | {counts} |")
        sums = " | ".join(f"{sum(row[count] for row in rows):,}" for count in COUNTS)
        lines.append(f"| all | | {sums} |")
    if kills:
        acknowledged = ", ".join(f"{count:,} of {what}" for what, count in kills["acknowledged"].items())
        lines += [
            "",
            f"A whole node under load, killed {kills['kills']:,} times at random moments, {kills['while_starting']:,} of "
            f"them while it started. Acknowledged: {acknowledged}. Read back and compared: {kills['read_back']:,}. "
            f"Lost: **{kills['lost']}**, by half: **{kills['half']}**.",
        ]
    return lines


def goals(results, reasons, folder):
    """All goals in one table, with the reason for each that was not reached."""
    lines = ["| what | goal | found | | why not |", "|---|---|---|---|---|"]
    for result in results:
        for goal in result["goals"]:
            outcome = verdict(goal)
            reason = reasons.get(goal["what"], "no reason is written down yet")
            why = reason if outcome == "not reached" else ""
            lines.append(
                f"| {goal['what']} | {bound(goal)} | {found_text(goal)} | {outcome} | {why} |"
            )
    lines.append(lost(folder))
    for what, wanted, where in ELSEWHERE:
        lines.append(f"| {what} | {wanted} | – | not measured here | {where} |")
    return lines


def write(folder, fresh, order, options, reasons_file):
    """Writes the page; scenarios that were not measured now keep what was found before."""
    folder.mkdir(parents=True, exist_ok=True)
    today = datetime.date.today().isoformat()
    machine = f"{platform.system()}, {os.cpu_count()} CPUs"
    kept_file = folder / "results.json"
    kept = read(folder, "results.json", {})
    for name, result in fresh.items():
        how = f"{today}; {machine}; {options.rounds} rounds of {options.seconds} s; {options.build}"
        kept[name] = dict(result, how=how)
    kept = {name: kept[name] for name in order if name in kept}
    kept_file.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")
    reasons = json.loads(reasons_file.read_text()) if reasons_file.exists() else {}
    page = [
        "# Benchmarks",
        "",
        "Written by `tests/bench/run`; run it again rather than edit this page. Why a goal is not",
        "reached is in `tests/bench/reasons.json`, by the goal's name. Load and servers share one",
        "machine, and the figures are medians of rounds in turn with the least and the most in",
        "brackets. Only the ratios of one run mean something elsewhere.",
        "",
        "Load is `wrk -t1` with 32 connections where nothing else is said. Canopy has everything on:",
        "routing, admission, limits, metering, a log record for each request, and 100 installations",
        "or more.",
        "",
        "![Requests a second](chart.svg)",
        "",
        "## Goals",
        "",
        *goals(kept.values(), reasons, folder),
    ]
    for result in kept.values():
        page += ["", f"## {result['title']}", "", f"{result['how']}.", "", table(result)]
    page += faults(folder)
    (folder / "README.md").write_text("\n".join(page) + "\n")
    (folder / "chart.svg").write_text(chart(kept.values()))


def chart(results):
    """Bars of the median rates, one group for each scenario that has peers."""
    rows = []
    for result in results:
        if len(result["rounds"]) > 1 and result["unit"] == "requests/s":
            rows.append((result["title"], None))
            for name, rounds in result["rounds"].items():
                rows.append((name, median(rounds, "rate")))
    most = max((rate for _, rate in rows if rate), default=1)
    height = 24 * len(rows) + 16
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="760" height="{height}" '
        'font-family="sans-serif" font-size="13">',
        f'<rect width="760" height="{height}" fill="#fff"/>',
    ]
    for number, (name, rate) in enumerate(rows):
        y = 24 * number + 24
        if rate is None:
            lines.append(f'<text x="8" y="{y}" font-weight="bold">{name}</text>')
            continue
        width = 360 * rate / most
        colour = "#2f7d4f" if name == "canopy" else "#9aa5b1"
        lines.append(f'<text x="300" y="{y}" text-anchor="end">{name}</text>')
        lines.append(f'<rect x="308" y="{y - 13}" width="{width:.1f}" height="16" fill="{colour}"/>')
        lines.append(f'<text x="{314 + width:.1f}" y="{y}">{rate:,.0f}/s</text>')
    return "\n".join([*lines, "</svg>"]) + "\n"
