"""What one visitor looks at, and how the controls are set."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sapiens_demo.ui.people_editor import PeopleChoice
from sapiens_demo.ui.result_view import DEFAULT_THRESHOLD
from sapiens_demo.ui.service import Choice, PhotoFile


class Settings(NamedTuple):
    """Hold what the controls beside the photo and the tabs are set to.

    Args:
        size: one of catalog.SIZES.
        flip_test: of the tab Pose.
        segmentation_framing: of the tab Body parts: "auto", "whole" or "person".
        depth_framing: of the tab Depth.
        depth_person: Person only, of the tab Depth.
        normal_framing: of the tab Normals.
        normal_person: Person only, of the tab Normals.
    """

    size: str = "mini"
    flip_test: bool = False
    segmentation_framing: str = "auto"
    depth_framing: str = "auto"
    depth_person: bool = True
    normal_framing: str = "auto"
    normal_person: bool = True


@dataclass
class Session:
    """Hold what one visitor looks at. Small: results live in the service's store.

    Args:
        photo: the visitor's photo.
        task: of the open tab.
        settings: of the controls, as they were last heard of.
        people: whom the visitor wants to have looked at; follows what is found until it is edited.
        threshold: of keypoint scores.
        turn: counts the visitor's actions; work for an older turn no longer reaches the screen.
        round: counts changes of the photo, the people and the settings: what all tabs have in common.
        refused: digest of the last file, if it was no usable photo.
        wanted: what the second step has to run.
        running: task that the second step runs now.
        pending: tasks that are being run for tabs which may not be open.
        shown: what each tab shows.
        marked: counts the updates of the tabs' marks, which may reach the browser in another order.
    """

    photo: PhotoFile | None = None
    task: str = "pose"
    settings: Settings = Settings()
    people: PeopleChoice = PeopleChoice()
    threshold: float = DEFAULT_THRESHOLD
    turn: int = 0
    round: int = 0
    refused: str | None = None
    wanted: Choice | None = None
    running: str | None = None
    pending: set[str] = field(default_factory=set)
    shown: dict[str, Choice] = field(default_factory=dict)
    marked: int = 0

    def is_news(self, photo: PhotoFile | None) -> bool:
        """Tell whether what is in the photo input is another photo, for browsers report one more than once.

        Args:
            photo: what is in the input.
        """
        if photo is None:
            self.refused = None  # the same bad file may be tried again, and is told of again
            return self.photo is not None
        return photo.digest not in (self.refused, self.photo.digest if self.photo else None)

    def begin(self, photo: PhotoFile | None) -> None:
        """Forget everything about the photo before.

        Args:
            photo: the new one, or None.
        """
        self.turn += 1
        self._begin_round()
        self.shown.clear()
        self.photo, self.wanted, self.people = photo, None, PeopleChoice()

    def adjust(self, settings: Settings) -> None:
        """Take what the controls are set to now.

        Args:
            settings: of the controls.
        """
        if settings != self.settings:
            self._begin_round()
        self.settings = settings

    def choose_people(self, people: PeopleChoice) -> None:
        """Take whom the visitor wants to have looked at.

        Args:
            people: as from the editor.
        """
        self._begin_round()
        self.people = people

    def _begin_round(self) -> None:
        self.round += 1
        self.running = None
        self.pending.clear()

    def choice(self, task: str) -> Choice:
        """Put together what the visitor wants of a task; options that it does not have keep their defaults.

        Args:
            task: one of catalog.TASKS.
        """
        assert self.photo is not None
        settings, boxes = self.settings, self.people.wanted
        options: dict[str, dict[str, Any]] = {
            "pose": {"flip_test": settings.flip_test, "threshold": self.threshold},
            "segmentation": {"framing": settings.segmentation_framing},
            "depth": {"framing": settings.depth_framing, "person_only": settings.depth_person},
            "normal": {"framing": settings.normal_framing, "person_only": settings.normal_person},
        }
        own = options[task]
        if own.get("framing") == "whole":
            boxes = None  # nobody is looked at in particular
        return Choice(self.photo, task, settings.size, boxes=boxes, **own)
