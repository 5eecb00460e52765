"""`taintwatch run`: a configuration, or flags, or flags over a configuration."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from taintwatch.config.sections import Config

__all__ = ["run"]

WEBCAM = "0"  # watched where no source is named
_NAMED = re.compile(r"([A-Za-z0-9._-]{1,64})=(.+)", re.DOTALL)

# (flag, key path in the configuration, click's description of the option). One list, so that a key and its flag
# cannot drift apart. A flag that is not given is None and leaves the configuration alone.
OPTIONS: tuple[tuple[str, tuple[str, ...], dict[str, Any]], ...] = (
    ("--site", ("site",), {"help": "Name this place in topics and alerts."}),
    (
        "--model",
        ("model", "path"),
        {"help": "Use this ONNX or torch model, or torchvision:NAME.", "default": "bundled"},
    ),
    (
        "--preprocessing",
        ("model", "preprocessing"),
        {"help": "Read from this TOML how frames become the model's input.", "default": "MODEL.toml"},
    ),
    ("--labels", ("model", "labels"), {"help": "Read class names from this .json, or .txt with one name a line."}),
    ("--output", ("model", "output"), {"help": "Take the logits from this output, where the model has several."}),
    (
        "--calibration",
        ("model", "calibration"),
        {
            "help": "Use the thresholds that `taintwatch calibrate thresholds` wrote.",
            "default": "the bundled model's own",
        },
    ),
    ("--device", ("model", "device"), {"help": "Run the model on auto, cpu or cuda."}),
    ("--require-device", ("model", "require_device"), {"is_flag": True, "help": "Never fall back to the CPU."}),
    (
        "--provider",
        ("model", "providers"),
        {"multiple": True, "help": "Use this ONNX Runtime provider; may be repeated.", "default": "as --device means"},
    ),
    ("--threads", ("model", "threads"), {"type": int, "help": "Use so many CPU threads; 0 leaves it to the runtime."}),
    (
        "--detector",
        ("detect", "detectors"),
        {
            "multiple": True,
            "help": "Judge by combined, tight, paper, cmag, joint, face or objects; may be repeated.",
            "default": "combined where the model was learnt, else tight",
        },
    ),
    ("--fill", ("detect", "fill"), {"help": "Fill a suspicious region with this.", "default": "as calibrated"}),
    (
        "--learn-minutes",
        ("learn", "minutes"),
        {"type": float, "help": "Learn each live camera for so long, where the model has no calibration."},
    ),
    ("--vote", ("vote", "policy"), {"help": "Vote by k-of-n, exponentially-weighted or sequential-probability-ratio."}),
    ("--vote-k", ("vote", "k"), {"type": int, "help": "k-of-n: raise at so many suspicious frames.", "default": "3"}),
    ("--vote-n", ("vote", "n"), {"type": int, "help": "k-of-n: count them among the last so many.", "default": "5"}),
    ("--vote-hold", ("vote", "minimum_hold_s"), {"type": float, "help": "Keep an alert raised for so many seconds."}),
    (
        "--vote-cool-down",
        ("vote", "cool_down_s"),
        {"type": float, "help": "Raise no alert for so many seconds after one was cleared."},
    ),
    (
        "--vote-clear-after",
        ("vote", "clear_after_s"),
        {"type": float, "help": "Clear an alert once the vote has been down for so many seconds."},
    ),
    ("--bind", ("publish", "bind"), {"help": "Publish alerts at this endpoint."}),
    (
        "--evidence",
        ("evidence", "folder"),
        {"help": "Keep alerts, their pictures and what people say of them in this folder.", "default": "not kept"},
    ),
    ("--web", ("web", "bind"), {"help": "Serve the page there, like 127.0.0.1:8080.", "default": "not served"}),
    ("--gate", ("gate", "enabled"), {"is_flag": True, "help": "Check only frames worth it; calibrate the gate first."}),
    ("--precision", ("gpu", "precision"), {"help": "Compute in float32 or float16."}),
    (
        "--workers",
        ("footage", "workers"),
        {"type": int, "help": "Watch so many videos of a folder at once; 0: one for each core."},
    ),
    ("--engine", ("footage", "engine"), {"help": "Watch a folder's videos in processes or on ray."}),
    (
        "--done",
        ("footage", "done"),
        {"help": "Keep each video's result in this folder, and go on there when run again."},
    ),
    (
        "--max-batch",
        ("limits", "max_batch"),
        {"type": int, "help": "Put at most so many frames into one inference call."},
    ),
    ("--max-frames", ("limits", "max_frames"), {"type": int, "help": "End after so many frames."}),
)


def _setting_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add one click option for each entry of `OPTIONS`; its help ends with the configuration's default."""
    for flag, path, extra in reversed(OPTIONS):
        default = extra.get("default") or _default_of(path)
        text = extra["help"] if default is None else f"{extra['help']}  [default: {default}]"
        keywords = {**extra, "help": text, "default": None}
        if extra.get("multiple"):
            del keywords["default"]
        command = click.option(flag, "__".join(path), **keywords)(command)
    return command


