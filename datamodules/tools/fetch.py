"""Fetches one file over HTTP: goes on where it was cut off, and knows a file that has changed meanwhile.

What has come lies beside the target as ``.part``, with what tells that the server still has the same file.
"""

import errno
import hashlib
import http.client
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from tqdm.auto import tqdm

from datamodules.cache import locked, write_json
from datamodules.errors import DownloadError, size_text

_BLOCK = 2**20
_AGAIN = (408, 425, 429, 500, 502, 503, 504)
"""Answers that may be other ones a moment later."""


class Remote(NamedTuple):
    """A file on a server."""

    url: str
    known: str = ""
    """Checksum that its owner publishes, such as ``md5:0e33...``; empty where there is none."""
    max_bytes: int = 2**40
    """More than this is refused, whatever the server says."""


class Fetched(NamedTuple):
    """What lies there now; a line of ``downloads.json``."""

    url: str
    bytes: int
    sha256: str
    etag: str
    modified: str


def fetch(
    remote: Remote, target: Path, retries: int = 5, pause: float = 1.0, timeout: float = 30.0
) -> Fetched:
    """Fetches a file, or the rest of it.

    Args:
        remote: What to fetch.
        target: Where it comes to lie; replaced only by a whole file with the right checksum.
        retries: Further attempts after a connection that broke; each goes on where it was.
        pause: Seconds before the second attempt, doubled with each.
        timeout: Seconds without an answer.

    Raises:
        DownloadError: There is no connection, the server has no such file, it is too large, or not the one
            that its owner describes; says what to do.
    """
    if urlsplit(remote.url).scheme not in ("http", "https"):
        raise DownloadError(
            f"Expected an address that begins with https:// or http://, found {remote.url!r}."
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    part = _Part(remote, target)
    kept = f"What has come is kept in {target.name}.part."
    with locked(target), full_disk(target, kept):
        for attempt in range(retries + 1):
            try:
                part.go_on(timeout)
                break
            except (URLError, http.client.HTTPException, ConnectionError, TimeoutError) as error:
                if isinstance(error, HTTPError) and error.code not in _AGAIN:
                    raise _refused(remote, target, error) from error
                if attempt == retries:
                    raise _no_connection(remote, target, error, part.size) from error
                time.sleep(pause * 2**attempt)
        return part.finish()


class _Part:
    """What has come of a file."""

    def __init__(self, remote: Remote, target: Path) -> None:
        self.remote, self.target = remote, target
        self.path = target.with_name(f"{target.name}.part")
        self._note = target.with_name(f"{target.name}.part.json")
        self.state: dict[str, Any] = {}
        if self.path.is_file() and self._note.is_file():
            self.state = json.loads(self._note.read_text("utf-8"))
        if self.state.get("url") != remote.url:
            self.forget()

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.is_file() else 0

    def forget(self) -> None:
        self.state = {}
        self.path.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)

    def go_on(self, timeout: float) -> None:
        """One connection.

        Raises:
            ConnectionError: It ended before the file did.
        """
        headers = {"Accept-Encoding": "identity", "User-Agent": "mmzoo"}
        validator = self.state.get("etag", "") or self.state.get("modified", "")
        if self.size and (not validator or validator.startswith("W/")):
            self.forget()  # nothing would tell that the rest belongs to it
        begin = self.size
        if begin and begin == self.state.get("bytes"):
            return
        if begin:
            headers |= {"Range": f"bytes={begin}-", "If-Range": validator}
        try:
            answer = urlopen(Request(self.remote.url, headers=headers), timeout=timeout)
        except HTTPError as error:
            if error.code != 416:
                raise
            self.forget()
            raise ConnectionError("the server has less than what has come") from error
        with answer:
            if begin and not self._fits(answer, begin):
                self.forget()
                begin = 0
                print(
                    f"{self.target.name}: the server has another file now, or cannot go on: from the start."
                )
                if answer.status == 206:
                    raise ConnectionError("the server sent another part than was asked for")
            self._write(answer, begin)

    def _fits(self, answer: http.client.HTTPResponse, begin: int) -> bool:
        """Whether the answer is the rest of what has come."""
        span = answer.headers.get("Content-Range", "")
        same = answer.headers.get("ETag", "") in ("", self.state.get("etag", ""))
        total = span.rpartition("/")[2]
        return (
            answer.status == 206
            and span.startswith(f"bytes {begin}-")
            and same
            and total in ("*", str(self.state.get("bytes", total)))
        )

    def _write(self, answer: http.client.HTTPResponse, begin: int) -> None:
        told = answer.headers.get("Content-Length", "")
        total = begin + int(told) if told.isdigit() else None
        limit = self.remote.max_bytes
        if (total or 0) > limit:
            raise DownloadError(
                f"Expected at most {size_text(limit)} in {self.remote.url}, the server says "
                f"{size_text(total or 0)}: it is not the file that was meant. Nothing was fetched."
            )
        if not begin:
            told_of = {
                "etag": answer.headers.get("ETag", ""),
                "modified": answer.headers.get("Last-Modified", ""),
            }
            self.state = {"url": self.remote.url, "bytes": total, **told_of}
            write_json(self._note, self.state)
        if total is not None and total - begin > shutil.disk_usage(self.path.parent).free:
            raise OSError(errno.ENOSPC, "no room for the file")
        bar = tqdm(
            total=total,
            initial=begin,
            desc=self.target.name,
            unit="B",
            unit_scale=True,
            unit_divisor=1000,
            disable=None,
        )
        done = begin
        with bar, open(self.path, "ab" if begin else "wb") as file:
            while block := answer.read(_BLOCK):
                done += len(block)
                if done > limit:
                    self.forget()
                    raise DownloadError(
                        f"Expected at most {size_text(limit)} in {self.remote.url}, more came than that; it "
                        "was removed. Is the address right?"
                    )
                file.write(block)
                bar.update(len(block))
        if total is not None and done < total:
            raise ConnectionError(f"the connection ended after {done:,} of {total:,} bytes")

    def finish(self) -> Fetched:
        """Compares the checksum and puts the file in its place."""
        name, _, right = self.remote.known.partition(":")
        sums = file_sums(self.path, *([name] if name else []))
        if name and sums[name] != right:
            size = self.size
            self.forget()
            raise DownloadError(
                f"Expected a file with the {name} checksum {right} at {self.remote.url}, found {sums[name]} "
                f"({size:,} bytes); it was removed. Run the same command again; if that does not help, the "
                "server has another file now: get it by hand and look at it."
            )
        found = Fetched(
            self.remote.url,
            self.size,
            sums["sha256"],
            self.state.get("etag", ""),
            self.state.get("modified", ""),
        )
        os.replace(self.path, self.target)
        self._note.unlink(missing_ok=True)
        return found


