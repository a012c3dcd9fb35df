import pytest

from zoo.names import config_file, near, recipe_file, short_names


def test_short_names_ignore_case_hyphen_and_underscore() -> None:
    assert (
        config_file("data", "NineRec") == config_file("data", "nine_rec") == config_file("data", "nine-rec")
    )


def test_unknown_name_says_what_is_near() -> None:
    with pytest.raises(ValueError, match=r"no model named 'moreck'. Did you mean morec"):
        config_file("model", "moreck")
    with pytest.raises(ValueError, match=r"no data set named 'ninrec'. Did you mean ninerec"):
        config_file("data", "ninrec")


def test_near_is_empty_when_nothing_is() -> None:
    assert near("zzzz", ["morec", "idrec"]) == []


def test_every_configuration_opens_with_its_description() -> None:
    for name in short_names("model"):
        assert config_file("model", name).read_text().startswith("# ")
    for name in short_names("data"):
        assert config_file("data", name).read_text().startswith("# ")


def test_recipe_of_a_pair_before_the_default() -> None:
    assert recipe_file("demo", "morec") is not None
    assert recipe_file("no-such-data", "morec") is None
