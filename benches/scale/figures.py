"""What the simulation is fed with. Measured figures say by what; the others are assumptions, to be replaced by one's own."""

from dataclasses import dataclass, replace

MINUTE, HOUR = 60.0, 3600.0


@dataclass(frozen=True)
class Users:
    """A working day of users in one time zone, which is the worst case. Times are seconds since midnight."""

    # Assumptions.
    arrival: float = 8.75 * HOUR  # when most sign in
    arrival_spread: float = 25 * MINUTE  # standard deviation of that
    stragglers: float = 0.15  # part of the users who come any time between 7:00 and 17:00
    stay: float = 8.5 * HOUR
    stay_spread: float = 0.75 * HOUR
    second_device: float = 0.3  # part of the users who sign in at a second device too
    reloads: float = 1 / HOUR  # of the page, at each device; each asks for a token anew
    # Of Entra: access tokens live this long, drawn evenly. Of MSAL: the cached one is given until this long before its end.
    token_life: tuple = (60 * MINUTE, 90 * MINUTE)
    sign_in_margin: float = 5 * MINUTE
    # Of the SDK (refreshProactively): asks this long before the end, then after half of what is left. docs/sdk-refresh.md
    refresh_before: float = 10 * MINUTE


@dataclass(frozen=True)
class Broker:
    """The defaults of config.example.toml."""

    expiry_margin: float = 30.0
    min_remaining: float = 10 * MINUTE
    refresh_ahead: float = 20 * MINUTE
    refresh_jitter: float = 5 * MINUTE
    min_gain: float = 2 * MINUTE
    max_age: float | None = None  # assignments.unknown_groups_max_age, for users about whom ACS alone decides
    max_entries: int = 100_000  # of each replica
    replicas: int = 3
    surge: int = 1  # replicas more during a roll-out; limits.replicas holds both
    sticky: float = 0.0  # part of the calls that a load balancer sends to the user's own replica
    shared_cache: bool = False


@dataclass(frozen=True)
class Quota:
    """ACS's, for one resource (exchange tokens), and how the broker keeps to it."""

    requests: int = 500
    window: int = 30
    queue: int = 1000  # limits.upstream_queue, of each replica
    patience: int = 9  # server.request_timeout less a second


@dataclass(frozen=True)
class Costs:
    """What a call takes."""

    # Measured by tests/sizing.sh and tests/overhead.sh: docs/scaling-and-sizing.md.
    cpu_cached: float = 42e-6  # seconds of a core
    telemetry: float = 1.3  # factor: 1 % of traces and all lines over OTLP
    cpu_exchange: float = 0.5e-3
    base_memory: float = 26e6  # bytes
    entry_memory: float = 2.8 * 1024
    connection_memory: float = 23 * 1024
    # Assumptions.
    cpu_store: float = 0.1e-3  # of the broker, for one operation in the store: sealing, naming, the client
    store_entry: float = 3_000  # bytes of one value in the store: a token of 2 kB sealed, its name, the store's own overhead
    store_overhead: float = 2.0  # factor: fragmentation, and memory that the store wants free
    connections: int = 500  # open at a replica
    replica_cores: float = 0.5
    use: float = 0.5  # part of a replica's CPU that is to be used at the peak
    # Prices in US dollars a month, as an order of size. They differ by region and contract: put in your own.
    price_replica: float = 40.0  # half a core and 1 GiB, day and night
    price_store: tuple = ((0.5e9, 30.0), (1e9, 60.0), (3e9, 120.0), (6e9, 210.0), (12e9, 420.0), (24e9, 800.0))


USERS, BROKER, QUOTA, COSTS = Users(), Broker(), Quota(), Costs()
ACS_ALONE = replace(BROKER, max_age=10 * MINUTE)
