"""Keys: how the files are made and read, and `taintwatch keys`."""

from __future__ import annotations

import json
import logging
import os
import stat
from pathlib import Path

import pytest
import zmq
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from taintwatch.alerts.keys import AllowedClients, KeyPair, load_public, load_secret, make_key_pair
from taintwatch.cli.keys import keys_group
from taintwatch.config.load import parse_config
from taintwatch.secret_files import read_token
from taintwatch_models.errors import ConfigError, UsageError


def run(*arguments: str | Path) -> str:
    result = CliRunner().invoke(keys_group, [*map(str, arguments)], standalone_mode=False, catch_exceptions=False)
    if result.exception is not None:
        raise result.exception
    return str(result.output)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_pair_is_private_whatever_the_umask_and_belongs_together(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        public_path, secret_path, public = make_key_pair("anna", tmp_path / "keys")
    finally:
        os.umask(before)
    assert (mode(public_path), mode(secret_path)) == (0o644, 0o600)
    pair = load_secret(secret_path)
    assert pair.public == public == load_public(public_path)
    assert zmq.curve_public(pair.secret.encode()).decode() == public
    assert pair.secret not in public_path.read_text()
    assert sorted(path.name for path in secret_path.parent.iterdir()) == ["anna.key", "anna.key_secret"]


def test_a_pair_is_never_overwritten(tmp_path: Path) -> None:
    _, secret_path, _ = make_key_pair("anna", tmp_path)
    before = secret_path.read_bytes()
    with pytest.raises(UsageError, match="is there already"):
        make_key_pair("anna", tmp_path)
    assert secret_path.read_bytes() == before


@pytest.mark.parametrize("loose", [0o640, 0o604, 0o620, 0o602, 0o660])
def test_a_secret_that_others_can_read_or_change_is_refused_with_the_remedy(tmp_path: Path, loose: int) -> None:
    _, secret_path, _ = make_key_pair("server", tmp_path)
    secret_path.chmod(loose)
    with pytest.raises(ConfigError, match=r"can be read or changed by other users. Run: chmod 600 .*server.key_secret"):
        load_secret(secret_path)


def test_a_credential_of_systemd_may_show_the_mask_of_its_access_list_and_nothing_elsewhere_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    credentials, elsewhere = tmp_path / "credentials", tmp_path / "elsewhere"
    _, secret_path, public = make_key_pair("server", credentials)
    _, outside, _ = make_key_pair("server", elsewhere)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(credentials))
    for path in (secret_path, outside):
        path.chmod(0o440)
    assert load_secret(Path("server.key_secret")).public == public
    with pytest.raises(ConfigError, match="by other users"):
        load_secret(outside)
    secret_path.chmod(0o444)
    with pytest.raises(ConfigError, match="by other users"):
        load_secret(Path("server.key_secret"))


def test_a_token_is_a_credential_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "page.token").write_text("correct-horse-battery\n")
    (tmp_path / "page.token").chmod(0o440)
    with pytest.raises(ConfigError, match="No such file"):
        read_token(Path("page.token"), "web.token_file")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert read_token(Path("page.token"), "web.token_file") == "correct-horse-battery"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_secret_of_another_user_is_refused(tmp_path: Path) -> None:
    _, secret_path, _ = make_key_pair("server", tmp_path)
    os.chown(secret_path, 12345, 12345)
    with pytest.raises(ConfigError, match="belongs to another user"):
        load_secret(secret_path)


def test_what_is_no_secret_key_is_refused_without_showing_a_key(tmp_path: Path) -> None:
    public_path, secret_path, _ = make_key_pair("one", tmp_path)
    _, other, _ = make_key_pair("two", tmp_path)
    secret = load_secret(secret_path).secret
    public_path.chmod(0o600)
    with pytest.raises(ConfigError, match="holds no secret key"):
        load_secret(public_path)
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        load_secret(tmp_path / "none")
    with pytest.raises(ConfigError, match="is not a file"):
        load_secret(tmp_path)
    mixed = other.read_text().replace(load_secret(other).secret, secret)
    other.write_text(mixed)
    with pytest.raises(ConfigError, match="do not belong together") as caught:
        load_secret(other)
    assert secret not in str(caught.value)
    other.write_text(mixed.replace(secret, secret[:-1]))
    with pytest.raises(ConfigError, match="damaged") as caught:
        load_secret(other)
    assert secret[:-1] not in str(caught.value)


def test_a_secret_is_in_no_text_of_its_record() -> None:
    public, secret = (key.decode() for key in zmq.curve_keypair())
    assert secret not in repr(KeyPair(public, secret)) + str(KeyPair(public, secret))


@given(st.binary(max_size=300))
def test_any_file_gives_a_key_or_a_configuration_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.mktemp("keys") / "x.key"
    path.write_bytes(content)
    path.chmod(0o600)
    for load in (load_public, load_secret):
        with pytest.raises(ConfigError):
            load(path)


