"""What a training costs: seconds an epoch, trained parameters, peak memory."""

import ctypes
import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

FILE = "cost.json"
STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class CostMeter(Callback):
    """Measures a training and leaves what it found as ``cost.json`` beside ``results.json``.

    The seconds of an epoch go from its start to the end of its last step: loading and steps, no validation,
    no checkpoint at its end. Of a run that was interrupted only whole epochs count. Memory is the peak of
    training, evaluation left out: what PyTorch has allocated on a GPU, or the resident memory of the process
    on a CPU, where what was resident before the model was made is told apart. With several processes it is
    that of the first. Frozen features have a time of their own, which is none if they were found on the disk.
    """

    def __init__(self) -> None:
        self._seconds: list[float] = []
        self._features: dict[str, float] = {}
        self._memory = 0
        self._before = 0
        self._restart()

    def _restart(self) -> None:
        self._since = self._held = time.monotonic()
        self._paused, self._elapsed, self._whole = 0.0, 0.0, False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """The model's parameters do not exist yet."""
        if stage == "fit":
            release_freed()
            self._before = resident("VmRSS")

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Frozen features are there; what their towers took does not count as training."""
        self._features |= getattr(pl_module, "feature_seconds", {})
        reset_peak(pl_module.device)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Starts the clock, before the first batch is loaded."""
        settle(pl_module.device)
        self._restart()

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: object, batch_idx: int
    ) -> None:
        """An epoch that begins in the middle is no whole one."""
        self._whole |= batch_idx == 0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        """Reads the clock; the device is waited for in the last step only."""
        if trainer.is_last_batch:
            settle(pl_module.device)
        self._elapsed = time.monotonic() - self._since - self._paused

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Holds the clock, and reads the memory before evaluation takes more."""
        if not trainer.sanity_checking:
            self._memory = max(self._memory, peak(pl_module.device))
        self._held = time.monotonic()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Goes on."""
        self._paused += time.monotonic() - self._held
        reset_peak(pl_module.device)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Notes a whole epoch."""
        self._memory = max(self._memory, peak(pl_module.device))
        if self._whole:
            self._seconds.append(self._elapsed)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Writes the file."""
        folder = Path(trainer.log_dir or trainer.default_root_dir)  # asked by all ranks: it is broadcast
        if not trainer.is_global_zero:
            return
        device, parameters = pl_module.device, list(pl_module.parameters())
        found = {
            "epoch_seconds": [round(seconds, 4) for seconds in self._seconds],
            "cached": sorted(getattr(pl_module, "features", {})),
            "feature_seconds": {m: round(seconds, 4) for m, seconds in self._features.items()},
            "parameters": sum(p.numel() for p in parameters),
            "trainable": sum(p.numel() for p in parameters if p.requires_grad),
            "memory_bytes": self._memory,
            "memory_before_bytes": 0 if device.type == "cuda" else self._before,
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
            "threads": torch.get_num_threads(),
            "precision": str(trainer.precision),
            "processes": trainer.world_size,
        }
        folder.mkdir(parents=True, exist_ok=True)
        part = folder / f"{FILE}.part"
        part.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
        os.replace(part, folder / FILE)

    def state_dict(self) -> dict[str, Any]:
        """What was measured so far, for a run that goes on."""
        return {"seconds": list(self._seconds), "features": dict(self._features), "memory": self._memory}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes up what the interrupted run measured."""
        self._seconds = list(state_dict["seconds"])
        self._features = dict(state_dict["features"])
        self._memory = int(state_dict["memory"])


def settle(device: torch.device) -> None:
    """Waits until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak(device: torch.device) -> int:
    """Bytes at the highest, since the last reset."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else resident("VmHWM")


def reset_peak(device: torch.device) -> None:
    """Looks for a new peak from here on; without ``/proc`` that of the process's whole life stays."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    release_freed()
    if os.access(RESET, os.W_OK):
        RESET.write_text("5", encoding="ascii")


def resident(field: str) -> int:
    """Resident bytes of this process: ``VmRSS`` at the moment, ``VmHWM`` at the highest."""
    if STATUS.is_file():
        for line in STATUS.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) * 1024
    highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return highest if sys.platform == "darwin" else highest * 1024


def release_freed() -> None:
    """Gives memory that is free but still held back to the system, where the C library can."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
