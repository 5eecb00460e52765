"""`taintwatch demo`: the whole chain on a scene of the package's own, or before a webcam."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from taintwatch.demo.director import Director
    from taintwatch.demo.screen import Screen
    from taintwatch.demo.show import DemoResult
    from taintwatch.demo.street_scene import StreetScene
    from taintwatch.demo.street_show import StreetResult

__all__ = ["demo"]


@click.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("demo-evidence"),
    show_default=True,
    help="Write pictures and evidence to this folder.",
)
@click.option(
    "--json", "as_json", is_flag=True, help="Print one line of JSON and nothing else; play as fast as it goes."
)
@click.option("--camera", metavar="N", help="Use webcam N and printed cards in place of the drawn scene.")
@click.option("--seconds", type=float, help="Play so many seconds; before a camera, wait so long at each step.")
@click.option("--scene", type=click.Choice(["card", "street"]), default="card", show_default=True, help="Play a card "
              "with a sign, patched in two ways, or a street with three signs, one of them patched.")  # fmt: skip
@click.option("--no-pictures", is_flag=True, help="Write no pictures.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, help="Draw another scene.")
@click.option("--camera-model", "camera_model", type=click.Choice(["office", "plain"]), default="office", hidden=True)
@click.option("--attack", type=click.Choice(["both", "on-sign", "beside", "none"]), default="both", hidden=True)
@click.option("--reference", hidden=True, help="Another reference.")
def demo(
    out: Path,
    as_json: bool,
    camera: str | None,
    seconds: float | None,
    scene: str,
    no_pictures: bool,
    seed: int,
    camera_model: str,
    attack: str,
    reference: str | None,
) -> int:
    """Show an attack being detected: a printed patch enters, the classifier is fooled, an alert comes and goes.

    Everything but the scene is what `taintwatch run` uses: classifier, detectors, vote, publisher, a subscriber. Exit
    status 0 only if every attack was alerted within 10 frames, cleared once the patch had left, and nothing else was
    (of the street: no other sign, and all three were found).
    """
    from taintwatch.demo.screen import Screen
    from taintwatch.demo.show import demo_config, perform
    from taintwatch.logs import set_up_logging
    from taintwatch.process import stop_on_signals
    from taintwatch_models.errors import UsageError

    set_up_logging(as_json=False, level=logging.ERROR if as_json else logging.WARNING)
    if scene == "street":
        if camera is not None or attack == "beside":
            raise UsageError("the street is drawn, with a patch stuck on: leave --camera and --attack beside out")
        return _street(out, seconds, seed, as_json, attack, pictures=not no_pictures)
    if camera is None:
        source, director, total = _drawn(seconds, seed, camera_model, attack)
    else:
        source, director, total = camera, _before_camera(camera, seconds), None
    _make(out)
    evidence = None if no_pictures else out / "evidence"
    config = demo_config(source, realtime=not as_json, evidence=evidence, reference=reference)
    with stop_on_signals() as stopping, Screen(sys.stdout, silent=as_json) as screen:
        result = perform(config, director, screen, stopping=stopping.is_set, total=total)
    return _conclude(out, result, director, screen, as_json, pictures=not no_pictures)


def _drawn(seconds: float | None, seed: int, camera_model: str, attack: str) -> tuple[str, Director, int | None]:
    """Return the bundled scene as a source, who knows what is in it, and its number of frames."""
    from taintwatch.demo.director import SimulatedDirector
    from taintwatch.demo.play import parse_play

    # pace=0: every frame is given and judged, however slow the machine; `realtime` plays them at their speed.
    source = f"sim:?attack={attack}&camera={camera_model}&seed={seed}&pace=0"
    if seconds is not None:
        source += f"&duration={seconds:g}"
    play = parse_play(source).play
    return source, SimulatedDirector(play), play.frame_count


def _street(out: Path, seconds: float | None, seed: int, as_json: bool, attack: str, *, pictures: bool) -> int:
    """Play the street, write its pictures, say how it went, and return the exit status."""
    from taintwatch.demo.screen import Screen
    from taintwatch.demo.street_play import parse_street
    from taintwatch.demo.street_show import StreetFrame, perform_street, street_config
    from taintwatch.process import stop_on_signals

    source = f"sim:?scene=street&seed={seed}&pace=0" + (f"&duration={seconds:g}" if seconds is not None else "")
    source += "&attack=none" if attack == "none" else ""
    scene = parse_street(source).scene
    _make(out)
    evidence = out / "evidence" if pictures else None
    config = street_config(source, realtime=not as_json, evidence=evidence)
    with stop_on_signals() as stopping, Screen(sys.stdout, silent=as_json) as screen:

        def show(frame: StreetFrame) -> None:
            title = f"Taintwatch demo, a street, frame {frame.index + 1} of {scene.frame_count}"
            screen.show_signs(title, [each.row() for each in frame.signs])

        result = perform_street(config, scene, screen.alert, show, stopping=stopping.is_set)
    return _conclude_street(out, result, scene, screen, as_json, pictures=pictures)


def _conclude_street(
    out: Path, result: StreetResult, scene: StreetScene, screen: Screen, as_json: bool, *, pictures: bool
) -> int:
    from taintwatch.demo.contact_sheet import write_summary
    from taintwatch.demo.street_pictures import write_street_pictures

    written = write_street_pictures(out, result, scene) if pictures else ()
    summary = result.as_dict() | {"out": str(out), "pictures": [str(path) for path in written]}
    write_summary(out, summary)
    for each in result.signs:
        what = "with the patch" if each.patched else "untouched"
        alerts = f"{each.alerts} alert{'' if each.alerts == 1 else 's'}"
        screen.say(f"{each.sign}, {what}: found in {each.found:.0%} of the frames, {alerts}")
    for problem in result.problems:
        screen.say(f"failed: {problem}")
    if written:
        screen.say(f"pictures: {written[0]} (all in {out})")
    if as_json:
        click.echo(json.dumps(summary))
    return 1 if result.problems else 0


def _before_camera(camera: str, seconds: float | None) -> Director:
    """Return the director for a webcam. Raises `SourceError` where there is none."""
    from taintwatch.demo.director import PATIENCE_S, CameraDirector
    from taintwatch.demo.play import load_attack
    from taintwatch.sources.factory import require_source

    require_source(camera, "run `taintwatch demo` without --camera: it needs none")
    return CameraDirector(load_attack("on-sign"), patience_s=PATIENCE_S if seconds is None else seconds)


def _make(out: Path) -> None:
    from taintwatch_models.errors import UsageError

    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{out} cannot be made ({error.strerror}): choose another --out") from error


def _conclude(
    out: Path, result: DemoResult, director: Director, screen: Screen, as_json: bool, *, pictures: bool
) -> int:
    """Write the pictures, say how it went, and return the exit status."""
    from taintwatch.demo.contact_sheet import write_pictures, write_summary

    written = write_pictures(out, result, director) if pictures else ()
    summary = result.as_dict() | {"out": str(out), "pictures": [str(path) for path in written]}
    write_summary(out, summary)
    if as_json:
        click.echo(json.dumps(summary))
        return 1 if result.problems else 0
    for act in result.acts:
        if not act.problems:
            lasted = (act.cleared or 0) - (act.left or 0)
            screen.say(
                f"{act.attack}: the classifier was fooled in {act.fooled:.0%} of the frames with the patch; alert "
                f"{act.delay} frames after it came, cleared {lasted} frames after it left"
            )
    for problem in result.problems:
        screen.say(f"failed: {problem}")
    if written:
        screen.say(f"pictures: {written[0]} (all in {out})")
    return 1 if result.problems else 0
