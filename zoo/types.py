"""The contract between data and models: batches, the catalogue's sizes, and how content is prepared.

This file imports nothing of the project. Tensor names end in their dimensions; this is the one legend:

========  ==========================================  ========  =========================================
letter    is                                          letter    is
========  ==========================================  ========  =========================================
B         users in the batch                          D         width (of the model, or of an encoder)
L         history length                              T         tokens, patches or frames
S         slots = L + 1 (history and last target)     K         kept layer states; 0 = embedding output
N         distinct items in the batch, row 0 padding  M         modalities
I         catalogue rows, row 0 is the padding item   U         users
C         candidates scored                           H         hidden (seen) items of a user, 0-padded
P         real positions: those with a next item;     A         sensitive attributes
          in a ``LabelBatch`` a user's targets        E         edges of a graph
========  ==========================================  ========  =========================================

Item ids are 1..I-1 and 0 is padding; sequences are left-padded, everywhere.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol, Self, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Negatives = Literal["none", "positions", "slots"]
"""Sampled items of a training history: none, one for each position, or one for each of its slots."""

Content = dict[str, Tensor]
"""One modality of N items: named tensors whose first dimension is N.

Every content carries ``present`` (N,) bool: false where the raw item was missing or unreadable. Text adds
``tokens`` (N, T) int32, -1 after the last token; images add ``pixels`` (N, 3, height, width) uint8; clips add
``frames`` (N, T, 3, height, width) uint8; vectors that come with the data add ``vector`` (N, D) float32;
sounds add what their tower reads: ``features`` in half precision
or ``samples`` int16, and where it tells padding from sound ``length`` int32.
"""

VECTOR = "vector"
"""The field of vectors that come with the data in the place of raw content."""


class Sound(NamedTuple):
    """A sound before it is prepared: mono, at the rate of its file."""

    samples_T: npt.NDArray[np.float32]
    """Samples between -1 and 1."""
    rate: int
    """Samples per second."""


class CatalogSpec(NamedTuple):
    """Sizes a model needs to make its data-sized parameters. Plain values: it is stored in checkpoints."""

    n_items: int
    """Catalogue rows I, the padding row 0 included."""
    n_users: int
    """User rows U, the padding row 0 included."""
    state_shapes: dict[str, list[int]]
    """Cached modality -> [K, D]."""
    n_classes: dict[str, int]
    """Sensitive attribute -> classes; mostly empty."""
    max_len: int = 20
    """History length L the data was cut to."""
    fingerprint: str = ""
    """Identifies the catalogue: which item has which row. A checkpoint of another one is refused.

    Where users have rows of their own and pairs make a graph, it covers which user has which row, and the
    pairs.
    """
    n_edges: int = 0
    """Distinct user-item pairs to train on; 0 where histories are."""
    feature_widths: dict[str, int] = {}  # noqa: RUF012  # a named tuple's defaults are never changed
    """Modality -> width of the feature vectors that come with the data."""
    protocol: str = ""
    """What is evaluated how, in one line; a checkpoint that is tested otherwise says so."""


class SequenceBatch(NamedTuple):
    """A batch of training histories, the content of their distinct items, and where the labels are."""

    user_B: Tensor
    """User rows."""
    items_BS: Tensor
    """Catalogue ids, left-padded with 0."""
    negatives_BL: Tensor | None
    """One sampled negative per position (0 where padded), for BCE and its kin.

    (B, S) when the model asked for negatives of ``slots``: column s is then the negative of slot s.
    """
    unique_N: Tensor
    """Sorted distinct ids of the two above; always starts with 0, the padding item."""
    slots_BS: Tensor
    """``unique_N[slots_BS] == items_BS``."""
    negative_slots_BL: Tensor | None
    """``unique_N[negative_slots_BL] == negatives_BL``; (B, S) when that is."""
    content: dict[str, Content]
    """Modality -> content of the N items; row 0 belongs to padding and is never encoded."""
    log_pop_BS: Tensor
    """Log share of the training interactions; 0 for padding."""
    positions_P: Tensor
    """Flat indices into (B, L) of the positions that hold an item and have a next one, in order.

    Made on the host, so that no step asks the device how many there are.
    """
    groups: "LengthGroups | None" = None
    """Its users by the length of their inputs; None where that was not looked at."""


ALIKE = 2 / 3
"""Least length in a group, in shares of its longest: so groups are few, and little of them is padding."""


class LengthGroups(NamedTuple):
    """The users of a batch in groups of about equally long histories, not padded to the longest of all.

    A group's histories are padded to its longest; their slots, group after group, are what is counted here.
    """

    sizes: tuple[tuple[int, int], ...]
    """Users and slots a user of every group. Plain numbers, so that no step asks the device for them."""
    newest_B: Tensor
    """Which of all slots holds the newest input of each user of the batch."""

    @classmethod
    def of(cls, length_B: npt.NDArray[np.integer]) -> Self:
        """Groups users whose histories are about equally long, shorter ones first.

        Args:
            length_B: How long they are.

        >>> LengthGroups.of(np.array([6, 1, 10, 6]))
        LengthGroups(sizes=((1, 1), (2, 6), (1, 10)), newest_B=tensor([ 6,  0, 22, 12]))
        """
        order_B = np.argsort(length_B, kind="stable")
        rising_B = length_B[order_B]
        sizes = []
        stop = len(rising_B)
        while stop:
            longest = int(rising_B[stop - 1])
            start = int(np.searchsorted(rising_B[:stop], ALIKE * longest, side="left"))
            sizes.append((stop - start, longest))
            stop = start
        sizes.reverse()
        slots_B = np.repeat([slots for _, slots in sizes], [users for users, _ in sizes])
        newest_B = np.empty_like(order_B)
        newest_B[order_B] = np.cumsum(slots_B) - 1
        return cls(tuple(sizes), torch.from_numpy(newest_B))


class PairBatch(NamedTuple):
    """A batch of user-item training pairs with one negative each."""

    user_B: Tensor
    item_B: Tensor
    negative_B: Tensor
    attributes_BA: Tensor | None
    unique_N: Tensor
    """Sorted distinct ids of the two above; always starts with 0."""
    item_slots_B: Tensor
    negative_slots_B: Tensor
    content: dict[str, Content]


class EvalBatch(NamedTuple):
    """One row a user: history, target, and the items that may not be recommended."""

    user_B: Tensor
    history_BL: Tensor
    target_B: Tensor
    """The held-out item; 0 where there is none (prediction)."""
    hidden_BH: Tensor


class InteractionBatch(NamedTuple):
    """A batch of user-item training pairs with one negative each, for models of the interaction graph."""

    user_B: Tensor
    """User rows, from 1."""
    item_B: Tensor
    """Catalogue ids, from 1."""
    negative_B: Tensor
    """Catalogue ids of items the user has no training pair with."""
    attributes_BA: Tensor | None = None
    """Classes of the attributes the model asked for, in its order; -1 where unknown."""
    pass_: int = 0
    """Which pass of the epoch over the pairs this is, from 0; see ``ModelNeeds.passes``."""


class LabelBatch(NamedTuple):
    """One row a user: the held-out items, of which there may be several, and what may not be recommended."""

    user_B: Tensor
    target_BP: Tensor
    """Distinct held-out items, 0-padded; P may be 0 (prediction)."""
    hidden_BH: Tensor
    """Items that may not be recommended, 0-padded."""


@runtime_checkable
class ContentTransform(Protocol):
    """How an encoder wants the raw content of its modality prepared; runs once an item, before training.

    A transform is picklable and cheap to make: no network weights are loaded for it.
    """

    key: str
    """Names everything that changes the output; prepared arrays are kept under it."""
    fields: dict[str, tuple[tuple[int, ...], str]]
    """Field -> (shape of one item, numpy dtype), without ``present``."""
    fill: dict[str, int]
    """Field -> value of rows whose item is missing, and of the padding row."""

    def __call__(self, raw: Sequence[Any]) -> dict[str, npt.NDArray[Any]]:
        """Prepares n raw values: strings, RGB ``PIL.Image``, ``Sound``, or a list of RGB pictures for a clip.

        Returns:
            Field -> array (n, *shape).
        """
        ...


class SoundTransform(ContentTransform, Protocol):
    """A transform of sounds."""

    seconds: float
    """What is read of a sound, from its beginning; the rest need not be decoded."""


class ClipTransform(ContentTransform, Protocol):
    """A transform of video clips."""

    def frames(self, n_frames: int) -> Sequence[int]:
        """Which frames of a clip of ``n_frames`` are wanted, in order; a short clip's may repeat."""
        ...


