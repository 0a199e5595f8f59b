from pathlib import Path

import pytest

from db.config import StageConfig, load_config
from db.errors import ConfigError
from db.settings import CHECKOUT, settings


class Inner(StageConfig):
    depth: int = 1


class Example(StageConfig):
    seed: int = 42
    name: str = "x"
    inner: Inner = Inner()


class Needy(StageConfig):
    seed: int


def write(folder: Path, text: str) -> Path:
    path = folder / "stage.yaml"
    path.write_text(text)
    return path


def test_a_file_is_laid_over_the_defaults_and_overrides_over_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, "seed: 1\nname: file\n")
    assert load_config(Example, path, name="option", seed=None) == Example(seed=1, name="option")


def test_no_file_and_an_empty_file_give_the_defaults(tmp_path: Path) -> None:
    assert load_config(Example, None) == Example() == load_config(Example, write(tmp_path, ""))


def test_a_configuration_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Example().seed = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("sede: 1", ["unknown key 'sede'", "seed, name, inner"]),
        ("inner: {deep: 2}", ["unknown key 'inner.deep'", "(allowed: depth)"]),
        ("seed: many", ["key 'seed' is 'many'", "valid integer"]),
        ("- 1\n- 2", ["holds a list", "mapping"]),
        ("1: 2", ["mapping of names"]),
        ("a: [", ["is not YAML"]),
    ],
)
def test_a_wrong_file_is_one_line_with_the_file_and_the_reason(tmp_path: Path, body: str, words: list[str]) -> None:
    path = write(tmp_path, body)
    with pytest.raises(ConfigError) as caught:
        load_config(Example, path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert all(word in message for word in words), message


def test_a_missing_key_and_a_missing_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="missing key 'seed'"):
        load_config(Needy, None)
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: cannot be read \(No such file"):
        load_config(Example, tmp_path / "nowhere.yaml")


def test_the_store_lies_below_home_unless_it_is_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("STRONGLENS_HOME", str(tmp_path))
    assert settings().store == str(tmp_path / "store")
    monkeypatch.setenv("STRONGLENS_STORE", "s3://bucket/prefix")
    assert settings().store == "s3://bucket/prefix"


def test_home_is_in_the_checkout_by_default_and_always_absolute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STRONGLENS_HOME")
    assert settings().home == CHECKOUT / ".stronglens"
    monkeypatch.setenv("STRONGLENS_HOME", "here")
    assert settings().home == Path.cwd() / "here"


def test_an_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRONGLENS_DATABASE_URL", "")
    assert settings().database_url is None