def _default_of(path: tuple[str, ...]) -> str | None:
    """Return the default of a key as its help shows it; None where that says nothing."""
    value: Any = Config()
    for key in path:
        value = getattr(value, key)
    if value is None or isinstance(value, bool):
        return None
    return ", ".join(value) if isinstance(value, tuple) else f"{value}"


@click.command()
@click.option(
    "--config", "file", type=click.Path(path_type=Path), help="Read this TOML file; see `taintwatch config example`."
)
@click.option("--source", "sources", multiple=True, help="Watch [NAME=]SOURCE; may be repeated.  [default: webcam 0]")
@click.option("--fps", type=float, help="Take at most so many frames a second of each source.  [default: all]")
@click.option("--loop", is_flag=True, default=None, help="Start files again at their end, for ever.")
@click.option("--follow", is_flag=True, default=None, help="Watch a folder for further files, each when complete.")
@click.option("--snapshot-interval", type=float, help="Seconds between two requests of a snapshot address.")
@_setting_options
@click.option("--no-learn", is_flag=True, help="Do not learn a camera before arming it.")
@click.option("--no-publish", is_flag=True, help="Do not publish over ZeroMQ.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON lines: alerts, statuses, and last a summary.")
@click.option("--quiet", is_flag=True, help="Print alerts only.")
@click.option("--log-json", is_flag=True, help="Log as JSON lines.")
@click.pass_context
def run(
    ctx: click.Context,
    /,
    file: Path | None,
    sources: tuple[str, ...],
    fps: float | None,
    loop: bool | None,
    follow: bool | None,
    snapshot_interval: float | None,
    no_learn: bool,
    no_publish: bool,
    as_json: bool,
    quiet: bool,
    log_json: bool,
    **settings: Any,
) -> None:
    """Watch cameras, streams, videos, folders of pictures or simulated scenes, and publish alerts.

    A SOURCE is a webcam's number or /dev/video*, an rtsp://, rtsps://, http:// or https:// address, a video file, a
    folder, or `sim:...` (`sim:` alone plays the scene of `taintwatch demo`). Flags override the configuration;
    `--source` replaces its cameras. Without either it watches webcam 0 with the bundled model.
    """
    from taintwatch.cli.launcher import run_config
    from taintwatch.config.line_map import KeyPath
    from taintwatch.config.load import load_config

    flags: dict[KeyPath, tuple[str, Any]] = {
        path: (flag, list(value) if isinstance(value, tuple) else value)
        for flag, path, _ in OPTIONS
        if (value := settings["__".join(path)]) not in (None, ())
    }
    if file is None and not sources:
        sources = (_webcam(),)
    if sources:
        flags[("camera",)] = (
            "--source",
            [_camera(text, number, len(sources)) for number, text in enumerate(sources, 1)],
        )
    if no_learn:
        flags[("learn", "enabled")] = ("--no-learn", False)
    if no_publish:
        flags[("publish", "enabled")] = ("--no-publish", False)
    # After `--source`: these are set for every camera that there is then.
    for key, flag, value in (
        ("fps", "--fps", fps),
        ("loop", "--loop", loop),
        ("follow", "--follow", follow),
        ("snapshot_interval_s", "--snapshot-interval", snapshot_interval),
    ):
        if value is not None:
            flags["camera", "*", key] = (flag, value)
    debug = bool((ctx.obj or {}).get("debug"))
    run_config(
        load_config(file, flags),
        as_json=as_json,
        quiet=quiet,
        log_json=log_json,
        debug=debug,
        read_again=lambda: load_config(file, flags),
    )


def _webcam() -> str:
    """Return the source that is watched where none is named. Raises `SourceError` where there is no webcam."""
    from taintwatch.sources.factory import require_source

    require_source(WEBCAM, "try `taintwatch run --source sim:`, a simulated scene with an attack")
    return WEBCAM


def _camera(text: str, number: int, count: int) -> dict[str, Any]:
    """Return the `[[camera]]` table that one `--source` stands for."""
    from taintwatch.config.load import is_there

    named = None if is_there(Path(text)) else _NAMED.fullmatch(text)
    if named is not None:
        return {"name": named[1], "source": named[2]}
    return {"name": "camera" if count == 1 else f"camera{number}", "source": text}
