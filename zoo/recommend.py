"""Recommending to anybody: from histories given by hand, with items that were in no training.

The catalogue is encoded once and kept between calls, until weights, catalogue or new items change.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import chain
from typing import ClassVar, NamedTuple, Protocol, Self, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from zoo.checkpoints import CheckpointMismatchError, require_same_catalogue, require_same_length
from zoo.histories import Histories, Ids, batch_of, check_rows, named, to_histories, to_rows
from zoo.lifecycle import Lifecycle
from zoo.metrics.ranking import top_k
from zoo.types import CatalogSpec, EvalBatch, ItemSource


class NamedCatalogue(Protocol):
    """A data module after its setup."""

    spec: CatalogSpec

    @property
    def items(self) -> ItemSource:
        """The catalogue's content."""
        ...

    @property
    def item_names(self) -> Sequence[str]:
        """Row -> item; row 0 is the empty name of padding."""
        ...

    @property
    def user_names(self) -> Sequence[str]:
        """Row -> user; row 0 is the empty name of nobody."""
        ...


@runtime_checkable
class NamesItems(Protocol):
    """Items that say what they are called; row 0 is the empty name of padding."""

    item_names: Sequence[str]


class Recommendations(NamedTuple):
    """The best k items of every history, best first."""

    item_BK: Tensor
    """Catalogue rows; new items follow the catalogue's last row. 0 where no candidate was left."""
    score_BK: Tensor
    """Inner products; -inf where no candidate was left."""
    names: list[list[str]] | None
    """What the items are called, where the data says it; shorter where no candidate was left."""


class Kept(NamedTuple):
    """Vectors that stay between calls."""

    weights: tuple[object, ...]
    """The state of the weights that made them."""
    sources: tuple[ItemSource | None, ItemSource | None]
    """The catalogue, and the new items."""
    table_ID: Tensor
    """Items, the new ones last."""
    users_UD: Tensor | None
    """Users, where they are a table."""


