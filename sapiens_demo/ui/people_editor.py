"""The photo with a numbered box around each person: choose one or all, and correct the boxes by hand."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

from sapiens_demo.boxes import MAX_PEOPLE
from sapiens_demo.ui import texts
from sapiens_demo.ui.component import read_parts

if TYPE_CHECKING:
    from sapiens_demo.estimator import Boxes


@dataclass(frozen=True)
class PeopleChoice:
    """Say which people a visitor wants to have looked at.

    Args:
        boxes: on the screen: x1, y1, x2, y2 in photo pixels each.
        chosen: index of the only one that is wanted, or None for all.
        edited: whether the boxes are the visitor's own, not those that were found.
        stamp: counts the visitor's changes, so that the browser knows which answer is out of date.
    """

    boxes: Boxes = ()
    chosen: int | None = None
    edited: bool = False
    stamp: int = 0

    @property
    def wanted(self) -> Boxes | None:
        """Return the boxes to look at, or None where everybody who is found is wanted."""
        if self.chosen is not None:
            return (self.boxes[self.chosen],)
        return self.boxes if self.edited else None


class PeopleEditor(gr.HTML):
    """Show the photo with its people; let visitors choose one, and draw, move, resize and delete boxes.

    What goes to the browser is as from `as_props`, or None without a photo. What comes back with `input`,
    which only people's own changes fire, is {"boxes": [[x1, y1, x2, y2], ...] in photo pixels, "chosen":
    index or null, "edited": bool, "stamp": int}.

    Args:
        value: what to begin with.
        photo_input: selector of the component that files dropped on the photo are handed to.
        kwargs: for gr.HTML.
    """

    def __init__(self, value: dict[str, Any] | None = None, photo_input: str = "", **kwargs: Any) -> None:
        parts = read_parts("people_editor", words=texts.PEOPLE_WORDS, most=MAX_PEOPLE, photoInput=photo_input)
        super().__init__(value=value, **{**parts, **kwargs})

    def preprocess(self, payload: Any) -> PeopleChoice:
        """Check what arrives, for it need not come from the page.

        Args:
            payload: what the browser or a client sent.

        Returns:
            The choice; its boxes may still lie outside the photo.
        """
        if payload is None:
            return PeopleChoice()
        content = payload if isinstance(payload, dict) else {}
        boxes, chosen = checked_boxes(content.get("boxes")), content.get("chosen")
        known = chosen is None or (type(chosen) is int and 0 <= chosen < len(boxes))
        if not known or len(boxes) > MAX_PEOPLE:
            raise gr.Error(texts.BOXES_WANTED, print_exception=False)
        stamp = content.get("stamp")
        return PeopleChoice(boxes, chosen, bool(content.get("edited")), stamp if type(stamp) is int else 0)

    def api_info(self) -> dict[str, Any]:
        """Describe the value."""
        return {"type": "object"}


def checked_boxes(value: Any) -> Boxes:
    """Take boxes as they come out of JSON.

    Args:
        value: should be a list of lists of four numbers.

    Returns:
        x1, y1, x2, y2 each; they may lie anywhere.

    Raises:
        gr.Error: it is no such list.
    """
    if not isinstance(value, (list, tuple)) or not all(map(_is_box, value)):
        raise gr.Error(texts.BOXES_WANTED, print_exception=False)
    return tuple((float(left), float(top), float(right), float(low)) for left, top, right, low in value)


def _is_box(value: Any) -> bool:
    numbers = value if isinstance(value, (list, tuple)) else ()
    return len(numbers) == 4 and all(type(each) in (int, float) and math.isfinite(each) for each in numbers)


def as_props(
    picture: dict[str, Any], size: tuple[int, int], choice: PeopleChoice, found: Boxes | None, state: str
) -> dict[str, Any]:
    """Turn a photo and its people into the value of a PeopleEditor.

    Args:
        picture: the photo at display size, as file data.
        size: (width, height) of the photo itself in pixels.
        choice: what is on the screen.
        found: whom the finder found, or None where that is not known (yet).
        state: "looking", "known" or "failed": how far the search is.
    """
    return {
        "photo": picture,
        "width": size[0],
        "height": size[1],
        "boxes": [list(box) for box in choice.boxes],
        "chosen": choice.chosen,
        "edited": choice.edited,
        "stamp": choice.stamp,
        "found": None if found is None else [list(box) for box in found],
        "state": state,
    }
