"""The tables of the configuration that say where alerts, evidence, metrics and the page go."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from taintwatch.config.fields import Name, Seconds, Section, Text, Texts

__all__ = ["CurveSection", "EvidenceSection", "MetricsSection", "PublishSection", "WebSection"]


class CurveSection(Section):
    """Encryption of what is published, for listed clients only; without it only this machine may listen."""

    key: Text | None = Field(
        default=None,
        description="The daemon's .key_secret file; a bare name is also looked for in systemd's credentials.",
    )
    clients: Text | None = Field(default=None, description="Folder with the public keys of those that may connect.")

    @model_validator(mode="after")
    def _both_or_none(self) -> CurveSection:
        if (self.key is None) != (self.clients is None):
            missing = "clients" if self.clients is None else "key"
            raise ValueError(f"'{missing}' is missing; key and clients belong together (see `taintwatch keys --help`)")
        return self


class PublishSection(Section):
    """Where alerts go."""

    enabled: bool = Field(default=True, description="Publish over ZeroMQ.")
    bind: Text = Field(default="tcp://127.0.0.1:5556", description="Endpoint of the publishing socket.")
    heartbeat_s: Seconds = Field(default=1.0, description="Seconds between heartbeats.")
    status_s: Seconds = Field(default=5.0, description="Seconds between status messages.")
    update_s: Seconds = Field(default=1.0, description="A raised alert is updated at most this often.")
    pictures: bool = Field(
        default=False, description="Send a small JPEG with the raising of each alert, as the message's third frame."
    )
    curve: CurveSection = Field(default=CurveSection(), description="Encryption: the next table.")


class EvidenceSection(Section):
    """What is kept of alerts, and for how long. Nothing is kept where no folder is given."""

    folder: Text | None = Field(default=None, description="Where to; made, 0700, where it is not there.")
    images: bool = Field(default=True, description="Keep pictures and clips; false: only what the messages say.")
    clip_before_s: Annotated[float, Field(ge=0, le=60)] = Field(
        default=3.0, description="Seconds before the alert that its clip shows."
    )
    clip_after_s: Annotated[float, Field(ge=0, le=60)] = Field(
        default=5.0, description="Seconds after it; both 0: no clips."
    )
    clip_fps: Annotated[float, Field(gt=0, le=60)] = Field(default=10.0, description="Pictures a second in a clip.")
    clip_width: Annotated[int, Field(ge=16, le=3840)] = Field(default=640, description="Width of a clip at most.")
    keep_days: Annotated[float, Field(gt=0, le=36_500)] = Field(
        default=30.0, description="Alerts raised longer ago are removed."
    )
    max_mb: Annotated[float, Field(gt=0, le=1e9)] = Field(
        default=2000.0, description="Megabytes of it all; beyond, the oldest pictures go first."
    )
    min_free_mb: Annotated[float, Field(ge=0, le=1e9)] = Field(
        default=500.0, description="Megabytes to leave free on the disk."
    )
    power_safe: bool = Field(
        default=False,
        description="Flush each alert to the disk before it is published, not within a second; costs the disk's time.",
    )
    acknowledged_h: Annotated[float, Field(ge=0, le=8760)] = Field(
        default=24.0, description="Hours after which an acknowledged thing that stays is raised again; 0: at once."
    )
    signing_key: Text | None = Field(
        default=None,
        description="File with the key that signs heartbeats and the chain of records; none: made in the folder.",
    )
    database: Text | None = Field(
        default=None,
        description="postgresql://user@host/name: the history of several daemons, without a password; none: SQLite's "
        "file in the folder. Needs taintwatch[fleet].",
    )
    database_password_file: Text | None = Field(
        default=None, description="File with its password; only its owner may read it. None: PGPASSFILE, ~/.pgpass."
    )
    daemon: Name | None = Field(
        default=None, description="Under which name this daemon writes to the database, and no other; none: the site."
    )
    media: Text | None = Field(
        default=None,
        description="Where pictures and clips go: a folder that daemons share, or s3://bucket/...; none: the folder.",
    )
    replay: Text | None = Field(
        default=None, description="Endpoint that answers for missed alerts; none: the port after that of bind."
    )

    @field_validator("database")
    @classmethod
    def _address_without_password(cls, address: str | None) -> str | None:
        if address is None:
            return None
        parts = urlsplit(address)
        if parts.scheme not in ("postgresql", "postgres"):
            raise ValueError("give an address like postgresql://user@host/name")
        if parts.password is not None or "password=" in parts.query:
            raise ValueError("a password must not stand in the address; give database_password_file, or PGPASSFILE")
        return address.replace("postgres://", "postgresql://", 1)

    @model_validator(mode="after")
    def _belongs_to_a_database(self) -> EvidenceSection:
        if self.database is None:
            given = next((key for key in ("database_password_file", "daemon") if getattr(self, key) is not None), None)
            if given is not None:
                raise ValueError(f"'{given}' belongs to a database; give [evidence] database, or leave it out")
        elif self.folder is None:
            raise ValueError("'folder' is missing; beside a database it keeps the daemon's signing key")
        return self


class MetricsSection(Section):
    """What monitoring reads: /metrics, /healthz and /readyz over HTTP."""

    enabled: bool = Field(default=False, description="Serve them.")
    bind: Text = Field(default="127.0.0.1:9108", description="Address and port; beyond loopback a token is needed.")
    token_file: Text | None = Field(
        default=None, description="File with the bearer token that whoever asks must give; only its owner may read it."
    )


class WebSection(Section):
    """The page: live pictures, alerts, trials. It is served only where an address is given."""

    bind: Text | None = Field(
        default=None, description="Address and port, like 127.0.0.1:8080; beyond loopback a token is needed."
    )
    token_file: Text | None = Field(
        default=None, description="File with the token that visitors must give; only its owner may read it."
    )
    certificate: Text | None = Field(default=None, description="TLS: the certificate's file (PEM) ...")
    private_key: Text | None = Field(default=None, description="... and its key's.")
    hosts: Texts = Field(
        default=(), description="Names by which browsers may reach it, beside localhost and addresses."
    )
    trials: Text | None = Field(default=None, description="Folder with the bench's report folders.")
    fps: Annotated[float, Field(gt=0, le=60)] = Field(
        default=10.0, description="Pictures a second for a viewer at most."
    )
    width: Annotated[int, Field(ge=64, le=3840)] = Field(default=960, description="Width of a picture at most.")
    viewers: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=64, description="Viewers at once; more are turned away."
    )

    @model_validator(mode="after")
    def _both_or_none(self) -> WebSection:
        if (self.certificate is None) != (self.private_key is None):
            missing = "certificate" if self.certificate is None else "private_key"
            raise ValueError(f"'{missing}' is missing; certificate and private_key belong together")
        return self
