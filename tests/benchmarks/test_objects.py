"""The object bench's summary: rates over rows, by guarded detector and of the worst."""

from __future__ import annotations

from typing import Any

from benchmarks.objects.summary import summary_of


def row(attack: str, effective: int, seen: int, recorded: bool = False, recall: float = 0.2) -> dict[str, Any]:
    known = {"attack": attack, "recorded": recorded, "recall_after": recall}
    return known | {"effective": effective, "suspicious_of_effective": seen}


def site(frames: int, suspicious: int, *rows: dict[str, Any]) -> dict[str, Any]:
    return {"benign": {"frames": frames, "suspicious": suspicious}, "attacks": list(rows)}


def test_the_worst_detector_is_named_beside_each() -> None:
    found = summary_of({
        "motorway": site(200, 1, row("hide car", 40, 40), row("hide car", 20, 17, recorded=True),
                         row("dpatch, person", 10, 9)),
        "street": site(100, 0, row("hide sign", 10, 8), row("dpatch", 10, 10)),
    })  # fmt: skip
    assert found["hiding_tpr"] == 0.8
    assert found["hiding_tpr_by_model"] == {"yolox_nano": 0.95, "signs.finder": 0.8}
    assert found["hiding_tpr_recorded"] == {"yolox_nano": 0.85}
    assert (found["dpatch_tpr"], found["dpatch_effective"]) == (0.9, 20)
    assert (found["benign_frames"], found["benign_frame_fpr"]) == (300, 0.0033)
    assert found["benign_suspicious"] == {"motorway": 1, "street": 0}


def test_a_patch_that_leaves_most_objects_to_be_found_does_not_count_as_hiding() -> None:
    found = summary_of({"street": site(100, 0, row("hide sign", 10, 8), row("small", 4, 1, recall=0.6))})
    assert found["hiding_tpr"] == 0.8
    assert found["hiding_rows_too_weak"] == 1


def test_of_a_file_and_of_what_a_camera_sees_the_worse_counts_for_who_knows_the_guard() -> None:
    rows = [{"attacker": "all", "recorded": recorded, "unseen_share": share}
            for recorded, share in ((False, 0.3), (True, 0.9))]  # fmt: skip
    assert summary_of({"adaptive": {"attackers": rows}})["adaptive_unseen"] == {"all": 0.9}


def test_parts_that_were_not_measured_are_left_out() -> None:
    found = summary_of({"car park": site(10, 0)})
    assert found["hiding_tpr"] is None
    assert not {"track_tpr", "ratio_gated", "adaptive_unseen", "jedi_hiding_tpr"} & found.keys()
