"""A web server on loopback that misbehaves in every way a download can meet."""

import http.server
import time
from collections import Counter


class BadServer(http.server.ThreadingHTTPServer):
    """Serves one body under names that say what goes wrong; counts requests and keeps the Range headers.

    /good.bin serves; /404.bin and /always500.bin never do; /once500.bin fails once; /cut.bin closes half-way once,
    /breaking.bin four times, /short.bin always; /changed.bin is another file after that; /slow.bin takes a second.
    """

    def __init__(self, body: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.body = body
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
            self.send_error(404)
        elif turn < failures:
            self.send_error(500)
        else:
            body, tag = self.server.body, '"first"'
            if name == "changed" and turn > 0:
                body, tag = bytes(reversed(body)), '"second"'
            if self.headers.get("If-Range", tag) != tag:
                asked = None
            start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
            rest = body[start:]
            self.send_response(206 if asked else 200)
            self.send_header("Content-Length", str(len(rest)))
            self.send_header("ETag", tag)
            self.end_headers()
            cut = turn < {"short": 10**6, "breaking": 4, "cut": 1, "changed": 1}.get(name, 0)
            if name == "slow":
                time.sleep(1)
            self.wfile.write(rest[: len(rest) // 2] if cut else rest)

    def log_message(self, *_: object) -> None:
        """Keep quiet."""
