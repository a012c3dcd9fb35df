"""What the tools print: columns that align, and lists of words from the command line."""

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches

_NUMBER = re.compile(r"[\d,.]+( bytes| [kMGT]?B)?|\?")


def aligned(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table for the terminal: words on the left, numbers on the right.

    >>> print(aligned(["what", "items"], [["text", 1500], ["image", 7]]))
    what   items
    text   1,500
    image      7
    """
    cells = [[f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row] for row in rows]
    numeric = [all(_NUMBER.fullmatch(row[at]) for row in cells) for at in range(len(header))]
    widths = [max(map(len, column)) for column in zip(header, *cells, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, numeric, strict=True)
        ).rstrip()
        for row in [list(header), *cells]
    )


def names_of(option: str, text: str, known: Sequence[str]) -> list[str]:
    """The names in a list that the user typed.

    Args:
        option: That was typed.
        text: Names with commas between them.
        known: That may be named.

    Raises:
        ValueError: One is unknown or there is none; says what is near.

    >>> names_of("--modalities", "text,image", ["image", "text"])
    ['text', 'image']
    """
    names = list(dict.fromkeys(name.strip() for name in text.strip("[]").split(",") if name.strip()))
    if not names:
        raise ValueError(f"{option}: expected names with commas between them, found {text!r}.")
    for name in names:
        if name not in known:
            close = get_close_matches(name, known, n=3, cutoff=0.5)
            hint = f" Did you mean {' or '.join(close)}?" if close else ""
            raise ValueError(f"{option}: there is no '{name}'.{hint} Known: {', '.join(known) or 'none'}.")
    return names
