"""Pre-trains the demo's miniature towers on its content, without labels, and writes the files that ship.

Towers with random weights tell colours and words, but hardly shapes and textures. Here each learns to know an
item again (SimCLR, Chen et al., 2020, https://arxiv.org/abs/2002.05709): two views of a title, cover, sound
or clip are pulled together, those of other items pushed apart. Views differ in what an item's looks leave
open: words dropped, crops, mirrors, shifts in time, noise. Attributes and users are never seen, and the
catalogues are other draws than the one the demo shows (world seeds from 101).

    python -m benchmarks.demo_towers --root data/demo --out configs/tower
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, RandomSampler, TensorDataset
from tqdm.auto import tqdm

from datamodules.demo import Demo
from zoo.encoders.base import Encoder
from zoo.encoders.create import create_encoder
from zoo.factory import create
from zoo.models.crossan import CROSSAN
from zoo.types import Content, ModelNeeds

WORLD_SEEDS = (101, 102, 103)
TEMPERATURE = 0.2
STEPS = {"text": 600, "image": 2400, "audio": 600, "video": 900}
BATCH = {"text": 128, "image": 96, "audio": 96, "video": 48}
View = Callable[[Content, torch.Generator], Content]


def text_view(content: Content, draw: torch.Generator) -> Content:
    """Each word but the start token is left out with probability 0.4; order and places stay."""
    tokens_NT = content["tokens"]
    dropped_NT = torch.rand(tokens_NT.shape, generator=draw) < 0.4
    dropped_NT[:, 0] = False
    kept_NT = (tokens_NT >= 0) & ~dropped_NT
    # Kept words move to the front, in order: -1 may only follow the last one.
    order_NT = (~kept_NT).to(torch.int8).argsort(dim=1, stable=True)
    shortened_NT = tokens_NT.masked_fill(~kept_NT, -1).gather(1, order_NT)
    return {**content, "tokens": shortened_NT}


def image_view(content: Content, draw: torch.Generator) -> Content:
    """A random square of 75 to 100 % of the side, stretched back, half of them mirrored, with noise."""
    pixels = content["pixels"]
    return {**content, "pixels": noisy(cropped(pixels.float(), 0.75, draw), 4.0, draw)}


def recoloured_view(content: Content, draw: torch.Generator) -> Content:
    """The same with the colour channels in another order, each stretched and moved."""
    view = image_view(content, draw)
    pixels = view["pixels"].float()
    n = len(pixels)
    order_N3 = torch.rand(n, 3, generator=draw).argsort(1)
    gain_N311 = 0.4 + 1.2 * torch.rand(n, 3, 1, 1, generator=draw)
    move_N311 = 50.0 * torch.randn(n, 3, 1, 1, generator=draw)
    shuffled = pixels[torch.arange(n)[:, None], order_N3]
    middle = shuffled.mean((2, 3), keepdim=True)
    recoloured = (shuffled - middle) * gain_N311 + middle + move_N311
    return {**view, "pixels": recoloured.clamp(0, 255).to(torch.uint8)}


def video_view(content: Content, draw: torch.Generator) -> Content:
    """The clip from another moment of its turn on, forwards or backwards; every frame cropped alike."""
    frames = content["frames"]
    n_items, n_frames = frames.shape[:2]
    start_N1 = torch.randint(n_frames, (n_items, 1), generator=draw)
    sense_N1 = torch.randint(2, (n_items, 1), generator=draw) * 2 - 1
    places_NT = (start_N1 + sense_N1 * torch.arange(n_frames)) % n_frames
    turned = frames[torch.arange(n_items)[:, None], places_NT]
    as_one_picture = turned.flatten(1, 2).float()
    shifted = cropped(as_one_picture, 0.85, draw).view(frames.shape)
    return {**content, "frames": noisy(shifted, 4.0, draw)}


def audio_view(content: Content, draw: torch.Generator) -> Content:
    """The spectrogram moved by up to a fifth of its length, louder or softer, with noise."""
    features = content["features"].float()
    n_items, n_frames = features.shape[:2]
    shift_N1 = torch.randint(-n_frames // 5, n_frames // 5 + 1, (n_items, 1), generator=draw)
    places_NT = (torch.arange(n_frames) - shift_N1).clamp(0, n_frames - 1)
    moved = features[torch.arange(n_items)[:, None], places_NT]
    spread = features.std()
    louder_N11 = torch.randn(n_items, 1, 1, generator=draw) * 0.2
    noise = torch.randn(moved.shape, generator=draw) * 0.2
    return {**content, "features": (moved + spread * (louder_N11 + noise)).to(content["features"].dtype)}


VIEWS: dict[str, tuple[View, ...]] = {
    "text": (text_view,),
    "image": (image_view, recoloured_view),
    "audio": (audio_view,),
    "video": (video_view,),
}
"""Modality -> kinds of views, in turn step by step."""


def cropped(picture_NCHW: Tensor, smallest: float, draw: torch.Generator) -> Tensor:
    """A random square of each picture at its old size, half of them mirrored."""
    n = len(picture_NCHW)
    scale_N = smallest + (1.0 - smallest) * torch.rand(n, generator=draw)
    mirror_N = torch.randint(2, (n,), generator=draw) * 2.0 - 1.0
    place_N2 = (torch.rand(n, 2, generator=draw) * 2.0 - 1.0) * (1.0 - scale_N)[:, None]
    theta_N23 = torch.zeros(n, 2, 3)
    theta_N23[:, 0, 0], theta_N23[:, 1, 1] = scale_N * mirror_N, scale_N
    theta_N23[:, :, 2] = place_N2
    grid = F.affine_grid(theta_N23, list(picture_NCHW.shape), align_corners=False)
    return F.grid_sample(picture_NCHW, grid, padding_mode="border", align_corners=False)


def noisy(pixels: Tensor, level: float, draw: torch.Generator) -> Tensor:
    """Pixels of 0 to 255 with a change of brightness and noise of every pixel, as uint8 again."""
    brightness = torch.randn(len(pixels), *[1] * (pixels.ndim - 1), generator=draw) * 2 * level
    noise = torch.randn(pixels.shape, generator=draw) * level
    return (pixels + brightness + noise).clamp(0, 255).to(torch.uint8)


def info_nce(first_ND: Tensor, second_ND: Tensor) -> Tensor:
    """SimCLR's NT-Xent: each view must find the other view of its item among all views of the batch."""
    view_ND = F.normalize(torch.cat([first_ND, second_ND]), dim=1)
    n = len(first_ND)
    score_NN = (view_ND @ view_ND.T / TEMPERATURE).fill_diagonal_(-torch.inf)
    return F.cross_entropy(score_NN, (torch.arange(2 * n) + n) % (2 * n))


