"""What all towers around a library's network share: pooling, kept states, evaluation mode when frozen."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from zoo.encoders.base import Encoder, EncoderSpec
from zoo.types import Content


class Tower(Encoder):
    """An encoder that wraps one network of a library.

    Args:
        network: The library's network; its parameter names are this encoder's after ``network.``.
        spec: What was asked for.
    """

    network: Any

    def __init__(self, network: nn.Module, spec: EncoderSpec) -> None:
        super().__init__()
        self.network = network
        self.spec = spec

    @abstractmethod
    def blank(self) -> Content:
        """Content of one item without meaning, on the device of the weights; for shapes and checks."""

    @torch.no_grad()
    def measure(self) -> int:
        """Width of the pooled vector, read from one forward pass in evaluation mode; notes that of tokens."""
        with evaluating(self):
            encoded = self(self.blank())
        self.token_width = 0 if encoded.tokens_NTD is None else int(encoded.tokens_NTD.shape[-1])
        return int(encoded.pooled_ND.shape[-1])

    def train(self, mode: bool = True) -> Self:
        """Sets the mode; a frozen tower stays in evaluation, and so does a frozen batch norm.

        A frozen tower then gives the same vectors in training and from a cache, and frozen statistics do not
        drift.
        """
        super().train(mode and any(p.requires_grad for p in self.parameters()))
        for module in self.modules():
            own = list(module.parameters(recurse=False))
            if isinstance(module, nn.modules.batchnorm._BatchNorm) and own:
                module.train(module.training and any(p.requires_grad for p in own))
        return self


class TokenTower(Tower):
    """A tower whose tokens are patches of one kind, after none or some special ones."""

    n_prefix: int = 0
    """Tokens before the patches: class token, distillation and register tokens."""
    pool: str
    """``own``, or how tokens become one vector: ``cls``, ``mean`` (of the patches), ``mean_all``."""
    reads_class_token: bool = True
    """Whether the tower's own pooling reads the class token, if it has one."""

    def choose_pool(self) -> None:
        """Settles how tokens are pooled, once it is known what stands before the patches.

        Raises:
            ValueError: ``pool: cls`` of a tower without a class token.
        """
        if self.spec.pool == "cls" and not self.class_token:
            raise ValueError(
                f"pool: cls of {self.spec.name!r}: this tower has no class token. Use default or mean."
            )
        self.pool = "own" if self.spec.pool == "default" else self.spec.pool

    def pool_tokens(self, tokens_NTD: Tensor, mask_NT: Tensor | None = None) -> Tensor:
        """One vector from the tokens of a layer: (N, T, D) to (N, D)."""
        if self.pool == "cls" or (self.pool == "own" and self.class_token and self.reads_class_token):
            return tokens_NTD[:, 0]
        first = 0 if self.pool == "mean_all" else self.n_prefix
        return mean_tokens(tokens_NTD[:, first:], None if mask_NT is None else mask_NT[:, first:])


class evaluating:
    """Context in which a module is in evaluation mode; the mode of every part is put back at the end."""

    def __init__(self, module: nn.Module) -> None:
        self.modes = [(part, part.training) for part in module.modules()]

    def __enter__(self) -> None:
        """Switches off dropout and running statistics."""
        for part, _ in self.modes:
            part.training = False

    def __exit__(self, *_: object) -> None:
        """Puts the modes back."""
        for part, mode in self.modes:
            part.training = mode


def mean_tokens(tokens_NTD: Tensor, mask_NT: Tensor | None) -> Tensor:
    """Mean over the real tokens; zeros for an item that has none.

    >>> mean_tokens(torch.tensor([[[2.0], [4.0], [9.0]]]), torch.tensor([[True, True, False]]))
    tensor([[3.]])
    """
    if mask_NT is None:
        return tokens_NTD.mean(dim=1)
    # The count stays in float32: 1e-9 is zero in half precision.
    count_N1 = mask_NT.sum(dim=1, keepdim=True).float().clamp(min=1e-9)
    total_ND = tokens_NTD.masked_fill(~mask_NT.unsqueeze(-1), 0.0).sum(dim=1)
    return (total_ND / count_N1).to(tokens_NTD.dtype)


