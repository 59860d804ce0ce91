"""The page: one photo, four tabs, one slider."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial, wraps
from inspect import isasyncgenfunction
from pathlib import Path
from typing import Any

import gradio as gr

from sapiens_demo.catalog import TASKS
from sapiens_demo.ui import texts
from sapiens_demo.ui.api import add_endpoints
from sapiens_demo.ui.example_strip import ExampleStrip
from sapiens_demo.ui.handlers import Handlers
from sapiens_demo.ui.people_editor import PeopleEditor
from sapiens_demo.ui.photo_input import PhotoInput
from sapiens_demo.ui.result_view import ResultView
from sapiens_demo.ui.run_all import RunAll
from sapiens_demo.ui.segments import Segments
from sapiens_demo.ui.service import SEATS, Choice, PhotoFile, Service
from sapiens_demo.ui.size_slider import SizeSlider
from sapiens_demo.ui.size_slider import as_props as stop_props
from sapiens_demo.ui.stops import unknown_stops
from sapiens_demo.ui.view import as_props

# Temporary files: looked through every five minutes, deleted half an hour after their last use.
DELETE_CACHE = (300, 1800)
SESSIONS = 500  # visitors whose few settings are remembered

# Hand a file that the server has written to the browser's own download.
_SAVE = """(file) => {
  const link = document.createElement("a");
  link.href = file.url;
  link.download = file.orig_name;
  link.click();
}"""


@dataclass(frozen=True)
class _Parts:
    """The components that events connect; one view and one tab a task, in the order of catalog.TASKS."""

    photo: PhotoInput
    people: PeopleEditor
    strip: ExampleStrip
    slider: SizeSlider
    marks: RunAll
    tabs: list[gr.Tab]
    views: dict[str, ResultView]
    controls: list[gr.Checkbox | Segments]
    file: gr.File

    def named(self, *names: str) -> dict[str, gr.components.Component]:
        """Return components by the names that handlers know them by."""
        return {name: self.views[name] if name in self.views else getattr(self, name) for name in names}


class _Page(gr.Blocks):
    """Blocks whose endpoints may be called without their last parameters, by whatever client."""

    async def preprocess_data(self, block_fn: Any, inputs: list[Any], *args: Any, **kwargs: Any) -> list[Any]:
        missing = block_fn.inputs[len(inputs) :]
        inputs = [*inputs, *(component.value for component in missing)]
        return await super().preprocess_data(block_fn, inputs, *args, **kwargs)


def build_page(service: Service | None = None) -> gr.Blocks:
    """Build the page.

    Args:
        service: the engine's front; without one, the real one.

    Returns:
        Blocks, to be launched with launch_options().
    """
    service = service or Service()
    handlers = Handlers(service)
    with _Page(
        title=texts.TITLE, delete_cache=DELETE_CACHE, analytics_enabled=False, fill_width=True
    ) as page:
        _show(texts.header(), elem_id="header")
        with gr.Row(elem_id="columns"):
            with gr.Column(scale=1, min_width=320, elem_id="controls"):
                photo, people, strip, slider = _build_controls(service, handlers.first_people())
            with gr.Column(scale=3, min_width=320, elem_id="results"):
                marks = RunAll(tabs={task: f"tab-{task}-button" for task in TASKS}, elem_id="run-all")
                tabs, views, controls = _build_results(service)
        _show(texts.footer(sum(DELETE_CACHE) // 60), elem_id="footnote")
        file = gr.File(visible=False)
        parts = _Parts(photo, people, strip, slider, marks, tabs, views, controls, file)
        _connect(handlers, page, parts)
        add_endpoints(service)
    return page


def _show(html: str, **kwargs: Any) -> gr.HTML:
    return gr.HTML(html, apply_default_css=False, js_on_load=None, **kwargs)


def launch_options() -> dict[str, Any]:
    """Return the arguments of launch() that belong to this page: its looks, and what it leaves out."""
    return {
        "theme": make_theme(),
        "css_paths": [Path(__file__).parent / "style.css"],
        "footer_links": ["api", "settings"],
        "run_history": False,
        "show_error": False,
        "max_file_size": "100mb",
        "state_session_capacity": SESSIONS,
        "ssr_mode": False,
        # Gradio asks for its own page and ends the server if that takes 3 seconds, as on a busy machine.
        "_frontend": False,
    }


def make_theme() -> gr.themes.Base:
    """Return the theme: neutral colours around colourful results, and a font that Gradio ships."""
    font = gr.themes.LocalFont("IBM Plex Sans", weights=(400, 700))
    theme = gr.themes.Base(
        primary_hue="blue", neutral_hue="zinc", radius_size="lg", font=[font, "system-ui", "sans-serif"]
    )
    return theme.set(
        body_background_fill="white",
        body_background_fill_dark="*neutral_950",
        body_text_color="*neutral_900",
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_400",
        color_accent="*primary_600",
        block_border_color="*neutral_200",
        block_label_text_color="*neutral_600",
    )


def _build_controls(
    service: Service, first_people: dict[str, Any] | None
) -> tuple[PhotoInput, PeopleEditor, ExampleStrip, SizeSlider]:
    shelf = service.examples
    first = shelf.examples[0] if shelf.examples else None
    with gr.Column(elem_id="photo-card", min_width=0):
        photo = PhotoInput(
            value=str(first.path) if first else None,
            type="filepath",
            image_mode=None,
            label=texts.PHOTO_LABEL,
            show_label=False,
            sources=["upload", "clipboard", "webcam"],
            height=300,
            placeholder=texts.PHOTO_PLACEHOLDER,
            alt_text=texts.PHOTO_ALT,
            buttons=[],
            elem_id="photo",
        )
        people = PeopleEditor(first_people, photo_input="#photo", elem_id="people")
    examples = [
        {
            "name": example.name,
            "title": example.title,
            "alt": example.alt,
            "thumbnail": shelf.thumbnail(example),
        }
        for example in shelf.examples
    ]
    strip = ExampleStrip(
        first.name if first else "", examples=examples, elem_id="examples", visible=bool(examples)
    )
    slider = SizeSlider("mini", stops=stop_props(unknown_stops(TASKS[0])), elem_id="size")
    return photo, people, strip, slider


def _build_results(
    service: Service,
) -> tuple[list[gr.Tab], dict[str, ResultView], list[gr.Checkbox | Segments]]:
    """Build the tabs; the controls come in the order of session.Settings."""
    tabs, views, controls = [], {}, []
    with gr.Tabs(elem_id="tabs"):
        for task in TASKS:
            with gr.Tab(texts.TAB_TITLES[task], id=task, elem_id=f"tab-{task}") as tab:
                with gr.Row(elem_classes="task-line"):
                    _show(texts.task_line(task))
                    if task in texts.FRAMING_INFO:
                        controls.append(_framing(task))
                    if task in ("depth", "normal"):
                        controls.append(_switch(texts.PERSON_ONLY, None, True, f"person-{task}"))
                views[task] = ResultView(task, _first_view(service, task), elem_id=f"view-{task}")
                if task == "pose":
                    with gr.Accordion(texts.OPTIONS, open=False, elem_classes="options"):
                        controls.append(_switch(texts.FLIP_TEST, texts.FLIP_TEST_INFO, False, "flip-test"))
            tabs.append(tab)
    return tabs, views, controls


def _switch(label: str, info: str | None, value: bool, elem_id: str) -> gr.Checkbox:
    return gr.Checkbox(value, label=label, info=info, elem_id=elem_id, container=False, min_width=120)


def _framing(task: str) -> Segments:
    return Segments(
        "auto", texts.FRAMINGS, texts.FRAMING_LABEL, elem_id=f"framing-{task}", elem_classes="framing"
    )


def _first_view(service: Service, task: str) -> dict[str, Any] | None:
    """Return what the open tab shows before anybody has done anything: the first example."""
    examples = service.examples.examples
    if task != TASKS[0] or not examples:
        return None
    view = service.find_view(Choice(PhotoFile.of(examples[0].path), task, "mini"))
    return as_props(view) if view else None


def _connect(handlers: Handlers, page: gr.Blocks, parts: _Parts) -> None:
    session = gr.State(handlers.new_session())
    settings = [session, parts.slider, *parts.controls]
    # Looking things up takes a moment; what takes longer waits in the service's own line.
    quiet: dict[str, Any] = {
        "show_progress": "hidden",
        "api_visibility": "private",
        "concurrency_limit": None,
    }
    patient = {**quiet, "trigger_mode": "multiple", "concurrency_id": "device", "concurrency_limit": SEATS}
    run = partial(_on, handlers.run, session, parts.named("people", "slider", "marks", *TASKS), patient)
    everything = partial(_on, handlers.run_all, session, parts.named("marks"), patient)
    for first in _connect_first_steps(handlers, parts, settings, quiet):
        run(first.then)
    stops = partial(_on, handlers.look_at_stops, session, parts.named("slider"), quiet)
    for opened in _connect_openings(handlers, page, parts, session, settings, quiet):
        run(opened.then)
        stops(opened.then)
    start = _on(
        handlers.start_all,
        settings,
        parts.named("marks", *TASKS),
        {**quiet, "trigger_mode": "once"},
        parts.marks.submit,
    )
    run(start.then)
    everything(start.then)
    for view in parts.views.values():
        saved = _on(handlers.download, session, parts.named("file", *TASKS), quiet, view.download)
        saved.success(None, parts.file, None, js=_SAVE, show_progress="hidden")


def _connect_openings(
    handlers: Handlers,
    page: gr.Blocks,
    parts: _Parts,
    session: gr.State,
    settings: list[Any],
    quiet: dict[str, Any],
) -> list[Any]:
    results = parts.named("marks", *TASKS)
    begin = {"session": session, **parts.named("slider", "people"), **results}
    latest = {**quiet, "trigger_mode": "always_last"}
    return [
        _on(handlers.load, session, begin, quiet, page.load),
        *(
            _on(partial(handlers.open_tab, task), settings, results, latest, tab.select)
            for task, tab in zip(TASKS, parts.tabs, strict=True)
        ),
    ]


def _connect_first_steps(
    handlers: Handlers, parts: _Parts, settings: list[Any], quiet: dict[str, Any]
) -> list[Any]:
    latest = {**quiet, "trigger_mode": "always_last"}
    results = parts.named("marks", *TASKS)
    photo = parts.named("people", "marks", *TASKS)
    return [
        # Not `input` or `clear`: these come while the input still holds the photo before.
        _on(
            handlers.take_photo,
            [parts.photo, *settings],
            {**parts.named("photo", "strip"), **photo},
            latest,
            parts.photo.change,
        ),
        _on(
            handlers.take_example,
            [parts.strip, *settings],
            {**parts.named("photo"), **photo},
            latest,
            parts.strip.input,
        ),
        _on(handlers.choose_people, [parts.people, *settings], results, latest, parts.people.input),
        *(
            _on(handlers.choose, settings, results, latest, control.input)
            for control in (parts.slider, *parts.controls)
        ),
        *(_on(handlers.go_on, settings, results, latest, view.submit) for view in parts.views.values()),
        _on(handlers.set_threshold, settings, results, latest, parts.views["pose"].threshold),
    ]


def _on(
    handler: Callable[..., Any],
    inputs: Any,
    outputs: dict[str, gr.components.Component],
    options: dict[str, Any],
    event: Callable[..., Any],
) -> Any:
    """Connect an event to a handler that answers by name."""
    return event(_answer_in_order(handler, tuple(outputs)), inputs, list(outputs.values()), **options)


def _merged(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """Put updates of the same components together: what the later ones leave open, the earlier ones say."""
    return {
        name: {**before[name], **update} if isinstance(update, dict) and name in before else update
        for name, update in after.items()
    }


def _answer_in_order(handler: Callable[..., Any], names: tuple[str, ...]) -> Callable[..., Any]:
    """Turn a handler's updates by name into what Gradio wants: one for each output, in their order."""

    def in_order(updates: dict[str, Any]) -> Any:
        row = tuple(updates.get(name, gr.skip()) for name in names)
        return row if len(row) > 1 else row[0]

    @wraps(handler)
    def answer(*args: Any) -> Any:
        return in_order(handler(*args))

    @wraps(handler)
    async def answers(*args: Any) -> AsyncIterator[Any]:
        # An update that another one follows at once may never reach the screen, and the last one comes twice;
        # therefore each says all that holds so far.
        so_far: dict[str, Any] = {}
        async with aclosing(handler(*args)) as steps:
            async for updates in steps:
                so_far = {**so_far, **_merged(so_far, updates)} if updates else {}
                yield in_order(so_far)

    return answers if isasyncgenfunction(handler) else answer
