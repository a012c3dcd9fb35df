"""FMMRec's numbers: values of the authors' classes, and a plain form of its discriminators."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.golden.hosts import BATCH, N_ITEMS, N_USERS, PAIRS, ToySource, fill
from zoo.fair.disentangle import Branches, Disentangler, content_loss, probe_loss, split_loss
from zoo.fair.filters import AttributeFilters
from zoo.fair.probes import Probes, cross_entropies
from zoo.fair.profiles import profile_graph
from zoo.fair.structure import correction, signed_graph, user_graph
from zoo.graph.propagate import propagate
from zoo.models.fmmrec import FMMRec

USERS, ITEMS, WIDTH = N_USERS, N_ITEMS, 4
EDGES = torch.tensor(sorted(PAIRS)).T
WEIGHTS = {"text": 0.2, "image": 0.6, "audio": 0.2}


def set_linear(layer: nn.Module, phase: float, amplitude: float = 0.1) -> None:
    assert isinstance(layer, nn.Linear)
    with torch.no_grad():
        layer.weight.copy_(fill(tuple(layer.weight.shape), phase, amplitude))
        layer.bias.copy_(fill(tuple(layer.bias.shape), phase + 1, amplitude))


def profiles(item_ID: Tensor) -> Tensor:
    """Mean item vectors of the users of the toy set."""
    return propagate(profile_graph(EDGES, USERS, ITEMS), item_ID)


def near(found: Tensor, expected: list[float], tolerance: float = 1e-6) -> bool:
    return torch.allclose(found, torch.tensor(expected), atol=tolerance, rtol=0)


def test_stage_two_gives_the_authors_values() -> None:
    disentangler = Disentangler(3)
    set_linear(disentangler.biased, 0)
    set_linear(disentangler.filtered, 2)
    profile_UD = profiles(fill((ITEMS, 3), 0.2, 1.0))
    branches = disentangler(profile_UD)
    loss = torch.stack(list(content_loss(profile_UD, branches).values())).sum().detach()
    assert abs(float(loss) - 1.1095915) < 1e-6
    assert near(branches.biased_ND[0], [0.137069, 0.147171, -0.033846])
    assert near(branches.filtered_ND[0], [0.070801, -0.154238, -0.049613])


def stage_three() -> tuple[Tensor, Tensor, dict[str, Branches]]:
    """Host vectors of users and items, and the branches of the three modalities by user."""
    branches = {
        modality: Branches(
            profiles(fill((ITEMS, width), phase, 1.0)), profiles(fill((ITEMS, width), phase + 0.5, 1.0))
        )
        for modality, width, phase in (("image", 3, 2.0), ("text", 4, 3.0), ("audio", 2, 4.0))
    }
    return fill((USERS, WIDTH), 0.3, 1.0), fill((ITEMS, WIDTH), 1.3, 1.0), branches


@pytest.mark.parametrize(
    ("branch", "row"),
    [(0, [0.560778, 0.0, 0.179097, 0.260124]), (1, [0.541886, 0.0, 0.173565, 0.284549])],
    ids=["biased", "filtered"],
)
def test_user_graphs_are_the_authors(branch: int, row: list[float]) -> None:
    _, _, branches = stage_three()
    dense_UU = torch.zeros(USERS, USERS)
    for modality, weight in (("text", 0.4), ("image", 0.6)):  # the released audio graph is that of the text
        graph = user_graph(branches[modality][branch], 2)
        dense_UU.scatter_add_(1, graph.index_UK, weight * graph.weight_UK)
    assert near(dense_UU[0], row)


def test_stage_three_gives_the_authors_values() -> None:
    user_UD, item_ID, branches = stage_three()
    moved_UD = user_UD + 0.1 * correction(signed_graph(branches, WEIGHTS, 2, parity=True), user_UD)
    assert near(moved_UD[0], [0.296788, 0.839769, 0.987794, 0.671244])
    filters = toy_filters()
    fair_UD, fair_ID = filters.users(moved_UD), filters.items(item_ID)
    assert near(fair_UD[0], [0.045949, -0.053807, -0.002073, -0.069973])
    assert near(fair_ID[0], [0.029199, -0.032466, -0.025540, -0.047093])
    assert near(profiles(fair_ID)[0], [0.018229, -0.027309, -0.024286, -0.054611])


def toy_filters() -> AttributeFilters:
    filters = AttributeFilters(WIDTH, ("gender", "age"))
    set_filters(filters)
    return filters


def set_filters(filters: AttributeFilters) -> None:
    with torch.no_grad():
        filters.prompts.weight.copy_(fill((2, WIDTH), 0, 0.1))
    for network, phase in zip(filters.user_filters, (1, 5), strict=True):
        assert isinstance(network, nn.Sequential)
        set_linear(network[0], phase)
        set_linear(network[2], phase + 2)


class Attributed(ToySource):
    """The toy set, of whose users gender and age are known."""

    def __init__(self) -> None:
        super().__init__()
        self.attributes = {"gender": np.array([-1, 0, 1, 0, 1]), "age": np.array([-1, 0, 1, 2, 2])}


def test_the_loss_on_lattice_is_the_authors() -> None:
    model = FMMRec(
        host="bpr",
        host_args={"width": WIDTH},
        attributes=("gender", "age"),
        modality_weights={},
        reg_weight=0.01,
        reg_rows=4,
    )
    source = Attributed()
    model.attach(source.spec()._replace(n_classes={"gender": 2, "age": 3}), source)
    user_UD, item_ID, branches = stage_three()
    moved_UD = user_UD + 0.1 * correction(signed_graph(branches, WEIGHTS, 2, parity=True), user_UD)
    model.host_users_UD.copy_(moved_UD)
    model.host_items_ID.copy_(item_ID)
    set_filters(model.filters)
    parts = model.losses(BATCH.user_B - 1, BATCH.item_B - 1, BATCH.negative_B - 1)
    assert torch.stack(list(parts.values())).sum().item() == pytest.approx(0.6933522, abs=1e-6)
    assert model.tables()[0][1].tolist() == pytest.approx(
        [0.045949, -0.053807, -0.002073, -0.069973], abs=1e-6
    )


def test_the_fixed_audio_graph_reads_audio() -> None:
    user_UD, _, branches = stage_three()
    fixed_UD, parity_UD = (
        correction(signed_graph(branches, WEIGHTS, 2, parity), user_UD) for parity in (False, True)
    )
    assert not torch.allclose(fixed_UD, parity_UD)


@pytest.mark.parametrize(("width", "attributes", "weights"), [(64, 3, 37_376), (192, 1, 111_360)])
def test_filters_have_as_many_weights_as_the_logs_say(width: int, attributes: int, weights: int) -> None:
    filters = AttributeFilters(width, ["a"] * attributes)
    assert sum(p.numel() for p in filters.parameters()) == weights


# The batched discriminators against separate networks ---------------------------------------------------

CLASSES = (2, 3)


def plain_net(probes: Probes, group: int, row: int, classes: int) -> nn.Sequential:
    """One classifier as the authors build it: a single output where there are two classes."""
    width, hidden = probes.weight_GDKH.shape[1], probes.hidden
    outputs = slice(1, 2) if classes == 2 else slice(0, classes)
    last = nn.Linear(hidden, 1 if classes == 2 else classes)
    net = nn.Sequential(nn.Linear(width, hidden), nn.LeakyReLU(0.2), nn.Dropout(0.0), last)
    with torch.no_grad():
        first = net[0]
        assert isinstance(first, nn.Linear)
        first.weight.copy_(probes.weight_GDKH[group, :, row].T)
        first.bias.copy_(probes.bias_GKH[group, row])
        last.weight.copy_(probes.weight_GKHC[group, row, :, outputs].T)
        last.bias.copy_(probes.bias_GKC[group, row, outputs])
    return net


def plain_loss(net: nn.Module, vector_BD: Tensor, label_B: Tensor, classes: int) -> Tensor:
    out = net(vector_BD)
    if classes == 2:
        return F.binary_cross_entropy(torch.sigmoid(out[:, 0]), label_B.float())
    return F.nll_loss(F.log_softmax(out, dim=-1), label_B)


def test_batched_probes_train_like_separate_networks() -> None:
    torch.manual_seed(0)
    vector_GBD = torch.randn(2, 40, 6)
    label_KB = torch.stack([torch.randint(0, c, (40,)) for c in CLASSES])
    probes = Probes(2, 6, CLASSES, hidden=3, dropout=0.0, init="usual")
    nets = [[plain_net(probes, g, k, c) for k, c in enumerate(CLASSES)] for g in range(2)]
    batched = torch.optim.Adam(probes.parameters(), lr=1e-2)
    separate = [torch.optim.Adam(net.parameters(), lr=1e-2) for group in nets for net in group]
    for _ in range(5):
        losses_GK = cross_entropies(probes(vector_GBD), label_KB)
        expected = [
            [plain_loss(net, vector_GBD[g], label_KB[k], CLASSES[k]) for k, net in enumerate(group)]
            for g, group in enumerate(nets)
        ]
        assert torch.allclose(losses_GK, torch.tensor(expected), atol=1e-6)
        batched.zero_grad()
        losses_GK.sum().backward()  # type: ignore[no-untyped-call]
        batched.step()
        for net_loss, optimizer in zip([v for group in expected for v in group], separate, strict=True):
            optimizer.zero_grad()
            net_loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()


def test_users_without_a_label_change_nothing() -> None:
    torch.manual_seed(0)
    probes = Probes(1, 4, CLASSES, hidden=2, dropout=0.0, init="usual")
    vector_GBD = torch.randn(1, 6, 4)
    label_KB = torch.tensor([[0, 1, 0, -1, -1, -1], [2, 0, 1, -1, -1, -1]])
    masked = cross_entropies(probes(vector_GBD), label_KB)
    assert torch.allclose(masked, cross_entropies(probes(vector_GBD[:, :3]), label_KB[:, :3]))
    none_known = cross_entropies(probes(vector_GBD), torch.full((2, 6), -1))
    assert none_known.tolist() == [[0.0, 0.0]]


@pytest.mark.parametrize("parity", [False, True])
def test_stage_two_losses_follow_the_specification(parity: bool) -> None:
    torch.manual_seed(1)
    profile_BD = torch.randn(30, 4)
    label_KB = torch.stack([torch.randint(0, c, (30,)) for c in CLASSES])
    disentangler, probes = Disentangler(4), Probes(2, 4, CLASSES, 2, dropout=0.0, init="usual")
    torch.manual_seed(2)
    parts, both_GBD = split_loss(disentangler, probes, profile_BD, label_KB, CLASSES, parity)
    torch.manual_seed(2)
    drawn_B = torch.randint(0, CLASSES[1] - 1, (30,)) if parity else label_KB[1]
    told = plain_loss(plain_net(probes, 0, 0, 2), both_GBD[0], label_KB[0], 2)
    told = told + plain_loss(plain_net(probes, 0, 1, 3), both_GBD[0], label_KB[1], 3)
    hidden = plain_loss(plain_net(probes, 1, 0, 2), both_GBD[1], label_KB[0], 2)
    hidden = hidden + plain_loss(plain_net(probes, 1, 1, 3), both_GBD[1], drawn_B, 3)
    assert torch.allclose(parts["biased"], 0.1 * told, atol=1e-6)
    assert torch.allclose(parts["filtered"], -0.1 * hidden, atol=1e-6)
    torch.manual_seed(2)
    assert torch.allclose(probe_loss(probes, both_GBD, label_KB, CLASSES, parity), told + hidden, atol=1e-6)
    assert not both_GBD.requires_grad
