"""Figures of many runs as medians with their spread, and ratios of runs of the same round."""

import statistics
from collections import defaultdict


class Results:
    """Runs by case and service, in the order of the rounds."""

    def __init__(self):
        self.runs = defaultdict(lambda: defaultdict(list))
        self.facts = {}

    def add(self, case, service, run):
        self.runs[case][service].append(run)

    def ratio(self, case, service, other, of=lambda run: run.cpu, other_case=None):
        """The median of the ratios of each round, with the least and the most: what disturbs a round disturbs both."""
        pairs = zip(self.runs[case][service], self.runs[other_case or case][other])
        return spread([of(run) / of(base) for run, base in pairs])

    def as_json(self):
        # Looking for a run that there is not leaves an empty list.
        runs = {
            case: {service: [vars(run) for run in runs] for service, runs in services.items() if runs}
            for case, services in self.runs.items()
            if any(services.values())
        }
        return {"runs": runs, "facts": self.facts}


def spread(values):
    return statistics.median(values), min(values), max(values)


def text(three, digits=1):
    return "{:.{d}f} ({:.{d}f} to {:.{d}f})".format(*three, d=digits)


def figures(results):
    """One line for each case and service."""
    yield f"{'case':<26} {'service':<12} {'CPU us/request':<24} {'requests/s':<28} {'p50 ms':<8} p99 ms"
    for case, services in results.runs.items():
        for service, runs in services.items():
            cpu, rate = spread([run.cpu for run in runs]), spread([run.rate for run in runs])
            p50, p99 = (statistics.median(getattr(run, name) for run in runs) for name in ("p50", "p99"))
            yield f"{case:<26} {service:<12} {text(cpu):<24} {text(rate, 0):<28} {p50:<8.2f} {p99:.2f}"


def ratios(results, brokers):
    """The goals, each as a ratio within one run."""
    check = results.facts.get("check")
    for broker in brokers:
        runs = results.runs

        def has(case, *services, other=None):
            return all(runs[case][service] for service in (broker, *services)) and (not other or runs[other][broker])

        if has("hot", "bare"):
            yield broker, "hot: CPU, of bare axum's", text(results.ratio("hot", broker, "bare"), 2), "at most 2.0"
            rate = results.ratio("hot", broker, "bare", lambda run: run.rate)
            yield broker, "hot: requests a second, of bare axum's", text(rate, 2), "at least 0.55"
        if has("hot", "node"):
            yield broker, "hot: the Node service's CPU, of the broker's", text(results.ratio("hot", "node", broker), 2), "at least 4"
        if has("half load", "bare"):
            p99 = results.ratio("half load", broker, "bare", lambda run: run.p99)
            yield broker, "p99 at half load, of bare axum's", text(p99, 2), "at most 2"
        if has("new token", "node"):
            yield broker, "new token: the Node service's CPU, of the broker's", text(results.ratio("new token", "node", broker), 2), "at least 4"
        if has("new token", other="hot") and check:
            bounds = [(hot.cpu + check) / new.cpu for hot, new in zip(runs["hot"][broker], runs["new token"][broker])]
            yield broker, "new token: the bound's part (hot + one check)", text(spread(bounds), 2), "at least 0.85"
        if has("bad signature", other="hot") and check:
            parts = [bad.cpu / (check + 1.5 * hot.cpu) for hot, bad in zip(runs["hot"][broker], runs["bad signature"][broker])]
            yield broker, "bad signature, of a check and 1.5 hot", text(spread(parts), 2), "at most 1"
        if has("garbage", other="hot"):
            part = results.ratio("garbage", broker, broker, other_case="hot")
            yield broker, "garbage, of hot", text(part, 2), "below 1"
    own = results.facts.get("own time of a miss, ms")
    if own is not None:
        yield "broker", "own time of a miss, mean, ms", f"{own:.2f}", "below 1"
    if "exchanges for the storm" in results.facts:
        yield "broker", f"exchanges for {results.facts['callers of the storm']:,} callers of 1,000 users", str(results.facts["exchanges for the storm"]), "1000"
    if "users" in results.facts:
        facts = results.facts
        yield "broker", f"memory with {facts['users']:,} cached users, MB", f"{facts['memory with users, MB']:.1f}", "below 200 with 100,000"
        yield "broker", "memory without users, MB", f"{facts['memory without users, MB']:.1f}", ""
        yield "broker", "idle connection, bytes", f"{facts['idle connection, bytes']:,.0f}", "below 8,000"
        yield "broker", "start, from exec to /readyz 200, ms", f"{facts['start, ms']:.0f}", "below 100"
        yield "broker", "binary, MB", f"{facts['binary, MB']:.1f}", "image below 20"
