"""`taintwatch face`: enrol people, train the face model, list and remove them."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from taintwatch_calibration.benign_options import threads_option

if TYPE_CHECKING:
    from taintwatch_calibration.faces.people_store import PeopleStore
    from taintwatch_models.faces.embedding import Embedder

__all__ = ["face_group"]


def _default_folder() -> Path:
    home = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(home) / "taintwatch" / "faces"


def _folder_option(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--folder",
        type=click.Path(path_type=Path, file_okay=False),
        default=_default_folder,
        help="Keep the people in this folder.  [default: ~/.local/share/taintwatch/faces]",
    )(command)


@click.group("face")
def face_group() -> None:
    """Enrol people and train the model that a face camera runs.

    Of each person the aligned faces (nothing around them) and their embeddings are kept, readable by you alone.
    """


@face_group.command()
@click.argument("name")
@click.option("--images", type=click.Path(path_type=Path), help="Folder (or video) of this person, alone in each.")
@click.option("--camera", help="Camera to look into: 0, /dev/video0, rtsp://...; you are told how.")
@click.option("--embedding", type=click.Path(path_type=Path), help="ONNX face embedding; remembered.")
@click.option("--preprocessing", help="TOML that declares its input.  [default: the one beside it]")
@click.option("--finder", help="YuNet's ONNX file.  [default: OpenCV's Haar cascades]")
@click.option("--replace", is_flag=True, help="Enrol anew somebody who is enrolled.")
@_folder_option
def enrol(
    name: str,
    images: Path | None,
    camera: str | None,
    embedding: Path | None,
    preprocessing: str | None,
    finder: str | None,
    replace: bool,
    folder: Path,
) -> None:
    """Enrol NAME from 5 to 40 photographs: each is checked for one sharp, well-lit face, and none is taken twice."""
    from taintwatch.sources.factory import open_source
    from taintwatch_calibration.faces.capture import Usable, guided, look_at, photographs
    from taintwatch_calibration.faces.enrol import enrol as enrol_person
    from taintwatch_calibration.faces.people_store import PeopleStore
    from taintwatch_models.errors import UsageError
    from taintwatch_models.faces.finder import make_finder

    if (images is None) == (camera is None):
        raise UsageError("say where the photographs come from: either --images DIR or --camera N")
    store = PeopleStore(folder)
    store.folder(name)
    embed = _embedder(store, embedding, preprocessing)
    find = make_finder(finder, smallest=0.15)
    store.check(embed.sha256, embed.path)
    if camera is None:
        pictures = photographs(open_source(str(images)))
    else:
        pictures = guided(
            open_source(camera),
            lambda image: isinstance(look_at(image, find, embed.size), Usable),
            lambda words: click.echo(words, err=True),
        )
    done = enrol_person(store, name, pictures, find, embed, replace=replace)
    click.echo(f"{done.name}: {done.kept} photographs kept in {store.folder(name)}")
    for reason, count in sorted(done.refused.items()):
        click.echo(f"  not used: {count} x {reason}", err=True)
    click.echo("now run `taintwatch face train`", err=True)


@face_group.command()
@click.option("--fpr", default=0.05, show_default=True, help="False-positive rate per picture that you accept.")
@threads_option
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON.")
@_folder_option
def train(fpr: float, threads: int, as_json: bool, folder: Path) -> None:
    """Train the model on everybody enrolled: seconds on a CPU."""
    from taintwatch_calibration.faces.face_training import train_faces
    from taintwatch_calibration.faces.people_store import PeopleStore
    from taintwatch_models.errors import UsageError

    if not 0 < fpr <= 0.5:
        raise UsageError(f"--fpr must be above 0 and at most 0.5, not {fpr}")
    store = PeopleStore(folder)
    if store.settings() is None:
        raise UsageError(f"{folder}: nobody is enrolled here; begin with `taintwatch face enrol NAME --images DIR`")
    store.prepare()
    report = train_faces(
        store,
        _embedder(store, None, None, threads),
        target_fpr=fpr,
        threads=threads,
        progress=lambda what: click.echo(f"{what} ...", err=True),
    )
    if as_json:
        told = {key: None if isinstance(value, float) and math.isnan(value) else value
                for key, value in asdict(report).items()}  # fmt: skip
        click.echo(json.dumps(told, default=str))
        return
    click.echo(f"{report.model}: {report.people} people, {report.photographs} photographs")
    click.echo(f"held-out accuracy {report.accuracy:.1%}, {report.known_rejected:.1%} taken for strangers")
    if not math.isnan(report.stranger_rejection):
        click.echo(f"strangers rejected: {report.stranger_rejection:.1%} (everybody left out in turn)")
    click.echo(f"false alarms: {report.held_out_fpr:.1%} of held-out photographs (target: {report.target_fpr:.1%})")
    if math.isnan(report.stranger_rejection) or report.stranger_rejection < 0.9:
        click.echo("few people are enrolled: strangers may be taken for one of them", err=True)


@face_group.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@_folder_option
def list_people(as_json: bool, folder: Path) -> None:
    """List who is enrolled, and with how many photographs."""
    from taintwatch_calibration.faces.people_store import PeopleStore

    store = PeopleStore(folder)
    found = [(name, len(list(store.folder(name).glob("*.png")))) for name in store.names()]
    if as_json:
        click.echo(json.dumps([{"name": name, "photographs": count} for name, count in found]))
        return
    for name, count in found:
        click.echo(f"{name}: {count} photographs")
    if not found:
        click.echo(f"nobody is enrolled in {folder}", err=True)


@face_group.command()
@click.argument("name")
@_folder_option
def remove(name: str, folder: Path) -> None:
    """Erase NAME's photographs and embeddings, and the model, which knows the face too."""
    from taintwatch_calibration.faces.people_store import PeopleStore

    trained = PeopleStore(folder).remove(name)
    click.echo(f"{name}: erased")
    if trained:
        click.echo("the model knew this face and was erased, too: run `taintwatch face train` again", err=True)


def _embedder(store: PeopleStore, path: Path | None, preprocessing: str | None, threads: int = 0) -> Embedder:
    """Open the embedding that is named, or the one that was used before."""
    from taintwatch_models.errors import UsageError
    from taintwatch_models.faces.embedding import Embedder

    known = store.settings()
    if path is None:
        if known is None:
            raise UsageError("which face embedding? give its ONNX file with --embedding; it is asked for once")
        path, preprocessing = Path(known["embedding"]), preprocessing or known["preprocessing"]
    return Embedder(path, preprocessing, threads=threads)
