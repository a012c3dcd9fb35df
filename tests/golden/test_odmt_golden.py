"""Values the authors' modules gave for ODMT, through the whole model; its padding row is the one difference.

The authors' row 0 is a vector like any other and has a score; here it is zero, and no score or loss of a real
item depends on it.
"""

from typing import cast

import pytest
import torch
from torch import Tensor

from tests.golden import odmt as golden
from tests.golden.sasrec import pad_left
from zoo.fusion.id_aware import Version
from zoo.models.odmt import ODMT, View
from zoo.types import CatalogSpec, EvalBatch


def losses_of(model: ODMT) -> tuple[Tensor, Tensor]:
    """The sum of the cross-entropies, and the distillation."""
    parts = model.training_loss(golden.train_batch())
    kd = parts.pop("kd")
    assert list(parts) == ["ce_id", "ce_text", "ce_image"]
    return torch.stack(list(parts.values())).sum(), kd


@pytest.mark.parametrize(
    ("version", "alpha", "tau", "epoch", "ce", "kd", "head_norm", "table_norm"),
    [
        ("v1", 20, 0.3, 5, 6.53565154, 0.01250328, 0.01956657, 0.00618471),
        ("v1", 0.02, 1.0, 5, 6.53565154, 0.10736371, 0.02066269, 0.01022330),
        ("v1", 50, 0.5, 60, 6.53565154, 0.96657886, 0.76592038, 0.33132105),
        ("v3", 20, 0.3, 5, 6.53530278, 0.01250619, 0.01955727, 0.00618296),
        ("v3", 50, 0.5, 60, 6.53530278, 0.96676546, 0.76521975, 0.33114759),
    ],
)
def test_losses_and_gradients(
    version: Version,
    alpha: float,
    tau: float,
    epoch: int,
    ce: float,
    kd: float,
    head_norm: float,
    table_norm: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ODMT, "current_epoch", epoch - 1)
    model = golden.filled_model(version, alpha=alpha, tau=tau)
    ce_loss, kd_loss = losses_of(model)
    assert ce_loss.item() == pytest.approx(ce, abs=1e-8)
    assert kd_loss.item() == pytest.approx(kd, abs=1e-8)
    wanted = [
        model.get_parameter(name) for name in ("fusion.heads.id.0.weight", "encoders.item_id.table.weight")
    ]
    norms = [grad.norm().item() for grad in torch.autograd.grad(kd_loss, wanted)]
    assert norms == pytest.approx([head_norm, table_norm], abs=1e-8)


@pytest.mark.parametrize(("version", "expected"), [("v1", 6.53565154), ("v3", 6.53530278)])
def test_loss_without_distillation(version: Version, expected: float) -> None:
    parts = golden.filled_model(version, alpha=0.0).training_loss(golden.train_batch())
    assert list(parts) == ["ce_id", "ce_text", "ce_image"]
    assert sum(part.item() for part in parts.values()) == pytest.approx(expected, abs=2e-6)


def test_item_views() -> None:
    views = golden.filled_model().item_table()[1].chunk(3)
    expected = [
        [0.792512, -0.247994, 0.813882, -0.214300, 0.612401, -0.255593, 0.255742, -0.300976],
        [-0.199572, -0.263511, -0.247222, -0.375812, -0.147287, -0.322918, 0.073140, -0.155214],
        [0.331406, -0.041478, 0.450398, 0.137991, 0.409964, 0.183493, 0.200479, 0.105527],
    ]
    for view_D, values in zip(views, expected, strict=True):
        assert view_D.tolist() == pytest.approx(values, abs=1e-6)


def test_fused_scores() -> None:
    model = golden.filled_model().float()
    for modality in ("text", "image"):  # features are plain attributes
        given = cast(golden.Given, model.encoders[modality])
        given.token_ITD = given.token_ITD.float()
    batch = EvalBatch(
        torch.ones(1, dtype=torch.int64),
        pad_left([[1, 2, 3]], golden.MAX_LEN),
        torch.zeros(1, dtype=torch.int64),
        torch.zeros(1, 0, dtype=torch.int64),
    )
    with torch.no_grad():
        table_ID = model.item_table()
        score_I = (model.user_vectors(batch, table_ID) @ table_ID.T)[0]
        views = []
        names: tuple[View, ...] = ("id", "text", "image")
        for name in names:
            model.view = name
            views.append((model.user_vectors(batch, table_ID) @ table_ID.T)[0])
    expected = [
        *(1.307798, 1.332459, 1.165506, 1.603551, 1.578797, 1.588239),
        *(1.264961, 1.327300, 1.156493, 1.529348, 1.598251, 1.681906),
    ]
    assert score_I[1:].tolist() == pytest.approx(expected, abs=2e-6)
    torch.testing.assert_close(torch.stack(views).mean(0), score_I)


class OnMeta(ODMT):
    """ODMT whose parts have sizes only."""

    def build_parts(self, spec: CatalogSpec) -> None:
        """Makes no weights."""
        with torch.device("meta"):
            super().build_parts(spec)


def test_parameter_counts() -> None:
    text, image = golden.TEXT, golden.IMAGE
    assert text.config is not None
    assert image.config is not None
    model = OnMeta(
        width=768,
        text={"name": "bert", "tokenizer": "words", "config": {**text.config, "hidden_size": 768}},
        image={"name": image.name, "image_size": 16, "config": {**image.config, "embed_dim": 768}},
    )
    model.build(CatalogSpec(golden.N_ITEMS, 4, {}, {}, max_len=12))

    def count(name: str) -> int:
        return sum(parameter.numel() for parameter in model.get_submodule(name).parameters())

    assert count("sequence.backbones.id") == 14_180_352
    assert count("sequence.backbones.id.blocks.0") == 7_084_800
    unused = 3_072  # tensors the official code makes and never reads
    assert count("fusion.transformer") == 14_172_672 - unused
    assert count("sequence") + count("fusion") + count("heads") == 62_029_056 - unused
    assert count("encoders.item_id") == 768 * golden.N_ITEMS
