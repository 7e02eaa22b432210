"""Simulates, and writes the tables of docs/scale.md and the plots in docs/images.

run.py [--check]      with --check nothing is written: whether the table of sizes is what comes out now
"""

import math
import pathlib
import re
import sys
from dataclasses import replace

from day import all_at_once, roll_out, simulate
from figures import ACS_ALONE, BROKER, COSTS, HOUR, QUOTA
from plots import chart
from quota import most_users, shares, smooth

DOCS = pathlib.Path(__file__).resolve().parents[2] / "docs"
COUNT = 3000
SIZES = (10_000, 30_000, 100_000, 300_000, 1_000_000)
SHARED = replace(BROKER, shared_cache=True)
BOTH = (BROKER, SHARED)


def digits(value, many=2):
    """Rounded to so many digits: the rest is chance."""
    if not value:
        return 0
    size = many - 1 - math.floor(math.log10(abs(value)))
    rounded = round(value, size)
    return int(rounded) if rounded >= 10 or rounded == int(rounded) else rounded


def short(value):
    return f"{digits(value):,}"


def size_of(amount):
    return f"{short(amount / 1e9)} GB" if amount >= 0.95e9 else f"{short(amount / 1e6)} MB"


def needs(users, settings, costs=COSTS):
    """What so many users take: rates at the peak, resources of ACS, replicas, memory, store, price."""
    day = simulate(settings, COUNT, users / COUNT)
    exchanges, calls, operations = (day.rate(what, users, 5) for what in ("exchanges", "calls", "store"))
    cpu = calls * costs.cpu_cached * costs.telemetry + exchanges * costs.cpu_exchange + operations * costs.cpu_store
    replicas = max(2, math.ceil(cpu / costs.replica_cores / costs.use) + 1)
    store = day.stored * users / COUNT * costs.store_entry * costs.store_overhead
    price = next((price for size, price in costs.price_store if size >= store), math.nan) if settings.shared_cache else 0
    return {
        "exchanges": exchanges, "calls": calls, "operations": operations, "cpu": cpu, "replicas": replicas,
        "resources": math.ceil(exchanges / (sum(shares(settings)) / QUOTA.window)),
        "a day": day.a_day("exchanges", users),
        "memory": costs.base_memory + day.entries * users / COUNT * costs.entry_memory + costs.connections * costs.connection_memory,
        "store": store, "price": max(replicas, settings.replicas) * costs.price_replica + price,
    }


def table(head, rows):
    return "\n".join("| " + " | ".join(map(str, row)) + " |" for row in (head, ["---"] * len(head), *rows))


def sizes(found):
    rows = []
    for users in SIZES:
        for settings, name in zip(BOTH, ("without", "with")):
            each = found[users, settings.shared_cache]
            rows.append([f"{users:,}" if name == "without" else "", name, short(each["calls"]), short(each["exchanges"]), each["resources"], short(each["cpu"]), each["replicas"],
                         size_of(each["memory"]), size_of(each["store"]) if each["store"] else "", short(each["operations"]) if each["store"] else "", f"${digits(each['price']):,}"])
    return table(["users", "shared cache", "calls/s", "exchanges/s", "ACS resources", "cores", "replicas for that", "memory of a replica", "store", "its operations/s", "a month"], rows)


def limits():
    """The most users of one resource, by replicas and events."""
    cases = [(f"{count} replica{'s' if count > 1 else ''}", replace(BROKER, replicas=count, surge=1 if count > 1 else 0), ()) for count in (1, 2, 3, 6, 10)]
    cases += [
        ("3 replicas, a roll-out at 11:00", BROKER, roll_out(BROKER, 11 * HOUR)),
        ("3 replicas, all restarted at 11:00", BROKER, all_at_once(BROKER, 11 * HOUR)),
        ("3 replicas, calls of a user mostly to the same (90 %)", replace(BROKER, sticky=0.9), ()),
        ("3 replicas, ACS alone decides about all", ACS_ALONE, ()),
    ]
    rows = []
    for name, settings, restarts in cases:
        row = [name]
        for shared in (False, True):
            one = replace(settings, shared_cache=shared)
            day = simulate(one, COUNT, restarts=restarts)
            row += [f"{most_users(day, one) * 1000:,}", digits(day.a_day("exchanges", 1))]
        rows.append([row[0], row[1], row[3], row[2], row[4]])
    head = ["", "users, without", "users, with a shared cache", "exchanges of a user a day, without", "with"]
    return table(head, rows), rows


