"""Every shipped model against every check of ``zoo.conformance``; a new YAML is tested the day it lands."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from lightning.pytorch import LightningDataModule

from datamodules.demo import Demo
from datamodules.demo_mmrec import DemoCF
from tests.miniature import class_of, fitting_data, miniature
from zoo.conformance import Case, check_recommender, checks_of, model_factory
from zoo.names import short_names

EXCLUDED: dict[tuple[str, str], str] = {}
"""(model, check) -> why the check does not apply."""

VARIANTS = frozenset(
    {
        *(
            f"{backbone}_{kind}"
            for backbone in ("sasrec", "nextitnet", "gru4rec")
            for kind in ("text", "image")
        ),
        *("bert4rec_image", "s2o_text", "morec_bert", "morec_id", "morec_swin"),
        *("mmsr_roberta_mae", "odmt_bert_clip", "pmmrec_xlmr_clip", "iisan_paper", "iisan_versa"),
        *("iisan_adapter", "iisan_bitfit", "iisan_fft", "iisan_frozen", "iisan_lora", "iisan_pairwise_4"),
        *("crossan_2", "crossan_3", "crossan_paper", "guider_logs", "guider_fixed", "guider_profile"),
    }
)
"""Models whose parts other models are made of too: with miniature towers, they differ in few values."""
TRAINING = (
    *("check_learns", "check_deterministic", "check_reload", "check_transfer"),
    *("check_beats_popularity", "check_resumed"),
)
"""Checks that train; for the variants they are slow tests."""
SLOW = {
    (name, check.__name__)
    for name in VARIANTS
    for check in checks_of(class_of(name))
    if check.__name__ in TRAINING
} | {
    ("morec_dssm", "check_learns"),
    *(
        (name, check.__name__)
        for name in ("fmmrec_parity", "fmmrec_confuse")
        for check in checks_of(class_of(name))
    ),
}


@pytest.fixture(scope="session")
def demo_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


@cache
def case_of(name: str, root: Path) -> Case:
    data: LightningDataModule
    if fitting_data(name) == "demo_cf":
        data = DemoCF(root=str(root), size="tiny", batch_size=256)
    else:
        data = Demo(root=str(root), size="tiny", batch_size=32)
    return Case(model_factory(name, miniature(name)), data)


def every_pair() -> list[object]:
    """Every model with every check of its family."""
    return [
        pytest.param(
            name,
            check,
            id=f"{name}-{check.__name__}",
            marks=[pytest.mark.slow] if (name, check.__name__) in SLOW else [],
        )
        for name in short_names("model")
        for check in checks_of(class_of(name))
    ]


@pytest.mark.parametrize(("name", "check"), every_pair())
def test_conformance(name: str, check: Callable[[Case], None], demo_root: Path) -> None:
    if (name, check.__name__) in EXCLUDED:
        pytest.skip(EXCLUDED[name, check.__name__])
    check(case_of(name, demo_root))


def test_exclusions_name_existing_models_and_checks() -> None:
    names = short_names("model")
    checks = {name: {check.__name__ for check in checks_of(class_of(name))} for name in names}
    assert all(check in checks[name] for name, check in [*EXCLUDED, *SLOW])


def test_check_recommender_names_the_failed_check(demo_root: Path) -> None:
    from zoo.models.morec import MoRec

    class Leaky(MoRec):
        """Lets the padding item through."""

        def item_table(self):  # type: ignore[no-untyped-def]  # noqa: ANN202
            return super().item_table() + 1.0

    with pytest.raises(AssertionError, match=r"check_padding.*Row 0"):
        check_recommender(
            Leaky, Demo(root=str(demo_root), size="tiny"), **miniature("morec_bert"), loss="in_batch"
        )
