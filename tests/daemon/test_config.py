"""The configuration: what is read, and how its mistakes are told."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taintwatch.config.digest import canonical, config_hash
from taintwatch.config.example import TABLES, example_toml
from taintwatch.config.line_map import KeyPath
from taintwatch.config.load import examine, load_config, parse_config
from taintwatch.config.sections import Config
from taintwatch_models.errors import ConfigError, UsageError

CAMERA = '[[camera]]\nname = "door"\nsource = "{}"\n'


def problems(text: str, name: str) -> list[str]:
    """Every mistake in a TOML text, one sentence each."""
    return [sentence for _, sentence in examine(text, name).mistakes]


def test_an_empty_text_gives_the_defaults() -> None:
    config = parse_config("", "empty.toml")
    assert config == Config()
    assert config.vote.policy == "k-of-n"
    assert config.publish.bind == "tcp://127.0.0.1:5556"


def test_values_of_the_file_are_read() -> None:
    config = parse_config('site = "gate"\n[model]\ndevice = "cpu"\n' + CAMERA.format("0"), "a.toml")
    assert (config.site, config.model.device, config.camera[0].source) == ("gate", "cpu", "0")


def test_an_unknown_key_is_named_with_its_line_and_the_likely_one() -> None:
    text = 'site = "gate"\n\n[model]\n# a comment\n\n\ndevise = "cpu"\n'
    assert problems(text, "taintwatch.toml") == [
        "taintwatch.toml, line 7: model.devise: unknown key; did you mean device?"
    ]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('[model]\ndevice = "gpu"', "t.toml, line 2: model.device: 'gpu' is none of 'auto', 'cpu', 'cuda'"),
        ('[model]\nthreads = "2"', "t.toml, line 2: model.threads: '2' is not a whole number"),
        (
            "[vote]\nn = 5\nk = 9",
            "t.toml, line 3: vote: Vote setting 'k' is 9 but the window 'n' holds only 5. Give k <= n.",
        ),
        (
            "[vote]\nalpha = 0.1",
            "t.toml, line 2: vote: Vote policy 'k-of-n' has no setting 'alpha'. It has: k, n, clear_at.",
        ),
        ("[[camera]]\nsource = 'x'", "t.toml, line 1: camera.1.name: missing; this key must be given"),
        (CAMERA.format("0") * 2, "t.toml, line 1: camera: two cameras are named 'door'; give each its own name"),
        ("model = 3", "t.toml, line 1: model: 3 is not a table"),
        ("a = [\n", "t.toml, line 2: not TOML: Invalid value"),
        ("a = 1\nb =\n", "t.toml, line 2: not TOML: Invalid value"),
    ],
)
def test_a_mistake_is_told_with_its_place_and_value(text: str, sentence: str) -> None:
    assert problems(text, "t.toml") == [sentence]


def test_every_mistake_is_listed_but_the_error_is_one_sentence() -> None:
    text = 'sight = "x"\n[vote]\nk = "0"\n'
    assert len(problems(text, "t.toml")) == 2
    with pytest.raises(ConfigError, match="and 1 more"):
        parse_config(text, "t.toml")


def test_the_line_is_right_after_multi_line_strings_arrays_and_inline_tables() -> None:
    text = 'site = """\\\n  a \\"""\\\n  b"""\n[model]\nproviders = [\n  "x", # ]\n  3,\n]\nvote.k = 1\n'
    assert [sentence.split(":")[0] for sentence in problems(text, "t.toml")] == [
        "t.toml, line 1",
        "t.toml, line 7",
        "t.toml, line 9",
    ]


def test_a_camera_of_several_is_found_on_its_own_line() -> None:
    text = CAMERA.format("0") + '[[camera]]\nname = "yard"\nsource = "1"\nfps = -1\n'
    (sentence,) = problems(text, "t.toml")
    assert sentence.startswith("t.toml, line 7: camera.2.fps: -1 ")


def test_credentials_are_in_no_message() -> None:
    address = "rtsp://admin:s3cret@camera/x?token=s3cret"
    for text in (
        f'[model]\ndevice = "{address}"',
        f'[vote]\nk = "{address}"',
        f'site = ["{address}"]',
        f'camera = "{address}"',
        f'[[camera]]\nname = "{address}"\nsource = ["{address}"]',
    ):
        found = problems(text, "t.toml")
        assert found
        assert "s3cret" not in " ".join(found)


def test_flags_are_laid_over_the_file() -> None:
    flags: dict[KeyPath, tuple[str, Any]] = {("model", "device"): ("--device", "cuda"), ("vote", "k"): ("--vote-k", 2)}
    config = parse_config('[model]\ndevice = "cpu"\nthreads = 3\n[vote]\nk = 4', "t.toml", None, flags)
    assert (config.model.device, config.model.threads, config.vote.k) == ("cuda", 3, 2)


def test_a_wrong_flag_is_a_usage_error_that_names_the_flag() -> None:
    with pytest.raises(UsageError, match=r"^--vote-k: .*'k' has value 0"):
        parse_config("", "flags", None, {("vote", "k"): ("--vote-k", 0)})


def test_file_names_in_a_file_start_from_its_folder(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").touch()
    (tmp_path / "v.mp4").touch()
    file = tmp_path / "t.toml"
    file.write_text('[model]\npath = "m.onnx"\nlabels = "elsewhere.txt"\n' + CAMERA.format("v.mp4"))
    config = load_config(file)
    assert config.model.path == str(tmp_path / "m.onnx")
    assert config.model.labels == "elsewhere.txt"
    assert config.camera[0].source == str(tmp_path / "v.mp4")


@pytest.mark.parametrize("name", ["x" * 300, "a\\u0000b", "sim:wall.png?size=0.3"])
def test_what_cannot_be_a_file_name_is_left_as_it_is(name: str, tmp_path: Path) -> None:
    file = tmp_path / "t.toml"
    file.write_text(CAMERA.format(name))
    assert load_config(file).camera[0].source == name.replace("\\u0000", "\0")


def test_a_missing_file_is_a_usage_error_and_a_binary_one_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        load_config(tmp_path / "none.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load_config(tmp_path / "binary.toml")
    with pytest.raises(UsageError, match="cannot be read"):
        load_config(tmp_path)


def test_the_example_is_valid_and_shows_every_key() -> None:
    assert problems(example_toml(), "example.toml") == []
    uncommented = "\n".join(
        line[2:] if line.startswith("# ") and " =" in line and not line.rstrip().endswith("path =") else line
        for line in example_toml().splitlines()
        if " =  #" not in line
    )
    assert tomllib.loads(uncommented)["vote"]["policy"] == "k-of-n"
    assert problems(uncommented, "example.toml") == []


def test_the_documentation_has_every_key_with_its_meaning(repository: Path) -> None:
    text = (repository / "docs" / "configuration.md").read_text()
    for header, section in TABLES:
        part = text.partition(f"### `{header}`")[2].partition("###")[0]
        for name, field in section.model_fields.items():
            assert f"| `{name}` |" in part, f"{header} {name}"
            assert str(field.description) in part, f"{header} {name}"


def test_the_schema_accepts_the_example_and_refuses_an_unknown_key() -> None:
    schema = json.loads(json.dumps(Config.model_json_schema()))
    jsonschema.validate(tomllib.loads(example_toml()), schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"modle": {}}, schema)


def test_the_hash_changes_with_a_setting_but_not_with_a_password() -> None:
    def hashed(source: str, site: str = "a") -> str:
        return config_hash(parse_config(f'site = "{site}"\n' + CAMERA.format(source), "t.toml"))

    assert hashed("rtsp://u:one@host/x") == hashed("rtsp://u:two@host/x")
    assert hashed("rtsp://host/x") != hashed("rtsp://other/x")
    assert hashed("0", "a") != hashed("0", "b")


def test_the_canonical_form_holds_no_password() -> None:
    config = parse_config(CAMERA.format("rtsp://u:s3cret@host/x"), "t.toml")
    assert "s3cret" not in json.dumps(canonical(config))


_KEYS = st.sampled_from(
    ["site", "model", "camera", "name", "source", "vote", "k", "alpha", "device", "limits", '"a.b"', "x"]
)
_VALUES = st.sampled_from(
    ['"a"', "1", "-3", "1.5", "nan", "[]", "[1, {x = 2}]", "{k = 1}", "2020-01-01", "true", "'''\n'''"]
)
_LINES = st.one_of(
    st.builds("{} = {}".format, _KEYS, _VALUES),
    st.builds("[{}]".format, _KEYS),
    st.builds("[[{}]]".format, _KEYS),
    st.builds("[{}.{}]".format, _KEYS, _KEYS),
    st.builds("{}.{} = {} # [".format, _KEYS, _KEYS, _VALUES),
)


@given(st.one_of(st.text(), st.lists(_LINES, max_size=8).map("\n".join)))
def test_any_text_gives_a_configuration_or_a_configuration_error(text: str) -> None:
    found = problems(text, "t.toml")
    if found:
        assert all(sentence.startswith("t.toml") and "\n" not in sentence for sentence in found)
        with pytest.raises(ConfigError):
            parse_config(text, "t.toml")
    else:
        assert isinstance(parse_config(text, "t.toml"), Config)


def test_only_detectors_that_judge_may_be_named_to_vote() -> None:
    with pytest.raises(ConfigError, match="names 'paper', which does not judge"):
        parse_config('[vote]\ndetectors = ["paper"]', "site.toml")
    config = parse_config('[detect]\ndetectors = ["tight", "paper"]\n[vote]\ndetectors = ["paper"]', "site.toml")
    assert config.vote.detectors == ("paper",)
