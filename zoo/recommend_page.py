"""A page of what a few users have and were recommended: one HTML file with everything in it."""

import base64
import html
import io
from collections.abc import Callable, Sequence
from typing import NamedTuple

from PIL import Image, ImageOps

SIDE = 96
"""Pixels of a cover's side in the page."""
STYLE = f"""
:root {{ color-scheme: light dark; --line: #8884; --pale: #888; }}
body {{ font: 14px/1.4 system-ui, sans-serif; margin: 24px auto; max-width: 1400px; padding: 0 20px; }}
h1 {{ font-size: 20px; margin: 0; }}
.about {{ color: var(--pale); margin: 2px 0 20px; }}
section {{ border-top: 1px solid var(--line); padding: 14px 0 18px; }}
h2 {{ font-size: 15px; margin: 0 0 8px; overflow-wrap: anywhere; }}
h3 {{ font-size: 12px; font-weight: 600; color: var(--pale); margin: 10px 0 6px; }}
ol {{ list-style: none; display: flex; flex-wrap: wrap; gap: 12px; margin: 0; padding: 0; }}
li {{ width: {SIDE}px; }}
.cover {{ width: {SIDE}px; height: {SIDE}px; border-radius: 6px; background: var(--line) center / cover;
  color: var(--pale); display: grid; place-items: center; font-size: 12px; }}
.title {{ display: -webkit-box; -webkit-line-clamp: 2; -webkit-box-orient: vertical; overflow: hidden;
  margin-top: 4px; overflow-wrap: anywhere; }}
.item {{ color: var(--pale); font-size: 12px; overflow-wrap: anywhere; }}
.new {{ color: #1a7f37; font-weight: 600; }}
""".strip()


class Shown(NamedTuple):
    """One user of the page."""

    user: str
    history: Sequence[int]
    """Rows, oldest first; the most recent of them."""
    left_out: int
    """Older items that are not shown."""
    recommended: Sequence[tuple[int, float]]
    """Rows and scores, best first."""


class Shows(NamedTuple):
    """What is known of items by row."""

    name: Callable[[int], str]
    title: Callable[[int], str]
    cover: Callable[[int], Image.Image | None]
    is_new: Callable[[int], bool]


def page(title: str, about: str, users: Sequence[Shown], items: Shows) -> str:
    """The page; every cover is in it once, as a small JPEG.

    Args:
        title: Heading.
        about: A sentence below it.
        users: From the top.
        items: Says what they look like.
    """
    rows = {row for user in users for row in (*user.history, *(row for row, _ in user.recommended))}
    covers = {row: uri for row in sorted(rows) if (uri := data_uri(items.cover(row)))}
    pictures = "\n".join(f".c{row} {{ background-image: url({uri}); }}" for row, uri in covers.items())
    sections = "\n".join(_section(user, items, covers) for user in users)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f"<title>{html.escape(title)}</title>\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>\n{STYLE}\n{pictures}\n</style>\n"
        f'</head>\n<body>\n<h1>{html.escape(title)}</h1>\n<p class="about">{html.escape(about)}</p>\n'
        f"{sections}\n</body>\n</html>\n"
    )


def _section(user: Shown, items: Shows, covers: dict[int, str]) -> str:
    has = "".join(_tile(row, None, items, row in covers) for row in user.history)
    gets = "".join(_tile(row, score, items, row in covers) for row, score in user.recommended)
    older = f", without {user.left_out:,} older" if user.left_out else ""
    none = '<p class="item">nothing</p>'
    return (
        f"<section>\n<h2>{html.escape(user.user)}</h2>\n<h3>Has, oldest first{older}</h3>\n"
        f"{f'<ol>{has}</ol>' if has else none}\n<h3>Is recommended, best first</h3>\n"
        f"{f'<ol>{gets}</ol>' if gets else none}\n</section>"
    )


def _tile(row: int, score: float | None, items: Shows, has_cover: bool) -> str:
    title = " ".join(items.title(row).split())
    name = html.escape(items.name(row))
    picture = f'<div class="cover c{row}"></div>' if has_cover else '<div class="cover">no cover</div>'
    mark = ' <span class="new">new</span>' if items.is_new(row) else ""
    below = name if score is None else f"{name} · {score:.2f}"
    text = f'<div class="title">{html.escape(title)}</div>' if title else ""
    return f'<li title="{html.escape(title)}">{picture}{text}<div class="item">{below}{mark}</div></li>'


def data_uri(cover: Image.Image | None) -> str:
    """A picture as part of a page; empty if there is none.

    >>> data_uri(Image.new("RGB", (3, 5)))[:23]
    'data:image/jpeg;base64,'
    """
    if cover is None:
        return ""
    small, buffer = ImageOps.fit(cover.convert("RGB"), (SIDE, SIDE)), io.BytesIO()
    small.save(buffer, "JPEG", quality=80, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