def last_token(tokens_NTD: Tensor, mask_NT: Tensor) -> Tensor:
    """The last real token of each item, where CLIP's end token stands; the first of an item that has none.

    >>> last_token(torch.tensor([[[2.0], [4.0], [9.0]]]), torch.tensor([[True, True, False]]))
    tensor([[4.]])
    """
    last_N = (mask_NT.sum(dim=1) - 1).clamp(min=0)
    index_N1D = last_N[:, None, None].expand(-1, 1, tokens_NTD.shape[2])
    return tokens_NTD.gather(1, index_N1D).squeeze(1)


def kept_states(spec: EncoderSpec, depth: int) -> list[int]:
    """Indices of the layer states the spec asks for; 0 is the embedding output, ``depth`` the last block.

    Raises:
        ValueError: An index lies outside 0..depth.

    >>> kept_states(EncoderSpec("bert", states=[0, 2]), depth=2), kept_states(EncoderSpec("bert"), depth=2)
    ([0, 2], [])
    """
    if spec.states == "none":
        return []
    if spec.states == "all":
        return list(range(depth + 1))
    if isinstance(spec.states, int):
        return [0, *group_ends(spec.states, depth)]
    wrong = [k for k in spec.states if not 0 <= k <= depth]
    if wrong:
        raise ValueError(
            f"states={spec.states} of {spec.name!r}: {wrong} do not exist. This tower has states 0 "
            f"(embedding output) to {depth} (last block)."
        )
    return list(spec.states)


def group_ends(groups: int, depth: int) -> list[int]:
    """The last block of each group when a tower's blocks are cut into groups: IISAN-Versa's layer dropping.

    Counted from the top, groups are equally large; the lowest is what remains. So are the authors' lists for
    towers of 12, 24, 28, 32, 48 and 80 blocks (of 56 they keep 6, 16, ..., 56).

    Args:
        groups: Groups; a tower of fewer blocks has one for each block.
        depth: Blocks of the tower.

    Raises:
        ValueError: There is no group.

    >>> group_ends(6, 12), group_ends(6, 32), group_ends(6, 80)
    ([2, 4, 6, 8, 10, 12], [2, 8, 14, 20, 26, 32], [5, 20, 35, 50, 65, 80])
    >>> group_ends(6, 4), group_ends(1, 4)
    ([1, 2, 3, 4], [4])
    """
    if groups < 1:
        raise ValueError(f"states: {groups}: a number of groups must be positive; for no states write none.")
    groups = min(groups, depth)
    size = (depth - 1) // max(groups - 1, 1)
    return [depth - size * after for after in reversed(range(groups))]


def stack_states(name: str, states: Sequence[Tensor]) -> Tensor:
    """Pooled states, each (N, D), as one (N, K, D).

    Raises:
        ValueError: The tower's stages have different widths.
    """
    widths = [int(state.shape[-1]) for state in states]
    if len(set(widths)) > 1:
        raise ValueError(
            f"The layer states of {name!r} have different widths {widths}, so they do not make one array. "
            "Ask for states of equal width (states: [...]), or use a tower of one width such as ViT."
        )
    return torch.stack(list(states), dim=1)


class EmbeddingOutput:
    """Keeps what enters the first block in a forward pass: layer state 0, which libraries do not return."""

    def __init__(self, first_block: nn.Module) -> None:
        self._seen: list[Tensor] = []
        first_block.register_forward_pre_hook(self._keep)

    def _keep(self, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self._seen = [inputs[0]]

    def take(self) -> Tensor:
        """The embedding output of the last forward pass; it is not kept any longer."""
        return self._seen.pop()
