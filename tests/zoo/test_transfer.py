"""Parts of a trained model in another one: what moves, what stays, what is refused."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.data_makers.transfers import (
    SOURCE,
    TARGET,
    built,
    morec,
    moved,
    refusal,
    saved,
    source,
    started,
)
from tests.miniature import IMAGE, TEXT
from zoo.base import Recommender
from zoo.checkpoints import CheckpointMismatchError
from zoo.models.morec import MoRec, MoRecDSSM
from zoo.optim import restore_optimizer
from zoo.transfer import resolve, under
from zoo.types import CatalogSpec

# What moves ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "prefixes"),
    [
        ("text", ("encoders.text", "stand_ins.text", "heads.text")),
        (["text", "user"], ("encoders.text", "stand_ins.text", "heads.text", "sequence")),
        ("fusion", ("fusion", "after")),
        ("user", ("sequence",)),
        ("item", ("encoders", "stand_ins", "heads", "fusion", "after")),
        ("image, fusion", ("encoders.image", "stand_ins.image", "heads.image", "fusion", "after")),
    ],
)
def test_components(asked: str | list[str], prefixes: tuple[str, ...], tmp_path: Path) -> None:
    options: dict[str, Any] = {"fusion": "cat", "fused_layers": 1}
    init_from = source(tmp_path, **options)
    model = started(init_from, transfer=asked, **options)
    assert moved(model, init_from) == under(model.state_dict(), prefixes)


def test_another_class_gives_its_text_tower(tmp_path: Path) -> None:
    init_from = saved(built(MoRecDSSM(width=16, text=TEXT), SOURCE, seed=0), tmp_path / "source.ckpt")
    model = started(init_from, transfer="text")
    assert moved(model, init_from) == under(
        model.state_dict(), ("encoders.text", "stand_ins.text", "heads.text")
    )
    assert "its components are text" in refusal(init_from, transfer=["text", "image"])


def test_a_source_may_have_more_modalities(tmp_path: Path) -> None:
    init_from = source(tmp_path, fusion="cat")
    model = started(init_from, image=None)
    assert moved(model, init_from) == set(model.state_dict())
    assert model.transferred is not None
    gone = {part.component: set(part.left.values()) for part in model.transferred.parts if part.left}
    assert gone == {"image": {"this model has no such part"}, "fusion": {"this model has no such part"}}


def test_rows_of_the_catalogue_come_along_on_the_same_one_only(tmp_path: Path) -> None:
    options: dict[str, Any] = {"item_id": True, "image": None, "fusion": "cat"}
    init_from = source(tmp_path, **options)
    model = started(init_from, **options)
    table = "encoders.item_id.table.weight"
    assert moved(model, init_from) == set(model.state_dict()) - {table}
    assert model.transferred is not None
    assert "item_id    -" in model.transferred.table()
    assert "1 tensors: belongs to the catalogue" in model.transferred.table()
    assert table in moved(started(init_from, SOURCE, **options), init_from)
    with pytest.raises(CheckpointMismatchError, match="this one is another"):
        started(init_from, transfer="item_id", **options)


class WithHead(MoRec):
    """A model with a part of no component."""

    def build_parts(self, spec: CatalogSpec) -> None:
        """Adds an auxiliary head as wide as the catalogue's histories are long."""
        super().build_parts(spec)
        self.auxiliary = torch.nn.Linear(spec.max_len, 3)
        self.extra = torch.nn.Linear(2, 2)


def test_parts_of_no_component_move_where_they_fit(tmp_path: Path) -> None:
    init_from = saved(built(WithHead(width=16, text=TEXT), SOURCE, seed=0), tmp_path / "source.ckpt")
    model = built(WithHead(width=16, text=TEXT, init_from=init_from))
    assert moved(model, init_from) == set(model.state_dict())
    other = TARGET._replace(max_len=5)
    model = built(WithHead(width=16, text=TEXT, init_from=init_from, transfer="text"), other)
    assert not moved(model, init_from) & {"auxiliary.weight", "extra.weight"}
    plain = source(tmp_path, image=None)
    model = built(WithHead(width=16, text=TEXT, init_from=plain))
    assert model.transferred is not None
    assert model.transferred.parts[-1].left["extra.bias"] == "not in the source"


