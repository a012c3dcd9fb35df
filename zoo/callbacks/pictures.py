"""A picture of what the model recommends, for a look at every validation."""

from typing import NamedTuple, Protocol, cast

import numpy as np
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_warn
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from zoo.types import EvalBatch, LabelBatch

TILE, GAP, TEXT = 72, 6, 14
PAPER, INK, MISSING, TARGET, HIT = "white", "black", "#d8d8d8", "#e0a000", "#209040"


class _Shows(Protocol):
    def cover(self, row: int) -> Image.Image | None: ...
    def raw_title(self, row: int) -> str: ...


class _Recommends(Protocol):
    def recommend_rows(self, batch: EvalBatch, k: int) -> Tensor: ...


class StripRow(NamedTuple):
    """One user: catalogue rows, oldest first and best first."""

    history: list[int]
    target: int
    recommended: list[int]


def draw_strip(rows: list[StripRow], data: _Shows, n_history: int) -> Image.Image:
    """Covers with titles under them: histories, the true next items framed, recommendations, hits framed.

    Args:
        rows: Users, one below the other.
        data: Gives covers and titles.
        n_history: Places for the history; shorter ones stand at the right.
    """
    columns = n_history + 1 + max(len(row.recommended) for row in rows)
    width = columns * (TILE + GAP) + 5 * GAP  # the target stands apart from both sides
    strip = Image.new("RGB", (width, len(rows) * (TILE + TEXT + 2 * GAP) + GAP), PAPER)
    draw = ImageDraw.Draw(strip)
    for line, row in enumerate(rows):
        top = GAP + line * (TILE + TEXT + 2 * GAP)
        history = row.history[-n_history:]
        first = n_history - len(history)
        tiles: list[tuple[int, int, int, str | None]] = []  # column, extra gaps before it, item, frame
        tiles += [(first + place, 0, item, None) for place, item in enumerate(history)]
        tiles += [(n_history, 2, row.target, TARGET)]
        tiles += [
            (n_history + 1 + place, 4, item, HIT if item == row.target else None)
            for place, item in enumerate(row.recommended)
        ]
        for column, gaps, item, frame in tiles:
            _tile(strip, draw, data, item, (GAP + column * (TILE + GAP) + gaps * GAP, top), frame)
    return strip


def _tile(
    strip: Image.Image,
    draw: ImageDraw.ImageDraw,
    data: _Shows,
    item: int,
    corner: tuple[int, int],
    frame: str | None,
) -> None:
    left, top = corner
    box = (left, top, left + TILE - 1, top + TILE - 1)
    cover = data.cover(item) if item else None
    if cover is None:
        draw.rectangle(box, fill=MISSING)
    else:
        strip.paste(cover.convert("RGB").resize((TILE, TILE)), corner)
    if frame is not None:
        draw.rectangle((left - 3, top - 3, left + TILE + 2, top + TILE + 2), outline=frame, width=3)
    font = ImageFont.load_default(10)
    title = " ".join(data.raw_title(item).split()) if item else ""
    while title and draw.textlength(title, font=font) > TILE:
        title = title[:-1]
    draw.text((left, top + TILE + 4), title, fill=INK, font=font)


class RecommendationStrip(Callback):
    """Logs a strip of the first validation users to TensorBoard after each validation.

    Without a TensorBoard logger, or for data without pictures, it says so once and does nothing. Users who
    come with several targets, and no order of their items, have no strip.

    Args:
        users: Users shown; always the same ones.
        n_history: Most recent items shown of each.
        k: Recommendations shown of each.
    """

    def __init__(self, users: int = 6, n_history: int = 8, k: int = 8) -> None:
        self.users = users
        self.n_history = n_history
        self.k = k
        self._told = False

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: object,
        batch: object,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Draws with the first batch, while the catalogue's vectors are at hand."""
        if batch_idx or dataloader_idx or trainer.sanity_checking or not trainer.is_global_zero:
            return
        if isinstance(batch, LabelBatch):
            return
        loggers = [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]
        data = getattr(trainer, "datamodule", None)
        reason = self._obstacle(loggers, data, pl_module, batch)
        if reason is not None:
            if not self._told:
                rank_zero_warn(f"RecommendationStrip draws nothing: {reason}")
                self._told = True
            return
        shows = cast(_Shows, data)
        rows = self._rows(cast(_Recommends, pl_module), cast(EvalBatch, batch))
        pixels_HWC = np.asarray(draw_strip(rows, shows, self.n_history))
        for logger in loggers:
            logger.experiment.add_image("val/strip", pixels_HWC, trainer.global_step, dataformats="HWC")

    def _obstacle(
        self, loggers: list[TensorBoardLogger], data: object, model: object, batch: object
    ) -> str | None:
        if not loggers:
            return "there is no TensorBoard logger among the trainer's loggers."
        if not isinstance(batch, EvalBatch):
            return f"it needs an EvalBatch, and validation gives a {type(batch).__name__}."
        if not hasattr(model, "recommend_rows"):
            return f"{type(model).__name__} has no recommend_rows()."
        if not hasattr(data, "cover") or not hasattr(data, "raw_title"):
            return f"{type(data).__name__} shows no covers: it has no cover() and raw_title()."
        shown = [int(row) for row in batch.target_B[: self.users]]
        if all(data.cover(row) is None for row in shown):
            return "none of the items looked at has a cover."
        return None

    def _rows(self, model: _Recommends, batch: EvalBatch) -> list[StripRow]:
        shown = EvalBatch(*(field[: self.users] for field in batch))
        ids_BK = model.recommend_rows(shown, self.k)
        return [
            StripRow([item for item in history if item], target, recommended)
            for history, target, recommended in zip(
                shown.history_BL.tolist(), shown.target_B.tolist(), ids_BK.tolist(), strict=True
            )
        ]
