"""A batch of GUIDER against a straightforward reading of the released algorithm, in the same process.

A step is one batch of the teacher and one of the student. The straightforward one propagates the teacher for
every batch of the student, scores a user as often as the batch has pairs, keeps both score matrices, goes
backward three times, and projects and hashes the teacher's items anew in every batch; the distances that the
released code asks a Sinkhorn library for are the norms they are equal to. Gradients are compared before
anything is timed.

    python -m benchmarks.denoise_speed --shape baby
"""

import argparse
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from benchmarks.measure import in_turns, require
from zoo.collaborative import Tables
from zoo.denoise.agreement import hash_agreement, modal_distance, sign_codes
from zoo.denoise.gradients import give, trained
from zoo.denoise.modal_teachers import HashTeacher
from zoo.losses.min_norm import min_norm_mix, mixed
from zoo.models.guider import GUIDER, GuidedBatch, guided
from zoo.types import CatalogSpec, Content, InteractionBatch


class Shape(NamedTuple):
    """Sizes of made-up pairs."""

    users: int
    items: int
    pairs: int
    image: int
    text: int
    batch: int


SHAPES = {
    "baby": Shape(19_445, 7_050, 118_551, 4096, 384, 2048),
    "demo": Shape(3_000, 1_500, 20_000, 320, 128, 512),
    "toy": Shape(50, 40, 300, 8, 6, 32),
}
"""That of Amazon Baby in MMRec, and that of the demo catalogue."""


class MadeUp:
    """Random pairs and features: popularity falls as 1 / (rank + 100)."""

    noise_E = None

    def __init__(self, shape: Shape) -> None:
        rng = np.random.default_rng(0)
        share_I = 1 / (np.arange(shape.items) + 100)
        user = rng.integers(shape.users, size=2 * shape.pairs)
        item = rng.choice(shape.items, size=2 * shape.pairs, p=share_I / share_I.sum())
        every = np.unique(user * shape.items + item)
        pair = np.sort(rng.choice(every, min(shape.pairs, len(every)), replace=False))
        self.shape = shape
        self.user_E, self.item_E = pair // shape.items + 1, pair % shape.items + 1
        self.n_users, self.n_items = shape.users + 1, shape.items + 1
        self.counts_I = np.bincount(self.item_E, minlength=self.n_items)
        self.attributes: Mapping[str, npt.NDArray[np.int64]] = {}

    def features(self, modality: str) -> npt.NDArray[np.float32]:
        """Random features."""
        width = self.shape.image if modality == "image" else self.shape.text
        rng = np.random.default_rng(len(modality))
        found = rng.standard_normal((self.n_items, width), dtype=np.float32)
        found[0] = 0
        return found

    def content(self, ids_N: npt.NDArray[np.int64], modalities: Sequence[str]) -> dict[str, Content]:
        """None."""
        return {}

    def feature_folder(self, modality: str, key: str) -> None:
        """None."""

    def spec(self) -> CatalogSpec:
        """The sizes."""
        widths = {"image": self.shape.image, "text": self.shape.text}
        return CatalogSpec(
            self.n_items, self.n_users, {}, {}, n_edges=len(self.user_E), feature_widths=widths
        )

    def batch(self, step: int, pass_: int) -> InteractionBatch:
        """A batch of pairs with negatives."""
        rng = np.random.default_rng([step, pass_])
        rows = rng.integers(len(self.user_E), size=self.shape.batch)
        negative = rng.integers(1, self.n_items, size=self.shape.batch)
        user_B, item_B = torch.from_numpy(self.user_E[rows]), torch.from_numpy(self.item_E[rows])
        return InteractionBatch(user_B, item_B, torch.from_numpy(negative), pass_=pass_)


class PlainTeacher(HashTeacher):
    """Projects and hashes the items of every batch."""

    def distance(self, item_P: Tensor) -> Tensor:
        """Distances of the batch's items."""
        with torch.no_grad():
            return modal_distance([self.projected(m, item_P) for m in self.used_modalities])

    def agreement(self, user_PD: Tensor, item_P: Tensor) -> Tensor:
        """Bits in common."""
        with torch.no_grad():
            codes = [sign_codes(self.hashes[m], self.projected(m, item_P)) for m in self.used_modalities]
        return hash_agreement(sign_codes(self.hashes["user"], user_PD), codes)


