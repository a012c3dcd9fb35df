import pytest
import torch
from torch import Tensor

from zoo.sequence.gru4rec import GRU4Rec

WIDTH, MAX_LEN = 8, 6


def make(**options: object) -> GRU4Rec:
    torch.manual_seed(0)
    return GRU4Rec(WIDTH, MAX_LEN, **options).eval()  # type: ignore[arg-type]


def reference(backbone: GRU4Rec, item_LD: Tensor) -> Tensor:
    """One history, the gates written out."""
    states_LD = item_LD
    for layer in range(backbone.gru.num_layers):
        input_weight, hidden_weight = (
            backbone.get_parameter(f"gru.weight_{part}_l{layer}") for part in ("ih", "hh")
        )
        hidden_D, outputs = torch.zeros(WIDTH), []
        for input_D in states_LD:
            reset_in, update_in, new_in = (input_weight @ input_D).chunk(3)
            reset_h, update_h, new_h = (hidden_weight @ hidden_D).chunk(3)
            reset, update = torch.sigmoid(reset_in + reset_h), torch.sigmoid(update_in + update_h)
            hidden_D = (1 - update) * torch.tanh(new_in + reset * new_h) + update * hidden_D
            outputs.append(hidden_D)
        states_LD = torch.stack(outputs)
    projected_LD: Tensor = backbone.project(states_LD)
    return projected_LD


@pytest.mark.parametrize("project", [False, True])
@pytest.mark.parametrize("n_real", [1, 4, 6])
def test_skip_is_the_history_alone(n_real: int, project: bool) -> None:
    backbone = make(project=project)
    item_LD, real_L = torch.randn(MAX_LEN, WIDTH), torch.arange(MAX_LEN) >= MAX_LEN - n_real
    user_LD = backbone(item_LD[None], real_L[None])[0, real_L]
    torch.testing.assert_close(user_LD, reference(backbone, item_LD[real_L]), atol=1e-6, rtol=1e-5)


def test_vector_reads_the_pad_vector_before_the_history() -> None:
    backbone = make(padding="vector")
    item_LD = torch.randn(2, WIDTH)
    filled_LD = torch.cat([backbone.padded.pad_D.expand(4, -1), item_LD])
    user_LD = backbone(item_LD[None], torch.ones(1, 2, dtype=torch.bool))[0]
    torch.testing.assert_close(user_LD, reference(backbone, filled_LD)[-2:], atol=1e-6, rtol=1e-5)
    assert not torch.allclose(user_LD, reference(backbone, item_LD), atol=1e-3)


def test_the_pad_vector_is_saved_and_not_trained() -> None:
    backbone = make(padding="vector")
    assert "padded.pad_D" in backbone.state_dict()
    assert "padded.pad_D" not in dict(backbone.named_parameters())
    assert backbone.padded.pad_D.any()
    assert "padded.pad_D" not in make().state_dict()


def test_only_the_first_layer_is_initialised_by_xavier() -> None:
    torch.manual_seed(0)
    gru = GRU4Rec(64, MAX_LEN).gru
    bound = (6 / (64 + 3 * 64)) ** 0.5
    for part in ("ih", "hh"):
        first, second = (gru.get_parameter(f"weight_{part}_l{layer}") for layer in range(2))
        assert first.abs().max().item() == pytest.approx(bound, rel=0.01)
        assert second.abs().max().item() == pytest.approx(64**-0.5, rel=0.01)
    assert not [name for name, _ in gru.named_parameters() if "bias" in name]


def test_dropout_is_on_the_input() -> None:
    item_BLD, real_BL = torch.randn(3, MAX_LEN, WIDTH), torch.ones(3, MAX_LEN, dtype=torch.bool)
    noisy, calm = make(dropout=0.5).train(), make(dropout=0.0).train()
    assert not torch.equal(noisy(item_BLD, real_BL), noisy(item_BLD, real_BL))
    assert torch.equal(calm(item_BLD, real_BL), calm(item_BLD, real_BL))
