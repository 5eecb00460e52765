"""A PostgreSQL server of one's own: its binaries from Debian's package, its files in a temporary folder."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

__all__ = ["MISSING", "PostgresServer", "postgres_server"]

PATIENCE_S = 60.0
BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), reverse=True)
USERS = ("postgres", "nobody")  # the server refuses to run as root


def _missing() -> str | None:
    if not BINARIES:
        return "PostgreSQL's programs are missing (Debian: apt-get install postgresql)"
    absent = [name for name in ("sqlalchemy", "alembic", "psycopg") if importlib.util.find_spec(name) is None]
    return f"{', '.join(absent)} missing (pip install 'taintwatch[fleet]')" if absent else None


MISSING = _missing()
"""Why there can be no server here; None where there can."""


class PostgresServer:
    """One cluster; it listens on a socket in its folder, and nowhere else."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._user = _user()
        self.url = f"postgresql://taintwatch@/postgres?host={folder}"
        if self._user is not None:
            shutil.chown(folder, self._user)
        self._run("initdb", "--no-sync", "-A", "trust", "-U", "taintwatch", "-E", "UTF8", "--locale=C", "-D", "data")

    def start(self) -> None:
        """Start, and wait until it answers."""
        options = {
            "unix_socket_directories": str(self.folder),
            "listen_addresses": "",
            "fsync": "off",
            "shared_buffers": "16MB",
            "max_connections": "100",
        }
        settings = [part for key, value in options.items() for part in ("-c", f"{key}={value}")]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [_program("postgres"), "-D", "data", *settings],
                cwd=self.folder,
                user=self._user,
                stdout=log,
                stderr=log,
            )
        give_up = time.monotonic() + PATIENCE_S
        while self._ready() != 0:
            if time.monotonic() > give_up or self._process.poll() is not None:
                raise RuntimeError((self.folder / "log").read_text()[-2000:])
            time.sleep(0.05)

    def kill(self) -> None:
        """End it at once, as a power cut would end its connections."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(PATIENCE_S)
            self._process = None

    def _ready(self) -> int:
        command = [_program("pg_isready"), "-q", "-h", str(self.folder)]
        return subprocess.run(command, check=False).returncode

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [_program(program), *arguments], cwd=self.folder, user=self._user, check=True, capture_output=True
        )


@contextlib.contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """Give a server that runs, and remove it with all its files."""
    folder = Path(tempfile.mkdtemp(prefix="taintwatch-postgres-"))
    try:
        folder.chmod(0o755)  # the socket in it is reached by the tests' own user too
        server = PostgresServer(folder)
        server.start()
        try:
            yield server
        finally:
            server.kill()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _program(name: str) -> str:
    return str(BINARIES[0].with_name(name))


def _user() -> str | None:
    """Return whom to run as; None: as ourselves."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return next(name for name in USERS if name in known)
