"""Values the authors' modules of MMSR gave, fusions and loss, and PMMRec's merge attention; in float64."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from datamodules.collate import SequenceCollate
from datamodules.histories import TrainRows
from tests.golden.filling import fill_in_order, filled, set_in_order, waves
from zoo.encoders.base import Encoded
from zoo.fusion.attention import Attention, CoAttention, CoLayer, FeedForward, MergeAttention, MergeLayer
from zoo.fusion.base import Fusion
from zoo.fusion.coarse import FiLM, Gated, ProjectedConcat, ProjectedSum
from zoo.fusion.create import create_fusion
from zoo.models.mmsr import MMSR
from zoo.sequence.block import SASRecBlock
from zoo.sequence.sasrec import SASRec
from zoo.types import CatalogSpec, Content

WIDTH = 4
VECTORS = [Encoded(waves((2, 4))), Encoded(waves((2, 4), 1.3, 0.23))]
TEXT_MASK_NT = torch.tensor([[True, True, False], [True, True, True]])
TOKENS = [
    Encoded(torch.full((2, 4), torch.nan), waves((2, 3, 4)), TEXT_MASK_NT),
    Encoded(torch.full((2, 4), torch.nan), waves((2, 2, 4), 1.3, 0.23)),
]
"""Attention must not read the pooled vectors: they are no numbers here."""

COARSE = {
    "sum": [
        [0.299058, -0.3808096, -0.3859475, 0.0672581],
        [0.4455124, -0.3433409, -0.5256072, 0.004463],
    ],
    "concat": [
        [0.1346859, 0.3296122, 0.0967282, 0.0328327],
        [0.3554974, 0.1169984, 0.2941524, -0.1429095],
    ],
    "film": [
        [0.0012348, 0.1976932, -0.3697159, -0.7511135],
        [0.017844, 0.1044463, -0.4032349, -0.663945],
    ],
    "gated": [
        [-0.0954851, -0.1754963, -0.1391093, 0.1284682],
        [-0.1182801, -0.2143359, -0.1233576, 0.1701643],
    ],
    "gated_dnn": [[0.0399696, 0.1447822, 0.2299993, 0.284087]] * 2,
    "concat_dnn": [[0.3031019, 0, 0, 0], [0.3069684, 0, 0, 0]],
}


def in_authors_order(fusion: Fusion) -> list[nn.Linear | nn.LayerNorm]:
    """The layers of a coarse fusion in the order of the specification."""
    match fusion:
        case ProjectedSum():
            layers: list[nn.Module] = [*fusion.projects]
        case ProjectedConcat():
            layers = [fusion.output]
        case FiLM():
            layers = [fusion.scale_shift, fusion.output]
        case Gated():
            layers = [fusion.gate, fusion.value, fusion.output]
        case _:
            raise AssertionError(fusion)
    found = [*layers, fusion.norm, *(layer for layer in fusion.tail if isinstance(layer, nn.Linear))]
    return [layer for layer in found if isinstance(layer, nn.Linear | nn.LayerNorm)]


@pytest.mark.parametrize("name", COARSE)
def test_coarse(name: str) -> None:
    fusion = create_fusion(name, 2, WIDTH, 0.1).double().eval()
    set_in_order(in_authors_order(fusion))
    expected_ND = torch.tensor(COARSE[name], dtype=torch.float64)
    torch.testing.assert_close(fusion(VECTORS), expected_ND, atol=1e-6, rtol=0)


class Filler:
    """Hands out the fill rule's tensors one after the other."""

    def __init__(self, modules: Sequence[str]) -> None:
        """Shapes from the names of layers: ``D D`` a linear layer, ``norm`` a layer norm."""
        shapes: list[tuple[int, ...]] = []
        norms: list[int] = []
        for module in modules:
            if module == "norm":
                norms.append(len(shapes))
                shapes += [(WIDTH,), (WIDTH,)]
            else:
                n_out, n_in = (int(size) for size in module.split())
                shapes += [(n_out, n_in), (n_out,)]
        self.values = iter([*filled([*shapes, (2, WIDTH)], norms)])

    def take(self, n: int) -> list[Tensor]:
        """The next n tensors."""
        return [next(self.values) for _ in range(n)]


ATTENTION = ["4 4", "4 4", "4 4", "4 4", "norm"]
FEED = ["8 4", "4 8", "norm"]


@torch.no_grad()
def set_attention(attention: Attention, filler: Filler) -> None:
    """Query, key, value, dense and norm, weights and biases."""
    tensors = filler.take(10)
    attention.query_key_value.weight.copy_(torch.cat(tensors[0:6:2]))
    attention.query_key_value.bias.copy_(torch.cat(tensors[1:6:2]))
    for parameter, value in zip(
        [*attention.output.parameters(), *attention.norm.parameters()], tensors[6:], strict=True
    ):
        parameter.copy_(value)


@torch.no_grad()
def set_parameters(parameters: Sequence[nn.Parameter], filler: Filler) -> None:
    for parameter in parameters:
        parameter.copy_(filler.take(1)[0])


def set_feed(feed: FeedForward, filler: Filler) -> None:
    """Inner layer, outer layer and norm."""
    set_parameters([*feed.feed_in.parameters(), *feed.feed_out.parameters(), *feed.norm.parameters()], filler)


