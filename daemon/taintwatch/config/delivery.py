"""The tables of the configuration that name brokers, to which stored alerts are forwarded."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints, field_validator, model_validator

from taintwatch.config.fields import Section, Text

__all__ = ["NatsSection"]

Stream = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")]


class NatsSection(Section):
    """NATS JetStream: stored alerts go there at least once, over restarts of either side. Off without a url."""

    url: Text | None = Field(
        default=None, description="nats://host:4222, or tls://...; without a password. Needs taintwatch[fleet]."
    )
    stream: Stream = Field(default="TAINTWATCH", description="Name of the stream.")
    create: bool = Field(default=True, description="Make the stream where there is none.")
    keep_days: Annotated[float, Field(gt=0, le=36_500)] = Field(
        default=7.0, description="How long a stream that is made keeps messages ..."
    )
    max_mb: Annotated[int, Field(ge=1, le=1_000_000)] = Field(default=1000, description="... and how many of them ...")
    replicas: Annotated[int, Field(ge=1, le=5)] = Field(default=1, description="... on so many servers.")
    credentials: Text | None = Field(default=None, description="A .creds file; only its owner may read it. Or else ...")
    user: Text | None = Field(default=None, description="... a user ...")
    password_file: Text | None = Field(default=None, description="... and the file with the password, or ...")
    token_file: Text | None = Field(default=None, description="... the file with a token.")
    tls_ca: Text | None = Field(
        default=None, description="File of the authorities that the server is verified with; none: the usual ones."
    )

    @field_validator("url")
    @classmethod
    def _address_without_password(cls, url: str | None) -> str | None:
        if url is not None and not url.startswith(("nats://", "tls://")):
            raise ValueError("give an address like nats://host:4222")
        if url is not None and "@" in url:
            raise ValueError("a password must not stand in the address; give user and password_file, or credentials")
        return url

    @model_validator(mode="after")
    def _both_or_none(self) -> NatsSection:
        if (self.user is None) != (self.password_file is None):
            missing = "password_file" if self.password_file is None else "user"
            raise ValueError(f"'{missing}' is missing; user and password_file belong together")
        return self
