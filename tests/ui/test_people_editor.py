"""The photo with a box around each person: what is taken from the browser, and what people do there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from sapiens_demo.ui import texts
from sapiens_demo.ui.people_editor import PeopleChoice, PeopleEditor
from tests.ui.driving import (
    PHONE,
    Point,
    StandIn,
    Visit,
    drag_finger,
    drag_mouse,
    open_tab,
    upload,
    view,
    wait_for,
    wait_for_people,
)
from tests.ui.standins import draw_photo

WORDS = texts.PEOPLE_WORDS
BOX = [10, 20, 110.5, 220]


# ---- What arrives


@pytest.mark.parametrize(
    "payload, wanted",
    [
        (None, None),
        ({"boxes": [BOX], "chosen": None, "edited": False}, None),
        ({"boxes": [BOX], "chosen": None, "edited": True}, (tuple(BOX),)),
        ({"boxes": [BOX, [1, 2, 3, 4]], "chosen": 1, "edited": False}, ((1, 2, 3, 4),)),
        ({"boxes": [], "chosen": None, "edited": True}, ()),
    ],
)
def test_a_choice_says_whom_to_look_at(payload: Any, wanted: Any) -> None:
    assert PeopleEditor().preprocess(payload).wanted == wanted


@pytest.mark.parametrize(
    "payload",
    [
        {},
        [],
        "all",
        {"boxes": None},
        {"boxes": [[1, 2, 3]]},
        {"boxes": [[1, 2, 3, "4"]]},
        {"boxes": [[1, 2, 3, True]]},
        {"boxes": [[1, 2, 3, float("nan")]]},
        {"boxes": [BOX], "chosen": 1},
        {"boxes": [BOX], "chosen": -1},
        {"boxes": [BOX], "chosen": "0"},
        {"boxes": [BOX] * 33},
    ],
    ids=str,
)
def test_what_is_no_choice_is_refused(payload: Any) -> None:
    with pytest.raises(gr.Error, match="Boxes are a list of"):
        PeopleEditor().preprocess(payload)


def test_a_stamp_comes_back_as_it_went() -> None:
    editor = PeopleEditor()
    assert editor.preprocess({"boxes": [BOX], "stamp": 7}) == PeopleChoice((tuple(BOX),), stamp=7)
    assert editor.preprocess({"boxes": [BOX], "stamp": "late"}).stamp == 0


# ---- In a browser


@pytest.fixture
def alone(tmp_path: Path) -> Path:
    """Return a photo of one person."""
    return draw_photo(tmp_path / "alone.png", 300, 420)


@pytest.fixture
def pair(tmp_path: Path) -> Path:
    """Return a photo of two people."""
    return draw_photo(tmp_path / "pair.png", 600, 400)


def take(page: Any, photo: Path, sentence: str) -> None:
    before = page.locator("#people .preview .picture").get_attribute("src")
    upload(page, photo)
    page.wait_for_function(
        "src => ![src, null].includes(document.querySelector('#people .picture').getAttribute('src'))",
        arg=before,
    )
    wait_for_people(page, sentence)
    page.wait_for_selector("#view-pose .result:not(.plain)")
    wait_for(page, "pose", words="250 ms")


def boxes_asked(page: Any, stand_in: StandIn, count: int) -> list[Any]:
    """Return the boxes of the engine's runs, once there were so many."""
    engine = stand_in[0].engine
    for _ in range(200):
        if len(engine.asked) >= count:
            break
        page.wait_for_timeout(50)
    return [options.boxes for *_, options in engine.asked]


def chips(page: Any) -> list[str]:
    return page.locator("#people .chips button:visible").all_inner_texts()


def open_desk(page: Any) -> None:
    page.click("#people .edit")
    page.wait_for_selector("#people dialog[open]")


def on_desk(page: Any, x: float, y: float) -> Point:
    """Return where on the screen a point of the photo is, given as shares of its sides."""
    sheet = page.locator("#people .board .sheet").bounding_box()
    return sheet["x"] + x * sheet["width"], sheet["y"] + y * sheet["height"]


