"""Errors whose message is meant for the person who uses the demo."""


class DemoError(Exception):
    """Say in plain words what happened and what to do; shown to visitors as it stands."""


class CheckpointError(DemoError):
    """Say why a model's weights cannot be found, fetched or read."""