# What is refused -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"width": 32}, ("(16, 32) there and (32, 32) here", "--model.width 16 (here 32)")),
        ({"n_blocks": 1}, ("sequence.blocks.1", "is not here", "--model.n_blocks 2 (here 1)")),
        (
            {"text": {**TEXT, "config": {**TEXT["config"], "hidden_size": 16}}},
            ("'text'", "encoders.text", "--model.text.config.hidden_size 32 (here 16)"),
        ),
        (
            {"image": {**IMAGE, "config": {"depths": [1, 1, 1, 2], "dims": [8, 16, 32, 32]}}},
            ("'image'", "is not there", "--model.image.config.depths [1, 1, 1, 1] (here [1, 1, 1, 2])"),
        ),
        ({"fusion": "cat"}, ("has no fusion", "its components are text, image, user", "[text,image,user]")),
        ({"image": None, "transfer": "fusion"}, ("no tensors",)),
        ({"head_layers": 1}, ("heads.text.layers.0.1.weight (16, 16) is not there",)),
    ],
)
def test_what_does_not_fit_says_what_to_change(
    options: dict[str, Any], words: tuple[str, ...], tmp_path: Path
) -> None:
    message = refusal(source(tmp_path), **options)
    assert all(word in message for word in words), message


def test_another_history_length_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        CheckpointMismatchError, match=r"\(6, 16\) there and \(9, 16\) here.*--data\.max_len 6"
    ):
        started(source(tmp_path), TARGET._replace(max_len=9))


def test_a_fusion_that_would_be_lost_is_refused(tmp_path: Path) -> None:
    message = refusal(source(tmp_path, fusion="cat"))
    assert "has tensors of 'fusion'" in message
    assert "--model.fusion cat (here add)" in message


def test_a_lacking_modality_names_what_there_is(tmp_path: Path) -> None:
    message = refusal(source(tmp_path, image=None))
    assert "has no image" in message
    assert "its components are text, user. Take what it has: --model.transfer [text,user]" in message


def test_unknown_components_list_the_valid_ones(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"'txt'. Did you mean text\? .* are text, image, fusion, user; full and item"
    ):
        started(source(tmp_path), transfer="txt")
    with pytest.raises(ValueError, match=r"--model\.freeze: .* no component 'audio'"):
        built(morec(freeze="audio"))
    assert resolve(["full"], {"a": (), "b": ()}, "") == ["a", "b"]
    with pytest.raises(ValueError, match="no component 'item'"):
        resolve(["item"], {"a": (), "b": ()}, "")