def close_desk(page: Any, button: str = "done") -> None:
    page.click(f"#people .{button}")
    page.wait_for_selector("#people dialog:not([open])", state="attached")


def near(box: Any, expected: tuple[float, ...], tolerance: float = 4) -> bool:
    return all(abs(a - b) <= tolerance for a, b in zip(box, expected, strict=True))


def test_found_people_are_numbered_on_the_photo(visit: Visit, stand_in: StandIn, pair: Path) -> None:
    page = visit(stand_in[1])
    wait_for_people(page, WORDS["oneFound"])  # on the first example
    assert chips(page) == [] and page.locator("#people .preview .box").count() == 1
    take(page, pair, "2 people found")
    assert chips(page) == ["All", "1", "2"]
    assert page.locator("#people .preview .box b").all_inner_texts() == ["1", "2"]
    assert page.locator("#people .preview .picture").evaluate("picture => picture.naturalWidth") == 600
    boxes = [page.locator("#people .preview .box").nth(place).bounding_box() for place in (0, 1)]
    sheet = page.locator("#people .preview .sheet").bounding_box()
    assert abs(boxes[1]["x"] - sheet["x"] - sheet["width"] / 2) < 2
    assert abs(boxes[0]["height"] / sheet["height"] - 0.8) < 0.02


@pytest.mark.parametrize("way", ["chip", "photo", "keyboard"])
def test_a_chosen_person_is_chosen_for_every_tab(
    visit: Visit, stand_in: StandIn, pair: Path, way: str
) -> None:
    page = visit(stand_in[1])
    take(page, pair, "2 people found")
    if way == "chip":
        page.click("#people .chips button >> nth=2")
    elif way == "photo":
        page.locator("#people .preview .box").nth(1).click(position={"x": 20, "y": 40})
    else:
        page.locator("#people .chips button").first.focus()
        page.keyboard.press("ArrowLeft")  # the last one comes before the first
    wait_for_people(page, WORDS["only"].replace("{number}", "2"))
    wait_for(page, "pose", words="1 person, chosen by hand")
    for task in ("segmentation", "depth"):
        open_tab(page, task)
        wait_for(page, task, words="1 person, chosen by hand; shown to the model alone")
    right = ((300.0, 40.0, 600.0, 360.0),)
    assert boxes_asked(page, stand_in, 4) == [None, right, right, right]
    page.click("#people .chips button >> nth=0")
    wait_for_people(page, "2 people found")
    wait_for(page, "depth", words="as a whole")


@pytest.mark.parametrize("device", ["desktop", "phone"])
def test_a_box_drawn_by_hand_changes_the_result(
    visit: Visit, stand_in: StandIn, alone: Path, device: str
) -> None:
    page = visit(stand_in[1], **(PHONE if device == "phone" else {}))
    drag: Callable[..., None] = drag_finger if device == "phone" else drag_mouse
    take(page, alone, WORDS["oneFound"])
    before = view(page, "pose", ".drawing").get_attribute("src")
    open_desk(page)
    page.locator("#people .board .box").first.focus()
    page.keyboard.press("Delete")
    scrolled = page.evaluate("window.scrollY")
    drag(page, on_desk(page, 0.2, 0.25), on_desk(page, 0.7, 0.9))
    assert page.locator("#people .board .box").count() == 1
    assert page.evaluate("window.scrollY") == scrolled  # a finger draws and does not scroll
    close_desk(page)
    wait_for_people(page, WORDS["oneDrawn"])
    wait_for(page, "pose", words="1 person, chosen by hand")
    (box,) = boxes_asked(page, stand_in, 2)[-1]
    assert near(box, (60, 105, 210, 378)) and all(value == round(value) for value in box)
    assert view(page, "pose", ".drawing").get_attribute("src") != before


