"""What the attacks send. Each shape is the bytes of one connection, and whether its answers are read."""

import struct
from dataclasses import dataclass


@dataclass(frozen=True)
class Shape:
    """`drip` is sent byte by byte after `sent`; `raw` goes below TLS, once the handshake has ended."""

    name: str
    sent: bytes = b""
    drip: bytes = b""
    reads: bool = True
    tls: bool = False
    alpn: str = "http/1.1"
    raw: bytes = b""
    handshake: bool = True
    management: bool = False


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


DATA, HEADERS, SETTINGS, PING, CONTINUATION = 0, 1, 4, 6, 9
END_STREAM, END_HEADERS, PADDED = 1, 4, 8
BEGIN = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS, 0, 0)


def integer(value, prefix, first=0):
    """RFC 7541 section 5.1."""
    most = (1 << prefix) - 1
    if value < most:
        return bytes([first | value])
    out, value = [first | most], value - most
    while value >= 128:
        out.append(value % 128 | 128)
        value //= 128
    return bytes([*out, value])


def text(value):
    return integer(len(value), 7) + value


def literal(name, value):
    return b"\x00" + text(name) + text(value)


POST = b"\x83\x86\x04" + text(b"/token") + b"\x01" + text(b"x")
REFERENCE = b"\x8f"  # accept-charset, empty: one byte


def block(stream, payload, flags=0, ends=True):
    """A header block, in as many frames as it takes."""
    pieces = [payload[at : at + 16384] for at in range(0, len(payload), 16384)] or [b""]
    out = b""
    for place, piece in enumerate(pieces):
        last = END_HEADERS if ends and place == len(pieces) - 1 else 0
        out += frame(CONTINUATION if place else HEADERS, last | (0 if place else flags), stream, piece)
    return out


def streams(payload, count=100, flags=0):
    return BEGIN + b"".join(block(2 * n + 1, payload, flags) for n in range(count))


def http1(fields, rest=b"", length=b"5"):
    return b"POST /token HTTP/1.1\r\nHost: x\r\nContent-Length: " + length + b"\r\n" + fields + b"\r\n" + rest


FORM = b"Content-Type: application/x-www-form-urlencoded\r\n"
HTTP1 = {
    "idle": b"",
    "tiny-fields": http1(b"a:\r\n" * 2040),
    "fields": http1(b"".join(b"a%d:%s\r\n" % (n, b"x" * 320) for n in range(96))),
    "big-head": http1(FORM + b"x-long:" + b"x" * 32000 + b"\r\n"),
    "big-token": http1(FORM + b"authorization: Bearer " + b"x" * 32000 + b"\r\n"),
    "big-path": b"POST /" + b"x" * 32000 + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n",
    "half-head": b"POST /token HTTP/1.1\r\nHost: x\r\nx-long: " + b"x" * 60000,
    "body": http1(FORM, b"x" * 65535, b"65536"),
    "chunks": b"POST /token HTTP/1.1\r\nHost: x\r\n" + FORM + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 9000,
    "kept": b"GET / HTTP/1.1\r\nHost: x\r\nx-long: " + b"x" * 31000 + b"\r\n\r\n",
    "pipelined": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 3000,
}

WINDOW_0 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 0))
names = [bytes([a, b]) for a in b"abcdefghijklmnopqrstuvwxyz" for b in b"abcdefghijklmnopqrstuvwxyz0123456789"]
LITERALS = b"".join(literal(name, b"") for name in names)
TYPE = literal(b"content-type", b"application/x-www-form-urlencoded")


def bodies():
    """The connection's whole window, in pieces that each come with 8 KiB of padding frames."""
    out = BEGIN + b"".join(block(2 * n + 1, POST + TYPE) for n in range(100))
    for n in range(240):
        out += frame(DATA, PADDED, 2 * (n % 100) + 1, b"\xff" + b"x" + b"\0" * 255)
        out += frame(250, 0, 0, b"\0" * 8000)
    return out


