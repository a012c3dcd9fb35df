"""Recommendations as a table and as a page: files, unknown names, new items, other catalogues."""

import json
from pathlib import Path

import polars as pl
import pytest
from lightning.pytorch import Trainer
from PIL import Image

import zoo
from datamodules.demo import Demo
from datamodules.demo_mmrec import DemoCF
from datamodules.errors import BadTableError, DataNotFoundError
from datamodules.new_items import new_items
from datamodules.user_files import read_users
from tests.command import mmzoo, succeeded
from tests.miniature import miniature
from zoo.checkpoints import CheckpointMismatchError
from zoo.recommend_command import recommend
from zoo.recommend_line import data_words


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with checkpoints of models with random weights, users, and new items."""
    folder = tmp_path_factory.mktemp("recommend_command")
    for name in ("morec", "idrec", "bpr"):
        model = zoo.create(name, **miniature(name))
        trainer = Trainer(accelerator="cpu", max_epochs=0, logger=False, enable_checkpointing=False)
        trainer.fit(model, datamodule=data_of(folder, name))
        trainer.save_checkpoint(folder / f"{name}.ckpt")
    (folder / "users.csv").write_text("user,item\nu1,v3\nu1,v5\nstranger,v9\nlost,nothing\nu1,nowhere\n")
    (folder / "names.csv").write_text("user\nu2\nnobody\nu1\n")
    (folder / "fresh" / "images").mkdir(parents=True)
    lines = ["item,title", "n1,a <script>bad</script> title", "n2,another one", "n2,twice", ",nameless"]
    (folder / "fresh" / "items.csv").write_text("\n".join(lines) + "\n")
    Image.new("RGB", (8, 8), "red").save(folder / "fresh" / "images" / "n1.jpg")
    return folder


def data_of(root: Path, name: str = "morec") -> Demo | DemoCF:
    return (DemoCF if name == "bpr" else Demo)(root=str(root / "demo"), size="tiny")


def run(
    root: Path, name: str = "morec", users: str = "users.csv", out: str = "out.parquet", **options: object
) -> Path:
    given = {"read_users": read_users, "open_items": new_items, **options}
    path = root / out
    recommend(data_of(root, name), path, ckpt=str(root / f"{name}.ckpt"), users=str(root / users), **given)  # type: ignore[arg-type]
    return path


def test_what_is_unknown_is_told_and_left_out(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = pl.read_parquet(run(root, k=4))
    assert table.columns == ["user", "rank", "item", "score"]
    assert table["user"].to_list() == ["u1"] * 4 + ["stranger"] * 4
    assert table["rank"].to_list() == [1, 2, 3, 4] * 2
    assert not {"v3", "v5"} & set(table["item"][:4])
    out = capsys.readouterr().out
    assert "not in the catalogue; their lines are left out: 2 (nowhere, nothing)" in out
    assert "Users without an item of the catalogue, left out: 1 (lost)" in out
    assert not list(root.glob("*.part"))


def test_formats_hold_the_same(root: Path) -> None:
    parquet = pl.read_parquet(run(root, k=3))
    lines = [json.loads(line) for line in run(root, k=3, out="out.jsonl").read_text().splitlines()]
    assert [line["item"] for line in lines] == parquet["item"].to_list()
    assert pl.read_csv(run(root, k=3, out="out.csv"))["item"].to_list() == parquet["item"].to_list()
    assert run(root, k=3, out="folder").is_dir()
    assert (root / "folder" / "recommendations.parquet").is_file()
    with pytest.raises(ValueError, match=r"ends in \.parquet"):
        run(root, out="out.txt")


def test_places_that_cannot_be_written_are_found_first(root: Path) -> None:
    (root / "taken").write_text("")
    (root / "folder.csv").mkdir()
    nobody = {"users": "no such file"}
    with pytest.raises(ValueError, match=r"--out .*taken.* cannot be written"):
        run(root, out="taken/out.csv", **nobody)
    with pytest.raises(ValueError, match=r"folder\.csv is a folder"):
        run(root, out="folder.csv", **nobody)
    with pytest.raises(ValueError, match=r"--html .*taken.* cannot be written"):
        run(root, html=str(root / "taken" / "page.html"), **nobody)


def test_who_has_everything_is_told(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [f"full,{name}" for name in data_of_items(root)]
    (root / "full.csv").write_text("\n".join(["user,item", "u1,v3", *lines]) + "\n")
    table = pl.read_csv(run(root, users="full.csv", out="full_out.csv", k=2))
    assert table["user"].to_list() == ["u1", "u1"]
    assert "no item is left that could be recommended: 1 (full)" in capsys.readouterr().out


def test_users_of_the_data_set_by_name(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = pl.read_parquet(run(root, users="names.csv", k=5))
    assert table["user"].unique(maintain_order=True).to_list() == ["u2", "u1"]
    assert "Users that are not in the data set, left out: 1 (nobody)" in capsys.readouterr().out
    pairs = pl.read_parquet(run(root, "bpr", users="names.csv", k=5, html=str(root / "pairs.html")))
    assert pairs["user"].unique(maintain_order=True).to_list() == ["u2", "u1"]
    both = pl.read_parquet(run(root, "bpr", k=5))
    assert both["user"].unique().to_list() == ["u1"]  # nobody else is known
    assert not {"v3", "v5"} & set(both["item"])
    (root / "strangers.csv").write_text("user,item\nx,nothing\n")
    with pytest.raises(ValueError, match="nobody to recommend to"):
        run(root, users="strangers.csv")


def test_new_items_and_a_page(root: Path) -> None:
    page = root / "page.html"
    everything = len(data_of_items(root)) + 2
    table = pl.read_parquet(
        run(root, k=everything, new_items=str(root / "fresh"), html=str(page), html_users=1)
    )
    assert {"n1", "n2"} < set(table["item"])
    text = page.read_text()
    assert "<script>" not in text
    assert "a &lt;script&gt;bad" in text
    assert text.count("data:image/jpeg;base64,") > 2
    assert "http" not in text
    assert "stranger" not in text
    with pytest.raises(ValueError, match="cannot recommend new items"):
        run(root, "idrec", new_items=str(root / "fresh"))


def data_of_items(root: Path) -> list[str]:
    data = data_of(root)
    data.prepare_data()
    data.setup()
    return data.item_names[1:]


def test_tables_of_new_items_that_are_none(root: Path, tmp_path: Path) -> None:
    needs = zoo.create("morec", **miniature("morec")).needs()
    with pytest.raises(DataNotFoundError, match="a table of new items"):
        new_items(tmp_path / "nowhere", needs)
    with pytest.raises(DataNotFoundError, match="one table of new items"):
        new_items(tmp_path, needs)
    (tmp_path / "items.csv").write_text("colour,weight\nred,1\n")
    with pytest.raises(BadTableError, match="a column item or id"):
        new_items(tmp_path, needs)
    (tmp_path / "items.csv").write_text("item,weight\nn1,1\n")
    with pytest.raises(DataNotFoundError, match="which the model reads"):
        new_items(tmp_path, needs)
    (tmp_path / "items.csv").write_text("item,title\n,\n")
    with pytest.raises(BadTableError, match="none below its header"):
        new_items(tmp_path, needs)


def test_another_catalogue(root: Path) -> None:
    other = Demo(root=str(root / "other"), size="tiny", platform="b")
    options = {"read_users": read_users, "open_items": new_items, "ckpt": str(root / "morec.ckpt")}
    other.prepare_data()
    other.setup()
    (root / "there.csv").write_text(f"user\n{other.user_names[1]}\n")
    users = str(root / "there.csv")
    with pytest.raises(CheckpointMismatchError, match="--other_catalogue true"):
        recommend(other, root / "o.csv", users=users, **options)  # type: ignore[arg-type]
    recommend(other, root / "o.csv", users=users, other_catalogue=True, **options)  # type: ignore[arg-type]
    assert set(pl.read_csv(root / "o.csv")["item"]) <= set(other.item_names)


def test_the_data_is_that_of_the_run(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="add --ckpt"):
        data_words(["--users=u.csv"])
    with pytest.raises(ValueError, match=r"no config\.yaml"):
        data_words([f"--ckpt={tmp_path}"])
    (tmp_path / "checkpoints").mkdir()
    config = "data: {class_path: datamodules.demo.Demo, init_args: {size: tiny, max_len: 7, seed: null}}\n"
    (tmp_path / "config.yaml").write_text(config)
    words = ["--data=datamodules.demo.Demo", "--data.size=tiny", "--data.max_len=7", "--data.seed=null"]
    for place in (tmp_path, tmp_path / "checkpoints" / "best.ckpt"):
        assert data_words([f"--ckpt={place}"]) == [*words, f"--ckpt={place}"]
    given = [f"--ckpt={tmp_path}", "--data=demo"]
    assert data_words(given) == given


def test_help_is_fast_and_errors_are_short(root: Path) -> None:
    assert "--new_items" in succeeded("recommend", "--help", cwd=root)
    done = mmzoo("recommend", "--users", "u.csv", cwd=root)
    assert done.returncode
    assert "add --ckpt" in done.stderr


@pytest.mark.slow
def test_the_real_command(root: Path) -> None:
    line = ("--model", "morec", "--data", "demo", "--data.size", "tiny", "--data.root", "demo")
    quiet = ("--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false")
    succeeded("fit", *line, *quiet, "--trainer.max_epochs", "1", "--run_dir", "fitted", cwd=root)
    asked = (
        "--users",
        "users.csv",
        "--k",
        "3",
        "--out",
        "real.csv",
        "--new_items",
        "fresh",
        "--html",
        "real.html",
    )
    out = succeeded("recommend", "--ckpt", "fitted", *asked, "--data.eval_batch_size", "7", cwd=root)
    assert "6 recommendations to 2 users are in real.csv" in out
    assert pl.read_csv(root / "real.csv").height == 6
    done = mmzoo("recommend", "--ckpt", "fitted", "--users", "users.csv", "--hide", "no", cwd=root)
    assert "Did you mean hide_history" in done.stderr