class Recommending(Lifecycle, ABC):
    """What a model does for users outside of an evaluation."""

    reads_history: ClassVar[bool] = True
    """Whether users are what they have; otherwise they are rows of a table."""
    reads_users: ClassVar[bool] = False
    """Whether it has to be told who the users are."""
    table_ID: Tensor | None
    _kept: Kept | None = None

    def train(self, mode: bool = True) -> Self:
        """Sets the mode; what is to be trained lets the kept vectors go."""
        if mode:
            self._kept = None
        return super().train(mode)

    @abstractmethod
    def _start_evaluation(self, slices: tuple[str, ...]) -> None: ...

    @abstractmethod
    def _users(self, batch: EvalBatch, table_ID: Tensor) -> Tensor: ...

    def encode_catalogue(self) -> tuple[Tensor, Tensor | None]:
        """Vectors of all items, and of all users where they are a table; as an evaluation takes them."""
        self._start_evaluation(())
        table_ID, self.table_ID = self.table_ID, None
        assert table_ID is not None
        return table_ID, None

    def users_of(self, batch: EvalBatch, kept: Kept) -> Tensor:
        """Vectors (B, D) of the users of a batch."""
        return self._users(batch, kept.table_ID)

    def known_of(self, user_R: Ids) -> Histories | None:
        """What users are known to have without being told; None for a model of histories."""
        return None

    @property
    def takes_new_items(self) -> bool:
        """Whether content is all it needs to know of an item."""
        return False

    def check_new_items(self) -> None:
        """Looks whether new items can be recommended.

        Raises:
            ValueError: They cannot.
        """
        if not self.takes_new_items:
            raise ValueError(
                f"{type(self).__name__} cannot recommend new items: it does not encode items from their "
                "content alone, but has learnt something of each one. Take a model of content, such as morec."
            )

    def new_item_table(self, items: ItemSource) -> Tensor:
        """Vectors (N, D) of items of no catalogue, without a padding row; if ``takes_new_items``."""
        raise NotImplementedError

    @torch.no_grad()
    def recommend(
        self,
        histories: Sequence[Sequence[int | str]] | Histories | None = None,
        k: int = 10,
        *,
        users: Sequence[int | str] | None = None,
        data: NamedCatalogue | None = None,
        items: ItemSource | None = None,
        hide_history: bool = True,
        other_catalogue: bool = False,
        batch_size: int = 512,
    ) -> Recommendations:
        """The best k items for each of some histories.

        Args:
            histories: What every user has, oldest first: catalogue rows, or names if there is ``data``. Rows
                behind the catalogue's last one are new items.
            k: Items a history.
            users: Who they are, for models that have a vector for every user.
            data: A data module after its setup: the catalogue, and what items and users are called. It may be
                left out for a model that was trained or given its catalogue just now.
            items: New items, of any number, to recommend too and to be in histories. Only for models of
                content.
            hide_history: Recommend nothing that the user has.
            other_catalogue: The data is another catalogue than that of training, on purpose. Only for models
                of content.
            batch_size: Users scored at a time.

        Many calls with few histories are fastest in evaluation mode (``model.eval()``).

        Raises:
            ValueError: Something is missing or unknown, or the model cannot do this; the message says what.
            CheckpointMismatchError: The data is not what the model was trained on.
        """
        if items is not None:
            self.check_new_items()
        self.bind_catalogue(data, other_catalogue)
        assert self.spec is not None
        n_rows = self.spec.n_items + (0 if items is None else items.n_items - 1)
        _check_numbers(k, batch_size, n_rows)
        names = all_names(data, items)
        lists = (
            histories
            if histories is None or isinstance(histories, Histories)
            else to_histories(histories, names)
        )
        user_R = self._asked(lists, users, data)
        if lists is not None:
            check_rows(lists.items, n_rows, "item")
        known = self.known_of(user_R) if hide_history else None
        was_training = self.training
        kept = None
        try:
            kept = self._keep(items)
            self.eval()
            item_BK, score_BK = self._best(kept, lists, known, user_R, k, hide_history, batch_size)
        finally:
            self.train(was_training)
            self._kept = kept
        return Recommendations(item_BK, score_BK, named(item_BK, names))

    def _best(
        self,
        kept: Kept,
        lists: Histories | None,
        known: Histories | None,
        user_R: Ids,
        k: int,
        hide_history: bool,
        batch_size: int,
    ) -> tuple[Tensor, Tensor]:
        """The best items of all users and their scores, some users at a time."""
        assert self.spec is not None
        found: list[tuple[Tensor, Tensor]] = []
        for start in range(0, len(user_R), batch_size):
            rows = slice(start, min(start + batch_size, len(user_R)))
            batch = batch_of(lists, known, user_R, rows, self.spec.max_len)
            batch = EvalBatch(*(field.to(self.device) for field in batch))
            hidden_BH = batch.hidden_BH if hide_history else batch.hidden_BH[:, :0]
            item_BK, score_BK = top_k(self.users_of(batch, kept), kept.table_ID, hidden_BH, k)
            found.append((item_BK.cpu(), score_BK.cpu()))
        item_BK, score_BK = (torch.cat(part) for part in zip(*found, strict=True))
        return item_BK, score_BK

    def bind_catalogue(self, data: NamedCatalogue | None, other_catalogue: bool = False) -> None:
        """Takes the catalogue of the data, if it is the right one.

        Args:
            data: A data module after its setup.
            other_catalogue: Another one than that of training is meant.

        Raises:
            RuntimeError: The model is not built yet.
            CheckpointMismatchError: The data is not what the model was trained on.
        """
        if self.spec is None:
            raise RuntimeError(
                f"This {type(self).__name__} is not trained: fit it, or take load_from_checkpoint(path)."
            )
        if data is not None and data.items is not self.items:
            require_catalogue(self, self.spec, data.spec, other_catalogue)
            self.attach(data.spec, data.items)

    def _keep(self, items: ItemSource | None) -> Kept:
        """The vectors of the last call if nothing has changed, else new ones."""
        weights = weight_state(self)
        kept, sources = self._kept, (self.items, items)
        same = kept is not None and all(a is b for a, b in zip(kept.sources, sources, strict=True))
        if kept is not None and same and kept.weights == weights:
            return kept
        new_ND = None if items is None else self.new_item_table(items)
        table_ID, users_UD = self.encode_catalogue()
        if new_ND is not None:
            table_ID = torch.cat([table_ID, new_ND])
        return Kept(weight_state(self), sources, table_ID, users_UD)  # towers may have moved

    def _asked(
        self, lists: Histories | None, users: Sequence[int | str] | None, data: NamedCatalogue | None
    ) -> Ids:
        """User rows, one a history, zeros where nobody needs them.

        Raises:
            ValueError: There are no histories or users where the model needs them.
        """
        name = type(self).__name__
        if self.reads_history and (lists is None or not lists.lengths.all()):
            which = "" if lists is None else f"; history {int((lists.lengths == 0).argmax())} is empty"
            raise ValueError(f"{name} recommends from what users have: give each at least one item{which}.")
        if self.reads_users and users is None:
            raise ValueError(
                f"{name} has a vector for every user and knows nobody else: say who they are by users= "
                "(rows, or names with data=). A model of histories, such as morec, recommends to anybody."
            )
        n = len(users or []) if lists is None else len(lists)
        if users is not None and len(users) != n:
            raise ValueError(f"Expected as many users as histories, found {len(users):,} and {n:,}.")
        if not n:
            raise ValueError("There is nobody to recommend to: give at least one history or user.")
        if users is None or not self.reads_users:
            return np.zeros(n, dtype=np.int64)
        user_R = to_rows(list(users), None if data is None else data.user_names, "user")
        assert self.spec is not None
        check_rows(user_R, self.spec.n_users, "user")
        return user_R


