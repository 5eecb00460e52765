"""Work over many files: spread, kept, taken up again, and done again where a worker was killed."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from taintwatch.footage.processes import fingerprint_of
from taintwatch.footage.task_map import Task, TaskResult, map_resumably
from taintwatch_models.errors import TaintwatchError, UsageError
from tests.footage_work import die_always, die_once, refuse_odd, square

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.*", "ignore::FutureWarning:ray.*")

NUMBERS = [Task(f"clip {number}.mp4", number) for number in range(5)]
SQUARES: list[Any] = [{"squared": number * number} for number in range(5)]


@pytest.mark.parametrize("workers", [1, 3])
def test_results_come_in_the_order_of_the_items_however_many_work(workers: int) -> None:
    assert map_resumably(square, NUMBERS, workers=workers) == SQUARES


@pytest.mark.timeout(600)
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")
def test_ray_gives_the_same_results_and_does_the_work_of_a_killed_worker_again(tmp_path: Path) -> None:
    import ray

    try:
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
    except Exception as error:  # whatever Ray raises
        if "timed out during startup" not in str(error):
            raise
        pytest.skip("Ray gives a cluster 30 seconds to start, which were not enough here")
    try:
        assert map_resumably(square, NUMBERS, engine="ray") == SQUARES
        tasks = [Task(str(number), (str(tmp_path), number)) for number in range(4)]
        assert map_resumably(die_once, tasks, engine="ray") == [0, 10, 20, 30]
        with pytest.raises(UsageError, match="3 is odd"):
            map_resumably(refuse_odd, [Task("a", 2), Task("b", 3)], engine="ray")
        assert ray.is_initialized()  # a cluster that was there before is left there
    finally:
        ray.shutdown()


def test_a_killed_worker_s_item_is_done_again_and_nothing_is_lost(tmp_path: Path) -> None:
    tasks = [Task(str(number), (str(tmp_path), number)) for number in range(4)]
    assert map_resumably(die_once, tasks, workers=2) == [0, 10, 20, 30]
    assert (tmp_path / "tried2").exists()


def test_an_item_that_kills_every_worker_is_named_and_the_others_are_kept(tmp_path: Path) -> None:
    tasks = [Task(f"clip{number}", number) for number in range(2)]
    with pytest.raises(TaintwatchError, match=r"clip1: ended its worker process 3 times \(signal SIGKILL\)"):
        map_resumably(die_always, tasks, tmp_path, workers=1)
    assert [path.name.split("-")[0] for path in tmp_path.iterdir()] == ["clip0"]


def test_what_was_done_is_not_done_again(tmp_path: Path) -> None:
    map_resumably(square, NUMBERS[:3], tmp_path, workers=1)
    told: list[TaskResult] = []
    assert map_resumably(square, NUMBERS, tmp_path, workers=2, progress=told.append) == SQUARES
    assert [finished.resumed for finished in told] == [True, True, True, False, False]
    assert [finished.done for finished in told] == [1, 2, 3, 4, 5]


def test_a_result_of_other_settings_or_a_damaged_one_is_not_used(tmp_path: Path) -> None:
    map_resumably(square, [Task("a", 2, "one"), Task("b", 3, "one")], tmp_path, workers=1)
    next(path for path in tmp_path.iterdir() if path.name.startswith("b-")).write_text('{"format": "tai')
    told: list[TaskResult] = []
    map_resumably(square, [Task("a", 2, "other"), Task("b", 3, "one")], tmp_path, workers=1, progress=told.append)
    assert [finished.resumed for finished in told] == [False, False]


def test_a_complaint_of_the_function_ends_the_run_as_itself(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="3 is odd; give even numbers"):
        map_resumably(refuse_odd, [Task("a", 2), Task("b", 3)], tmp_path, workers=1)
    assert len(list(tmp_path.iterdir())) == 1


def test_a_file_that_changed_has_another_fingerprint(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"1")
    first = fingerprint_of(path, "settings")
    path.write_bytes(b"22")
    assert fingerprint_of(path, "settings") != first
    assert fingerprint_of(path, "other settings") != fingerprint_of(path, "settings")


def test_wrong_use_is_told_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="no engine 'threads'"):
        map_resumably(square, NUMBERS, engine="threads")
    with pytest.raises(UsageError, match="-1 workers"):
        map_resumably(square, NUMBERS, workers=-1)
    with pytest.raises(UsageError, match="two items are called 'a'"):
        map_resumably(square, [Task("a", 1), Task("a", 2)])
    with pytest.raises(UsageError, match="results cannot be kept there"):
        map_resumably(square, NUMBERS, tmp_path / "file" / "done")