def file_sums(path: Path, *names: str) -> dict[str, str]:
    """SHA-256 of a file, and further checksums by name."""
    hashers = {name: hashlib.new(name, usedforsecurity=False) for name in ("sha256", *names)}
    with open(path, "rb") as file:
        while block := file.read(4 * _BLOCK):
            for hasher in hashers.values():
                hasher.update(block)
    return {name: hasher.hexdigest() for name, hasher in hashers.items()}


@contextmanager
def full_disk(target: Path, kept: str) -> Iterator[None]:
    """Turns "no space left" of the block into the error that says what to do.

    Args:
        target: What is being written.
        kept: What becomes of what is written already.

    Raises:
        DownloadError: If the disk or the user's quota is full.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        free = shutil.disk_usage(target.parent).free
        raise DownloadError(
            f"The disk is full: there is no room for the rest of {target}, free are {size_text(free)}. Free "
            "some space or set --data.root to a folder on another disk, then run the same command again. "
            f"{kept}"
        ) from error


def _refused(remote: Remote, target: Path, error: HTTPError) -> DownloadError:
    return DownloadError(
        f"Expected {remote.url}, the server answered {error.code} {error.reason}. Its owner may have moved "
        f"it: look at their page, get the file by hand, put it at {target} and run the same command again."
    )


def _no_connection(remote: Remote, target: Path, error: Exception, size: int) -> DownloadError:
    reason = getattr(error, "reason", None) or error or type(error).__name__
    kept = f" {size_text(size)} have come and are kept: the same command goes on from there." if size else ""
    return DownloadError(
        f"No connection to {urlsplit(remote.url).netloc} ({reason}).{kept} Without a network, get "
        f"{remote.url} elsewhere, put it at {target} and run the same command again: it is checked then."
    )
