"""Torch data sets of user-item pairs in a split by labels, and the catalogue that goes with them."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset

from datamodules.errors import EmptyDataError
from datamodules.features import BadRows, FeatureFile
from datamodules.mmrec_files import Ids, Pairs
from datamodules.negatives import PairNegatives
from datamodules.sampler import EpochRows
from zoo.types import Content, InteractionBatch, LabelBatch


class InteractionStore:
    """The catalogue, its users and the training pairs; an ``InteractionSource`` of ``zoo.types``.

    Args:
        n_items: Catalogue rows I.
        n_users: User rows U.
        train: The training pairs.
        attributes: User attribute -> class of every user row.
        noise_E: Which pairs were planted as noise, where a truth file tells; models have no business with it.
        files: Modality -> feature file.
        bad_features: What becomes of feature rows that are not finite.
    """

    def __init__(
        self,
        n_items: int,
        n_users: int,
        train: Pairs,
        attributes: Mapping[str, Ids],
        noise_E: npt.NDArray[np.bool_] | None,
        files: Mapping[str, FeatureFile],
        bad_features: BadRows = "refuse",
    ) -> None:
        self.n_items = n_items
        self.n_users = n_users
        self.user_E, self.item_E = train
        self.attributes = dict(attributes)
        self.noise_E = noise_E
        self.files = dict(files)
        self.bad_features: BadRows = bad_features
        self.counts_I = np.bincount(self.item_E, minlength=n_items).astype(np.int64)

    def features(self, modality: str) -> npt.NDArray[np.float32]:
        """Feature vectors (I, D), row 0 zero; read anew at every call.

        Raises:
            KeyError: If there are none of this modality.
        """
        if modality not in self.files:
            raise KeyError(
                f"Expected features of {modality!r}, found only those of {sorted(self.files)}. Name it in "
                "the model's needs(), so that its absence is seen before training."
            )
        return self.files[modality].read(self.bad_features)

    def present(self) -> dict[str, npt.NDArray[np.bool_]]:
        """Modality -> which rows have features that are numbers and not all zero."""
        return {modality: file.present() for modality, file in self.files.items()}

    def content(self, ids_N: Ids, modalities: Sequence[str]) -> dict[str, Content]:
        """Nothing: the layout holds features, no titles and pictures.

        Raises:
            KeyError: If any content is asked for.
        """
        if modalities:
            raise KeyError(
                f"Expected no content to be asked for, found {', '.join(modalities)}: this data set comes as "
                "feature matrices. Use features(), or a data set with raw content."
            )
        return {}

    def feature_folder(self, modality: str, key: str) -> None:
        """None: there is no content to make features from."""
        return None


class InteractionRows(NamedTuple):
    """Training pairs on the host."""

    user_B: Ids
    item_B: Ids
    negative_B: Ids
    attributes_BA: Ids | None
    pass_: int


class TrainInteractions(Dataset[InteractionRows]):
    """One row a training pair, with a fresh negative in every pass of every epoch.

    Users who have a pair with every trained item have no negative: their pairs are no rows.

    Args:
        pairs: Training pairs.
        n_users: User rows U.
        seed: Decides the negatives, with epoch, pass and row.
        attributes_UA: Classes of the attributes that go with the batches.

    Raises:
        EmptyDataError: If no user has a negative.
    """

    def __init__(self, pairs: Pairs, n_users: int, seed: int = 0, attributes_UA: Ids | None = None) -> None:
        self.pairs = pairs
        self.seed = seed
        self.attributes_UA = attributes_UA
        self.negatives = PairNegatives.of(pairs.user_E, pairs.item_E, n_users)
        self.rows_R = np.flatnonzero(self.negatives.outside(pairs.user_E) > 0)
        if not len(self.rows_R):
            raise EmptyDataError(
                f"Expected a user who lacks one of the {len(self.negatives.candidates):,} trained items, "
                "found none: nothing can be told apart from what users have. Check the interaction file."
            )

    def __len__(self) -> int:
        """Pairs that train."""
        return len(self.rows_R)

    def __getitem__(self, row: int) -> InteractionRows:
        """A batch of one pair, as epoch 0 shows it."""
        return self.__getitems__(EpochRows(0, np.array([row])))

    def __getitems__(self, asked: EpochRows) -> InteractionRows:
        """A batch of pairs."""
        rows_B = self.rows_R[np.asarray(asked.rows_B, dtype=np.int64)]
        user_B = self.pairs.user_E[rows_B]
        return InteractionRows(
            user_B,
            self.pairs.item_E[rows_B],
            self.negatives.draw(self.seed, asked.epoch, asked.pass_, rows_B, user_B),
            None if self.attributes_UA is None else self.attributes_UA[user_B],
            asked.pass_,
        )


class Lists(NamedTuple):
    """Everybody's items as compressed rows; row 0 stands for no user and is empty."""

    offsets: Ids
    """User row u has ``items[offsets[u]:offsets[u + 1]]``, rising; U + 1 numbers."""
    items: Ids

    @classmethod
    def of(cls, n_users: int, n_items: int, *parts: Pairs) -> "Lists":
        """From sets of pairs: a pair in several of them counts once."""
        keys = [pairs.key(n_items) for pairs in parts]
        user_E, item_E = Pairs.of(np.unique(np.concatenate(keys)) if keys else np.zeros(0, np.int64), n_items)
        return cls(np.searchsorted(user_E, np.arange(n_users + 1)), item_E)

    def padded(self, user_B: Ids) -> Ids:
        """Items of each user, 0-padded on the right to the longest of them."""
        start_B1 = self.offsets[user_B][:, None]
        length_B1 = self.offsets[user_B + 1][:, None] - start_B1
        place_W = np.arange(int(length_B1.max(initial=0)))
        items_BW = np.zeros((len(user_B), len(place_W)), dtype=np.int64)
        real_BW = place_W < length_B1
        items_BW[real_BW] = self.items[(start_B1 + place_W)[real_BW]]
        return items_BW


class LabelRows(NamedTuple):
    """Evaluation rows on the host."""

    user_B: Ids
    target_BP: Ids
    hidden_BH: Ids


class EvalLabels(Dataset[LabelRows]):
    """One row a user: the held-out items, and those that may not be recommended.

    Args:
        users_R: Users evaluated, rising.
        targets: What was held out.
        hidden: What is hidden.
    """

    def __init__(self, users_R: Ids, targets: Lists, hidden: Lists) -> None:
        self.users_R = users_R
        self.targets = targets
        self.hidden = hidden

    def __len__(self) -> int:
        """Users evaluated."""
        return len(self.users_R)

    def __getitem__(self, row: int) -> LabelRows:
        """A batch of one user."""
        return self.__getitems__([row])

    def __getitems__(self, rows: Sequence[int]) -> LabelRows:
        """A batch of users."""
        user_B = self.users_R[np.asarray(rows, dtype=np.int64)]
        return LabelRows(user_B, self.targets.padded(user_B), self.hidden.padded(user_B))


def interaction_collate(rows: InteractionRows) -> InteractionBatch:
    """Makes an ``InteractionBatch``."""
    attributes_BA = None if rows.attributes_BA is None else torch.from_numpy(rows.attributes_BA)
    user_B, item_B, negative_B = (
        torch.from_numpy(part) for part in (rows.user_B, rows.item_B, rows.negative_B)
    )
    return InteractionBatch(user_B, item_B, negative_B, attributes_BA, rows.pass_)


def label_collate(rows: LabelRows) -> LabelBatch:
    """Makes a ``LabelBatch``."""
    return LabelBatch(*map(torch.from_numpy, rows))
