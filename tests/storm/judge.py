"""What the storms came to: counts, what was promised of them, and a picture; see ../storm.sh.

judge.py FOLDER [DATA PICTURE]    of the storms in FOLDER; keeps the curves in DATA and draws PICTURE
judge.py --draw DATA PICTURE      draws it again
"""

import collections
import json
import pathlib
import statistics
import sys

import picture

NAMES = {
    "budget": "with the budget",
    "none": "without the budget",
    "sdk": "the SDK at ACS, its own retries",
    "sdk-broker": "the SDK at the broker, its own retries",
}
# Where ACS is not to refuse anybody.
GOVERNED = ("budget", "sdk-broker")
# Answers of one moment overtake each other on their way through a busy machine, by no more than this; in seconds.
MOMENT = 2.0


def quota(text):
    count, window = text.split("/")
    return int(count), float(window.rstrip("s"))


class Storm:
    """One of them."""

    def __init__(self, file):
        told = json.loads(file.read_text())
        self.name = told["name"]
        self.users = told["users"]
        self.acs = told["acs"]
        self.requests = told["requests"]
        self.lasted = told["lasted"]
        self.most, self.window = quota(told["quota"])
        self.answers = [answer for user in self.users for answer in user["answers"]]
        self.served = {
            number: user["answers"][-1]["answered"]
            for number, user in enumerate(self.users)
            if user["answers"] and user["answers"][-1]["status"] == 200
        }

    def acs_refused(self):
        return sum(call["status"] == 429 for call in self.acs)

    def most_in_a_window(self):
        """The most requests that ACS saw within one window."""
        came = sorted(call["came"] for call in self.acs)
        begin = most = 0
        for end, at in enumerate(came):
            while came[begin] <= at - self.window:
                begin += 1
            most = max(most, end - begin + 1)
        return most

    def waits(self):
        """From when a user came until they had a token."""
        return [at - self.users[number]["comes"] for number, at in self.served.items()]

    def overtaken(self):
        """Requests that were served after one that had come later, both by more than a moment: in the queue the order is that of
        arrival."""
        served = sorted((answer for answer in self.answers if answer["status"] == 200), key=lambda answer: answer["sent"])
        overtaken, earliest_of_later, later = 0, float("inf"), len(served)
        for answer in reversed(served):
            while later and served[later - 1]["sent"] > answer["sent"] + MOMENT:
                later -= 1
                earliest_of_later = min(earliest_of_later, served[later]["answered"])
            overtaken += earliest_of_later + MOMENT < answer["answered"]
        return overtaken

    def refusals(self):
        return [answer for answer in self.answers if answer["status"] != 200]

    def row(self):
        waits = sorted(self.waits())
        middle, most = (statistics.median(waits), waits[-1]) if waits else (0, 0)
        return (
            f"{NAMES[self.name]:<40} {len(self.served):>6} {len(self.users) - len(self.served):>6} {middle:>6.0f} s {most:>6.0f} s "
            f"{self.requests / len(self.users):>9.1f} {len(self.acs):>8} {self.acs_refused():>8} {self.most_in_a_window():>8}"
        )

    def curves(self, step):
        """By time: how many had come, had a token, and of ACS's answers how many were which, each up to then."""
        times = [step * index for index in range(int(max(self.lasted, step) / step) + 2)]

        def count(moments):
            moments, sums, at = sorted(moments), [], 0
            for time in times:
                while at < len(moments) and moments[at] <= time:
                    at += 1
                sums.append(at)
            return sums

        return {
            "step": step,
            "came": count(user["comes"] for user in self.users),
            "served": count(self.served.values()),
            "acs_issued": count(call["came"] for call in self.acs if call["status"] == 200),
            "acs_refused": count(call["came"] for call in self.acs if call["status"] == 429),
        }


def broken_promises(storm):
    """What does not hold of a storm with the budget."""
    refusals = storm.refusals()
    told = collections.Counter((answer["status"], answer.get("code")) for answer in refusals)
    # Their turn came with a second left, which was not enough for a busy machine. They come again, and find the token.
    late = told.pop((504, "UpstreamTimeout"), 0)
    if late:
        print(f"{late} requests were not answered in time: the machine is too busy to judge the order and the number of exchanges")
    strange = {what: count for what, count in told.items() if what != (429, "TooManyRequests")}
    if strange:
        yield f"answers beside 200 and 429 TooManyRequests: {strange}"
    if any(answer["status"] == 429 and not 1 <= (answer.get("again") or 0) <= 300 for answer in refusals):
        yield "a 429 without a Retry-After between 1 and 300"
    if len(storm.served) != len(storm.users):
        yield f"{len(storm.users) - len(storm.served)} users without a token"
    if storm.acs_refused():
        yield f"ACS answered {storm.acs_refused()} times 429"
    if storm.most_in_a_window() > storm.most:
        yield f"{storm.most_in_a_window()} requests within {storm.window:.0f} s"
    if not late and len(storm.acs) != len(storm.users):
        yield f"{len(storm.acs)} exchanges for {len(storm.users)} users"
    if not late and storm.overtaken():
        yield f"{storm.overtaken()} requests were overtaken by later ones"


def judge(folder):
    files = [file for file in (pathlib.Path(folder) / f"{name}.json" for name in NAMES) if file.exists()]
    storms = {storm.name: storm for storm in map(Storm, files)}
    first = storms["budget"]
    print(f"{len(first.users)} users within {first.users[-1]['comes']:.0f} s; ACS issues {first.most} tokens in {first.window:.0f} s")
    print(f"{'':<40} {'served':>6} {'not':>6} {'half in':>8} {'all in':>8} {'requests':>9} {'at ACS':>8} {'429':>8} {'most in':>8}")
    print(f"{'':<40} {'':>6} {'':>6} {'':>8} {'':>8} {'by user':>9} {'':>8} {'by ACS':>8} {'window':>8}")
    for name in storms:
        print(storms[name].row())
    waited = [answer["again"] for answer in first.refusals() if answer.get("again")]
    if waited:
        print(
            f"with the budget {len(waited)} answers said when to come back: in {min(waited):.0f} to {max(waited):.0f} s, "
            f"half of them in {statistics.median(waited):.0f} s at most"
        )
    broken = list(broken_promises(first)) + [
        f"{NAMES[name]}: ACS refused nothing, so nothing was tried" for name, storm in storms.items() if name not in GOVERNED and not storm.acs_refused()
    ]
    for what in broken:
        print(f"NOT AS PROMISED: {what}")
    return storms, not broken


def main():
    if sys.argv[1] == "--draw":
        data, drawn = map(pathlib.Path, sys.argv[2:4])
        drawn.write_text(picture.draw(json.loads(data.read_text()), NAMES))
        return
    storms, held = judge(sys.argv[1])
    if len(sys.argv) > 2:
        data, drawn = map(pathlib.Path, sys.argv[2:4])
        step = 10 if storms["budget"].window > 10 else 1
        curves = {name: storms[name].curves(step) for name in storms}
        data.write_text(json.dumps(curves, indent=None, separators=(",", ":")).replace("},", "},\n") + "\n")
        drawn.write_text(picture.draw(curves, NAMES))
    sys.exit(not held)


main()