@pytest.mark.parametrize("padding", [0.0, 100.0], ids=["as given", "other padding"])
def test_merge_attention(padding: float) -> None:
    fusion = MergeAttention(2, WIDTH, n_heads=2, ffn=8).double().eval()
    filler = Filler([*ATTENTION, *FEED])
    (layer,) = fusion.layers
    assert isinstance(layer, MergeLayer)
    set_attention(layer.attention, filler)
    set_feed(layer.feed, filler)
    expected_ND = torch.tensor(
        [[1.7013757, -0.4401818, -1.0757524, 0.4276065], [2.3690925, -0.1773385, -0.5699975, -0.9805343]],
        dtype=torch.float64,
    )
    torch.testing.assert_close(fusion(padded(padding)), expected_ND, atol=1e-6, rtol=0)


@pytest.mark.parametrize("padding", [0.0, 100.0], ids=["as given", "other padding"])
def test_co_attention(padding: float) -> None:
    fusion = CoAttention(2, WIDTH, n_heads=2, ffn=8).double().eval()
    filler = Filler([*ATTENTION, *ATTENTION, *ATTENTION, *FEED, *FEED, "4 8"])
    (layer,) = fusion.layers
    assert isinstance(layer, CoLayer)
    for attention in (layer.cross, *layer.attentions):
        assert isinstance(attention, Attention)
        set_attention(attention, filler)
    for feed in layer.feeds:
        assert isinstance(feed, FeedForward)
        set_feed(feed, filler)
    assert fusion.type_MD is not None
    set_parameters([*fusion.output.parameters(), fusion.type_MD], filler)
    expected_ND = torch.tensor(
        [[0.6613309, -0.1650019, 0.4640568, -0.2994569], [0.8119552, -0.2841503, 0.5478112, -0.3450629]],
        dtype=torch.float64,
    )
    torch.testing.assert_close(fusion(padded(padding)), expected_ND, atol=1e-6, rtol=0)


def padded(value: float) -> list[Encoded]:
    """The token inputs with something else added at the padding token."""
    tokens_NTD, mask_NT = TOKENS[0].tokens_NTD, TOKENS[0].mask_NT
    assert tokens_NTD is not None
    assert mask_NT is not None
    return [TOKENS[0]._replace(tokens_NTD=tokens_NTD + value * ~mask_NT[..., None]), TOKENS[1]]


def test_the_fill_rule_counts_tensors_not_layers() -> None:
    by_layers = fill_in_order([nn.Linear(2, 3), nn.LayerNorm(3)])
    by_shapes = filled([(3, 2), (3,), (3,), (3,)], norms=[2])
    assert all(torch.equal(a, b) for a, b in zip(by_layers, by_shapes, strict=True))


ITEMS_BS = np.array([[0, 1, 2, 3], [4, 5, 2, 5]])
NEGATIVES_BL = np.array([[0, 4, 6], [1, 3, 6]])


class Ids:
    """A catalogue of ids alone."""

    n_items = 7
    counts_I = np.bincount(ITEMS_BS.ravel(), minlength=7)

    def content(self, ids_N: object, modalities: object) -> dict[str, Content]:
        """None."""
        return {}

    def feature_folder(self, modality: str, key: str) -> None:
        """None."""


@torch.no_grad()
def set_sasrec(backbone: SASRec) -> None:
    """Position table and first norm; query, key, value, output, norm, two layers and norm of each block."""
    parameters: list[Tensor] = [backbone.position_LD, *backbone.norm.parameters()]
    norms = [1]
    for block in backbone.blocks:
        assert isinstance(block, SASRecBlock)
        parameters += [*block.query_key_value.weight.chunk(3), block.output.weight]
        norms += [len(parameters), len(parameters) + 6]
        for layer in (block.attention_norm, block.feed_in, block.feed_out, block.feed_norm):
            parameters += [layer.weight, layer.bias]
    assert len(parameters) == 27
    values = filled([tuple(parameter.shape) for parameter in parameters], norms)
    for parameter, value in zip(parameters, values, strict=True):
        parameter.copy_(value)


def id_model() -> MMSR:
    """MMSR on item ids with the specification's parameters."""
    model = MMSR(width=WIDTH, item_id=True)
    model.attach(CatalogSpec(7, 3, {}, {}, max_len=3), Ids())
    model.double().eval()
    assert isinstance(model.sequence, SASRec)
    set_sasrec(model.sequence)
    state = {"encoders.item_id.table.weight": waves((7, WIDTH), 0.2, 0.41)}
    _, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected
    return model


def test_loss_through_the_whole_model() -> None:
    batch = SequenceCollate(Ids(), ())(TrainRows(np.arange(1, 3), ITEMS_BS, NEGATIVES_BL))
    (value,) = id_model().training_loss(batch).values()
    assert value.item() == pytest.approx(1.3791609, abs=1e-6)


def test_scores_through_the_whole_model() -> None:
    model, items_BS = id_model(), torch.from_numpy(ITEMS_BS)
    with torch.no_grad():
        item_ND = model.encode_items(torch.arange(7), {})
        user_BLD = model.sequence(item_ND[items_BS[:, :-1]], items_BS[:, :-1] != 0)
        positive_BL = (user_BLD * item_ND[items_BS[:, 1:]]).sum(-1)
        negative_BL = (user_BLD * item_ND[torch.from_numpy(NEGATIVES_BL)]).sum(-1)
    real_BL = items_BS[:, :-1] != 0
    positive = [0.9152623, -0.7037885, -1.1593124, 0.9041295, 0.8442445]
    negative = [-0.8065315, 0.734675, -0.9539347, -0.7858123, 0.7349203]
    assert positive_BL[real_BL].tolist() == pytest.approx(positive, abs=1e-6)
    assert negative_BL[real_BL].tolist() == pytest.approx(negative, abs=1e-6)
