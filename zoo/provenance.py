"""Where a result comes from: code, configuration, libraries, machine; and a seal that shows an edit."""

import hashlib
import json
import platform
import subprocess
import sys
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import zoo

LIBRARIES = (
    "torch", "lightning", "transformers", "timm", "open_clip_torch", "torchvision", "torchmetrics", "numpy",
    "polars", "pillow", "safetensors", "tokenizers", "peft", "av",
)  # fmt: skip
"""Distributions whose versions may change a result."""
CHECKSUM = "checksum"
"""Where the seal stands."""
WHERE = frozenset(
    {
        "config", "run_dir", "threads", "seed_everything", "ckpt_path", "weights_only", "verbose", "weights",
        "test_after_fit", "trainer.logger", "trainer.default_root_dir", "trainer.enable_progress_bar",
        "trainer.enable_model_summary", "trainer.log_every_n_steps", "trainer.accelerator", "trainer.devices",
        "trainer.num_nodes", "trainer.profiler", "trainer.barebones", "trainer.enable_autolog_hparams",
        "trainer.model_registry", "data.root", "data.cache_dir", "data.num_workers", "data.eval_batch_size",
        "model.item_chunk", "model.top_k", "model.stages",
    }
)  # fmt: skip
"""Options that say where, how fast or how often something runs, not what is found."""
DECIDING = ("checkpoint.BestCheckpoint", "checkpoint.StayingEarlyStopping")
"""Our callbacks that decide what is found; the others look on."""
GIT_SECONDS = 20


def config_hash(config: Mapping[str, Any]) -> str:
    """Digest of what a configuration finds: equal over seeds, folders, machines and onlookers.

    Args:
        config: Every value of a run, as ``--print_config`` shows it.

    >>> one = {"seed_everything": 1, "model": {"class_path": "A", "init_args": {"lr": 0.1, "text": None}}}
    >>> two = {"seed_everything": 2, "model": {"class_path": "A", "init_args": {"lr": 0.1}}}
    >>> config_hash(one) == config_hash(two)
    True
    """
    return digest(_deciding(config, ""))[:16]


def _deciding(value: Any, at: str) -> Any:  # noqa: ANN401
    """A configuration without what is null and what does not decide."""
    if isinstance(value, Mapping):
        found = {}
        for key, inner in value.items():
            name = at if key == "init_args" else f"{at}.{key}".lstrip(".")
            if name not in WHERE and inner is not None:
                found[str(key)] = _deciding(inner, name)
        return found
    if isinstance(value, list | tuple):
        items = [inner for inner in value if not _looks_on(inner)] if at == "trainer.callbacks" else value
        return [_deciding(inner, f"{at}[]") for inner in items]
    return value


def _looks_on(callback: Any) -> bool:  # noqa: ANN401
    path = str(callback.get("class_path", "")) if isinstance(callback, Mapping) else ""
    return path.startswith("zoo.callbacks.") and not path.endswith(DECIDING)


def digest(content: Any) -> str:  # noqa: ANN401
    """SHA-256 of plain values, whatever the order of their keys."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def seal(content: Mapping[str, Any]) -> dict[str, Any]:
    """Adds the checksum of everything else.

    >>> sealed = seal({"rows": [1]})
    >>> is_sealed(sealed), is_sealed({**sealed, "rows": [2]}), is_sealed({"rows": [1]})
    (True, False, False)
    """
    plain = json.loads(json.dumps({k: v for k, v in content.items() if k != CHECKSUM}))
    return {**plain, CHECKSUM: f"sha256:{digest(plain)}"}


def is_sealed(content: Mapping[str, Any]) -> bool:
    """Whether nothing was changed since ``seal``."""
    return bool(content.get(CHECKSUM) == seal(content)[CHECKSUM])


def file_digest(path: Path) -> str:
    """SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def library_versions() -> dict[str, str]:
    """Python and the installed ones of ``LIBRARIES``."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def code_version(modules: Iterable[str] = ()) -> dict[str, Any]:
    """Version of the package, digest of the sources, and the commit where they lie in a git work tree.

    Args:
        modules: Whose packages count beside this one: the model's, the data's.

    Returns:
        ``version``, ``digest`` (of the Python files, wherever they lie), ``commit`` and ``dirty``, the latter
        two None outside of a work tree that knows the package.
    """
    tops = {module.partition(".")[0] for module in modules} | {"zoo"}
    homes = [Path(file) for name in sorted(tops - {"__main__"}) if (file := _source_file(name))]
    homes = [home.parent if home.name == "__init__.py" else home for home in homes]
    commit, dirty = git_state(homes)
    found = {"version": zoo.__version__, "digest": source_digest(homes)}
    return {**found, "commit": commit, "dirty": dirty}


def _source_file(package: str) -> str | None:
    """Where a package's source begins, imported or not; None where it has none."""
    if package in sys.modules:
        return getattr(sys.modules[package], "__file__", None)
    try:
        spec = find_spec(package)
    except (ImportError, ValueError):
        return None
    return None if spec is None else spec.origin


def source_digest(homes: Iterable[Path]) -> str:
    """Digest of the Python files of packages, by their names and content."""
    total = hashlib.sha256()
    for home in homes:
        for path in sorted(home.rglob("*.py")) if home.is_dir() else [home]:
            total.update(f"{path.relative_to(home.parent).as_posix()}\0".encode())
            total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()[:16]


def git_state(homes: list[Path]) -> tuple[str | None, bool | None]:
    """Commit of the work tree that the package is part of, and whether its files differ from it.

    A package that only lies below somebody's work tree, as in a virtual environment, is no part of it.
    """
    package = Path(zoo.__file__).parent
    if _git(package, "ls-files", "--error-unmatch", "__init__.py") is None:
        return None, None
    commit = _git(package, "rev-parse", "HEAD")
    root = _git(package, "rev-parse", "--show-toplevel")
    inside = [str(home) for home in homes if root and home.resolve().is_relative_to(Path(root).resolve())]
    changes = _git(package, "status", "--porcelain", "--untracked-files=no", "--", *inside)
    return commit, None if changes is None else bool(changes)


def _git(folder: Path, *words: str) -> str | None:
    """What git answers; None where there is no git, no repository, or no answer."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *words],
            capture_output=True,
            text=True,
            timeout=GIT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def cpu_name() -> str:
    """What the processor calls itself."""
    path = Path("/proc/cpuinfo")
    if path.is_file():
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()