def test_the_commands_make_allow_list_and_revoke(tmp_path: Path) -> None:
    said = run("new", "anna", "--folder", tmp_path)
    secret = load_secret(tmp_path / "anna.key_secret").secret
    public = load_public(tmp_path / "anna.key")
    assert public in said
    assert secret not in said
    clients = tmp_path / "clients"
    run("allow", tmp_path / "anna.key", "--clients", clients)
    bob = zmq.curve_keypair()[0].decode()
    run("allow", bob, "--name", "bob", "--clients", clients)
    assert json.loads(run("list", "--clients", clients, "--json")) == [
        {"name": "anna", "public_key": public},
        {"name": "bob", "public_key": bob},
    ]
    run("revoke", "anna", "--clients", clients)
    assert run("list", "--clients", clients).split() == [bob, "bob"]


def test_allowing_from_a_secret_file_copies_the_public_key_alone(tmp_path: Path) -> None:
    _, secret_path, public = make_key_pair("anna", tmp_path)
    run("allow", secret_path, "--clients", tmp_path / "clients")
    (file,) = (tmp_path / "clients").iterdir()
    assert load_public(file) == public
    assert load_secret(secret_path).secret not in file.read_text()


def test_the_folder_is_taken_from_a_configuration(tmp_path: Path) -> None:
    make_key_pair("server", tmp_path)
    make_key_pair("anna", tmp_path)
    config = tmp_path / "site.toml"
    config.write_text('[publish.curve]\nkey = "server.key_secret"\nclients = "who"\n')
    run("allow", tmp_path / "anna.key", "--config", config)
    assert [path.name for path in (tmp_path / "who").iterdir()] == ["anna.key"]
    with pytest.raises(UsageError, match="not both"):
        run("list", "--config", config, "--clients", tmp_path / "who")
    config.write_text("")
    with pytest.raises(UsageError, match="names no folder of clients"):
        run("list", "--config", config)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("new", "../evil"), "cannot name a key"),
        (("new", ".hidden"), "cannot name a key"),
        (("allow", "missing.key"), "missing.key: no such file"),
        (("allow", "short"), "has 40 characters"),
        (("allow", "x" * 40), "Give the client a name"),
        (("allow", "x" * 40, "--name", "a/b"), "cannot name a key"),
        (("revoke", "nobody"), "No client 'nobody' is allowed in clients; there are: none"),
    ],
)
def test_a_wrong_call_is_refused(
    arguments: tuple[str, ...], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError) as caught:
        run(*arguments)
    assert says in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_name_or_a_key_is_allowed_only_once(tmp_path: Path) -> None:
    allowed = AllowedClients(tmp_path)
    one, two = (zmq.curve_keypair()[0].decode() for _ in range(2))
    allowed.allow("anna", one)
    allowed.allow("anna", one)
    with pytest.raises(UsageError, match="with another key"):
        allowed.allow("anna", two)
    with pytest.raises(UsageError, match="allowed already, as 'anna'"):
        allowed.allow("bob", one)
    assert allowed.keys() == {one: "anna"}


def test_a_damaged_file_among_the_clients_lets_nobody_in_and_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    allowed = AllowedClients(tmp_path)
    allowed.allow("anna", zmq.curve_keypair()[0].decode())
    (tmp_path / "bob.key").write_text('public-key = "nonsense"')
    with caplog.at_level(logging.ERROR, "taintwatch"):
        assert list(allowed.keys().values()) == ["anna"]
        allowed.keys()
    assert len(caplog.records) == 1
    with pytest.raises(ConfigError, match=r"bob.key is not a key file"):
        allowed.check()
    with pytest.raises(ConfigError, match="is not there"):
        AllowedClients(tmp_path / "none").check()


def test_a_credential_goes_before_a_file_of_that_name_beside_the_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That file is what systemd made it from, and root's alone."""
    (tmp_path / "credentials").mkdir()
    for folder, token in ((tmp_path, "the file's own token"), (tmp_path / "credentials", "the credential's token")):
        (folder / "page.token").write_text(token)
        (folder / "page.token").chmod(0o400)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "credentials"))
    config = parse_config('[web]\nbind = "127.0.0.1:0"\ntoken_file = "page.token"\n', "t.toml", tmp_path)
    assert read_token(Path(str(config.web.token_file)), "web.token_file") == "the credential's token"
    monkeypatch.delenv("CREDENTIALS_DIRECTORY")
    config = parse_config('[web]\nbind = "127.0.0.1:0"\ntoken_file = "page.token"\n', "t.toml", tmp_path)
    assert read_token(Path(str(config.web.token_file)), "web.token_file") == "the file's own token"
