"""What a run would refuse of a well-formed configuration: all of it at once, before anything is opened or bound.

`taintwatch config check` and `taintwatch run` share it, so that one never calls good what the other refuses.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from taintwatch.alerts.endpoints import parse_endpoint
from taintwatch.alerts.security import LoopbackOnly
from taintwatch.assembly import make_detection, model_settings
from taintwatch.config.line_map import KeyPath
from taintwatch.config.sections import Config
from taintwatch.deadlines import Deadlines
from taintwatch.notify.outlets import check_notify
from taintwatch.publication import replay_beside, security_of
from taintwatch.secret_files import read_token
from taintwatch.sources.factory import open_source
from taintwatch.web.address import check_bind
from taintwatch_models.calibration_file import read_calibration
from taintwatch_models.errors import CalibrationError, ConfigError, DeviceError, TaintwatchError, UsageError
from taintwatch_models.model_description import read_description, read_labels
from taintwatch_models.model_files import calibration_path, cmag_path

__all__ = ["Mistake", "find_mistakes", "refuse_mistakes"]


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing that a run would refuse."""

    key: KeyPath
    """Where in the configuration: what is to be changed."""
    error: TaintwatchError


def refuse_mistakes(config: Config) -> None:
    """Raise the first mistake and say how many more there are. The model is not loaded: whoever runs it does that."""
    mistakes = [*_cheap_mistakes(config)]
    if not mistakes:
        return
    first = mistakes[0].error
    if len(mistakes) == 1:
        raise first
    rest = f"(and {len(mistakes) - 1} more; `taintwatch config check` lists those of a file)"
    raise type(first)(f"{str(first).rstrip('.')} {rest}") from first


def find_mistakes(config: Config) -> tuple[Mistake, ...]:
    """Return everything that a run would refuse, cheapest first; the model is loaded and run once."""
    found = [*_cheap_mistakes(config)]
    if not any(mistake.key[:1] in (("model",), ("detect",), ("faces",)) for mistake in found):
        said = {str(mistake.error) for mistake in found}  # a camera's source is opened for its reference, too
        found += [mistake for mistake in _loading(config) if str(mistake.error) not in said]
    return tuple(found)


def _cheap_mistakes(config: Config) -> Iterator[Mistake]:
    yield from _cameras(config)
    yield from _model_files(config)
    if config.publish.enabled:
        yield from _publishing(config)
        yield from _evidence(config)
    yield from _serving(config)
    yield from _attempt(("notify",), partial(check_notify, config))


def _attempt(key: KeyPath, act: Callable[[], Any]) -> Iterator[Mistake]:
    """Yield the mistake that `act` raises, if any."""
    try:
        act()
    except TaintwatchError as error:
        yield Mistake(key, error)


def _cameras(config: Config) -> Iterator[Mistake]:
    if not config.camera:
        yield Mistake(
            ("camera",),
            UsageError("there is nothing to watch; give --source, or a [[camera]] table in the configuration"),
        )
    for index, camera in enumerate(config.camera):
        yield from _attempt(("camera", index, "source"), partial(open_source, camera.source))


def _model_files(config: Config) -> Iterator[Mistake]:
    """Look at each file by itself; whether they belong together shows when the model is loaded."""
    model, settings = config.model, model_settings(config)
    if model.path is not None and "://" not in model.path and not model.path.startswith("torchvision:"):
        yield from _attempt(("model", "path"), lambda: _require_file(Path(model.path or ""), "model file"))
    if model.preprocessing is not None:
        yield from _attempt(("model", "preprocessing"), lambda: read_description(Path(model.preprocessing or "")))
    if model.labels is not None:
        yield from _attempt(("model", "labels"), lambda: read_labels(Path(model.labels or "")))
    if model.calibration is not None:
        yield from _attempt(("model", "calibration"), lambda: read_calibration(calibration_path(settings)))
    if model.cmag is not None:
        yield from _attempt(("model", "cmag"), lambda: _require_file(cmag_path(settings), "file of reconstructors"))


def _loading(config: Config) -> Iterator[Mistake]:
    """Load the model as a run does: what does not fit together, and what this machine cannot run."""
    try:
        _, detection = make_detection(config, Deadlines(), learning=False)
    except CalibrationError as error:
        yield Mistake(("model", "calibration"), error)
    except DeviceError as error:
        yield Mistake(("model", "device"), error)
    except TaintwatchError as error:
        yield Mistake(("model", "path"), error)
    else:
        detection.release()


def _publishing(config: Config) -> Iterator[Mistake]:
    yield from _attempt(("publish", "curve", "key"), partial(security_of, config))
    protected, bind, replay = config.publish.curve.key is not None, config.publish.bind, config.evidence.replay
    wrong = [*_attempt(("publish", "bind"), partial(_check_endpoint, bind, protected))]
    yield from wrong
    if config.evidence.folder is None:
        return
    if replay is not None:
        yield from _attempt(("evidence", "replay"), partial(_check_endpoint, replay, protected))
    elif not wrong:
        yield from _attempt(("evidence", "replay"), partial(replay_beside, bind))


def _evidence(config: Config) -> Iterator[Mistake]:
    if config.evidence.folder is not None:
        yield from _attempt(("evidence", "folder"), lambda: _check_folder(Path(config.evidence.folder or "")))


def _serving(config: Config) -> Iterator[Mistake]:
    web, metrics = config.web, config.metrics
    served = [("web", web.bind, web.token_file)] if web.bind is not None else []
    served += [("metrics", metrics.bind, metrics.token_file)] if metrics.enabled else []
    for section, bind, token in served:
        yield from _attempt((section, "bind"), partial(check_bind, section, bind, token is not None))
        if token is not None:
            yield from _attempt((section, "token_file"), partial(read_token, Path(token), f"{section}.token_file"))
    if web.bind is not None and web.certificate is not None and web.private_key is not None:
        yield from _attempt(("web", "certificate"), lambda: _check_certificate(web.certificate, web.private_key))


def _check_certificate(certificate: str | None, private_key: str | None) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate or "", private_key)
    except (OSError, ssl.SSLError) as error:
        said = "web.certificate and web.private_key cannot be used"
        raise ConfigError(f"{said}: {error.strerror or error}") from None


def _check_endpoint(bind: str, protected: bool) -> None:
    """Raise where alerts could not be published there, or would be readable by everybody."""
    try:
        parse_endpoint(bind)
    except ValueError as error:
        raise ConfigError(f"Alerts cannot be published on '{bind}': {error}.") from None
    if not protected:
        LoopbackOnly().check(bind)


def _require_file(path: Path, what: str) -> None:
    if not path.is_file():
        raise ConfigError(f"{path}: no such {what}")


def _check_folder(folder: Path) -> None:
    """Raise where a folder is not there and cannot be made, or may not be written."""
    there = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    if not there.is_dir():
        raise ConfigError(f"{folder} cannot be made: {there} is not a folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise ConfigError(f"{folder} cannot be written: {there} belongs to somebody else; choose another, or chown it")
