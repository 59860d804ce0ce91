"""The page in a real browser."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sapiens_demo import photo as photo_module
from sapiens_demo.hub import Availability
from sapiens_demo.ui import texts
from sapiens_demo.ui.examples import ExampleShelf
from sapiens_demo.ui.service import Service
from tests.ui.conftest import launched
from tests.ui.driving import (
    PHONE,
    TABS,
    StandIn,
    Visit,
    drag_finger,
    drag_mouse,
    open_tab,
    upload,
    view,
    wait_for,
)
from tests.ui.standins import BROKEN_SENTENCE, draw_photo


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    return draw_photo(tmp_path / "somebody.png", 300, 420)


def focus_slider(page: Any) -> Any:
    slider = page.locator("#size .range")
    slider.focus()
    return slider


# ---- First look


def test_an_example_and_its_result_are_there_before_the_first_click(visit: Visit, stand_in: StandIn) -> None:
    service, address = stand_in
    page = visit(address)
    wait_for(page, "pose", words=texts.BEFOREHAND)
    assert view(page, "pose", ".drawing").evaluate("picture => picture.naturalWidth") == 320
    assert page.title() == texts.TITLE
    assert texts.MINI_HINT in page.inner_text("#size")
    assert "CC BY-NC 4.0" in page.inner_text("#footnote") and "not kept" in page.inner_text("#footnote")
    for task in ("segmentation", "depth", "normal"):
        open_tab(page, task)
        wait_for(page, task, words=texts.BEFOREHAND)
    page.click("#examples [data-name=red_shirt]")
    page.wait_for_function("document.querySelector('#view-normal .photo').naturalWidth === 480")
    wait_for(page, "normal", words=texts.BEFOREHAND)
    assert service.engine.asked == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 390])
def test_the_page_fits_and_is_legible(visit: Visit, stand_in: StandIn, scheme: str, width: int) -> None:
    page = visit(stand_in[1], width=width, color_scheme=scheme)
    for task, _ in TABS:
        open_tab(page, task)
        wait_for(page, task)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        parts = [
            "#size .hint",
            "#size small",
            f"#view-{task} .caption",
            f"#view-{task} .tool span",
            "#footnote p",
            "#people .bar .sentence",
            "#people .edit",
            "#run-all button",
            f"#view-{task} .whom",
        ]
        if task in texts.FRAMING_INFO:
            parts += [f"#tab-{task} .info", f"#framing-{task} [aria-checked=false]"]
        assert {part: ratio for part in parts if (ratio := contrast(page, part)) < 4.5} == {}


def contrast(page: Any, selector: str) -> float:
    """Return the contrast of an element's text with what is behind it, as WCAG 2.1 defines it."""
    colors = page.evaluate(
        """(selector) => {
            const element = document.querySelector(selector);
            let behind = element;
            const clear = (each) => /, 0\\)$|transparent/.test(getComputedStyle(each).backgroundColor);
            while (behind.parentElement && clear(behind)) behind = behind.parentElement;
            const colors = [getComputedStyle(element).color, getComputedStyle(behind).backgroundColor];
            return colors.map((color) => color.match(/[\\d.]+/g).slice(0, 3).map(Number));
        }""",
        selector,
    )
    light = sorted(float(_luminance(np.array(color))) for color in colors)
    return (light[1] + 0.05) / (light[0] + 0.05)


def _luminance(color: np.ndarray) -> float:
    share = color / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))


def test_a_phone_shows_the_photo_first_and_has_targets_for_thumbs(visit: Visit, stand_in: StandIn) -> None:
    page = visit(stand_in[1], **PHONE)
    wait_for(page, "pose")
    tops = [
        page.locator(part).bounding_box()["y"] for part in ("#photo", "#size", "#tabs", "#view-pose .stage")
    ]
    assert tops == sorted(tops)
    targets = "#size .stops button, #size .range, #view-pose .tool input, #view-pose .downloads button"
    heights = page.locator(targets).evaluate_all(
        "all => all.map((each) => each.getBoundingClientRect().height)"
    )
    heights += page.get_by_role("tab").evaluate_all(
        "all => all.map((each) => each.getBoundingClientRect().height)"
    )
    assert min(height for height in heights if height) >= 40


# ---- Photos


