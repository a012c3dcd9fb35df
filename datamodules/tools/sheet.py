"""A contact sheet: histories from left to right, covers with titles below them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont, ImageOps

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
TILE, GAP, NAME, LINE, LETTERS = 132, 12, 110, 17, 13
"""Pixels: side of a cover, space around it, room for a user's name, a line of text, and its letters."""
TITLE_LINES = 2
PAPER, INK, PALE, MISSING = "white", "#202020", "#777777", "#d8d8d8"
FRAMES = {"validation": "#e0a000", "test": "#209040"}
WIDE_FONTS = (
    "NotoSansCJK-Regular.ttc",
    "NotoSansCJKsc-Regular.otf",
    "NotoSansSC-Regular.otf",
    "SourceHanSansSC-Regular.otf",
    "wqy-microhei.ttc",
    "wqy-zenhei.ttc",
    "DroidSansFallbackFull.ttf",
    "Arial Unicode.ttf",
    "PingFang.ttc",
    "msyh.ttc",
)
"""Files of fonts that have more than Latin letters; the system is asked for them by name."""


class SheetRow(NamedTuple):
    """One user: catalogue rows, oldest first, and which places are held out for what."""

    user: str
    items: list[int]
    marks: dict[int, str]


def draw_sheet(
    rows: Sequence[SheetRow], covers: Mapping[int, Image.Image | None], titles: Mapping[int, str]
) -> tuple[Image.Image, str]:
    """Draws the users below each other.

    Args:
        rows: Users.
        covers: Item -> cover, None where there is none.
        titles: Item -> title.

    Returns:
        The sheet, and a sentence if the titles need letters that no font here has.
    """
    font, note = title_font(titles.values())
    columns = max(len(row.items) for row in rows)
    height = TILE + TITLE_LINES * LINE + 2 * GAP
    size = NAME + columns * (TILE + GAP) + 2 * GAP, len(rows) * height + 2 * GAP + LINE
    sheet = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(sheet)
    for line, row in enumerate(rows):
        top = GAP + line * height
        user = wrapped(draw, row.user, font, NAME - GAP, 3)
        for at, text in enumerate(user):
            draw.text((GAP, top + TILE / 2 + LINE * (at - len(user) / 2)), text, fill=INK, font=font)
        for place, item in enumerate(row.items):
            left = NAME + GAP + (columns - len(row.items) + place) * (TILE + GAP)
            _cover(sheet, draw, covers[item], (left, top), FRAMES.get(row.marks.get(place, "")))
            for at, text in enumerate(wrapped(draw, titles[item], font, TILE, TITLE_LINES)):
                draw.text((left, top + TILE + 5 + at * LINE), text, fill=INK, font=font)
    _legend(draw, size[1] - GAP - LINE)
    return sheet, note


def _cover(
    sheet: Image.Image,
    draw: ImageDraw.ImageDraw,
    cover: Image.Image | None,
    corner: tuple[int, int],
    frame: str | None,
) -> None:
    left, top = corner
    box = (left, top, left + TILE - 1, top + TILE - 1)
    draw.rectangle(box, fill=MISSING)
    if cover is None:
        draw.text((left + TILE / 2, top + TILE / 2), "no cover", fill=PALE, anchor="mm", font=_plain())
    else:
        sheet.paste(ImageOps.pad(cover, (TILE, TILE), color=MISSING), corner)
    if frame is not None:
        draw.rectangle((left - 4, top - 4, left + TILE + 3, top + TILE + 3), outline=frame, width=4)


def _legend(draw: ImageDraw.ImageDraw, top: int) -> None:
    left: float = NAME + GAP
    for name, colour in FRAMES.items():
        draw.rectangle((left, top + 2, left + 12, top + 14), outline=colour, width=3)
        text = f"target of the {name}"
        draw.text((left + 20, top), text, fill=INK, font=_plain())
        left += 20 + draw.textlength(text, font=_plain()) + 3 * GAP


def wrapped(draw: ImageDraw.ImageDraw, text: str, font: Font, width: float, lines: int) -> list[str]:
    """A text in lines that fit, broken between words where there are any; the last one is cut with dots."""
    found: list[str] = []
    rest = text
    while rest and len(found) < lines:
        end = len(rest)
        while end > 1 and draw.textlength(rest[:end], font=font) > width:
            end -= 1
        last = len(found) == lines - 1
        if end < len(rest) and last:
            while end > 1 and draw.textlength(rest[:end].rstrip() + "…", font=font) > width:
                end -= 1
            found.append(rest[:end].rstrip() + "…")
            break
        space = rest.rfind(" ", 0, end + 1) if end < len(rest) else -1
        cut = space if space > 0 else end
        found.append(rest[:cut])
        rest = rest[cut:].lstrip()
    return found


def title_font(titles: Iterable[str]) -> tuple[Font, str]:
    """A font that has the titles' letters, if the system has one; else Pillow's own and a sentence."""
    letters = {letter for title in titles for letter in title} - {"\ufffd"}
    if all(ord(letter) < 0x250 or 0x2010 <= ord(letter) < 0x2030 for letter in letters):
        return _plain(), ""
    for name in WIDE_FONTS:
        try:
            return ImageFont.truetype(name, LETTERS), ""
        except OSError:
            continue
    return _plain(), (
        "The titles have letters that no font here has: they are boxes in the picture. Install one, such as "
        "the package fonts-noto-cjk."
    )


def _plain() -> Font:
    return ImageFont.load_default(LETTERS)
