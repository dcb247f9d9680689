"""A web server on loopback that misbehaves in every way a download can meet."""

import http.server
import time
from collections import Counter
from email.utils import formatdate

LONG_AGO = 1_600_000_000  # seconds since 1970


class BadServer(http.server.ThreadingHTTPServer):
    """Serves one body under names that say what goes wrong; counts requests and keeps the Range headers.

    /good.bin serves; /404.bin and /always500.bin never do; /once500.bin fails once; /cut.bin closes half-way once,
    /breaking.bin four times, /short.bin always; /slow.bin takes a second. /changed.bin is cut and then another file;
    so are others, which differ in how they call a version: /changed-dated.bin by an old date, /changed-fresh.bin by a
    date that is too new to be sure, /changed-weak.bin by a weak ETag, /changed-silent.bin not at all, and
    /changed-deaf.bin by an ETag, but its server does not heed If-Range. /dated.bin is cut and stays the same file.
    /shifted.bin is cut, and then continued from another byte; /rangeless.bin without saying from which; /parts.bin is
    continued by a part of the rest. /huge.bin promises a terabyte, /endless.bin promises nothing and does not end.
    """

    def __init__(self, body: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.body = body
        self.reason = "OK"
        self.ranges: list[str | None] = []
        self.requests: Counter[str] = Counter()

    def url(self, name: str) -> str:
        """Address of a file."""
        return f"http://127.0.0.1:{self.server_port}/{name}.bin"


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers by the path."""

    server: BadServer

    def do_GET(self) -> None:  # the base class's name
        """Answer as the path says."""
        name = self.path.removeprefix("/").removesuffix(".bin")
        turn = self.server.requests[name]
        self.server.requests[name] += 1
        asked = self.headers.get("Range")
        self.server.ranges.append(asked)
        failures = {"once500": 1, "always500": 10**6}.get(name, 0)
        if name == "404":
            self.send_error(404, self.server.reason)
        elif turn < failures:
            self.send_error(500)
        elif name == "endless":
            self.send_response(200)
            self.end_headers()
            while self.write(bytes(1 << 16)):
                pass
        else:
            self.serve(name, turn, asked)

    def serve(self, name: str, turn: int, asked: str | None) -> None:
        """Send a body, all or the rest of it."""
        kind, version = name.partition("-")[0], int(turn > 0 and name.startswith("changed"))
        body = bytes(reversed(self.server.body)) if version else self.server.body
        tag = ('"first"', '"second"')[version]
        dated = formatdate(LONG_AGO + version, usegmt=True)
        headers = {
            "changed-dated": {"Last-Modified": dated},
            "dated": {"Last-Modified": dated},
            "changed-fresh": {"Last-Modified": formatdate(usegmt=True)},
            "changed-weak": {"ETag": 'W/"same"'},
            "changed-silent": {},
        }.get(name, {"ETag": tag})
        if name != "changed-deaf" and self.headers.get("If-Range") not in (None, *headers.values()):
            asked = None
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        said = start
        if asked and name == "shifted":
            start, said = start - 1000, start - 1000
        rest = body[start:]
        if asked and name == "parts" and turn == 1:
            rest = rest[: len(rest) // 2 + 1]
        self.send_response(206 if asked else 200)
        if asked and name != "rangeless":
            self.send_header("Content-Range", f"bytes {said}-{start + len(rest) - 1}/{len(body)}")
        self.send_header("Content-Length", str(10**12 if name == "huge" else len(rest)))
        for header, value in headers.items():
            self.send_header(header, value)
        self.end_headers()
        once = ("cut", "changed", "dated", "shifted", "rangeless", "parts")
        cut = turn < ({"short": 10**6, "breaking": 4} | dict.fromkeys(once, 1)).get(kind, 0)
        if name == "slow":
            time.sleep(1)
        self.write(rest[: len(rest) // 2] if cut else rest)

    def write(self, part: bytes) -> bool:
        """Send it; False where nobody listens any more."""
        try:
            self.wfile.write(part)
        except OSError:
            return False
        return True

    def log_message(self, *_: object) -> None:
        """Keep quiet."""
