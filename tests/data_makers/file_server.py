"""A small HTTP server on this machine that can resume, break off, lie, and be told to change its files."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar


@dataclass
class Behaviour:
    """What the server has and how it behaves; may be changed while it runs."""

    files: dict[str, bytes] = field(default_factory=dict)
    etag: str = '"one"'
    ranges: bool = True
    cut_after: int | None = None
    """Bytes after which a connection ends, for the next ``cuts`` requests."""
    cuts: int = 0
    failures: list[int] = field(default_factory=list)
    """Status codes of the next answers."""
    length: bool = True
    wrong_part: bool = False
    """Answers with the first part whatever was asked for."""
    requests: list[tuple[str, str]] = field(default_factory=list)
    """Path and range of what was asked for."""
    sent: int = 0


class _Handler(BaseHTTPRequestHandler):
    behaviour: ClassVar[Behaviour]

    def do_GET(self) -> None:
        is_ = self.behaviour
        asked = self.headers.get("Range", "")
        is_.requests.append((self.path, asked))
        if is_.failures:
            self.send_error(is_.failures.pop(0))
            return
        content = is_.files.get(self.path.lstrip("/"))
        if content is None:
            self.send_error(404)
            return
        begin = 0
        if asked and is_.ranges and self.headers.get("If-Range") == is_.etag:
            begin = int(asked.removeprefix("bytes=").rstrip("-"))
            if begin >= len(content):
                self.send_error(416)
                return
            shown = 0 if is_.wrong_part else begin
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {shown}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        if is_.length:
            self.send_header("Content-Length", str(len(content) - begin))
        if is_.etag:
            self.send_header("ETag", is_.etag)
        self.end_headers()
        rest = content[begin:]
        if is_.cuts and is_.cut_after is not None:
            is_.cuts -= 1
            rest = rest[: is_.cut_after]
        self.wfile.write(rest)
        is_.sent += len(rest)

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def serving(**options: object) -> Iterator[tuple[str, Behaviour]]:
    """The server's address, without a slash at its end, and its behaviour."""
    behaviour = Behaviour(**options)  # type: ignore[arg-type]
    handler = type("Handler", (_Handler,), {"behaviour": behaviour})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", behaviour
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
