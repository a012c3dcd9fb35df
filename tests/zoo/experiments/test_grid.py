import pytest

from zoo.experiments.grid import Axis, combinations, folder_name, require_apart

FUSION = Axis.parse("model.fusion=sum,concat,film")
TOWER = Axis.of("tower", {"none": None, "bert": {"model": {"text": {"name": "bert", "config": {"a": 1}}}}})


def test_one_axis_at_a_time_starts_from_the_first_values() -> None:
    found = combinations([FUSION, TOWER], "one")
    assert [list(c.labels.values()) for c in found] == [
        ["sum", "none"],
        ["concat", "none"],
        ["film", "none"],
        ["sum", "bert"],
    ]
    assert found[-1].options == [
        "--model.fusion=sum",
        "--model.text.name=bert",
        '--model.text.config={"a": 1}',
    ]


def test_a_grid_has_every_combination_once() -> None:
    names = [c.name for c in combinations([FUSION, TOWER], "grid")]
    assert len(set(names)) == 6


def test_values_are_read_as_yaml() -> None:
    axis = Axis.parse("--data.max_len=5,10")
    assert axis.values == {"5": ["--data.max_len=5"], "10": ["--data.max_len=10"]}
    assert Axis.parse("model.image=null,{name: x}").values == {
        "null": ["--model.image=null"],
        '{"name": "x"}': ["--model.image.name=x"],
    }


@pytest.mark.parametrize("text", ["model.fusion", "=a,b", "model.fusion=", "model.fusion=[a", "a=1,1"])
def test_a_malformed_axis_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="--vary"):
        Axis.parse(text)


@pytest.mark.parametrize("given", [None, ["a"], {"a": 3}, {"option": "x", "values": "a"}])
def test_a_malformed_axis_of_a_study_is_refused(given: object) -> None:
    with pytest.raises(ValueError, match="Axis 'tower'"):
        Axis.of("tower", given)


def test_an_option_has_one_owner() -> None:
    require_apart([FUSION, TOWER], ["--model.lr=1"])
    with pytest.raises(ValueError, match=r"--model\.fusion is what the axis 'model.fusion' varies"):
        require_apart([FUSION], ["--model.fusion=sum"])
    with pytest.raises(ValueError, match=r"by the axis 'model\.fusion' and by 'again'"):
        require_apart([FUSION, Axis.of("again", {"a": {"model.fusion": "sum"}})], [])


def test_folder_names_stay_apart() -> None:
    assert folder_name("a=1/2") != folder_name("a=1_2")
    assert len(folder_name("x" * 500)) < 140
    assert folder_name("..") != ".."