def raw_content(root: Path, modality: str) -> Content:
    """Prepared content of the catalogues the towers learn from."""
    model = create("crossan")
    parts = []
    for seed in WORLD_SEEDS:
        data = Demo(root=str(root), world_seed=seed)
        data.bind(ModelNeeds({modality: model.needs().transforms[modality]}))
        data.prepare_data()
        data.setup("fit")
        ids_N = torch.arange(1, data.spec.n_items).numpy()
        parts.append(data.items.content(ids_N, [modality])[modality])
    return {field: torch.cat([part[field] for part in parts]) for field in parts[0]}


def pretrain(modality: str, tower: Encoder, content: Content, steps: int, seed: int = 0) -> float:
    """Trains a tower in place; the projection that the loss reads is thrown away.

    Returns:
        Mean loss of the last tenth of the steps.
    """
    torch.manual_seed(seed)
    draw = torch.Generator().manual_seed(seed)
    views = VIEWS[modality]
    heads = nn.ModuleList(
        nn.Sequential(nn.Linear(tower.width, tower.width), nn.ReLU(), nn.Linear(tower.width, 64))
        for _ in views
    )
    parameters = [*tower.parameters(), *heads.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1e-3, total_steps=steps, pct_start=0.1)
    rows = TensorDataset(torch.arange(len(content["present"])))
    sampler = RandomSampler(rows, True, steps * BATCH[modality], draw)
    losses: list[float] = []
    tower.train()
    for (rows_N,) in tqdm(DataLoader(rows, BATCH[modality], sampler=sampler), desc=modality, unit="step"):
        part = {field: values[rows_N] for field, values in content.items()}
        kind = len(losses) % len(views)
        ends = [heads[kind](tower(views[kind](part, draw)).pooled_ND) for _ in range(2)]
        loss = info_nce(*ends)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        losses.append(float(loss.detach()))
    tail = losses[-max(1, steps // 10) :]
    return sum(tail) / len(tail)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--root", type=Path, default=Path("data/demo"), help="where demo catalogues lie")
    parser.add_argument("--out", type=Path, default=Path("configs/tower"), help="where the files go")
    parser.add_argument("--modalities", default=",".join(VIEWS), help="separated by commas")
    parser.add_argument("--steps", type=int, help="steps of every tower, for a trial")
    options = parser.parse_args()
    model = create("crossan")
    assert isinstance(model, CROSSAN)
    for modality in options.modalities.split(","):
        spec = model.specs[modality]
        spec.weights = None
        torch.manual_seed(0)
        tower = create_encoder(modality, spec)
        content = raw_content(options.root, modality)
        loss = pretrain(modality, tower, content, options.steps or STEPS[modality])
        file = options.out / f"demo_{modality}.safetensors"
        file.parent.mkdir(parents=True, exist_ok=True)
        # Half precision: the files travel with the package.
        save_file({name: t.detach().half().contiguous() for name, t in tower.state_dict().items()}, file)
        print(f"{modality}: loss {loss:.3f}, {file} {file.stat().st_size / 2**20:.2f} MiB")


if __name__ == "__main__":
    main()