@pytest.mark.parametrize("device", ["desktop", "phone"])
def test_boxes_are_moved_and_resized_by_hand(
    visit: Visit, stand_in: StandIn, pair: Path, device: str
) -> None:
    page = visit(stand_in[1], **(PHONE if device == "phone" else {}))
    drag: Callable[..., None] = drag_finger if device == "phone" else drag_mouse
    take(page, pair, "2 people found")
    open_desk(page)
    drag(page, on_desk(page, 0.25, 0.5), on_desk(page, 0.15, 0.3))  # beyond the photo's edge it does not go
    drag(page, on_desk(page, 0.999, 0.9), on_desk(page, 0.8, 0.7))  # a corner
    drag(page, on_desk(page, 0.65, 0.1), on_desk(page, 0.65, 0.2))  # an edge
    close_desk(page)
    wait_for_people(page, "2 boxes, set by hand")
    wait_for(page, "pose", words="2 people, chosen by hand")
    first, second = boxes_asked(page, stand_in, 2)[-1]
    assert near(first, (0, 0, 300, 320)) and near(second, (300, 80, 480, 280), 5)


def test_a_slip_of_the_hand_changes_nothing(visit: Visit, stand_in: StandIn, alone: Path) -> None:
    page = visit(stand_in[1])
    take(page, alone, WORDS["oneFound"])
    open_desk(page)
    page.mouse.click(*on_desk(page, 0.5, 0.03))  # beside the box
    page.mouse.click(*on_desk(page, 0.5, 0.5))  # in it
    assert page.locator("#people .board .box").count() == 1
    close_desk(page)
    page.wait_for_timeout(500)
    wait_for_people(page, WORDS["oneFound"])
    assert boxes_asked(page, stand_in, 1) == [None]


@pytest.mark.parametrize("way", ["button", "escape"])
def test_who_cancels_keeps_the_boxes_of_before(
    visit: Visit, stand_in: StandIn, alone: Path, way: str
) -> None:
    page = visit(stand_in[1])
    take(page, alone, WORDS["oneFound"])
    open_desk(page)
    page.click("#people .new")
    assert page.locator("#people .board .box").count() == 2
    if way == "button":
        close_desk(page, "cancel")
    else:
        page.keyboard.press("Escape")
        page.wait_for_selector("#people dialog:not([open])", state="attached")
    assert page.evaluate("document.activeElement.classList.contains('edit')")
    wait_for_people(page, WORDS["oneFound"])
    assert boxes_asked(page, stand_in, 1) == [None]


def test_everything_is_done_by_keyboard(visit: Visit, stand_in: StandIn, alone: Path) -> None:
    page = visit(stand_in[1])
    take(page, alone, WORDS["oneFound"])
    page.locator("#people .edit").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("#people dialog[open]")
    page.keyboard.press("Delete")  # the only box has the focus; after that "New box" has it
    page.keyboard.press("Enter")
    for _ in range(3):
        page.keyboard.press("ArrowLeft")  # of 420 px a hundredth is 4
    page.keyboard.press("Shift+ArrowDown")
    label = page.evaluate("document.activeElement.getAttribute('aria-label')")
    assert label == "Box 1 of 1: left 101, top 105, 75 wide, 214 high, in pixels"
    for _ in range(8):  # to "Done", whatever lies between
        if page.evaluate("document.activeElement.classList.contains('done')"):
            break
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    wait_for_people(page, WORDS["oneDrawn"])
    assert boxes_asked(page, stand_in, 2)[-1] == ((101, 105, 176, 319),)


def test_reset_brings_back_what_was_found(visit: Visit, stand_in: StandIn, pair: Path) -> None:
    page = visit(stand_in[1])
    take(page, pair, "2 people found")
    reset = page.locator("#people .bar .reset")
    assert not reset.is_visible()
    open_desk(page)
    assert page.locator("#people footer .reset").is_disabled()
    page.locator("#people .board .box").first.focus()
    page.keyboard.press("Delete")
    close_desk(page)
    wait_for_people(page, WORDS["oneDrawn"])
    wait_for(page, "pose", words="chosen by hand")
    reset.click()
    wait_for_people(page, "2 people found")
    wait_for(page, "pose", words="2 people, found")
    assert [boxes and len(boxes) for boxes in boxes_asked(page, stand_in, 2)] == [None, 1]