def weight_state(module: nn.Module) -> tuple[object, ...]:
    """Changes whenever a weight does.

    A write to a tensor counts its version up, but that of a fused optimiser does not: in training mode sums
    are compared too, which takes a pass over the weights.
    """
    tensors = list(chain(module.parameters(), module.buffers()))
    versions = tuple((t.data_ptr(), 0 if t.is_inference() else t._version) for t in tensors)
    if not module.training:
        return versions
    return (*versions, *torch.stack([t.double().sum().cpu() for t in tensors]).tolist())


def require_catalogue(model: Lifecycle, trained: CatalogSpec, found: CatalogSpec, other: bool) -> None:
    """Refuses data that a model cannot recommend from, or may only on purpose.

    Args:
        model: Bound to one catalogue or not.
        trained: Its catalogue.
        found: That of the data.
        other: Whether another catalogue is meant.

    Raises:
        CheckpointMismatchError: The data is of another catalogue or length.
    """
    require_same_length(trained, found)
    if model.catalogue_bound:
        require_same_catalogue(trained, found)
    elif trained.fingerprint != found.fingerprint and not other:
        raise CheckpointMismatchError(
            f"This {type(model).__name__} was trained on a catalogue of {trained.n_items - 1:,} items "
            f"(fingerprint {trained.fingerprint}); the data given now has {found.n_items - 1:,} (fingerprint "
            f"{found.fingerprint}). If that is meant, it can: it reads the items' content. Say so by "
            "other_catalogue (--other_catalogue true); otherwise give the data as it was trained on."
        )


def _check_numbers(k: int, batch_size: int, n_rows: int) -> None:
    if batch_size < 1 or not 1 <= k < n_rows:
        raise ValueError(
            f"Expected k from 1 to the {n_rows - 1:,} items there are, and a batch_size of at least 1; "
            f"found {k:,} and {batch_size:,}."
        )


def all_names(data: NamedCatalogue | None, items: ItemSource | None) -> list[str] | None:
    """Row -> name of the catalogue and the new items.

    Raises:
        ValueError: A new item is in the catalogue.
    """
    if data is None:
        return None
    names = list(data.item_names)
    if items is None:
        return names
    new = list(items.item_names)[1:] if isinstance(items, NamesItems) else []
    new += [f"new item {row + 1}" for row in range(len(new), items.n_items - 1)]
    if double := sorted(set(new) & set(names)):
        raise ValueError(
            f"{len(double):,} of the {len(new):,} new items are in the catalogue already: "
            f"{', '.join(double[:5])}{', ...' if len(double) > 5 else ''}. Leave them out, or rename them."
        )
    return names + new
