"""What was found, as a table, a page and a chart."""

import datetime
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
    digits = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:,.{digits}f}"


def ratios(result, peer):
    """Canopy's rate over the peer's, round by round."""
    pairs = zip(result.rounds["canopy"], result.rounds[peer])
    return [ours["rate"] / theirs["rate"] for ours, theirs in pairs]


def table(result):
    measured = next(iter(result.rounds.values()))[0]
    columns = [
        ("rate", "requests/s"),
        ("p50", "p50 ms"),
        ("p99", "p99 ms"),
        ("cpu", "CPU µs a request"),
        ("memory", "memory MiB"),
    ]
    columns = [(key, title) for key, title in columns if key in measured]
    lines = [
        "| server | " + " | ".join(title for _, title in columns) + " | not answered |",
        "|---|" + "---|" * (len(columns) + 1),
    ]
    for name, rounds in result.rounds.items():
        cells = [spread([found[key] for found in rounds]) for key, _ in columns]
        bad = sum(found["bad"] for found in rounds)
        lines.append(f"| {name} | " + " | ".join(cells) + f" | {bad} |")
    for peer, goal in result.goals:
        if peer in result.rounds:
            found = ratios(result, peer)
            reached = "reached" if statistics.median(found) >= goal else "not reached"
            lines.append(f"\nCanopy ÷ {peer}: **{spread(found)}**, goal {goal}: {reached}.")
    lines.extend(f"\n{note}" for note in result.notes)
    return "\n".join(lines)


def write(folder, results, options):
    folder.mkdir(parents=True, exist_ok=True)
    today = datetime.date.today().isoformat()
    machine = f"{platform.system()} {platform.release()}, {os.cpu_count()} CPUs"
    page = [
        "# Benchmarks",
        "",
        "Written by `tests/bench/run`; run it again rather than edit this page. Load and servers share",
        "one machine, and the figures are medians of rounds in turn with the least and the most in",
        "brackets. Only the ratios of one run mean something elsewhere.",
        "",
        f"{today}; {machine}; {options.rounds} rounds of {options.seconds} s; `wrk -t1`, 32",
        "connections. Canopy has everything on: routing, admission, limits, metering, a log record for",
        "each request, and 100 installations or more.",
        "",
        "![Requests a second](chart.svg)",
    ]
    for result in results:
        page += ["", f"## {result.title}", "", table(result)]
    (folder / "README.md").write_text("\n".join(page) + "\n")
    (folder / "chart.svg").write_text(chart(results))


def chart(results):
    """Bars of the median rates, one group for each scenario that has peers."""
    rows = []
    for result in results:
        if len(result.rounds) > 1 and result.unit == "requests/s":
            rows.append((result.title, None))
            for name, rounds in result.rounds.items():
                rows.append((name, statistics.median(found["rate"] for found in rounds)))
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
