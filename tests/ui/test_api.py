"""The four endpoints, as programs call them."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from sapiens_demo.ui.examples import ExampleShelf
from sapiens_demo.ui.service import Service
from tests.ui.conftest import launched
from tests.ui.standins import BROKEN_SENTENCE, StandInService, draw_photo

StandIn = tuple[StandInService, str]


@pytest.fixture(scope="module")
def client(stand_in_page: StandIn, tmp_path_factory: pytest.TempPathFactory) -> Client:
    return Client(stand_in_page[1], verbose=False, download_files=str(tmp_path_factory.mktemp("answers")))


@pytest.fixture(scope="module")
def real_client(
    examples_folder: Path, temporary_files: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Client]:
    with launched(Service(examples=ExampleShelf(examples_folder))) as address:
        yield Client(address, verbose=False, download_files=str(tmp_path_factory.mktemp("answers")))


@pytest.fixture
def photo(tmp_path: Path) -> Any:
    return handle_file(str(draw_photo(tmp_path / "me.png", 200, 300)))


def test_endpoints_are_typed_and_documented(client: Client) -> None:
    endpoints = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    assert set(endpoints) == {"/pose", "/segmentation", "/depth", "/normal"}
    types = {
        name: [(row["parameter_name"], row["python_type"]["type"]) for row in endpoint["parameters"]]
        for name, endpoint in endpoints.items()
    }
    four = "Literal['mini', '0.3b', '0.6b', '1b']"
    five = "Literal['mini', '0.3b', '0.6b', '1b', '2b']"
    people = [("boxes", "list[list[float]]"), ("framing", "Literal['auto', 'whole', 'person']")]
    assert types == {
        "/pose": [("photo", "filepath"), ("size", four), ("flip_test", "bool"), *people],
        "/segmentation": [("photo", "filepath"), ("size", four), *people],
        "/depth": [("photo", "filepath"), ("size", five), ("person_only", "bool"), *people],
        "/normal": [("photo", "filepath"), ("size", five), ("person_only", "bool"), *people],
    }
    for endpoint in endpoints.values():
        photo, *others = endpoint["parameters"]
        assert all(row["parameter_has_default"] for row in others) and not photo["parameter_has_default"]
        assert "x1, y1, x2, y2" in others[-2]["python_type"]["description"]
    assert all(endpoint["description"] for endpoint in endpoints.values())


def shape_of(task: str, files: list[str]) -> tuple[tuple[int, ...], str] | None:
    """Return shape and type of what a task's first file holds; pose has none."""
    if task == "pose":
        return None
    values = np.asarray(Image.open(files[0])) if task == "segmentation" else np.load(files[0])
    return values.shape, values.dtype.name


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        ("pose", None),
        ("segmentation", ((300, 200), "uint8")),
        ("depth", ((300, 200), "float32")),
        ("normal", ((300, 200, 3), "float32")),
    ],
)
def test_the_real_mini_answers(
    real_client: Client, photo: Any, task: str, expected: tuple[tuple[int, ...], str] | None
) -> None:
    facts, picture, *files = real_client.predict(photo, api_name=f"/{task}")
    assert facts["image"] == {"width": 200, "height": 300} and facts["model"]["size"] == "mini"
    assert Image.open(picture).size == (200, 300)
    assert shape_of(task, files) == expected
    if task == "pose":
        assert [len(person["keypoints"]) for person in facts["people"]] == [308]


@pytest.mark.parametrize("task", ["depth", "normal"])
def test_a_mask_comes_with_person_only(client: Client, stand_in: StandIn, photo: Any, task: str) -> None:
    mask = client.predict(photo, "mini", True, api_name=f"/{task}")[-1]
    assert set(np.unique(np.asarray(Image.open(mask)))) == {0, 255}
    assert client.predict(photo, "mini", False, api_name=f"/{task}")[-1] is None


@pytest.mark.parametrize("task", ["pose", "segmentation", "depth", "normal"])
def test_boxes_and_framing_reach_the_engine(client: Client, stand_in: StandIn, photo: Any, task: str) -> None:
    service, _ = stand_in
    boxes = [[10, 20, 110.5, 220], [150, 250, 20, 30]]
    client.predict(photo, boxes=boxes, framing="person", api_name=f"/{task}")
    client.predict(photo, boxes=[], api_name=f"/{task}")
    client.predict(photo, api_name=f"/{task}")
    asked = [(options.boxes, options.framing) for _, _, options in service.engine.asked]
    assert asked == [(tuple(map(tuple, boxes)), "person"), ((), "auto"), (None, "auto")]


def test_a_box_for_each_person_in_the_answer(client: Client, stand_in: StandIn, photo: Any) -> None:
    facts, _ = client.predict(photo, boxes=[[10, 20, 110, 220], [150, 250, 20, 30]], api_name="/pose")
    assert [person["box"] for person in facts["people"]] == [[10, 20, 110, 220], [20, 30, 150, 250]]


