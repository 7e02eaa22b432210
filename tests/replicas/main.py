"""Runs the forms of ../replicas.sh that are asked for, one after the other."""

import signal
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent / "proxies"))
import budget  # noqa: E402
import latency  # noqa: E402
import partition  # noqa: E402
import shared  # noqa: E402
import short  # noqa: E402
from report import Report  # noqa: E402
from store import STORES  # noqa: E402
from world import Replicas  # noqa: E402

FORMS = {
    **{kind: lambda stack, report, kind=kind: shared.run(stack, kind, report) for kind in STORES},
    "budget": budget.run,
    "partition": partition.run,
    "latency": latency.run,
}
# What .ci/run runs: nothing in it is about time.
SHORT = {"short": short.run, "budget": lambda stack, report: budget.run(stack, report, users=75, control=False)}


def unfold(program, forms, report):
    for name, form in forms.items():
        with Replicas(program) as stack:
            before = len(report.failed)
            try:
                form(stack, report)
                for what in stack.fallen():
                    report.require(False, f"{name}: {what}")
            finally:
                if len(report.failed) > before or sys.exc_info()[0]:
                    tell(stack)


def tell(stack):
    """The end of each log, without what is as it should be."""
    for log in sorted(stack.work.glob("*.log")):
        lines = [line for line in log.read_text(errors="replace").splitlines() if '"level":"INFO"' not in line]
        print(f"{log.name}:", *lines[-15:], sep="\n")


def main():
    # So that a SIGTERM ends by way of what cleans up.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    program, *names = sys.argv[1:]
    if "--short" in names:
        forms = SHORT
    else:
        unknown = set(names) - set(FORMS)
        if unknown:
            sys.exit(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(FORMS)}")
        forms = {name: FORMS[name] for name in names or FORMS}
    report = Report()
    unfold(program, forms, report)
    if report.failed:
        sys.exit("not as promised: " + "; ".join(report.failed))


main()
