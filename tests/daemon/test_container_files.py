"""The container's files keep what docs/containers.md promises, as far as that can be read from them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
HADOLINT = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")


@pytest.fixture
def dockerfile(repository: Path) -> str:
    return (repository / "Dockerfile").read_text().replace("\\\n", " ")


@pytest.fixture
def services(repository: Path) -> dict[str, Any]:
    return dict(yaml.safe_load((repository / "compose.yaml").read_text())["services"])


def test_everything_that_is_copied_is_there_and_let_through(repository: Path, dockerfile: str) -> None:
    let_through = {line[1:] for line in (repository / ".dockerignore").read_text().splitlines() if line[:1] == "!"}
    copied = [words.split()[:-1] for words in re.findall(r"^COPY (?!--)(.*)$", dockerfile, re.MULTILINE)]
    sources = {source for each in copied for source in each}
    assert {"daemon", "models", "calibration", "systemd", "locks", "pyproject.toml"} <= sources
    assert all((repository / source).exists() for source in sources)
    assert sources == let_through


def test_the_last_stage_is_nobody_with_a_health_check(dockerfile: str) -> None:
    last = dockerfile.rpartition("\nFROM ")[2]
    assert re.search(r"^USER 10001:10001$", last, re.MULTILINE)
    assert last.index("USER ") < last.index("ENTRYPOINT")
    assert "/healthz" in last
    assert "STATE_DIRECTORY=/var/lib/taintwatch" in last


def test_only_locked_packages_come_in(repository: Path, dockerfile: str) -> None:
    for command in re.findall(r"pip install ([^&]*)", dockerfile):
        assert "--require-hashes" in command or "--no-deps /wheel" in command
    cpu, gpu = ((repository / "locks" / f"service{kind}.txt").read_text() for kind in ("-cpu", ""))
    assert all("'never'" in line for line in re.findall(r"^onnxruntime-gpu==.*", cpu, re.MULTILINE))
    assert "onnxruntime-gpu==" in gpu

    def pins(text: str) -> set[str]:
        return {
            line for line in re.findall(r"^([a-z0-9-]+==[^ ;\\]+)", text, re.MULTILINE) if "onnxruntime" not in line
        }

    assert pins(cpu) <= pins(gpu)


def test_each_service_is_read_only_and_without_rights(services: dict[str, Any]) -> None:
    assert set(services) == {"taintwatch", "gpu"}
    for service in services.values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert "no-new-privileges:true" in service["security_opt"]
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
        assert [volume for volume in service["volumes"] if not volume.endswith(":ro")] == ["state:/var/lib/taintwatch"]


@pytest.mark.parametrize("name", ["compose.yaml", "deploy/compose/compose.yaml"])
def test_compose_files_are_valid_by_the_compose_specification(repository: Path, name: str) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    pytest.importorskip("check_jsonschema")
    schemas = resources.files("check_jsonschema").joinpath("builtin_schemas", "vendor")
    schema = json.loads(schemas.joinpath("compose-spec.json").read_text())
    written = yaml.safe_load((repository / name).read_text())
    jsonschema.validate(written, schema)
    service = next(iter(written["services"].values()))
    with pytest.raises(jsonschema.ValidationError, match="read_onyl"):
        jsonschema.validate({"services": {"one": service | {"read_onyl": True}}}, schema)


@pytest.mark.skipif(HADOLINT is None, reason="hadolint is not installed")
@pytest.mark.parametrize("name", ["Dockerfile", "deploy/compose/Dockerfile"])
def test_hadolint_finds_nothing(repository: Path, name: str) -> None:
    command = [str(HADOLINT), "--ignore", "DL3008", name]  # versions of Debian's packages are Debian's matter
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    assert done.stdout + done.stderr == ""
