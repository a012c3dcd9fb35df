"""Whether FMMRec hides attributes, and what that costs: hosts against FMMRec as published and against ours.

Everything is a run of the real command, ``mmzoo fair``: the strong attacker and the published one on users
they never saw, over seeds, paired. Tables like that of ``FINDINGS.md`` come from

    python -m benchmarks.fairness_claims --seeds 5

A claim holds if the strong attacker's AUC falls by more than ``MARGIN`` and the interval over seeds is below
zero; what recommendation loses stands beside it.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

MARGIN = 0.02
"""Smallest fall of the AUC that is called one."""
HOSTS = "lightgcn"
MODELS = "fmmrec,fmmrec_confuse"
QUALITY = "recall@20"


def verdicts(results: dict[str, Any]) -> list[str]:
    """A sentence for each host, variant and attack.

    Args:
        results: What ``mmzoo fair`` left as ``results.json``.

    >>> contrast = {"difference": -0.1, "lower": -0.12, "upper": -0.08, "p": 0.001}
    >>> leak = {"host": "a", "variant": "b", "measure": "gender user AUC", "contrast": contrast}
    >>> verdicts({"differences": [{**leak, "measure": "recall@20"}, leak]})
    ['b on a, gender user AUC: -0.1000, holds, at recall@20 -0.1000']
    """
    costs = {
        (each["host"], each["variant"]): each["contrast"]["difference"]
        for each in results["differences"]
        if each["measure"] == QUALITY
    }
    found = []
    for each in results["differences"]:
        if not each["measure"].endswith(" AUC"):
            continue
        contrast, place = each["contrast"], (each["host"], each["variant"])
        upper = contrast["upper"]
        if contrast["difference"] > -MARGIN or (upper is not None and upper >= 0):
            verdict = "does not hold"
        else:
            verdict = "holds" if upper is not None else "one seed: not tested"
        cost = f"at {QUALITY} {costs[place]:+.4f}" if place in costs else ""
        found.append(
            f"{place[1]} on {place[0]}, {each['measure']}: {contrast['difference']:+.4f}, {verdict}, {cost}"
        )
    return found


def main() -> None:
    """Runs what is missing and prints the verdicts under the command's own tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--hosts", default=HOSTS)
    parser.add_argument("--models", default=MODELS)
    parser.add_argument("--data", default="demo_cf")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time, one thread each")
    parser.add_argument(
        "--folder", type=Path, default=Path("runs/fairness_claims"), help="kept: a second call resumes"
    )
    parser.add_argument("extra", nargs="*", help="further options of mmzoo fair, after --")
    arguments = parser.parse_args()
    line = [sys.executable, "-m", "cli", "fair"]
    for name in ("hosts", "models", "data", "seeds", "jobs"):
        line += [f"--{name}", str(getattr(arguments, name))]
    done = subprocess.run(
        [*line, "--threads", "1", "--out", str(arguments.folder), *arguments.extra], check=False
    )
    if done.returncode:
        sys.exit(done.returncode)
    results = json.loads((arguments.folder / "results.json").read_text(encoding="utf-8"))
    print("\n".join(verdicts(results)))


if __name__ == "__main__":
    main()
