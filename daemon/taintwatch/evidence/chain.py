"""The chain of stored alert records: each carries the hash of the one before, and the daemon's key signs its head.

Whoever changes, removes or takes back records without that key is found out by `taintwatch alerts verify`.
"""

from __future__ import annotations

import base64
import hashlib
import json as json_format
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from taintwatch.evidence.history import LOCAL, History, Row, Session
from taintwatch.evidence.sqlite_history import history_of
from taintwatch.secret_files import read_secret
from taintwatch_models.errors import ConfigError
from taintwatch_models.signatures import check_signature
from taintwatch_models.storage import write_atomically

__all__ = ["GENESIS", "Head", "Signer", "Verification", "link", "verify_chain"]

GENESIS = "0" * 64
"""What the first record follows."""


@dataclass(frozen=True, slots=True)
class Head:
    """The last record of a chain."""

    id: int
    """Counts the records from 1; 0: there is none yet."""
    hash: str


@dataclass(frozen=True, slots=True)
class Verification:
    """What was found. JSON-ready."""

    records: int
    removed: int
    """Records that the daemon itself removed, for their age or size."""
    unsigned: int
    """The newest records, which no signed head covers yet."""
    head: str
    findings: tuple[str, ...]
    """What was changed, removed or taken back, one sentence each; empty where the chain holds."""


