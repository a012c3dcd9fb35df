"""The set-up shared by the golden values of MoRec and NineRec: three users, a fill rule, names of SASRec.

The authors' modules were run once on this set-up; their names decide which number a parameter gets.
"""

import math
from collections.abc import Iterable

import torch
from torch import Tensor

WIDTH, MAX_LEN, N_HEADS, N_LAYERS, N_ITEMS = 8, 4, 2, 2, 10
"""N_ITEMS counts the padding row."""

SEQUENCES = {"A": [3, 5, 2, 7, 1, 8, 4], "B": [4, 6, 8, 5, 9], "C": [2, 9, 4, 6, 3, 7]}
"""Full histories; training holds all but the last two items, validation and test hold one of these each."""
NEGATIVES = {"A": [4, 6, 8, 9], "B": [1, 2], "C": [1, 3, 5]}
"""Sampled items in the order of the training targets."""

_ENCODER = "user_encoder.transformer_encoder"


def fill(shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Deterministic parameters: 0.1 sin(0.7 j + 1.3 i + 0.5) at element j of the i-th name, names sorted.

    Weights of layer norms get 1 on top.
    """
    filled = {}
    for i, name in enumerate(sorted(shapes)):
        size = math.prod(shapes[name])
        values = [0.1 * math.sin(0.7 * j + 1.3 * i + 0.5) for j in range(size)]
        tensor = torch.tensor(values, dtype=torch.float64).reshape(shapes[name])
        norm = name.endswith(("layer_norm.weight", "ln1.weight", "ln2.weight"))
        filled[name] = (tensor + norm).float()
    return filled


def sasrec_shapes() -> dict[str, tuple[int, ...]]:
    """The 27 tensors of the authors' SASRec, by the authors' names."""
    shapes: dict[str, tuple[int, ...]] = {f"{_ENCODER}.position_embedding.weight": (MAX_LEN, WIDTH)}
    norms = [f"{_ENCODER}.layer_norm"]
    for k in range(N_LAYERS):
        block = f"{_ENCODER}.transformer_blocks.{k}"
        for matrix in ("w_Q", "w_K", "w_V", "fc"):
            shapes[f"{block}.multi_head_attention.{matrix}.weight"] = (WIDTH, WIDTH)
        shapes[f"{block}.feed_forward.w_1.weight"] = (4 * WIDTH, WIDTH)
        shapes[f"{block}.feed_forward.w_1.bias"] = (4 * WIDTH,)
        shapes[f"{block}.feed_forward.w_2.weight"] = (WIDTH, 4 * WIDTH)
        shapes[f"{block}.feed_forward.w_2.bias"] = (WIDTH,)
        norms += [f"{block}.multi_head_attention.layer_norm", f"{block}.feed_forward.layer_norm"]
    return shapes | {f"{norm}.{part}": (WIDTH,) for norm in norms for part in ("weight", "bias")}


def id_model_shapes() -> dict[str, tuple[int, ...]]:
    """The 28 tensors of the authors' ID model on SASRec."""
    return sasrec_shapes() | {"id_embedding.weight": (N_ITEMS, WIDTH)}


def sasrec_state(filled: dict[str, Tensor]) -> dict[str, Tensor]:
    """State dict of our ``SASRec`` from tensors with the authors' names; other names are ignored."""
    state = {"position_LD": filled[f"{_ENCODER}.position_embedding.weight"]}
    for part in ("weight", "bias"):
        state[f"norm.{part}"] = filled[f"{_ENCODER}.layer_norm.{part}"]
    for k in range(N_LAYERS):
        theirs, ours = f"{_ENCODER}.transformer_blocks.{k}", f"blocks.{k}"
        attention = f"{theirs}.multi_head_attention"
        state[f"{ours}.query_key_value.weight"] = torch.cat(
            [filled[f"{attention}.{matrix}.weight"] for matrix in ("w_Q", "w_K", "w_V")]
        )
        state[f"{ours}.output.weight"] = filled[f"{attention}.fc.weight"]
        for part in ("weight", "bias"):
            state[f"{ours}.attention_norm.{part}"] = filled[f"{attention}.layer_norm.{part}"]
            state[f"{ours}.feed_norm.{part}"] = filled[f"{theirs}.feed_forward.layer_norm.{part}"]
            state[f"{ours}.feed_in.{part}"] = filled[f"{theirs}.feed_forward.w_1.{part}"]
            state[f"{ours}.feed_out.{part}"] = filled[f"{theirs}.feed_forward.w_2.{part}"]
    return state


def pad_left(rows: Iterable[list[int]], length: int) -> Tensor:
    """Rows of ids as one matrix, cut to the last ``length`` and padded with 0 on the left."""
    return torch.tensor([[0] * (length - len(row[-length:])) + row[-length:] for row in rows])
