"""What the wheel holds, which way imports go, and what start-up does not import."""

import ast
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FORBIDDEN = {"zoo": {"datamodules", "cli", "tests"}, "datamodules": {"cli", "tests"}}
CONTRACT = "zoo.types"


def imported(path: Path) -> set[str]:
    """Modules a file imports."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import"
            names.add(node.module)
    return names


@pytest.mark.parametrize("package", sorted(FORBIDDEN))
def test_imports_point_one_way(package: str) -> None:
    for path in (ROOT / package).rglob("*.py"):
        for name in imported(path):
            assert name.partition(".")[0] not in FORBIDDEN[package], f"{path} imports {name}"
            if package == "datamodules" and name.startswith("zoo"):
                assert name == CONTRACT, f"{path} imports {name}, not only {CONTRACT}"


def test_heavy_libraries_stay_in_their_files() -> None:
    homes = {"timm": {"image_timm.py"}, "open_clip": {"clip.py"}, "torchvision": {"video_torchvision.py"}}
    homes |= {"peft": {"adapt.py"}, "av": set()}
    for path in (ROOT / "zoo").rglob("*.py"):
        for name in imported(path):
            allowed = homes.get(name.partition(".")[0])
            assert allowed is None or path.name in allowed, f"{path} imports {name}"


def test_help_and_list_import_no_heavy_library() -> None:
    code = (
        "import sys, cli; cli.main(['--help']); cli.main(['list']); cli.main(['data', '--help']); "
        "sys.exit(int(bool({'torch', 'transformers', 'timm', 'lightning'} & set(sys.modules))))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert "morec" in result.stdout
    assert "ninerec" in result.stdout


@pytest.mark.slow
def test_wheel_contents(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(tmp_path), str(ROOT)], check=True
    )
    (wheel,) = tmp_path.glob("mmzoo-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    top = {name.partition("/")[0] for name in names if ".dist-info" not in name}
    assert top == {"zoo", "datamodules", "cli.py"}
    for name in (
        "zoo/py.typed",
        "datamodules/py.typed",
        "zoo/configs/model/morec.yaml",
        "zoo/configs/study/mmsr.yaml",
        "zoo/models/README.md",
    ):
        assert name in names
