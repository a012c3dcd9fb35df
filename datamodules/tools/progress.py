"""What a check has looked at already, so that one that was stopped goes on where it was."""

import json
from collections.abc import Iterable
from pathlib import Path

from datamodules.cache import digest
from datamodules.raw_content import RawContent
from datamodules.tools.look import Limits, Looked


class Progress:
    """Looked-at items of one modality, in order, a line each, behind a line that says of what.

    Another content, other files (by size and time of change) or other limits begin anew.

    Args:
        folder: For the report.
        raw: What is looked at.
        limits: What is reported.
    """

    def __init__(self, folder: Path, raw: RawContent, limits: Limits) -> None:
        self.path = folder / f"check-{raw.modality}.part"
        self._key = digest([raw.key, limits])

    def read(self) -> list[Looked]:
        """The first items as an earlier check has seen them; a line that was not finished does not count."""
        if not self.path.is_file():
            return []
        content = self.path.read_bytes()
        key, *lines = content[: content.rfind(b"\n") + 1].decode().splitlines() or [""]
        if key != self._key:
            return []
        return [
            Looked(
                bytes.fromhex(found["digest"]) if found["digest"] else None,
                [(*one,) for one in found["found"]],
            )
            for found in map(json.loads, lines)
        ]

    def write(self, looked: Iterable[Looked]) -> None:
        """Begins the file with these items."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(f"{self._key}\n")
        self.add(looked)

    def add(self, looked: Iterable[Looked]) -> None:
        """Notes the next items."""
        lines = [
            json.dumps({"digest": one.digest.hex() if one.digest else "", "found": one.found})
            for one in looked
        ]
        with open(self.path, "a", encoding="utf-8") as file:
            file.write("".join(f"{line}\n" for line in lines))

    def forget(self) -> None:
        """Takes the file away: the report says it all, and the next check looks at everything again."""
        self.path.unlink(missing_ok=True)
