"""Decoys cannot push out the evidence that counts: pinned alerts stay, repeats go first, cameras share alike."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from taintwatch.evidence.removal import Item, Limits, order_of_removal, plan_removal

LIMITS = Limits(keep_ns=10**18, max_bytes=10_000, min_free_bytes=0)


def an_item(number: int, camera: str = "yard", label: str = "stop", **changes: object) -> Item:
    return replace(Item(f"e{number:04}", number, False, 1000, 10, camera, label, float(number)), **changes)  # type: ignore[arg-type]


def kept_media(items: list[Item], limits: Limits = LIMITS) -> set[str]:
    used = sum(item.media_bytes + item.record_bytes for item in items)
    removal = plan_removal(items, limits, now_ns=10_000, used_bytes=used, free_bytes=10**12)
    gone = {item.event_id for item in (*removal.media, *removal.whole)}
    assert used - removal.bytes <= limits.max_bytes
    return {item.event_id for item in items} - gone


def test_two_hundred_decoys_on_another_camera_leave_a_pinned_alert_and_the_first_of_each_camera() -> None:
    attack = [an_item(0, "door", pinned=True), an_item(1, "door", "toaster")]
    decoys = [an_item(number, "yard") for number in range(2, 200)]
    left = kept_media(attack + decoys)
    assert {"e0000", "e0001"} <= left


def test_of_many_repeats_the_first_the_worst_and_the_last_stay() -> None:
    items = [an_item(number, score=50.0 if number == 17 else 1.0) for number in range(40)]
    left = kept_media(items, replace(LIMITS, max_bytes=3_500))
    assert left == {"e0000", "e0017", "e0039"}


def test_repeats_in_another_place_are_no_repeats_of_these() -> None:
    decoys = [an_item(number, box=(number % 5, 0, 50, 50)) for number in range(40)]
    attack = an_item(20, box=(300, 200, 50, 50), score=0.5)
    items = sorted([*decoys[:20], attack, *decoys[21:]], key=lambda item: item.at_ns)
    assert attack.event_id in kept_media(items, replace(LIMITS, max_bytes=4_600))
    flood = [an_item(number, box=(100 * number, 0, 50, 50)) for number in range(400)]
    assert len(order_of_removal(flood)) == 400


def test_each_camera_keeps_an_equal_share() -> None:
    items = [an_item(number, "yard", f"label {number}") for number in range(60)]
    items += [an_item(number, "door", f"label {number}") for number in range(60, 66)]
    left = Counter("door" if int(event_id[1:]) >= 60 else "yard" for event_id in kept_media(items))
    assert left["door"] >= 4


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("xy"), st.integers(0, 9)), max_size=40))
def test_everything_goes_in_some_order_and_nothing_twice(drawn: list[tuple[str, str, int]]) -> None:
    items = [an_item(at, camera, label, score=float(score)) for at, (camera, label, score) in enumerate(drawn)]
    assert sorted(order_of_removal(items), key=lambda item: item.at_ns) == items