def test_without_boxes_the_whole_photo_is_taken(visit: Visit, stand_in: StandIn, alone: Path) -> None:
    page = visit(stand_in[1])
    take(page, alone, WORDS["oneFound"])
    open_desk(page)
    page.locator("#people .board .box").first.focus()
    page.keyboard.press("Backspace")
    close_desk(page)
    wait_for_people(page, WORDS["none"])
    assert page.inner_text("#people .edit") == WORDS["draw"]
    wait_for(page, "pose", words="as a whole")
    assert boxes_asked(page, stand_in, 2)[-1] == ()


def test_a_new_photo_forgets_the_boxes(visit: Visit, stand_in: StandIn, pair: Path, alone: Path) -> None:
    page = visit(stand_in[1])
    take(page, pair, "2 people found")
    page.click("#people .chips button >> nth=1")
    wait_for(page, "pose", words="1 person, chosen by hand")
    upload(page, alone)
    wait_for_people(page, WORDS["oneFound"])
    wait_for(page, "pose", words="1 person, found")
    assert boxes_asked(page, stand_in, 3)[-1] is None
    page.locator("#photo button[aria-label='Remove Image']").first.click()
    page.wait_for_selector("#people", state="hidden")


def test_there_is_an_end_to_boxes(visit: Visit, stand_in: StandIn, alone: Path) -> None:
    page = visit(stand_in[1])
    take(page, alone, WORDS["oneFound"])
    open_desk(page)
    for _ in range(31):
        page.click("#people .new")
    assert page.locator("#people .new").is_disabled()
    page.mouse.click(*on_desk(page, 0.5, 0.03))
    drag_mouse(page, on_desk(page, 0.1, 0.01), on_desk(page, 0.9, 0.09))
    assert page.locator("#people .board .box").count() == 32
    assert page.inner_text("#people .told") == "There can be at most 32 boxes."


def test_a_photo_dropped_on_the_photo_takes_its_place(visit: Visit, stand_in: StandIn, pair: Path) -> None:
    page = visit(stand_in[1])
    wait_for_people(page, WORDS["oneFound"])
    dropped = page.evaluate_handle(
        """(bytes) => {
            const files = new DataTransfer();
            files.items.add(new File([new Uint8Array(bytes)], 'pair.png', { type: 'image/png' }));
            return files;
        }""",
        list(pair.read_bytes()),
    )
    page.dispatch_event("#people .preview", "drop", {"dataTransfer": dropped})
    wait_for_people(page, "2 people found")
    assert page.locator("#people .preview .box").count() == 2


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [{"width": 1400}, PHONE], ids=["desktop", "phone"])
def test_the_desk_fits_the_screen_and_has_targets_for_thumbs(
    visit: Visit, stand_in: StandIn, pair: Path, size: dict[str, Any], scheme: str
) -> None:
    page = visit(stand_in[1], color_scheme=scheme, **size)
    take(page, pair, "2 people found")
    buttons = page.locator("#people .chips button, #people .edit").evaluate_all(
        "all => all.map((each) => each.getBoundingClientRect().height)"
    )
    assert min(buttons) >= (40 if size is PHONE else 34)
    open_desk(page)
    desk = page.locator("#people .desk").bounding_box()
    assert desk["x"] >= 0 and desk["x"] + desk["width"] <= size["width"]
    assert desk["y"] >= 0 and desk["y"] + desk["height"] <= page.viewport_size["height"]
    footer = page.locator("#people footer button")
    for place in range(footer.count()):
        button = footer.nth(place).bounding_box()
        assert button["height"] >= 40 and button["x"] + button["width"] <= size["width"]
    sheet = page.locator("#people .board .sheet").bounding_box()
    board = page.locator("#people .board").bounding_box()
    assert sheet["width"] <= board["width"] + 1 and sheet["height"] <= board["height"] + 1
    assert min(board["width"] - sheet["width"], board["height"] - sheet["height"]) < 2  # as large as can be
    assert abs(sheet["width"] / sheet["height"] - 1.5) < 0.01
