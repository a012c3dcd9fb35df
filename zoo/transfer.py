"""Moving parts of a trained model into another one: between platforms, and between models that share a part.

PMMRec (ICDE 2024, https://arxiv.org/abs/2312.09602) moves the whole model, its item encoders, its user
encoder or a single modality; NineRec (TPAMI 2024, https://arxiv.org/abs/2309.07705) the whole model.
Here every model names its components, and a component is moved whole or not at all: PMMRec's own code loads
whatever fits, and its ``user_encoder`` transfer moves nothing and says nothing.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn

from zoo.checkpoints import CheckpointMismatchError, Stamp, find_checkpoint, read_checkpoint, stamp_of
from zoo.names import near
from zoo.optim import covers
from zoo.transfer_report import Part, Side, TransferReport, different, in_words

Prefixes = tuple[str, ...]
FULL, ITEM, USER = "full", "item", "user"
OTHER = "other"
"""Row of the report for what lies outside every component."""
CATALOGUE = "belongs to the catalogue"
NO_SUCH_PART = "this model has no such part"


class Plan(NamedTuple):
    """What a model is told about its start, by the options of ``zoo.base.Recommender``."""

    init_from: str | None
    components: list[str]
    frozen: list[str]
    optimizer: bool

    @classmethod
    def of(
        cls, init_from: str | None, transfer: Sequence[str], freeze: Sequence[str] | None, optimizer: bool
    ) -> Self:
        """Takes names one by one, as lists or separated by commas.

        Raises:
            ValueError: The optimiser is to come along with only a part of the model, or from nowhere.

        >>> Plan.of("run", "text,user", None, False).components
        ['text', 'user']
        """
        plan = cls(init_from, _names(transfer), _names(freeze or ()), optimizer)
        if optimizer and (init_from is None or plan.components != [FULL]):
            raise ValueError(
                "--model.transfer_optimizer goes on with the optimiser of the checkpoint in "
                f"--model.init_from, which fits the whole model only; found init_from: {init_from}, "
                f"transfer: {', '.join(plan.components)}. Set --model.transfer full, or leave the optimiser."
            )
        return plan


class Source(NamedTuple):
    """A checkpoint that parts are taken from; its tensors are still on disk."""

    path: Path
    tensors: Mapping[str, Tensor]
    side: Side
    optimizers: Sequence[Mapping[str, Any]]

    @property
    def stamp(self) -> Stamp:
        """Class, catalogue, towers and components."""
        return self.side.stamp

    def names_of(self, component: str, prefixes: Prefixes) -> set[str]:
        """Tensors of a component, as the source or as the target has it."""
        return under(self.tensors, (*prefixes, *self.stamp.components.get(component, ())))

    def available(self, components: Mapping[str, Prefixes]) -> list[str]:
        """Components that the source has tensors of."""
        known = {**components, **self.stamp.components}
        return [name for name in known if self.names_of(name, components.get(name, ()))]

    def __str__(self) -> str:
        return f"{self.path} (a {self.stamp.class_path})"


class Target(NamedTuple):
    """A freshly built model, as a transfer sees it."""

    module: nn.Module
    components: Mapping[str, Prefixes]
    catalogue_rows: Prefixes
    """Parts with a row for each item or user of one catalogue."""
    side: Side


def read_source(init_from: str) -> Source:
    """Opens a checkpoint, or the best one of a run's folder; nothing in it is executed.

    Raises:
        FileNotFoundError: There is neither.
        CheckpointMismatchError: The file is no checkpoint of mmzoo.
    """
    path = Path(init_from).expanduser()
    if init_from in ("best", "last") and not path.exists():
        raise FileNotFoundError(
            f"--model.init_from {init_from}: expected the file of a checkpoint or the folder of the run that "
            "wrote it; 'best' and 'last' name checkpoints of the run at hand, which is only about to start."
        )
    if path.is_dir():
        path = find_checkpoint(path, "best", "--model.init_from")
    stored = read_checkpoint(path)
    side = Side(stamp_of(stored, f"--model.init_from {path}"), stored.get("hyper_parameters", {}))
    return Source(path, stored["state_dict"], side, stored.get("optimizer_states", ()))


def resolve(asked: Iterable[str], components: Mapping[str, Prefixes], option: str) -> list[str]:
    """Names of components in the model's order, groups replaced by what they stand for.

    ``full`` is everything, ``item`` everything but the user encoder.

    Raises:
        ValueError: An unknown name; the message lists the valid ones of this model.

    >>> resolve(["item"], {"text": (), "fusion": (), "user": ()}, "--model.transfer")
    ['text', 'fusion']
    """
    groups = {FULL: set(components)}
    if USER in components:
        groups[ITEM] = set(components) - {USER}
    chosen: set[str] = set()
    for name in asked:
        if name not in groups and name not in components:
            valid = [*groups, *components]
            close = near(name, valid)
            hint = f"Did you mean {' or '.join(close)}? " if close else ""
            raise ValueError(
                f"{option}: this model has no component '{name}'. {hint}Its components are "
                f"{', '.join(components)}; {' and '.join(groups)} stand for several."
            )
        chosen |= groups.get(name, {name})
    return [name for name in components if name in chosen]


def adoptable_towers(source: Source, own: Mapping[str, Any], chosen: Iterable[str]) -> dict[str, Any]:
    """Architectures that the source knows of towers that come whole from it, so that none is fetched first.

    Args:
        source: The checkpoint.
        own: The target's hyper-parameters.
        chosen: Components to be transferred.
    """
    adopted = {}
    for name in set(chosen) & set(source.stamp.towers):
        here, there = own.get(name), source.side.hparams.get(name)
        if isinstance(here, Mapping) and isinstance(there, Mapping) and here.get("config") is None:
            if here.get("name") == there.get("name"):
                adopted[name] = source.stamp.towers[name]
    return adopted


@torch.no_grad()
def transfer(target: Target, source: Source, asked: Sequence[str]) -> TransferReport:
    """Copies the chosen components, each whole or not at all.

    What belongs to rows of the catalogue is taken along only if source and target have the same one. With
    ``full``, tensors outside every component come along where they fit.

    Args:
        target: Its parameters are overwritten; nothing is if the transfer is refused.
        source: Where they come from.
        asked: Names of components or groups.

    Raises:
        CheckpointMismatchError: A component does not fit; names tensors, shapes and what to change.
    """
    chosen = resolve(asked, target.components, "--model.transfer")
    state = target.module.state_dict()
    same = source.stamp.spec.fingerprint == target.side.stamp.spec.fingerprint != ""
    rows = () if same else target.catalogue_rows
    _require_components(target, source, state, chosen, asked, rows)
    parts = []
    for name, prefixes in target.components.items():
        if name in chosen:
            parts.append(_component(target, source, name, state, rows))
        else:
            parts.append(
                _part(name, set(), dict.fromkeys(sorted(under(state, prefixes)), "not asked for"), state)
            )
    if FULL in asked:
        parts.append(_outside(target, source, state, rows))
        for name in set(source.available(target.components)) - set(target.components):
            parts.append(_part(name, set(), dict.fromkeys(source.names_of(name, ()), NO_SUCH_PART), state))
    parts = [part for part in parts if part.loaded or part.left]
    loaded = [name for part in parts for name in part.loaded]
    if not loaded:
        raise CheckpointMismatchError(
            f"Nothing can be taken from {source} by --model.transfer {', '.join(asked)}: what that names has "
            f"no tensors, or {CATALOGUE} the source was trained on, and this one is another."
        )
    for name in loaded:
        state[name].copy_(source.tensors[name])
    notes = [note for name in chosen for note in different(source.side, target.side, name)]
    return TransferReport(str(source.path), source.stamp.class_path, list(asked), parts, notes)


def _component(
    target: Target, source: Source, name: str, state: Mapping[str, Tensor], rows: Prefixes
) -> Part:
    """One component, all of it but rows of another catalogue."""
    prefixes = target.components[name]
    here, there = under(state, prefixes), source.names_of(name, prefixes)
    if not here:  # of a group, and gone with a modality that the target has not
        return _part(name, set(), dict.fromkeys(sorted(there), NO_SUCH_PART), state)
    bound = under(here, rows)
    wanted, found = here - bound, there - under(there, rows)
    wrong = [
        f"{t} is {_shape(source.tensors[t])} there and {_shape(state[t])} here"
        for t in sorted(wanted & found)
        if source.tensors[t].shape != state[t].shape
    ]
    wrong += [f"{t} {_shape(state[t])} is not there" for t in sorted(wanted - found)]
    wrong += [f"{t} {_shape(source.tensors[t])} is not here" for t in sorted(found - wanted)]
    if wrong:
        more = f"; and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        advice = in_words(different(source.side, target.side, name, shape=True))
        raise CheckpointMismatchError(
            f"The component '{name}' of {source} does not fit into this {target.side.stamp.class_path}: "
            f"{'; '.join(wrong[:3])}{more}. {advice}"
        )
    return _part(name, wanted, dict.fromkeys(sorted(bound), CATALOGUE), state)


def _require_components(
    target: Target,
    source: Source,
    state: Mapping[str, Tensor],
    chosen: Sequence[str],
    asked: Sequence[str],
    rows: Prefixes,
) -> None:
    """Refuses a source without a component that is wanted, or with one that would be lost unasked."""
    available = source.available(target.components)
    own = {name: under(state, prefixes) for name, prefixes in target.components.items()}
    lacking = [name for name in chosen if own[name] - under(own[name], rows) and name not in available]
    if lacking:
        rest = [name for name in chosen if own[name] and name in available]
        advice = f"Take what it has: --model.transfer [{','.join(rest)}]." if rest else "Take another source."
        raise CheckpointMismatchError(
            f"{source} has no {' and no '.join(lacking)}: its components are {', '.join(available)}. {advice}"
        )
    absent = [name for name in chosen if name in available and not own[name]]
    lost = {name for name in available if not own.get(name)}
    # A part that joins others goes when one of them does; alone it would be lost by mistake.
    if absent and (set(absent) & set(asked) or lost <= set(absent)):
        name = absent[0]
        raise CheckpointMismatchError(
            f"{source} has tensors of '{name}' ({_some(source.names_of(name, target.components[name]))}), "
            f"this model has none. {in_words(different(source.side, target.side, name, shape=True))}"
        )


def _outside(target: Target, source: Source, state: Mapping[str, Tensor], rows: Prefixes) -> Part:
    """Tensors of no component: taken along where they fit, otherwise told."""
    names = set(state) - under(state, (p for prefixes in target.components.values() for p in prefixes))
    left = {}
    for name in sorted(names):
        if under([name], rows):
            left[name] = CATALOGUE
        elif name not in source.tensors:
            left[name] = "not in the source"
        elif source.tensors[name].shape != state[name].shape:
            left[name] = f"{_shape(source.tensors[name])} there, {_shape(state[name])} here"
    return _part(OTHER, names - set(left), left, state)


def _part(name: str, loaded: set[str], left: dict[str, str], state: Mapping[str, Tensor]) -> Part:
    return Part(name, sorted(loaded), sum(state[n].numel() for n in loaded), left)


def freeze_parts(module: nn.Module, prefixes: Prefixes, names: Sequence[str]) -> None:
    """Stops the training of the parameters under the prefixes.

    Raises:
        ValueError: Nothing is left to train.
    """
    for name, parameter in module.named_parameters():
        if any(covers(prefix, name) for prefix in prefixes):
            parameter.requires_grad_(False)
    if not any(parameter.requires_grad for parameter in module.parameters()):
        raise ValueError(
            f"--model.freeze {', '.join(names)} leaves nothing to train. Freeze fewer components."
        )


def under(names: Iterable[str], prefixes: Iterable[str]) -> set[str]:
    """Names that lie under any of the prefixes.

    >>> sorted(under(["heads.text.w", "heads.texts", "user"], ("heads.text",)))
    ['heads.text.w']
    """
    prefixes = tuple(prefixes)
    return {name for name in names if any(covers(prefix, name) for prefix in prefixes)}


def _names(value: Sequence[str]) -> list[str]:
    return [name.strip() for name in value.split(",")] if isinstance(value, str) else list(value)


def _shape(tensor: Tensor) -> str:
    return str(tuple(tensor.shape))


def _some(names: Iterable[str]) -> str:
    first, *rest = sorted(names)
    return f"{first} and {len(rest)} more" if rest else first