def test_a_refused_transfer_says_so_before_the_data_is_prepared(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'txt'"):
        morec(init_from=source(tmp_path), transfer="txt").check_transfer()
    with pytest.raises(ValueError, match="'sequence'"):
        morec(freeze="sequence").check_transfer()
    with pytest.raises(FileNotFoundError, match="There is no checkpoint"):
        morec(init_from=str(tmp_path / "none.ckpt")).check_transfer()
    with pytest.raises(FileNotFoundError, match=r"--model\.init_from best: there is no best\*\.ckpt"):
        morec(init_from=str(tmp_path)).check_transfer()
    with pytest.raises(FileNotFoundError, match="only about to start"):
        morec(init_from="best").check_transfer()
    torch.save({"state_dict": {}}, tmp_path / "foreign.ckpt")
    with pytest.raises(CheckpointMismatchError, match="no 'mmzoo' entry"):
        morec(init_from=str(tmp_path / "foreign.ckpt")).check_transfer()


def test_what_differs_without_a_trace_in_the_tensors_is_told(tmp_path: Path) -> None:
    model = started(source(tmp_path), n_heads=4, dropout=0.5, text={**TEXT, "pool": "cls"})
    assert model.transferred is not None
    assert model.transferred.notes == ["--model.text.pool mean (here cls)", "--model.n_heads 2 (here 4)"]
    assert "Differs although it fits" in model.transferred.table()


# What is read, and when ----------------------------------------------------------------------------------


def test_a_folder_gives_its_best_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    best = tmp_path / "checkpoints" / "best-epoch001.ckpt"
    saved(built(morec(), SOURCE, seed=0), best)
    saved(built(morec(), SOURCE, seed=5), tmp_path / "checkpoints" / "last.ckpt")
    model = started(str(tmp_path))
    assert moved(model, str(best)) == set(model.state_dict())


def test_the_result_loads_without_its_source(tmp_path: Path) -> None:
    init_from = source(tmp_path)
    model = started(init_from, transfer="text", freeze=["text"])
    path = saved(model, tmp_path / "result.ckpt")
    Path(init_from).unlink()
    loaded = MoRec.load_from_checkpoint(path)
    assert loaded.transferred is None
    assert all(torch.equal(t, loaded.state_dict()[n]) for n, t in model.state_dict().items())
    assert not any(p.requires_grad for p in loaded.heads["text"].parameters())


def test_a_tower_that_comes_whole_is_not_fetched_first(tmp_path: Path) -> None:
    """Its name is of the hub and there is no network: the architecture comes from the source."""
    named = {**TEXT, "name": "some-hub/model", "config": None}
    model = morec(text=named, image=None)
    model.use_towers({"text": built(morec(image=None)).tower_configs()["text"]})
    init_from = saved(built(model, SOURCE, seed=0), tmp_path / "source.ckpt")
    again = started(init_from, text=named, image=None)
    assert moved(again, init_from) == set(again.state_dict())
    with pytest.raises((OSError, ValueError)):
        started(init_from, text=named, image=None, transfer="user")


# Freezing ------------------------------------------------------------------------------------------------


def test_frozen_components_are_not_trained_and_stay_in_evaluation(tmp_path: Path) -> None:
    model = started(source(tmp_path), freeze="item")
    model.train()
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trained == under(model.state_dict(), ("sequence",))
    assert {group["name"] for group in model.parameter_groups()} == {"model"}
    assert {name for name, part in model.named_children() if part.training} >= {"sequence"}
    frozen = (part for name in ("encoders", "heads") for part in getattr(model, name).values())
    assert not any(part.training for part in frozen)


def test_freezing_everything_is_refused() -> None:
    with pytest.raises(ValueError, match="leaves nothing to train"):
        built(morec(freeze="full"))


# The optimiser -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{"transfer": "text"}, {"init_from": None}])
def test_an_optimizer_without_its_model_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="whole model only"):
        morec(**{"init_from": "x", "transfer_optimizer": True, **options})


def trained(model: Recommender) -> torch.optim.AdamW:
    """Its optimiser after two steps, the rate of the second one halved as by a schedule."""
    optimizer = torch.optim.AdamW(model.parameter_groups())
    for step in range(2):
        for parameter in model.parameters():
            parameter.grad = torch.randn_like(parameter)
        optimizer.step()
        for group in optimizer.param_groups:
            group |= {"initial_lr": group["lr"], "lr": group["lr"] / 2} if step else {}
    return optimizer


def test_the_source_s_optimizer_goes_on(tmp_path: Path) -> None:
    """With its moments and steps, and with its rates as they were before its schedule."""
    first = built(morec(lr=0.5, encoder_lr=0.25, weight_decay=0.125), SOURCE, seed=0)
    before = trained(first).state_dict()
    second = built(morec(lr=0.1, weight_decay=0.0))
    optimizer = torch.optim.AdamW(second.parameter_groups(), fused=True)
    restore_optimizer(optimizer, [before], "here")
    after = optimizer.state_dict()
    assert after["state"].keys() == before["state"].keys()
    for row, state in before["state"].items():
        assert all(torch.equal(after["state"][row][key], value) for key, value in state.items())
        assert after["state"][row]["exp_avg"].data_ptr() != state["exp_avg"].data_ptr()
    rates = {group["name"]: (group["lr"], group["weight_decay"]) for group in optimizer.param_groups}
    towers = {"encoders.image": (0.25, 0.125), "encoders.text": (0.25, 0.125)}
    assert rates == {**towers, "model": (0.5, 0.125)}
    assert all(group["fused"] for group in optimizer.param_groups)


def test_an_optimizer_of_other_parameters_is_refused() -> None:
    before = trained(built(morec(), seed=0)).state_dict()
    fewer = torch.optim.AdamW(built(morec(freeze="text")).parameter_groups())
    with pytest.raises(
        CheckpointMismatchError, match=r"groups \[\('encoders\.image', .* trains other parameters"
    ):
        restore_optimizer(fewer, [before], "here")
    wider = torch.optim.AdamW(built(morec(width=32)).parameter_groups())
    with pytest.raises(CheckpointMismatchError, match="has moments of"):
        restore_optimizer(wider, [before], "here")
    with pytest.raises(CheckpointMismatchError, match="only weights"):
        restore_optimizer(wider, [], "here")
