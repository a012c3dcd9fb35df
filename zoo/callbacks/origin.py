"""Where the result of a test comes from, and its weights as a file that nothing executes."""

import os
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
import yaml
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import SaveConfigCallback
from safetensors.torch import save_file
from torch import Tensor

from zoo.checkpoints import class_path
from zoo.provenance import code_version, config_hash, cpu_name, file_digest, library_versions
from zoo.types import ModelNeeds

WEIGHTS = "weights.safetensors"


@runtime_checkable
class _HasNeeds(Protocol):
    def needs(self) -> ModelNeeds: ...


def origin(trainer: Trainer, model: LightningModule) -> dict[str, Any]:
    """Model, data, protocol, configuration, code, libraries and machine of a test, in plain values.

    What the data module or the command does not say is None: such a result is never compared with others.
    """
    data = getattr(trainer, "datamodule", None)
    device = model.device
    needs = model.needs() if isinstance(model, _HasNeeds) else None
    return {
        "model": class_path(type(model)),
        "modalities": sorted({*needs.transforms, *needs.features}) if needs is not None else [],
        "ids": bool(getattr(model, "catalogue_bound", False)),
        "data": getattr(data, "data_fingerprint", None),
        "protocol": getattr(data, "protocol_text", None),
        "seed": getattr(model, "seed", None),
        "monitor": monitor(trainer),
        "config": configuration(trainer),
        "code": code_version({type(model).__module__, type(data).__module__} - {"builtins"}),
        "versions": library_versions(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_name(),
        "device_type": device.type,
        "processes": trainer.world_size,
        "threads": torch.get_num_threads(),
        "precision": str(trainer.precision),
    }


def monitor(trainer: Trainer) -> dict[str, Any] | None:
    """What chose the tested epoch; None for a test of no checkpoint, or of one it did not choose."""
    keeper = trainer.checkpoint_callback
    tested = trainer.ckpt_path
    if not isinstance(keeper, ModelCheckpoint) or tested is None or keeper.best_model_score is None:
        return None
    if os.path.basename(keeper.best_model_path) != os.path.basename(str(tested)):
        return None
    return {"name": keeper.monitor, "mode": keeper.mode, "value": float(keeper.best_model_score)}


def configuration(trainer: Trainer) -> str | None:
    """Digest of the configuration, where the run is one of the command's."""
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, SaveConfigCallback):
            values = yaml.safe_load(callback.parser.dump(callback.config, skip_none=False))
            return config_hash(values)
    return None


def write_weights(model: LightningModule, folder: Path) -> dict[str, Any]:
    """Writes a model's tensors, all or nothing.

    Returns:
        Name and SHA-256 of the file.
    """
    tensors = {
        name: value.detach().to("cpu", copy=True).contiguous()  # tied tensors too: each has its own memory
        for name, value in model.state_dict().items()
        if isinstance(value, Tensor)
    }
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f"{WEIGHTS}.part"
    save_file(tensors, part, metadata={"format": "pt", "class_path": class_path(type(model))})
    os.replace(part, folder / WEIGHTS)
    return {"file": WEIGHTS, "sha256": file_digest(folder / WEIGHTS)}