@pytest.mark.parametrize("size", [{}, PHONE], ids=["desktop", "phone"])
def test_an_upload_runs_the_open_tab_and_then_each_tab(
    visit: Visit, stand_in: StandIn, photo: Path, size: dict[str, Any]
) -> None:
    service, address = stand_in
    page = visit(address, **size)
    upload(page, photo)
    page.wait_for_function("document.querySelector('#view-pose .photo').naturalWidth === 300")
    wait_for(page, "pose", words="forward 250 ms")
    if size:  # a phone brings the result into sight
        page.wait_for_function(
            """() => {
                const box = document.querySelector("#view-pose .stage").getBoundingClientRect();
                return box.top >= -1 && box.bottom <= window.innerHeight + 1;
            }"""
        )
    for task, _ in TABS[1:]:
        open_tab(page, task)
        page.wait_for_selector(f"#view-{task} .drawing[src]")
        wait_for(page, task, words="Mini · CPU")
        assert view(page, task, ".photo").evaluate("picture => picture.naturalWidth") == 300
    assert [task for task, *_ in service.engine.asked] == [task for task, _ in TABS]
    open_tab(page, "pose")
    wait_for(page, "pose", words="Mini · CPU")
    assert len(service.engine.asked) == 4  # going back runs nothing


def test_while_a_photo_is_read_it_says_so_and_shows_no_other(
    visit: Visit, stand_in: StandIn, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service, address = stand_in
    page = visit(address)
    wait_for(page, "pose")
    read, may_go_on = photo_module.read_photo, threading.Event()
    monkeypatch.setattr(photo_module, "read_photo", lambda path: (may_go_on.wait(20), read(path))[1])
    upload(page, photo)
    wait_for(page, "pose", "running", texts.READING)
    assert not view(page, "pose", ".photo").is_visible()
    assert not page.locator("#people .preview .picture").is_visible()
    assert page.inner_text("#people .bar .sentence") == texts.PEOPLE_WORDS["reading"]
    may_go_on.set()
    page.wait_for_function("document.querySelector('#view-pose .photo').naturalWidth === 300")
    wait_for(page, "pose", words="250 ms")


def test_the_photo_before_goes_before_the_new_one_has_arrived(
    visit: Visit, stand_in: StandIn, photo: Path
) -> None:
    page = visit(stand_in[1])
    wait_for(page, "pose")
    held: list[Any] = []
    page.route("**/view.jpg", lambda request: held.append(request))
    upload(page, photo)
    for place in ("#view-pose", "#people .preview"):  # examples' pictures are WebP
        page.wait_for_selector(f"{place} img[src$='view.jpg']", state="attached")
    for picture in (view(page, "pose", ".photo"), page.locator("#people .preview .picture")):
        assert picture.evaluate("picture => getComputedStyle(picture).visibility") == "hidden"
    page.unroute("**/view.jpg")  # which lets them all go on
    assert held
    page.wait_for_function(
        "getComputedStyle(document.querySelector('#view-pose .photo')).visibility === 'visible'"
    )
    page.wait_for_function("document.querySelector('#people .preview .picture').naturalWidth === 300")


def test_a_bad_file_gets_one_sentence(visit: Visit, stand_in: StandIn, photo: Path, tmp_path: Path) -> None:
    bad = tmp_path / "holiday.jpg"
    bad.write_bytes(b"\xff\xd8\xff\xe0 this is no photo")
    page = visit(stand_in[1])
    upload(page, bad)
    toast = page.locator(".toast-body")
    toast.wait_for()
    wait_for(page, "pose", "empty", "damaged")
    page.wait_for_timeout(1000)
    assert toast.inner_text().count("damaged") == 1 and "Traceback" not in toast.inner_text()
    upload(page, photo)
    wait_for(page, "pose", words="forward 250 ms")


def test_taking_the_photo_away_invites_to_another(visit: Visit, stand_in: StandIn) -> None:
    page = visit(stand_in[1])
    wait_for(page, "pose")
    page.locator("#photo button[aria-label='Remove Image']").first.click()
    wait_for(page, "pose", "empty", texts.EMPTY)
    assert view(page, "pose", ".downloads button").first.is_disabled()


# ---- Sizes


def test_the_slider_obeys_arrow_keys(visit: Visit, stand_in: StandIn) -> None:
    service, address = stand_in
    page = visit(address)
    slider = focus_slider(page)
    page.keyboard.press("ArrowRight")
    wait_for(page, "pose", words="Sapiens 0.3B")
    assert slider.get_attribute("aria-valuetext").startswith("0.3B, Sapiens 0.3B, 330 million parameters")
    page.keyboard.press("Home")
    wait_for(page, "pose", words="Mini")
    assert [size for _, size, _ in service.engine.asked] == ["0.3b"]


def test_the_slider_obeys_the_mouse(visit: Visit, stand_in: StandIn) -> None:
    service, address = stand_in
    page = visit(address)
    rail = page.locator("#size .range").bounding_box()
    y, left, width = rail["y"] + rail["height"] / 2, rail["x"] + 13, rail["width"] - 26
    page.mouse.move(left, y)
    page.mouse.down()
    page.mouse.move(left + width * 0.27, y, steps=4)
    page.mouse.up()
    wait_for(page, "pose", words="Sapiens 0.3B")
    page.click("#size [data-size=mini]")
    wait_for(page, "pose", words="Mini")
    assert [size for _, size, _ in service.engine.asked] == ["0.3b"]


def test_all_stops_change_together_once_they_are_known(
    visit: Visit, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    service, address = stand_in
    look = service.availability

    def slow(task: str, size: str, patience: float = 0.0) -> Availability:
        time.sleep(0.1)
        return look(task, size, patience)

    monkeypatch.setattr(service, "availability", slow)
    seen = visit(
        address,
        init="""
            window.seen = [];
            new MutationObserver(() => {
                const notes = [...document.querySelectorAll('#size small')].map((each) => each.textContent);
                const hint = document.querySelector('#size .hint');
                if (!hint || !notes.length) return;  // the page is still being built
                const row = notes.join(' ') + ' | ' + hint.textContent;
                if (window.seen.at(-1) !== row) window.seen.push(row);
            }).observe(document, { subtree: true, childList: true, characterData: true });
        """,
    ).evaluate("window.seen")
    unknown, known = f"… … … … none | {texts.MINI_HINT}", f"ready ready ready 2.3 GB none | {texts.MINI_HINT}"
    assert seen in ([unknown, known], [known])


def test_a_stop_that_is_off_says_why_and_cannot_be_taken(visit: Visit, stand_in: StandIn) -> None:
    service, address = stand_in
    page = visit(address)
    why = "2B: never published for pose."
    assert why in page.inner_text("#size .reasons")
    assert "none" in page.inner_text("#size [data-size='2b']")
    page.click("#size [data-size='2b']", force=True)  # it says that it is disabled, and is
    page.wait_for_function("why => document.querySelector('#size .hint').textContent === why", arg=why)
    assert page.input_value("#size .range") == "0"
    focus_slider(page)
    page.keyboard.press("End")  # the last stop that can be taken
    wait_for(page, "pose", "ask", "Sapiens 1B is not on this machine yet.")
    page.keyboard.press("ArrowRight")
    page.wait_for_function("why => document.querySelector('#size .hint').textContent === why", arg=why)
    assert page.input_value("#size .range") == "3"
    assert service.engine.asked == []


def test_a_size_that_the_next_tab_lacks_is_not_replaced(visit: Visit, stand_in: StandIn) -> None:
    service, address = stand_in
    page = visit(address)
    open_tab(page, "normal")
    wait_for(page, "normal")
    page.click("#size [data-size='2b']")
    wait_for(page, "normal", words="Sapiens 2B")
    open_tab(page, "segmentation")
    wait_for(page, "segmentation", "ask", "2B: never published for body parts.")
    assert page.input_value("#size .range") == "4"
    assert view(page, "segmentation", ".downloads button").first.is_disabled()
    assert [size for _, size, _ in service.engine.asked] == ["2b"]


def test_a_download_is_asked_for_and_shows_how_far_it_is(visit: Visit, stand_in: StandIn) -> None:
    service, address = stand_in
    page = visit(address)
    page.click("#size [data-size='1b']")
    wait_for(page, "pose", "ask", "Sapiens 1B is not on this machine yet.")
    assert "2.3 GB" in page.inner_text("#size [data-size='1b']")
    service.gate.clear()
    page.get_by_role("button", name="Download 2.3 GB and run").click()
    wait_for(page, "pose", "running", "1.2 GB of 2.3 GB")
    assert view(page, "pose", ".progress").get_attribute("aria-valuenow") == "50"
    assert view(page, "pose", ".spoken").inner_text() == "Downloading sapiens.pt2"
    service.gate.set()
    wait_for(page, "pose", words="Sapiens 1B")
    page.wait_for_selector("#size .here[data-size='1b']")


def test_a_failure_says_what_to_do_and_shows_no_other_result(visit: Visit, stand_in: StandIn) -> None:
    service, address = stand_in
    page = visit(address)
    page.click("#size [data-size='0.6b']")
    wait_for(page, "pose", "failed", BROKEN_SENTENCE)
    assert view(page, "pose", ".caption").inner_text() == ""
    page.get_by_role("button", name=texts.TRY_AGAIN).click()
    page.wait_for_timeout(500)
    wait_for(page, "pose", "failed", BROKEN_SENTENCE)
    assert len(service.engine.asked) == 2


def test_who_changes_their_mind_need_not_wait(visit: Visit, stand_in: StandIn) -> None:
    service, address = stand_in
    page = visit(address)
    service.gate.clear()
    page.click("#size [data-size='0.3b']")
    wait_for(page, "pose", "running", "Running Sapiens 0.3B")
    page.click("#size [data-size=mini]")
    wait_for(page, "pose", words="Mini")
    service.gate.set()
    page.wait_for_timeout(1500)
    wait_for(page, "pose", words="Mini")  # the late result did not come in between
    page.click("#size [data-size='0.3b']")
    wait_for(page, "pose", words="Sapiens 0.3B")
    assert len(service.engine.asked) == 1  # but it was remembered


# ---- Results


def test_the_handle_moves_by_key_and_by_hand(visit: Visit, stand_in: StandIn) -> None:
    page = visit(stand_in[1])
    wait_for(page, "pose")
    frame, divider = view(page, "pose", ".frame"), view(page, "pose", ".divider")

    def at() -> str:
        return frame.evaluate("frame => frame.style.getPropertyValue('--at')")

    assert at() == "50%"
    divider.focus()
    page.keyboard.press("ArrowLeft")
    assert at() == "49%" and divider.get_attribute("aria-valuetext") == "49% photo"
    box = frame.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 4, box["y"] + 40, steps=4)
    page.mouse.up()
    assert at() in ("24%", "25%", "26%")
    clip = view(page, "pose", ".drawing").evaluate("picture => getComputedStyle(picture).clipPath")
    assert clip.endswith(f"{at()})")


def test_opacity_changes_at_once_and_asks_nobody(visit: Visit, stand_in: StandIn) -> None:
    page = visit(stand_in[1])
    wait_for(page, "pose")
    page.wait_for_timeout(500)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    view(page, "pose", ".opacity input").fill("40")
    assert view(page, "pose", ".drawing").evaluate("picture => getComputedStyle(picture).opacity") == "0.4"
    assert [url for url in asked if "queue" in url] == []


def test_the_threshold_hides_weak_keypoints(visit: Visit, stand_in: StandIn, photo: Path) -> None:
    service, address = stand_in
    page = visit(address)
    upload(page, photo)
    page.wait_for_function("document.querySelector('#view-pose .legend').textContent.includes('of 308')")
    wait_for(page, "pose", words="250 ms")
    before = view(page, "pose", ".drawing").get_attribute("src")
    view(page, "pose", ".threshold input").fill("0.6")
    page.wait_for_function("document.querySelector('#view-pose .legend').textContent.includes('score 0.60')")
    assert "123 of 308 keypoints" in view(page, "pose", ".legend").inner_text()
    assert view(page, "pose", ".drawing").get_attribute("src") != before
    assert len(service.engine.asked) == 1


def test_legends_explain_colours(visit: Visit, stand_in: StandIn) -> None:
    page = visit(stand_in[1])
    open_tab(page, "segmentation")
    wait_for(page, "segmentation", words="Mini")
    chips = view(page, "segmentation", ".chip").all_inner_texts()
    assert len(chips) > 5 and all("%" in chip for chip in chips)
    open_tab(page, "depth")
    wait_for(page, "depth", words="Mini")
    assert view(page, "depth", ".legend").inner_text().split() == [texts.LEGEND_NEAR, texts.LEGEND_FAR]
    view(page, "depth", ".layers button").nth(1).click()
    assert texts.LEGEND_SPHERE in view(page, "depth", ".legend").inner_text()
    assert view(page, "depth", ".after").inner_text() == texts.LAYER_TITLES["depth_normals"]


def test_switches_reach_the_engine(visit: Visit, stand_in: StandIn) -> None:
    service, address = stand_in
    page = visit(address)
    page.get_by_role("button", name=texts.OPTIONS).click()
    page.get_by_label(texts.FLIP_TEST).check()
    wait_for(page, "pose", words="250 ms")
    page.wait_for_function(
        "!document.querySelector('#view-pose .caption').textContent.includes('beforehand')"
    )
    open_tab(page, "depth")
    wait_for(page, "depth", words="Mini")
    assert view(page, "depth", "[data-kind=mask]").is_enabled()
    page.locator("#person-depth input").uncheck()
    page.wait_for_function(
        "!document.querySelector('#view-depth .caption').textContent.includes('beforehand')"
    )
    assert view(page, "depth", "[data-kind=mask]").is_disabled()
    asked = [(task, options.flip_test, options.person_only) for task, _, options in service.engine.asked]
    assert asked == [("pose", True, True), ("depth", False, False)]


def test_the_framing_reaches_the_engine_and_is_explained(visit: Visit, stand_in: StandIn) -> None:
    service, address = stand_in
    page = visit(address)
    for task, framing in (("segmentation", "person"), ("depth", "whole"), ("normal", "person")):
        open_tab(page, task)
        wait_for(page, task)
        assert texts.FRAMING_INFO[task] in page.inner_text(f"#tab-{task}")
        page.locator(f"#framing-{task}").get_by_role("radio", name=texts.FRAMINGS[framing]).click()
        page.wait_for_function(
            "task => !document.querySelector(`#view-${task} .caption`).textContent.includes('beforehand')",
            arg=task,
        )
        wait_for(page, task, words="the model alone" if framing == "person" else "as a whole")
    asked = [(task, options.framing) for task, _, options in service.engine.asked]
    assert asked == [("segmentation", "person"), ("depth", "whole"), ("normal", "person")]
    page.locator("#framing-normal [aria-checked=true]").focus()
    page.keyboard.press("ArrowLeft")
    wait_for(page, "normal", words="as a whole")


# ---- All four at once


def marks(page: Any) -> list[str]:
    return page.get_by_role("tab").evaluate_all("all => all.map((each) => each.dataset.result)")


@pytest.mark.parametrize("size", [{}, PHONE], ids=["desktop", "phone"])
def test_all_four_run_at_once_and_mark_their_tabs(
    visit: Visit, stand_in: StandIn, photo: Path, size: dict[str, Any]
) -> None:
    service, address = stand_in
    page = visit(address, **size)
    button = page.locator("#run-all button")
    page.wait_for_function("document.querySelector('#run-all span').textContent === 'All four ready'")
    assert button.is_disabled() and marks(page) == ["ready"] * 4  # the example's
    page.click("#size [data-size='0.3b']")
    wait_for(page, "pose", words="Sapiens 0.3B")
    upload(page, photo)
    page.wait_for_function("document.querySelector('#view-pose .photo').naturalWidth === 300")
    wait_for(page, "pose", words="Sapiens 0.3B")
    page.wait_for_function("document.querySelector('#run-all span').textContent === 'Run all four'")
    assert marks(page) == ["ready", "open", "open", "open"]
    service.gate.clear()
    button.click()
    page.wait_for_function("document.querySelector('#run-all span').textContent === 'Running, 1 of 4 ready'")
    assert marks(page) == ["ready", "running", "running", "running"] and button.is_disabled()
    open_tab(page, "depth")
    wait_for(page, "depth", "running")
    service.gate.set()
    page.wait_for_function("document.querySelector('#run-all span').textContent === 'All four ready'")
    wait_for(page, "depth", words="Sapiens 0.3B")
    assert marks(page) == ["ready"] * 4
    ran = len(service.engine.asked)
    for task, _ in TABS:
        open_tab(page, task)
        wait_for(page, task, words="Sapiens 0.3B")
    assert len(service.engine.asked) == ran == 5


# ---- Downloads


def test_downloads_are_written_when_asked_for(
    visit: Visit, stand_in: StandIn, photo: Path, temporary_files: Path
) -> None:
    page = visit(stand_in[1])
    upload(page, photo)
    open_tab(page, "depth")
    page.wait_for_function("document.querySelector('#view-depth .photo').naturalWidth === 300")
    wait_for(page, "depth", words="250 ms")
    assert list(temporary_files.rglob("somebody_depth*")) == []
    for kind, name in {"npy": "somebody_depth.npy", "json": "somebody_depth.json"}.items():
        with page.expect_download() as expected:
            view(page, "depth", f"[data-kind={kind}]").click()
        assert expected.value.suggested_filename == name
        content = Path(expected.value.path())
        if kind == "npy":
            assert np.load(content).shape == (420, 300)
        else:
            assert json.loads(content.read_text())["photo"] == "somebody"
    assert sorted(path.name for path in temporary_files.rglob("somebody_depth*")) == [
        "somebody_depth.json",
        "somebody_depth.npy",
    ]
    page.wait_for_selector("#view-depth [data-kind=json]:not([aria-busy])")


def test_an_examples_download_is_computed_when_asked_for(visit: Visit, stand_in: StandIn) -> None:
    service, address = stand_in
    page = visit(address)
    wait_for(page, "pose", words=texts.BEFOREHAND)
    with page.expect_download() as expected:
        view(page, "pose", "[data-kind=json]").click()
    assert expected.value.suggested_filename == "blue_shirt_pose.json"
    assert len(json.loads(Path(expected.value.path()).read_text())["people"][0]["keypoints"]) == 308
    assert [(task, size) for task, size, _ in service.engine.asked] == [("pose", "mini")]


# ---- The real engine


@pytest.fixture(scope="module")
def real_address(examples_folder: Path, temporary_files: Path) -> Iterator[str]:
    with launched(Service(examples=ExampleShelf(examples_folder))) as address:
        yield address


def test_mini_answers_every_task_without_network(visit: Visit, real_address: str, photo: Path) -> None:
    page = visit(real_address)
    page.set_default_timeout(60_000)
    assert "offline" in page.inner_text("#size [data-size='1b']")
    upload(page, photo)
    for task, _ in TABS:
        open_tab(page, task)
        page.wait_for_function(
            "task => document.querySelector(`#view-${task} .photo`)?.naturalWidth === 300", arg=task
        )
        wait_for(page, task, words="Mini · CPU")
        assert "beforehand" not in view(page, task, ".caption").inner_text()


@pytest.mark.parametrize("size", [{}, PHONE], ids=["desktop", "phone"])
def test_boxes_drawn_by_hand_change_what_mini_says(
    visit: Visit, real_address: str, tmp_path: Path, size: dict[str, Any]
) -> None:
    """On the photo of a figure left of the middle, only the box around it gives a pose that lies in it."""
    drag = drag_finger if size else drag_mouse
    photo = draw_photo(tmp_path / f"{len(size)}.png", 340, 400, shade=90 + 40 * len(size))
    page = visit(real_address, **size)
    page.set_default_timeout(60_000)
    upload(page, photo)
    page.wait_for_function("document.querySelector('#view-pose .photo').naturalWidth === 340")
    page.wait_for_selector("#view-pose .result:not(.plain)")
    wait_for(page, "pose", words="Mini · CPU")
    before = keypoints(page)
    page.click("#people .edit")
    boxes = page.locator("#people .board .box")
    while boxes.count():
        boxes.first.focus()
        page.keyboard.press("Delete")
    sheet = page.locator("#people .board .sheet").bounding_box()
    where = [
        (sheet["x"] + x * sheet["width"], sheet["y"] + y * sheet["height"]) for x, y in (BOX[:2], BOX[2:])
    ]
    drag(page, *where)
    page.click("#people .done")
    wait_for(page, "pose", words="1 person, chosen by hand")
    after = keypoints(page)
    expected = np.multiply(BOX, (340, 400, 340, 400))
    assert len(after["people"]) == 1 and np.abs(np.subtract(after["people"][0]["box"], expected)).max() < 4
    points = [
        np.array([(point["x"], point["y"]) for point in found["people"][0]["keypoints"]])
        for found in (before, after)
    ]
    assert np.abs(points[0] - points[1]).mean() > 5
    open_tab(page, "segmentation")
    wait_for(page, "segmentation", words="1 person, chosen by hand; shown to the model alone")


BOX = (0.2, 0.15, 0.6, 0.8)


def keypoints(page: Any) -> dict[str, Any]:
    with page.expect_download() as expected:
        view(page, "pose", "[data-kind=json]").click()
    return json.loads(Path(expected.value.path()).read_text())


def test_the_api_panel_shows_the_four_endpoints_and_asks_nobody_else(visit: Visit, stand_in: StandIn) -> None:
    page = visit(stand_in[1], known_noise="404")  # Gradio's panel asks this server for a part it has not
    page.get_by_role("button", name="Use via API").click()
    panel = page.locator(".api-docs-wrap")
    panel.get_by_text("4 API endpoints").wait_for()
    shown = panel.inner_text()
    assert all(f"/{task}" in shown for task, _ in TABS)
    assert "/choose" not in shown and "/load" not in shown
