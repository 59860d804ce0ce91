"""What people do on the page, for tests in a real browser."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from sapiens_demo.ui import texts
from tests.ui.standins import StandInService

Visit = Callable[..., Any]
StandIn = tuple[StandInService, str]
Point = tuple[float, float]

PHONE = {"width": 390, "height": 844, "has_touch": True}
TABS = tuple(texts.TAB_TITLES.items())


def open_tab(page: Any, task: str) -> None:
    page.get_by_role("tab", name=texts.TAB_TITLES[task], exact=True).click()


def view(page: Any, task: str, inside: str = "") -> Any:
    return page.locator(f"#view-{task} {inside or '.result'}")


def wait_for(page: Any, task: str, state: str = "idle", words: str = "") -> None:
    """Wait until a tab shows a state, and words under its result or in its sentence."""
    place = ".said" if state == "idle" else ".sentence"
    page.wait_for_function(
        """([task, state, place, words]) => {
            const result = document.querySelector(`#view-${task} .result`);
            if (!result || result.dataset.state !== state) return false;
            return result.querySelector(place).textContent.includes(words);
        }""",
        arg=[task, state, place, words],
    )


def upload(page: Any, path: Path) -> None:
    page.set_input_files("#photo input[type=file]", str(path))


def wait_for_people(page: Any, sentence: str) -> None:
    """Wait until the people editor says something."""
    page.wait_for_function(
        "words => document.querySelector('#people .bar .sentence').textContent === words", arg=sentence
    )


def drag_mouse(page: Any, start: Point, end: Point) -> None:
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move(*end, steps=5)
    page.mouse.up()


def drag_finger(page: Any, start: Point, end: Point) -> None:
    """Do what a finger does, which Playwright itself cannot."""
    fingers = page.context.new_cdp_session(page)

    def touch(kind: str, *points: Point) -> None:
        where = [{"x": x, "y": y} for x, y in points]
        fingers.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": where})

    touch("touchStart", start)
    for step in range(1, 6):
        touch("touchMove", tuple(a + (b - a) * step / 5 for a, b in zip(start, end, strict=True)))
    touch("touchEnd")
    fingers.detach()
