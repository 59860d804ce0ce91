"""What is remembered stays within bounds."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import pytest

from sapiens_demo.ui.store import Store, size_of


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass(frozen=True)
class Box:
    content: object
    label: str = "box"


@pytest.mark.parametrize(
    "value, size",
    [
        (np.zeros((3, 4), np.float32), 48),
        (np.zeros((3, 4), np.float32)[:1].T, 48),
        (b"12345", 5),
        ("12345", 0),
        ((b"1", [b"23", np.zeros(2, np.uint8)]), 5),
        (Box(Box(np.zeros(7, np.uint8))), 7),
        (Box, 0),
        (None, 0),
    ],
)
def test_size_counts_arrays_and_bytes(value: object, size: int) -> None:
    assert size_of(value) == size


def test_a_value_is_kept_until_it_was_unused_for_long() -> None:
    clock = Clock()
    store = Store(max_seconds=10, clock=clock)
    store.put("a", b"1")
    clock.now = 9
    assert store.get("a") == b"1"
    clock.now = 18
    assert store.get("a") == b"1"
    clock.now = 28.5
    assert store.get("a") is None and store.bytes == 0


def test_the_least_recently_used_goes_when_memory_is_short() -> None:
    store = Store(max_bytes=10)
    for key in "ab":
        store.put(key, key.encode() * 4)
    store.get("a")
    store.put("c", b"cccc")
    assert [store.get(key) for key in "abc"] == [b"aaaa", None, b"cccc"]
    assert store.bytes == 8 and "a" in store and "b" not in store


def test_what_values_share_counts_once() -> None:
    store, shared = Store(max_bytes=100), np.zeros(60, np.uint8)
    store.put("a", Box((shared, b"aa")))
    store.put("b", Box((shared[10:20], b"bbb")))  # a view keeps all of it
    assert store.bytes == 65 and store.get("a") is not None
    store.put("c", np.zeros(50, np.uint8))  # only without both there is room for it
    assert [key in store for key in "abc"] == [False, False, True]


def test_a_value_beyond_the_bound_is_not_kept_and_replaces_the_old_one() -> None:
    store = Store(max_bytes=10)
    store.put("a", b"1")
    store.put("a", bytes(11))
    assert store.get("a") is None and store.bytes == 0


def test_what_nobody_comes_back_for_goes_by_itself() -> None:
    store = Store(max_seconds=0.2)
    store.put("a", b"1")
    assert store.bytes == 1
    time.sleep(2)  # a second more than it lives
    assert store.bytes == 0
