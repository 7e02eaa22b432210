"""A real Redis in each of its forms, of which servers can be killed."""

import base64
import os
import secrets
import signal
import subprocess

from stack import wait

PASSWORD = secrets.token_hex(16)


def sealing_key(name):
    """A line of the file of encryption keys."""
    return f"{name} {base64.b64encode(os.urandom(32)).decode()}\n"


class Store:
    """Redis servers, by their names. What they hold is in memory alone: one that is killed has lost it."""

    def __init__(self, stack):
        self.stack = stack
        self.servers = {}

    def start(self, name, *more):
        port = self.stack.ports[name]
        lines = [f"port {port}", "bind 127.0.0.1", f"dir {self.stack.work}", 'save ""', "appendonly no", "repl-diskless-sync-delay 0", *more]
        if name.startswith("sentinel"):
            lines = [f"port {port}", "bind 127.0.0.1", f"dir {self.stack.work}", *more]
        configuration = self.stack.work / f"{name}.conf"
        # A sentinel, and a node of a cluster, writes down what it has learnt.
        if not configuration.exists():
            configuration.write_text("\n".join(lines) + "\n")
        sentinel = ["--sentinel"] if name.startswith("sentinel") else []
        self.servers[name] = self.stack.spawn(["redis-server", str(configuration), *sentinel], f"{name}.log")
        wait(lambda: "PONG" in self.ask(name, "ping"), lambda: self.stack.log(f"{name}.log")[-2000:])

    def ask(self, name, *words):
        """What a server answers."""
        command = ["redis-cli", "-h", "127.0.0.1", "-p", str(self.stack.ports[name]), *words]
        environment = os.environ | ({} if name.startswith("sentinel") else {"REDISCLI_AUTH": PASSWORD})
        return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=10).stdout

    def lose(self, name):
        self.stack.kill(self.servers[name])

    def settings(self, timeout="1s", connect_timeout="2s"):
        """`[shared_cache]` of a broker. A busy machine is slower than a network."""
        work = self.stack.work
        (work / "store-password").write_text(PASSWORD)
        files = f'password_file = "{work}/store-password"\nencryption_keys_file = "{work}/sealing-keys"\n'
        common = f'{files}timeout = "{timeout}"\nconnect_timeout = "{connect_timeout}"\n'
        return f'[shared_cache]\nkind = "{self.kind}"\n{common}{self.where()}'

    def urls(self, names):
        return "[" + ", ".join(f'"redis://127.0.0.1:{self.stack.ports[name]}"' for name in names) + "]"


class Single(Store):
    """One server. While it is away there is none, and it comes back empty."""

    kind = "single"

    def begin(self):
        self.start("redis", f"requirepass {PASSWORD}")

    def where(self):
        return f'url = "redis://127.0.0.1:{self.stack.ports["redis"]}"\n'

    def fail(self):
        self.lose("redis")

    def mend(self):
        self.start("redis")


class Sentinel(Store):
    """A master, a replica, and three sentinels, which make the replica the master."""

    kind = "sentinel"
    SENTINELS = ("sentinel_1", "sentinel_2", "sentinel_3")

    def begin(self):
        passwords = (f"requirepass {PASSWORD}", f"masterauth {PASSWORD}")
        self.start("redis_1", *passwords)
        self.start("redis_2", *passwords, f"replicaof 127.0.0.1 {self.stack.ports['redis_1']}")
        wait(lambda: "state=online" in self.ask("redis_1", "info", "replication"), lambda: self.ask("redis_1", "info", "replication"))
        for name in self.SENTINELS:
            self.start(
                name,
                f"sentinel monitor store 127.0.0.1 {self.stack.ports['redis_1']} 2",
                f"sentinel auth-pass store {PASSWORD}",
                "sentinel down-after-milliseconds store 1000",
                "sentinel failover-timeout store 5000",
            )
        for name in self.SENTINELS:
            wait(lambda name=name: "num-other-sentinels\n2" in self.ask(name, "sentinel", "master", "store"), lambda: self.stack.log(f"{name}.log"))

    def where(self):
        return f'url = {self.urls(self.SENTINELS)}\nsentinel_master = "store"\n'

    def fail(self):
        self.lose("redis_1")

    def mend(self):
        other = str(self.stack.ports["redis_2"])
        wait(lambda: other in self.ask("sentinel_1", "sentinel", "get-master-addr-by-name", "store"), lambda: self.stack.log("sentinel_1.log"))
        self.start("redis_1")


class Cluster(Store):
    """Three masters with a replica each, which takes the place of its master."""

    kind = "cluster"
    NODES = tuple(f"redis_{number}" for number in range(1, 7))

    def begin(self):
        for name in self.NODES:
            bus = self.stack.ports[f"{name}_bus"]
            self.start(
                name,
                f"requirepass {PASSWORD}",
                f"masterauth {PASSWORD}",
                "cluster-enabled yes",
                f"cluster-config-file {name}.nodes",
                f"cluster-port {bus}",
                "cluster-node-timeout 1500",
            )
        nodes = [f"127.0.0.1:{self.stack.ports[name]}" for name in self.NODES]
        command = ["redis-cli", "--cluster", "create", *nodes, "--cluster-replicas", "1", "--cluster-yes"]
        made = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"REDISCLI_AUTH": PASSWORD}, timeout=60)
        if made.returncode:
            raise RuntimeError(made.stdout[-2000:] + made.stderr)
        for name in self.NODES:
            wait(lambda name=name: self.is_whole(name), lambda: self.ask(name, "cluster", "nodes"))
        wait(lambda: self.linked() == 3, lambda: self.ask("redis_2", "cluster", "nodes"))

    def linked(self):
        """How many replicas have what their masters have."""
        return sum("master_link_status:up" in self.ask(name, "info", "replication") for name in self.NODES)

    def is_whole(self, name):
        return "cluster_state:ok" in self.ask(name, "cluster", "info")

    def where(self):
        return f"url = {self.urls(self.NODES)}\n"

    def fail(self):
        self.lose("redis_1")

    def mend(self):
        fails = lambda: f":{self.stack.ports['redis_1']}@" in self.failed()  # noqa: E731
        wait(lambda: fails() and self.is_whole("redis_2"), lambda: self.ask("redis_2", "cluster", "nodes"))
        self.start("redis_1")

    def failed(self):
        return "\n".join(line for line in self.ask("redis_2", "cluster", "nodes").splitlines() if "fail" in line.split(" ")[2])


def write_keys(stack, *lines):
    """Replaces the file of encryption keys in one step."""
    new = stack.work / "sealing-keys.new"
    new.write_text("".join(lines))
    new.rename(stack.work / "sealing-keys")


STORES = {store.kind: store for store in (Single, Sentinel, Cluster)}