class Contender:
    """A model with two optimisers, and steps without a trainer.

    Args:
        source: Pairs.
        plain: Whether it is the straightforward one.
    """

    def __init__(self, source: MadeUp, plain: bool) -> None:
        torch.manual_seed(0)
        self.model = GUIDER(host_args={"knn_k": 20, "dropout": 0.1, "reg_weight": 1e-4})
        if plain:
            self.model.teacher = PlainTeacher(seed=0)
        self.model.attach(source.spec(), source)
        torch.manual_seed(1)
        self.model.begin_epoch()
        self.model.train()
        self.source, self.plain, self.step_ = source, plain, 0
        self.optimizers = [torch.optim.AdamW(trained(m), lr=1e-3, fused=True) for m in self.model.both]

    def gradients(self, batch: GuidedBatch) -> list[Tensor | None]:
        """The student's mixed gradients."""
        parameters = trained(self.model.host)
        if self.plain:
            return self._three_times(batch.pairs, parameters)
        parts = self.model.training_loss(batch)
        kd = parts.pop("kd")
        own = torch.autograd.grad(torch.stack(list(parts.values())).sum(), parameters, allow_unused=True)
        guide = torch.autograd.grad(kd, parameters, allow_unused=True)
        return mixed(own, guide, min_norm_mix(own, guide))

    def _three_times(self, pairs: InteractionBatch, parameters: list[Any]) -> list[Tensor | None]:
        """Backward for either loss, then for their weighted sum; nothing is cleared between the first two."""
        model, user_B = self.model, pairs.user_B - 1
        own = torch.stack(
            list(model.host.losses(user_B, pairs.item_B - 1, pairs.negative_B - 1).values())
        ).sum()
        with torch.no_grad():
            guide_BI = model.teacher.scores(user_B, model.teacher.propagate())
        tables: Tables = model.host.propagate()
        student_BI = torch.log_softmax(model.host.scores(user_B, tables), dim=1)
        teacher_BI = torch.log_softmax(guide_BI, dim=1)
        kd = (teacher_BI.exp() * (teacher_BI - student_BI)).sum(1).mean()
        vectors = []
        for loss in (own, kd):
            loss.backward(retain_graph=True)  # type: ignore[no-untyped-call]
            vectors.append(torch.cat([p.grad.flatten().clone() for p in parameters if p.grad is not None]))
        a, m, c = (float(x @ y) for x, y in ((vectors[0], vectors[0]), vectors, (vectors[1], vectors[1])))
        share = 0.999 if m >= a else 0.001 if m >= c else (c - m) / (a + c - 2 * m)
        give(parameters, [None] * len(parameters))
        (max(share, 0.5) * own + max(1 - share, 1e-4) * kd).backward()  # type: ignore[no-untyped-call]
        found = [p.grad for p in parameters]
        give(parameters, [None] * len(parameters))
        return found

    def step(self) -> int:
        """A batch of the teacher and one of the student; returns the pairs."""
        teacher, student = (guided(self.source.batch(self.step_, pass_)) for pass_ in (0, 1))
        self.step_ += 1
        loss = torch.stack(list(self.model.training_loss(teacher).values())).sum()
        parameters = trained(self.model.teacher)
        self._move(0, parameters, torch.autograd.grad(loss, parameters, allow_unused=True))
        self._move(1, trained(self.model.host), self.gradients(student))
        return 2 * len(student.user_B)

    def _move(self, which: int, parameters: list[Any], gradients: Sequence[Tensor | None]) -> None:
        give(parameters, gradients)
        self.optimizers[which].step()
        give(parameters, [None] * len(parameters))


def compare(ours: Contender, plain: Contender) -> None:
    """Ends the run unless both give the student the same gradient."""
    batch = guided(ours.source.batch(10_000, 1))
    for one, other in zip(ours.gradients(batch), plain.gradients(batch), strict=True):
        if one is None or other is None:
            require(one is None and other is None, "a parameter that one contender alone reaches")
        else:
            gap = float((one - other).abs().max() / other.abs().max().clamp(min=1e-12))
            require(gap < 1e-3, f"gradients of a student's batch, by {gap:.1e}")


def main() -> None:
    """Prints pairs per CPU-second of both."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", choices=list(SHAPES), default="baby")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    source = MadeUp(SHAPES[options.shape])
    ours, plain = Contender(source, plain=False), Contender(source, plain=True)
    compare(ours, plain)
    # Within a pass ours propagates the teacher once; a step here is of both passes, so it is kept made.
    rates = in_turns({"ours": ours.step, "straightforward": plain.step}, options.steps, warm_ups=2)
    print("| pairs per CPU-s | min | median | max |\n|---|---|---|---|")
    for name, rate in rates.items():
        print(f"| {name} | {rate.minimum:,.0f} | {rate.median:,.0f} | {rate.maximum:,.0f} |")
    print(f"\nOurs is {rates['ours'].median / rates['straightforward'].median:.2f} times as fast.")


if __name__ == "__main__":
    main()
