"""The manifests for a small fleet: linted, valid by Kubernetes' own schemas, and their parts fit together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from taintwatch.config.load import load_config

yaml = pytest.importorskip("yaml")
KUBERNETES = "1.31"


def documents(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text()))


def test_every_manifest_is_lint_clean(repository: Path) -> None:
    linter = pytest.importorskip("yamllint.linter")
    config = pytest.importorskip("yamllint.config").YamlLintConfig(file=str(repository / "deploy" / ".yamllint"))
    files = sorted((repository / "deploy").rglob("*.yaml"))
    assert len(files) >= 6
    problems = [f"{path.name}:{one}" for path in files for one in linter.run(path.read_text(), config)]
    assert problems == []


def test_kubernetes_takes_every_object(repository: Path) -> None:
    validator = pytest.importorskip("kubernetes_validate")
    objects = [each for path in (repository / "deploy" / "kubernetes").glob("*.yaml") for each in documents(path)]
    assert len(objects) == 10
    for each in objects:
        validator.validate(each, KUBERNETES, strict=True)
    pods = [each["spec"]["template"]["spec"] for each in objects if "template" in each["spec"]]
    assert all(pod["securityContext"]["runAsNonRoot"] and not pod["automountServiceAccountToken"] for pod in pods)
    for pod in pods:
        known = {volume["name"] for volume in pod.get("volumes", ())}
        for container in pod["containers"]:
            mounted = {mount["name"] for mount in container.get("volumeMounts", ())}
            assert mounted <= known | {"data"}
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["limits"]["memory"]


def test_what_compose_names_is_there_and_only_loopback_is_published(repository: Path) -> None:
    folder = repository / "deploy" / "compose"
    (compose,) = documents(folder / "compose.yaml")
    services = compose["services"]
    assert {"head", "node1", "node2", "fleet", "database", "broker", "prometheus", "grafana"} == set(services)
    for name, service in services.items():
        assert set(service.get("secrets", ())) <= set(compose["secrets"]), name
        assert set(service.get("depends_on", ())) <= set(services), name
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            assert source in compose["volumes"] or (folder / source).exists(), volume
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ())), name
    fleet = load_config(folder / "fleet.toml")
    secrets = [fleet.evidence.database_password_file, fleet.web.token_file, fleet.metrics.token_file]
    assert {Path(str(secret)).name for secret in secrets} <= set(compose["secrets"])
