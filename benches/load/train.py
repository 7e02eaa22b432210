"""Drives a broker that counts which ways it takes, in the proportions of a day: what a build is guided by (deploy/guided-build.sh).

train.py BINARY: one with the emulator in it, which plays Entra and ACS. Needs wrk and h2load (Debian: wrk, nghttp2-client)."""

import argparse
import json
import pathlib
import re
import tempfile
import threading
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import services as parts
from drivers import h2load, one, wrk

THREADS = 4
ORIGIN = "https://app.contoso.com"
FORM = "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange&subject_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Aaccess_token"
ACS_PATH = f"/access/entra/:exchangeAccessToken?api-version={parts.API_VERSION}"


class Collector(BaseHTTPRequestHandler):
    """Takes what the broker sends over OTLP."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


class Trainer:
    """Requests to one broker."""

    def __init__(self, broker, authority):
        self.broker, self.authority = broker, authority

    def ask(self, requests, expect):
        """Sends them, each thread its part over a connection that it keeps."""
        wrong = []

        def work(part):
            connection = parts.connect(self.broker.origin, self.authority)
            for method, path, body, headers in part:
                connection.request(method, path, body, headers)
                answer = connection.getresponse()
                answer.read()
                if answer.status != expect:
                    wrong.append((path, answer.status))

        threads = [threading.Thread(target=work, args=(requests[first::THREADS],)) for first in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if wrong:
            raise SystemExit(f"{expect} was expected: {wrong[:3]}")

    def tokens(self, tokens, times=1, expect=200, path="/token", **headers):
        self.ask([("POST", path, None, {"Authorization": f"Bearer {token}", **headers}) for _ in range(times) for token in tokens], expect)


def train(broker, emulator, authority, users, times, seconds=3):
    trainer = Trainer(broker, authority)
    tokens = parts.sign_in_many(emulator.origin, users, 3, authority)
    entra = parts.connect(emulator.origin, authority)
    known = parts.sign_in(entra)
    # Misses, then tokens that are new while the users' ACS tokens are cached, then known tokens.
    trainer.tokens(tokens[:users])
    trainer.tokens(tokens[users:])
    # Most of a day, by many callers at once.
    wrk(broker, one(known), seconds)
    trainer.tokens([known], times, Origin=ORIGIN)
    trainer.tokens([known], times // 4, path=ACS_PATH)
    trainer.tokens([known], times // 8, Connection="close")
    trainer.ask([("POST", "/oauth2/token", f"{FORM}&subject_token={known}", {"Content-Type": "application/x-www-form-urlencoded"})] * times, 200)
    trainer.ask([("OPTIONS", "/token", None, {"Origin": ORIGIN, "Access-Control-Request-Method": "POST"})] * (times // 4), 200)
    h2load(broker, known, 1, streams=4)
    # What has to be refused.
    trainer.tokens([token[:-8] + "AAAAAAAA" for token in tokens[: times // 2]], expect=401)
    trainer.tokens(["garbage"], times, expect=401)
    trainer.ask([("POST", "/token", None, {})] * (times // 4), 401)
    management = Trainer(argparse.Namespace(origin=broker.management), None)
    management.ask([("GET", path, None, {}) for path in ("/readyz", "/livez", "/metrics") for _ in range(20)], 200)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary", type=pathlib.Path)
    parser.add_argument("--users", type=int, default=500)
    parser.add_argument("--times", type=int, default=2_000, help="what is done once in ten requests")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="acs-token-broker-train-") as folder, ExitStack() as stack:
        collector = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
        threading.Thread(target=collector.serve_forever, daemon=True).start()
        stack.callback(collector.shutdown)
        otlp = f"http://127.0.0.1:{collector.server_port}"
        # Over TLS and HTTP/2, as Azure is.
        emulator = stack.enter_context(parts.emulator(options.binary, "--tls"))
        authority = re.search(r"(\S*/ca\.pem)", emulator.said)[1]
        folder = pathlib.Path(folder)
        trust = f'[upstream]\nca_file = "{authority}"'
        pages = f'[server.cors]\nallowed_origins = ["{ORIGIN}"]'
        own = pathlib.Path(authority).parent
        tls = f'[server.tls]\ncertificate_file = "{own}/server.pem"\nprivate_key_file = "{own}/server-key.pem"\n'
        for name, server, part in (("plain", pages, 1), ("tls", tls + pages, 5)):
            broker = parts.broker(name, options.binary, folder, emulator.origin, otlp, trust, server)
            train(stack.enter_context(broker), emulator, authority, options.users // part, options.times // part)


if __name__ == "__main__":
    main()
