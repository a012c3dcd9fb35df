"""One virtual environment a library: made once, with the versions that are known to work together.

Nothing of theirs is part of this project: pip installs them from the package index into a folder that git
ignores. All get the PyTorch that the benchmark itself runs, so that kernels are the same.
"""

import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock

STAMP = "requirements.txt"
LOG = "pip.log"
SHOWN = 2_000
"""Characters of pip's output in an error."""


class Peer(NamedTuple):
    """A library."""

    name: str
    worker: str
    """Module that drives it."""
    distribution: str
    requirements: tuple[str, ...]
    """Pinned, and what it needs beside that its own metadata does not say."""

    def wanted(self) -> str:
        """All requirements, one a line."""
        torch = f"torch=={version('torch').partition('+')[0]}"
        return "\n".join([*self.requirements, torch]) + "\n"


PEERS = {
    "replay": Peer(
        "RePlay",
        "benchmarks.peers.worker_replay",
        "replay-rec",
        ("replay-rec[torch]==0.22.0", "lightning==2.6.6"),
    ),
    "rectools": Peer(
        "RecTools",
        "benchmarks.peers.worker_rectools",
        "rectools",
        ("rectools[torch]==0.19.0",),
    ),
    "recbole": Peer(
        "RecBole",
        "benchmarks.peers.worker_recbole",
        "recbole",
        # Its ray asks numpy for names that numpy 2 has not, and setuptools for pkg_resources; its own code
        # writes into frames that pandas 3 would copy. Checkpoints, which PyTorch 2.6 and later refuse to
        # read, are not written.
        ("recbole==1.2.1", "numpy==1.26.4", "pandas<3", "ray==2.6.3", "setuptools<81"),
    ),
}


@dataclass(frozen=True)
class Environments:
    """Where the environments are, and what makes them.

    Args:
        root: Folder of all of them.
        python: Interpreter to make them with. RecBole needs 3.11: its ray has no wheels for newer ones.
    """

    root: Path
    python: Path = Path(sys.executable)

    def folder(self, key: str) -> Path:
        """Of one of ``PEERS``."""
        return self.root.resolve() / key

    def interpreter(self, key: str) -> Path:
        """The interpreter of a library's environment, which is made unless it is there.

        Raises:
            RuntimeError: pip failed.
        """
        folder, wanted = self.folder(key), PEERS[key].wanted()
        interpreter, stamp = folder / "bin" / "python", folder / STAMP
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_suffix(".lock")):
            if not (stamp.is_file() and stamp.read_text("utf-8") == wanted):
                self._install(key, wanted)
                stamp.write_text(wanted, encoding="utf-8")
        return interpreter

    def _install(self, key: str, wanted: str) -> None:
        folder, name = self.folder(key), PEERS[key].name
        print(f"Installing {name} into {folder}: several minutes, about 6 GB.", file=sys.stderr)
        subprocess.run([self.python, "-m", "venv", "--clear", folder], check=True)
        command = [str(folder / "bin" / "python"), "-m", "pip", "install", "--no-input", *wanted.split()]
        with open(folder / LOG, "w", encoding="utf-8") as log:
            done = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=False)
        if done.returncode:
            tail = (folder / LOG).read_text("utf-8")[-SHOWN:]
            raise RuntimeError(
                f"Expected pip to install {name} into {folder}, found:\n{tail}\n"
                "Give another interpreter by --peers-python, or leave these rows out by --rows."
            )

    def versions(self, key: str) -> dict[str, str]:
        """Versions of a library and of what its speed depends on, as its environment has them."""
        names = (PEERS[key].distribution, "torch", "numpy", "lightning", "pytorch-lightning")
        code = (
            "import importlib.metadata as m, sys\n"
            "have = {d.metadata['Name'].lower() for d in m.distributions()}\n"
            "print(*(f'{n} {m.version(n)}' for n in sys.argv[1:] if n in have), sep='\\n')"
        )
        command = [str(self.folder(key) / "bin" / "python"), "-c", code, *names]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        pairs = (line.partition(" ") for line in done.stdout.splitlines())
        return {name: found for name, _, found in pairs}

    def packages(self, key: str) -> Path:
        """Where an environment, made if need be, keeps its packages."""
        self.interpreter(key)
        return next((self.folder(key) / "lib").glob("python3*/site-packages"))