@pytest.mark.parametrize(
    "wish, sentence",
    [
        ({"boxes": [[10, 20, 30]]}, "Boxes are a list of"),
        ({"boxes": [10, 20, 110, 220]}, "Boxes are a list of"),
        ({"boxes": "all"}, "Boxes are a list of"),
        ({"boxes": [["a", "b", "c", "d"]]}, "Boxes are a list of"),
        ({"boxes": [[10, 20, None, 40]]}, "Boxes are a list of"),
        ({"boxes": {"x1": 3}}, "Boxes are a list of"),
        ({"boxes": [[900, 900, 950, 950]]}, "Box 1 covers nothing of the photo"),
        ({"boxes": [[10, 10, 10, 90]]}, "Box 1 covers nothing of the photo"),
        ({"boxes": [[10, 20, 110, 220]] * 33}, "at most 32"),
        ({"framing": "crop"}, "There is no framing “crop”. Choose one of: auto, whole, person."),
        ({"framing": ["auto"]}, "There is no framing"),
        ({"framing": None}, "There is no framing"),
    ],
    ids=str,
)
def test_boxes_and_framings_that_make_no_sense_are_refused(
    client: Client, stand_in: StandIn, photo: Any, wish: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(AppError) as refusal:
        client.predict(photo, **wish, api_name="/pose")
    assert sentence in str(refusal.value) and "Traceback" not in str(refusal.value)


@pytest.mark.parametrize(
    "data", [["mini", False], ["mini"], [], ["mini", False, [[10, 20, 110, 220]]]], ids=len
)
def test_calls_without_the_last_parameters_go_on_working(
    stand_in: StandIn, tmp_path: Path, data: list
) -> None:
    """Programs that were written before there were boxes, and talk to the server without Gradio's client."""
    service, address = stand_in
    path = draw_photo(tmp_path / "me.png", 200, 300)
    with httpx.Client(base_url=f"{address}gradio_api/", timeout=30) as http:
        uploaded = http.post("upload", files={"files": path.open("rb")}).json()[0]
        named = {"path": uploaded, "meta": {"_type": "gradio.FileData"}}
        event = http.post("call/pose", json={"data": [named, *data]}).json()["event_id"]
        answer = http.get(f"call/pose/{event}").text
    assert "event: complete" in answer and len(service.engine.asked) == 1


@pytest.mark.parametrize(
    "task, size, sentence",
    [
        ("pose", "2b", "There is no size “2b” for this task. Choose one of: mini, 0.3b, 0.6b, 1b."),
        ("segmentation", "Mini", "There is no size “Mini”"),
        ("depth", "huge", "Choose one of: mini, 0.3b, 0.6b, 1b, 2b."),
        ("normal", 3, "There is no size “3”"),
        ("normal", None, "There is no size “None”"),
        ("pose", "0.6b", BROKEN_SENTENCE),
    ],
)
def test_sizes_that_do_not_exist_or_do_not_work_are_refused(
    client: Client, stand_in: StandIn, photo: Any, task: str, size: Any, sentence: str
) -> None:
    with pytest.raises(AppError) as refusal:
        client.predict(photo, size, api_name=f"/{task}")
    assert sentence in str(refusal.value)


@pytest.mark.parametrize(
    "content, sentence",
    [
        (b"\xff\xd8\xff\xe0 no more", "damaged"),
        (b"%PDF-1.7 a document", "PDF"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (b"", "empty"),
    ],
)
def test_bad_files_get_one_sentence(
    client: Client, stand_in: StandIn, tmp_path: Path, content: bytes, sentence: str
) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(content)
    with pytest.raises(AppError) as refusal:
        client.predict(handle_file(str(path)), api_name="/pose")
    assert sentence in str(refusal.value) and "Traceback" not in str(refusal.value)


def test_no_photo_is_refused(client: Client, stand_in: StandIn) -> None:
    with pytest.raises(AppError, match="Add a photo first"):
        client.predict(None, api_name="/pose")


def test_ten_programs_at_once_cause_one_run(client: Client, stand_in: StandIn, photo: Any) -> None:
    service, _ = stand_in
    service.gate.clear()
    with ThreadPoolExecutor(10) as programs:
        calls = [client.submit(photo, "0.3b", api_name="/pose") for _ in range(10)]
        answers = programs.map(lambda call: call.result(timeout=60), calls)
        while not service.engine.asked:
            pass
        service.gate.set()
        assert len([facts for facts, _ in answers]) == 10
    assert len(service.engine.asked) == 1


def test_only_files_that_went_out_are_left(
    client: Client, stand_in: StandIn, tmp_path: Path, temporary_files: Path
) -> None:
    named = handle_file(str(draw_photo(tmp_path / "leftovers.png", 200, 300)))
    client.predict(named, api_name="/segmentation")
    left = sorted(path.name for path in temporary_files.rglob("leftovers*"))
    assert left == ["leftovers.png", "leftovers_segmentation.png", "leftovers_segmentation_labels.png"]