def plots(found, rows):
    """The pictures, by their names."""
    users, pictures = 30_000, {}
    restarts = roll_out(BROKER, 11 * HOUR)
    lines = []
    for settings, name in zip(BOTH, ("without a shared cache", "with a shared cache")):
        rates = [each * users / COUNT / 60 for each in smooth(simulate(settings, COUNT, restarts=restarts).exchanges)]
        lines.append((name, [(minute / 60, rates[minute]) for minute in range(6 * 60, 20 * 60, 2)]))
    hours = [(hour, f"{hour}:00") for hour in range(6, 21, 2)]
    pictures["scale-day"] = chart(
        "Exchanges needed on a working day: 30,000 users, 3 replicas, a roll-out at 11:00",
        ("time of day", 6, 20, False, hours), ("exchanges a second", 0, 50, False, [(each, str(each)) for each in range(0, 51, 10)]), lines,
        [("what one ACS resource takes", QUOTA.requests / QUOTA.window)])
    lines = [(name, [(size, found[size, shared]["exchanges"]) for size in SIZES]) for shared, name in ((False, "without a shared cache"), (True, "with a shared cache"))]
    pictures["scale-users"] = chart(
        "Exchanges at the peak, by the number of users (3 replicas, cache.max_entries as by default)",
        ("users", 10_000, 1_000_000, True, [(size, f"{size:,}") for size in SIZES]),
        ("exchanges a second", 1, 4000, True, [(each, f"{each:,}") for each in (1, 10, 100, 1000)]), lines,
        [(f"{count} ACS resource{'s' if count > 1 else ''}", count * QUOTA.requests / QUOTA.window) for count in (1, 10, 100)])
    counts = [int(row[0].split()[0]) for row in rows if re.fullmatch(r"\d+ replicas?", row[0])]
    numbers = [[int(str(each).replace(",", "")) for each in row[1:3]] for row in rows[: len(counts)]]
    lines = [(name, [(count, pair[which] / 1000) for count, pair in zip(counts, numbers)]) for which, name in enumerate(("without a shared cache", "with a shared cache"))]
    pictures["scale-replicas"] = chart(
        "The most users that one ACS resource serves without refusing anybody",
        ("replicas", 1, 10, False, [(count, str(count)) for count in counts]), ("thousand users", 0, 50, False, [(each, str(each)) for each in range(0, 51, 10)]), lines)
    return pictures


def place(text, name):
    """Where a table stands in the page."""
    found = re.search(rf"(<!-- {name} -->\n)(.*?)(\n<!-- end -->)", text, re.S)
    if not found:
        raise SystemExit(f"docs/scale.md has no place for {name}")
    return found


def numbers(text):
    """All numbers of a table, megabytes and gigabytes alike."""
    sizes_too = ((each.replace(",", ""), unit) for each, unit in re.findall(r"([\d,]*\d(?:\.\d+)?)( GB)?", text))
    return [float(each) * (1000 if unit else 1) for each, unit in sizes_too]


def main():
    found = {(users, settings.shared_cache): needs(users, settings) for users in SIZES for settings in BOTH}
    page = DOCS / "scale.md"
    text = page.read_text()
    if sys.argv[1:] == ["--check"]:
        now, there = numbers(sizes(found)), numbers(place(text, "sizes")[2])
        # Another machine's logarithms may draw other users.
        if len(now) != len(there) or not all(math.isclose(*pair, rel_tol=0.15) for pair in zip(now, there)):
            raise SystemExit("docs/scale.md is not what benches/scale/run.py writes now; run it")
        print(f"docs/scale.md says what {COUNT} simulated users come to")
        return
    most, rows = limits()
    for name, content in (("sizes", sizes(found)), ("limits", most)):
        found_there = place(text, name)
        text = text[: found_there.start(2)] + content + text[found_there.end(2) :]
    page.write_text(text)
    for name, picture in plots(found, rows).items():
        (DOCS / "images" / f"{name}.svg").write_text(picture)


if __name__ == "__main__":
    main()