class Signer:
    """Signs with the daemon's own Ed25519 key (RFC 8032)."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public = base64.b64encode(key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()
        """Base64 of the 32 bytes of the public key."""

    @classmethod
    def of(cls, path: Path) -> Signer:
        """Read the key from a private file of 32 bytes in base64; make it where there is none. Raises `ConfigError`.

        The public key lies beside it, as NAME.pub: give it to whoever is to verify.
        """
        if not path.exists() and len(path.parts) > 1:
            _make(path)
        try:
            seed = base64.b64decode(read_secret(path, "The signing key"), validate=False)
            signer = cls(Ed25519PrivateKey.from_private_bytes(seed))
        except ValueError as error:
            raise ConfigError(f"The signing key {path} is damaged. Move it away, and another is made.") from error
        return signer

    def sign(self, text: str) -> str:
        """Return the signature of a text, in base64."""
        return base64.b64encode(self._key.sign(text.encode())).decode()


def link(previous: str, topic: str, json: str) -> str:
    """Return the hash (SHA-256, hex) of a record that follows the one whose hash is `previous`."""
    return hashlib.sha256(f"{previous}\n{topic}\n{json}".encode()).hexdigest()


def verify_chain(
    history: History | Path, public: str | None, expected_head: str | None = None, daemon: str | None = None
) -> Verification:
    """Walk the chains from their first record to their last. Raises `TaintwatchError` where they cannot be read.

    `public`: the daemons' public key; None: only the hashes are looked at. `expected_head`: a hash that a heartbeat
    named, which must be in a chain: what was put back from an older copy lacks it. `daemon`: whose chain; None: all
    that there are, and findings then begin with the daemon's name.
    """
    with history_of(history).read() as session:
        names = [daemon] if daemon is not None else [row["daemon"] for row in session.rows(DAEMONS)]
        walks = [_Walk(session, name, public) for name in names or [LOCAL]]
        found = [walk.result() for walk in walks]
        seen = any(walk.has_seen(expected_head) for walk in walks)
    findings = [
        f"{name}: {finding}" if len(names) > 1 else finding
        for name, each in zip(names or [LOCAL], found, strict=True)
        for finding in each.findings
    ]
    if expected_head is not None and not seen:
        findings.append("The head that was expected is not in the chain: an older copy was put back.")
    return Verification(
        sum(each.records for each in found),
        sum(each.removed for each in found),
        sum(each.unsigned for each in found),
        " ".join(each.head for each in found),
        tuple(findings),
    )


DAEMONS = "SELECT daemon FROM records UNION SELECT daemon FROM heads ORDER BY daemon"


class _Walk:
    def __init__(self, session: Session, daemon: str, public: str | None) -> None:
        self._session = session
        self._daemon = {"daemon": daemon}
        self._public = public
        self._findings: list[str] = []
        self._seen: dict[str, int] = {}
        self._records = self._removed = 0

    def has_seen(self, head: str | None) -> bool:
        return head in self._seen

    def result(self) -> Verification:
        last = self._start()
        for row in self._rows():
            last = self._step(row, last)
        head = self._signed_head()
        if head is not None:
            if head.id > last.id:
                self._findings.append(f"Records {last.id + 1} to {head.id} are gone: a signed head names them.")
            elif self._seen.get(head.hash) != head.id and head.id > 0:
                self._findings.append(f"Record {head.id} is another one than the signed head names.")
        self._compare_summaries()
        unsigned = last.id - (0 if head is None else min(head.id, last.id))
        return Verification(self._records, self._removed, unsigned, last.hash, tuple(self._findings))

    def _start(self) -> Head:
        """Return what the first row must follow: nothing, or the last of those that the daemon let go altogether."""
        row = self._head("start")
        if row is None:
            return Head(0, GENESIS)
        if not self._signed(f"start|{row['id']}|{row['hash']}", row["signature"]):
            self._findings.append("Where the chain begins was not signed by the daemon's key.")
        self._seen[row["hash"]] = row["id"]
        return Head(row["id"], row["hash"])

    def _head(self, kind: str) -> Row | None:
        query = "SELECT id, hash, signature FROM heads WHERE daemon = :daemon AND kind = :kind"
        rows = self._session.rows(query, {**self._daemon, "kind": kind})
        return rows[0] if rows else None

    def _rows(self) -> Iterator[Row]:
        query = """
        SELECT id, previous, hash, topic, json, NULL AS signature FROM records WHERE daemon = :daemon
        UNION ALL SELECT id, previous, hash, NULL, NULL, signature FROM forgotten WHERE daemon = :daemon ORDER BY id
        """
        yield from self._session.each(query, self._daemon)

    def _step(self, row: Row, last: Head) -> Head:
        number = row["id"]
        if number > last.id + 1:
            self._findings.append(f"Records {last.id + 1} to {number - 1} were removed, and not by the daemon.")
        elif number <= last.id:
            self._findings.append(f"Record {number} is there twice.")
        elif row["previous"] != last.hash:
            self._findings.append(f"Record {number} does not follow record {last.id}: one of them was exchanged.")
        if row["json"] is None:
            self._removed += 1
            if not self._signed(f"forgotten|{number}|{row['hash']}", row["signature"]):
                self._findings.append(f"Record {number} was removed, and not by the daemon.")
        else:
            self._records += 1
            if link(row["previous"], row["topic"], row["json"]) != row["hash"]:
                self._findings.append(f"Record {number} was changed after it was stored.")
        self._seen[row["hash"]] = number
        return Head(number, row["hash"])

    def _signed_head(self) -> Head | None:
        row = self._head("head")
        if row is None:
            if self._records and self._public is not None:
                self._findings.append("No head is signed: it was taken away.")
            return None
        if not self._signed(f"head|{row['id']}|{row['hash']}", row["signature"]):
            self._findings.append("The head was not signed by the daemon's key.")
            return None
        return Head(row["id"], row["hash"])

    def _signed(self, text: str, signature: str) -> bool:
        return self._public is None or check_signature(self._public, text, signature)

    def _compare_summaries(self) -> None:
        """The list shows a summary of each alert's last record: they must agree."""
        query = """
        SELECT a.event_id, a.state, a.label_name, a.camera, r.json FROM alerts a JOIN records r
            ON r.daemon = a.daemon
            AND r.id = (SELECT max(id) FROM records WHERE daemon = a.daemon AND event_id = a.event_id)
        WHERE a.daemon = :daemon
        """
        for row in self._session.each(query, self._daemon):
            body = json_format.loads(row["json"]).get("body", {})
            label = str(body.get("label_name")).replace("\0", "\ufffd")
            if (row["state"], row["label_name"], row["camera"]) != (body.get("state"), label, body.get("camera")):
                self._findings.append(f"The summary of alert {row['event_id']} says otherwise than its records.")


def _make(path: Path) -> None:
    key = Ed25519PrivateKey.generate()
    seed = key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
    try:
        write_atomically(path, base64.b64encode(seed) + b"\n", mode=0o600)
        write_atomically(path.with_suffix(".pub"), Signer(key).public.encode() + b"\n", mode=0o600)
    except OSError as error:
        raise ConfigError(f"The signing key {path} cannot be made: {error.strerror or os.strerror(0)}.") from error
