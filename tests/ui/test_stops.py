"""What the slider's stops say."""

from __future__ import annotations

import pytest

from sapiens_demo.catalog import SIZES
from sapiens_demo.hub import Availability
from sapiens_demo.ui.stops import list_stops, reasons_off, unknown_stops

HERE = Availability("here", 0, None, "On this machine.")
DOWNLOAD = Availability("download", 1_322_000_000, None, "Downloads about 1.3 GB first.")
CUT_OFF = Availability("unreachable", 2_300_000_000, None, "The Hub cannot be reached. Choose Mini.")
UNPUBLISHED = Availability("unpublished", 0, None, "Not published.")


def there(*states: Availability) -> dict[str, Availability]:
    return dict(zip(SIZES, states, strict=True))


def test_each_stop_says_what_it_costs_or_why_it_is_off() -> None:
    stops = list_stops("pose", there(HERE, HERE, DOWNLOAD, CUT_OFF, UNPUBLISHED))
    assert [(stop.title, stop.state, stop.note) for stop in stops] == [
        ("Mini", "here", "ready"),
        ("0.3B", "here", "ready"),
        ("0.6B", "download", "1.3 GB"),
        ("1B", "off", "offline"),
        ("2B", "off", "none"),
    ]
    assert [stop.hint for stop in stops] == [
        "Mini, for a first look; choose 0.3B or larger for Sapiens quality.",
        "Sapiens 0.3B, 330 million parameters, 57.3 AP, on this machine.",
        "Sapiens 0.6B, 661 million parameters, 60.9 AP, 1.3 GB to download.",
        CUT_OFF.sentence,
        "2B: never published for pose.",
    ]


@pytest.mark.parametrize(
    "states, words",
    [
        ((HERE,) * 5, ""),
        ((HERE, HERE, DOWNLOAD, DOWNLOAD, UNPUBLISHED), "2B: never published for body parts."),
        (
            (HERE, CUT_OFF, CUT_OFF, CUT_OFF, UNPUBLISHED),
            "0.3B, 0.6B and 1B: not on this machine, and the download site cannot be reached. "
            "2B: never published for body parts.",
        ),
    ],
)
def test_reasons_are_told_once(states: tuple[Availability, ...], words: str) -> None:
    assert reasons_off("segmentation", there(*states)) == words


@pytest.mark.parametrize("task, off", [("pose", ["2b"]), ("depth", [])])
def test_before_anybody_looked_only_what_is_unpublished_is_off(task: str, off: list[str]) -> None:
    stops = unknown_stops(task)
    assert [stop.id for stop in stops] == list(SIZES)
    assert [stop.id for stop in stops if stop.state == "off"] == off
    assert {stop.state for stop in stops if stop.id not in off} == {"unknown"}
