"""What was not as promised."""


class Report:
    """Says at once what did not hold, and keeps it for the exit code."""

    def __init__(self):
        self.failed = []

    def require(self, held, what):
        if not held:
            print(f"NOT AS PROMISED: {what}", flush=True)
            self.failed.append(what)