class ModelNeeds(NamedTuple):
    """What a model asks of the data: which modalities, how prepared, in which kind of batch."""

    transforms: Mapping[str, ContentTransform]
    """Modality -> transform."""
    batch: Literal["sequence", "pair", "interaction"] = "sequence"
    negatives: Negatives = "none"
    """Which negatives a sequence batch carries; a pair always has one."""
    cached: frozenset[str] = frozenset()
    """Modalities encoded once for the whole catalogue: prepared, but not sent with the batches."""
    features: frozenset[str] = frozenset()
    """Modalities whose feature vectors, as they come with the data, are read."""
    attributes: tuple[str, ...] = ()
    """User attributes wanted in interaction batches."""
    passes: int = 1
    """Times an epoch goes over the interactions, each in an order and with negatives of its own."""


class ItemSource(Protocol):
    """The catalogue as a model sees it; implemented by the data modules."""

    n_items: int
    counts_I: npt.NDArray[np.int64]
    """Training interactions of every item; 0 for padding and for items never seen in training."""

    def content(self, ids_N: npt.NDArray[np.int64], modalities: Sequence[str]) -> dict[str, Content]:
        """Content of the given catalogue rows, as host tensors."""
        ...

    def feature_folder(self, modality: str, key: str) -> str | None:
        """Where features made from a modality's content may be kept; None for a catalogue without a disk.

        Args:
            modality: Whose prepared content they are made from.
            key: Of what makes them; together with the content it names the folder.
        """
        ...


@runtime_checkable
class KnowsMissing(Protocol):
    """A catalogue that can say which items lack what."""

    def present(self) -> Mapping[str, npt.NDArray[np.bool_]]:
        """Modality that was prepared -> whether each catalogue row has it (I,); row 0 does not."""
        ...


@runtime_checkable
class InteractionSource(ItemSource, Protocol):
    """The catalogue, its users and the training pairs between them, as a model of the graph sees them."""

    n_users: int
    user_E: npt.NDArray[np.int64]
    """User rows of the distinct training pairs, from 1, sorted by user, then item."""
    item_E: npt.NDArray[np.int64]
    """Catalogue ids of the same pairs, from 1."""
    attributes: Mapping[str, npt.NDArray[np.int64]]
    """User attribute -> class of every user row (U,); -1 where unknown, as in row 0."""
    noise_E: npt.NDArray[np.bool_] | None
    """Which pairs were planted as noise, where the data knows."""

    def features(self, modality: str) -> npt.NDArray[np.float32]:
        """Feature vectors of a modality (I, D); row 0 is zero."""
        ...
