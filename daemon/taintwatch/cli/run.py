"""`taintwatch run`: a configuration, or flags, or flags over a configuration."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

__all__ = ["run"]

WEBCAM = "0"  # watched where no source is named
_NAMED = re.compile(r"([A-Za-z0-9._-]{1,64})=(.+)", re.DOTALL)

# (flag, key path in the configuration, click's description of the option). One list, so that a key and its flag
# cannot drift apart. A flag that is not given is None and leaves the configuration alone.
OPTIONS: tuple[tuple[str, tuple[str, ...], dict[str, Any]], ...] = (
    ("--site", ("site",), {"help": "Names this place in topics and alerts."}),
    ("--model", ("model", "path"), {"help": "ONNX or torch model, or torchvision:NAME; none: the bundled one."}),
    ("--preprocessing", ("model", "preprocessing"), {"help": "TOML that declares the model's input."}),
    ("--labels", ("model", "labels"), {"help": "Class names: .json, or .txt with one name a line."}),
    ("--calibration", ("model", "calibration"), {"help": "Thresholds made by `taintwatch calibrate thresholds`."}),
    ("--device", ("model", "device"), {"help": "auto, cpu or cuda."}),
    ("--require-device", ("model", "require_device"), {"is_flag": True, "help": "Never fall back to the CPU."}),
    ("--provider", ("model", "providers"), {"multiple": True, "help": "ONNX Runtime provider; may be repeated."}),
    ("--threads", ("model", "threads"), {"type": int, "help": "CPU threads of one inference."}),
    ("--detector", ("detect", "detectors"), {"multiple": True, "help": "tight or paper; may be repeated."}),
    ("--fill", ("detect", "fill"), {"help": "What a suspicious region is filled with."}),
    ("--vote", ("vote", "policy"), {"help": "k-of-n, exponentially-weighted or sequential-probability-ratio."}),
    ("--vote-k", ("vote", "k"), {"type": int, "help": "k-of-n: suspicious frames ..."}),
    ("--vote-n", ("vote", "n"), {"type": int, "help": "... among the last n that raise an alert."}),
    ("--vote-hold", ("vote", "minimum_hold_s"), {"type": float, "help": "Seconds that an alert stays at least."}),
    ("--vote-cool-down", ("vote", "cool_down_s"), {"type": float, "help": "Seconds between two alerts at least."}),
    ("--bind", ("publish", "bind"), {"help": "Endpoint for alerts.  [default: tcp://127.0.0.1:5556]"}),
    ("--web", ("web", "bind"), {"help": "Serve the page there, like 127.0.0.1:8080."}),
    ("--gate", ("gate", "enabled"), {"is_flag": True, "help": "Check only frames worth it; calibrate the gate first."}),
    ("--precision", ("gpu", "precision"), {"help": "float32 or float16."}),
    ("--workers", ("footage", "workers"), {"type": int, "help": "Videos of a folder at once; 0: one for each core."}),
    ("--engine", ("footage", "engine"), {"help": "Where a folder's videos are watched: processes or ray."}),
    ("--done", ("footage", "done"), {"help": "Folder that keeps each video's result; an ended run goes on there."}),
    ("--max-batch", ("limits", "max_batch"), {"type": int, "help": "Frames in one inference call at most."}),
    ("--max-frames", ("limits", "max_frames"), {"type": int, "help": "End after so many frames."}),
)


def _setting_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add one click option for each entry of `OPTIONS`."""
    for flag, path, extra in reversed(OPTIONS):
        keywords = {"default": None, **extra} if not extra.get("multiple") else extra
        command = click.option(flag, "__".join(path), **keywords)(command)
    return command


@click.command()
@click.option("--config", "file", type=click.Path(path_type=Path), help="TOML file; see `taintwatch config example`.")
@click.option("--source", "sources", multiple=True, help="What to watch: [NAME=]SOURCE; may be repeated.")
@click.option("--fps", type=float, help="At most so many frames a second of each source.")
@click.option("--loop", is_flag=True, default=None, help="Start files again at their end, for ever.")
@_setting_options
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
    from taintwatch.config.lines import KeyPath
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
    if no_publish:
        flags[("publish", "enabled")] = ("--no-publish", False)
    # After `--source`: these two are laid over every camera that there is then.
    if fps is not None:
        flags[("camera", "*", "fps")] = ("--fps", fps)
    if loop is not None:
        flags[("camera", "*", "loop")] = ("--loop", loop)
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
