"""What callgrind's profile says, and whether it is more than it was."""

import re
from collections import Counter

# What a count may be above the one that is written down. Below by as much, it is to be written down anew.
MARGIN = 0.03


def inclusive(profile):
    """Instructions by function, with those of all that it calls, from a profile in callgrind's format."""
    names, costs, function = {}, Counter(), None
    for line in profile.splitlines():
        # A name is written out where it comes first, be it of a caller or of what is called.
        if named := re.match(r"(c?)fn=\((\d+)\)(?: (.*))?$", line):
            called, number, name = named.groups()
            if name:
                names[number] = name
            if not called:
                function = number
        # The function's own lines, and below each call what the call took.
        elif function and re.match(r"[-+*\d]", line):
            costs[function] += int(line.split()[1])
    return {names[number]: cost for number, cost in costs.items()}


def least(counts):
    """The least of several counts, by kind. The caches clean up after so many reads and after so much time: the slower the
    machine, the more of that falls upon a request. It adds, and takes nothing away."""
    return {kind: min(count[kind] for count in counts) for kind in counts[0]}


def verdicts(baseline, now):
    """A line for each kind of request, and whether one takes too much."""
    lines, fails = [], False
    for kind in sorted(baseline | now):
        if kind not in baseline or kind not in now:
            lines.append(f"{kind}: not in {'the baseline' if kind in now else 'the bench'}; renew it: tests/instructions.sh --renew")
            fails = True
            continue
        ratio = now[kind] / baseline[kind]
        line = f"{kind}: {now[kind]:,} instructions of a request, baseline {baseline[kind]:,}, ratio {ratio:.3f}"
        if ratio > 1 + MARGIN:
            line += f": over {1 + MARGIN}. If it is worth that, renew the baseline: tests/instructions.sh --renew"
            fails = True
        elif ratio < 1 - MARGIN:
            line += ": less than it was. Renew the baseline, so that it stays so: tests/instructions.sh --renew"
        lines.append(line)
    return lines, fails
