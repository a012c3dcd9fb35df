"""What the demo catalogue's items look, sound and move like: covers, sound clips and short videos.

A cover shows one shape in one colour before a background texture; a clip has one of four kinds of sound; a
video shows a grey ball with one of four kinds of motion. Place, size, tone, pitch and phase vary freely and
mean nothing. Everything is drawn at random from the generator it is given and returned as a file's bytes.
"""

import io
import math
import wave
from random import Random

import numpy as np
from PIL import Image, ImageDraw

SIDE = 96
"""Side of a cover in pixels."""
OVERSAMPLED = 2 * SIDE
COLOURS = ((214, 52, 62), (242, 178, 38), (58, 158, 84), (46, 108, 214), (150, 76, 190), (44, 46, 58))
"""Red, amber, green, blue, violet, ink."""
RATE = 8_000
"""Samples of a sound clip per second."""
SECONDS = 0.5
FRAMES = 8
FRAME_SIDE = 32

Colour = tuple[int, int, int]
Points = list[tuple[float, float]]


def cover(colour: int, shape: int, texture: int, rng: Random) -> bytes:
    """A JPEG cover.

    Args:
        colour: Index into ``COLOURS``.
        shape: 0 disc, 1 square, 2 triangle, 3 star.
        texture: Background of 0 stripes, 1 dots.
        rng: Draws what means nothing.
    """
    paper = _jitter((236, 228, 214), 14, rng)
    image = Image.new("RGB", (OVERSAMPLED, OVERSAMPLED), paper)
    draw = ImageDraw.Draw(image)
    print_colour: Colour = (paper[0] - 46, paper[1] - 46, paper[2] - 42)
    (_stripes if texture == 0 else _dots)(draw, print_colour, rng)
    ink = _jitter(COLOURS[colour], 16, rng)
    x, y = (OVERSAMPLED * rng.uniform(0.42, 0.58) for _ in range(2))
    radius = OVERSAMPLED * rng.uniform(0.25, 0.34)
    turn = rng.uniform(-0.2, 0.2)
    shadow: Colour = (paper[0] - 90, paper[1] - 90, paper[2] - 84)
    _shape(draw, shape, x + 5, y + 7, radius, turn, shadow)
    _shape(draw, shape, x, y, radius, turn, ink)
    return _encoded(image.reduce(2), "JPEG", quality=88)


def _jitter(colour: Colour, by: int, rng: Random) -> Colour:
    red, green, blue = (min(255, max(0, value + rng.randint(-by, by))) for value in colour)
    return red, green, blue


def _stripes(draw: ImageDraw.ImageDraw, colour: Colour, rng: Random) -> None:
    """Diagonal stripes of a random width and phase."""
    gap = rng.randint(26, 34)
    for start in range(-OVERSAMPLED - rng.randrange(gap), OVERSAMPLED, gap):
        draw.line([(start, OVERSAMPLED), (start + OVERSAMPLED, 0)], fill=colour, width=gap // 3)


def _dots(draw: ImageDraw.ImageDraw, colour: Colour, rng: Random) -> None:
    """A grid of dots of a random pitch and phase, every other row shifted."""
    gap = rng.randint(26, 34)
    radius, left, top = gap * 0.27, rng.randrange(gap), rng.randrange(gap)
    for row, y in enumerate(range(top - gap, OVERSAMPLED + gap, gap)):
        for x in range(left - gap - (row % 2) * gap // 2, OVERSAMPLED + gap, gap):
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)


def _shape(
    draw: ImageDraw.ImageDraw, shape: int, x: float, y: float, radius: float, turn: float, colour: Colour
) -> None:
    if shape == 0:
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
    elif shape == 1:
        draw.polygon(_corners(x, y, [radius * 1.2], 4, turn + math.pi / 4), fill=colour)
    elif shape == 2:
        draw.polygon(_corners(x, y + radius * 0.2, [radius * 1.3], 3, turn), fill=colour)
    else:
        draw.polygon(_corners(x, y, [radius * 1.25, radius * 0.52], 10, turn), fill=colour)


def _corners(x: float, y: float, radii: list[float], n: int, turn: float) -> Points:
    """Corners at equal angles, the first at the top, with the radii in turn."""
    angles = [turn + 2 * math.pi * corner / n for corner in range(n)]
    return [
        (x + radii[k % len(radii)] * math.sin(angle), y - radii[k % len(radii)] * math.cos(angle))
        for k, angle in enumerate(angles)
    ]


def clip(sound: int, rng: Random) -> bytes:
    """A mono 16-bit WAV clip.

    Args:
        sound: 0 hum, 1 bell, 2 pulses, 3 rising tone.
        rng: Draws what means nothing.
    """
    time = np.arange(int(RATE * SECONDS)) / RATE
    pitch, phase = rng.uniform(0.9, 1.1), rng.uniform(0.0, 2 * math.pi)
    if sound == 0:
        tone = np.sin(2 * np.pi * 140 * pitch * time + phase) + 0.5 * np.sin(2 * np.pi * 280 * pitch * time)
    elif sound == 1:
        tone = 1.5 * np.exp(-7 * time) * np.sin(2 * np.pi * 1500 * pitch * time + phase)
    elif sound == 2:
        on = np.sin(2 * np.pi * 9 * pitch * time + phase) > 0
        tone = np.where(on, np.sin(2 * np.pi * 500 * pitch * time), 0.0)
    else:
        tone = np.sin(2 * np.pi * pitch * (250 * time + 900 * time**2) + phase)
    hiss = np.random.default_rng(rng.getrandbits(64)).normal(0.0, 0.03, len(time))
    samples = np.clip(0.4 * tone + hiss, -1.0, 1.0) * 32_000
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(RATE)
        out.writeframes(samples.astype("<i2").tobytes())
    return buffer.getvalue()


def video(motion: int, rng: Random) -> bytes:
    """An animated GIF of a grey ball, one turn of its motion.

    Args:
        motion: 0 from side to side, 1 up and down, 2 round in a circle, 3 growing and shrinking.
        rng: Draws what means nothing.
    """
    phase, sense = rng.random(), rng.choice((-1, 1))
    size, grey = rng.uniform(3.5, 5.5), rng.randint(30, 90)
    frames = []
    for frame in range(FRAMES):
        angle = 2 * math.pi * (phase + sense * frame / FRAMES)
        x = y = FRAME_SIDE / 2
        radius = size
        if motion in (0, 2):
            x += 9 * math.cos(angle)
        if motion in (1, 2):
            y += 9 * math.sin(angle)
        if motion == 3:
            radius += 3.5 + 5 * math.sin(angle)
        # The paper alternates by one grey level: the writer would merge equal neighbours into one frame.
        image = Image.new("L", (FRAME_SIDE, FRAME_SIDE), 225 + frame % 2)
        ImageDraw.Draw(image).ellipse((x - radius, y - radius, x + radius, y + radius), fill=grey)
        frames.append(image)
    return _encoded(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=80, loop=0)


def _encoded(image: Image.Image, file_format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()