def indexed_paths():
    """Requests whose paths stay in the table of HPACK, each in a frame of its own of 16 KiB."""
    out = BEGIN
    for n in range(100):
        path = b"\x44" + text(b"/" + str(n).encode())
        rest = b"\x83\x86" + path + b"\x01" + text(b"x")
        out += block(2 * n + 1, rest + literal(b"x", b"x" * (16000 - len(rest))), END_STREAM)
    return out


HTTP2 = {
    "idle": BEGIN,
    "references": streams(POST + REFERENCE * 16000),
    "references-900": streams(POST + REFERENCE * 850),
    "references-95": streams(POST + TYPE + REFERENCE * 90),
    "big-heads": streams(POST + TYPE + literal(b"x-long", b"x" * 31000)),
    "big-tokens": streams(POST + TYPE + literal(b"authorization", b"Bearer " + b"x" * 30000)),
    "half-head": BEGIN + block(1, POST + REFERENCE * 16000, ends=False),
    "half-literals": BEGIN + block(1, POST + LITERALS[:38000], ends=False),
    "continuation": BEGIN + frame(HEADERS, 0, 1, POST) + frame(CONTINUATION, 0, 1, REFERENCE) * 2000,
    "bodies": streams(POST + TYPE) + b"".join(frame(DATA, 0, 2 * n + 1, b"x" * 650) for n in range(100)),
    "body": BEGIN + block(1, POST + TYPE) + b"".join(frame(DATA, 0, 1, b"x" * 13000) for _ in range(5)),
    "padded-bodies": bodies(),
    "indexed-paths": indexed_paths(),
    "trailers": BEGIN + b"".join(block(2 * n + 1, POST + TYPE) + block(2 * n + 1, REFERENCE * 900) for n in range(100)),
    "window-0": WINDOW_0 + streams(POST, flags=END_STREAM)[len(BEGIN) :],
    "pings": BEGIN + frame(PING, 0, 0, b"12345678") * 4000,
}

CLIENT_HELLO = b"\x16\x03\x01\x40\x00\x01\x00\xff\xf0\x03\x03" + b"\0" * 16379
SHAPES = [
    *(Shape(f"http1 {name}", sent) for name, sent in HTTP1.items()),
    Shape("http1 unread", HTTP1["pipelined"] * 4, reads=False),
    Shape("http1 slow-head", b"POST /token HTTP/1.1\r\n", drip=b"x-slow: " + b"x" * 100),
    Shape("http1 slow-body", http1(FORM, b"x" * 60000, b"65536"), drip=b"x" * 100),
    *(Shape(f"h2c {name}", sent) for name, sent in HTTP2.items()),
    Shape("h2c unread", HTTP2["window-0"].replace(WINDOW_0, BEGIN) , reads=False),
    Shape("tls connected", tls=True, handshake=False),
    Shape("tls half-hello", tls=True, handshake=False, raw=CLIENT_HELLO * 4),
    Shape("tls handshake", tls=True),
    Shape("tls half-record", tls=True, raw=b"\x17\x03\x03\x40\x00" + b"x" * 16000),
    *(Shape(f"tls http1 {name}", HTTP1[name], tls=True) for name in ("tiny-fields", "big-token", "half-head", "body", "kept")),
    *(
        Shape(f"tls h2 {name}", HTTP2[name], tls=True, alpn="h2")
        for name in ("idle", "references-95", "big-tokens", "half-head", "half-literals", "bodies", "indexed-paths", "window-0")
    ),
    *(Shape(f"management http1 {name}", HTTP1[name], management=True) for name in ("tiny-fields", "half-head", "body")),
    Shape(
        "management http1 loglevel",
        b"PUT /loglevel HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n" + b"x" * 59999,
        management=True,
    ),
    *(
        Shape(f"management h2c {name}", HTTP2[name], management=True)
        for name in ("idle", "references", "half-literals", "bodies", "indexed-paths", "window-0")
    ),
]
SHORT = [
    "http1 tiny-fields",
    "http1 half-head",
    "http1 body",
    "h2c references",
    "h2c references-95",
    "h2c half-literals",
    "h2c indexed-paths",
    "h2c window-0",
    "tls handshake",
    "tls h2 big-tokens",
    "management h2c references",
]
