"""Opens pictures from strangers: a few formats only, a size limit, and a reason where it does not work.

Sounds and clips: ``clips.py``.
"""

import struct
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from datamodules.errors import BadImageError, BadMediaError

FORMATS = ("JPEG", "PNG", "WEBP", "GIF")
"""What a file may contain, whatever its name says."""
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif")
MAX_PIXELS = 89_478_485
"""Pillow's own limit of 256 MiB a picture, kept where a program has lifted that one."""


def open_image(path: Path) -> Image.Image:
    """Reads a picture completely, as RGB; of an animation the first frame.

    The header is checked before any pixel is decoded, so a small file that claims a gigantic picture costs
    nothing.

    Raises:
        BadImageError: If the file is missing, empty, of another format, too large or damaged.
    """
    try:
        if path.stat().st_size == 0:
            raise BadImageError("the file is empty")
        with Image.open(path, formats=FORMATS) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise BadImageError(f"too large: {width} by {height}, at most {MAX_PIXELS:,} pixels")
            return as_rgb(image)
    except FileNotFoundError as error:
        raise BadImageError("the file is missing") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise BadImageError(f"too large: more than {2 * MAX_PIXELS:,} pixels") from error
    except UnidentifiedImageError as error:
        raise BadImageError(f"not a picture in one of the formats {', '.join(FORMATS)}") from error
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error) as error:
        # What Pillow's decoders raise for damaged data; a folder or a missing permission is an OSError too.
        if isinstance(error, BadImageError):
            raise
        raise BadImageError(f"cannot be read: {error}") from error


def as_rgb(image: Image.Image) -> Image.Image:
    """The picture in 8-bit colour: 16-bit grey is scaled, not clipped, and transparency lies on white."""
    if image.mode.startswith("I"):
        grey = np.asarray(image).clip(0, 65535) >> 8
        return Image.fromarray(grey.astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return image.convert("RGB")


def open_file(path: Path) -> Path:
    """The path itself, of a file that is there and holds something.

    Raises:
        BadMediaError: If the file is missing or empty.
    """
    if not path.is_file():
        raise BadMediaError("the file is missing")
    if path.stat().st_size == 0:
        raise BadMediaError("the file is empty")
    return path
