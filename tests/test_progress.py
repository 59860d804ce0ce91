"""Progress is told in plain words, not too often, and ends at the whole."""

import pytest

from sapiens_demo.progress import Meter, size_text


@pytest.mark.parametrize(
    "count, text",
    [
        (0, "0 kB"),
        (1_234, "1 kB"),
        (999_499, "999 kB"),
        (999_500, "1 MB"),
        (659_365_480, "659 MB"),
        (999_499_999, "999 MB"),
        (999_500_000, "1.0 GB"),
        (4_675_572_944, "4.7 GB"),
    ],
)
def test_size_text(count, text):
    assert size_text(count) == text


def test_meter_leaves_out_reports_in_between_but_not_the_last():
    reports = []
    meter = Meter("Reading x", 1_000_000, lambda *report: reports.append(report))
    for done in range(0, 1_000_001, 1000):
        meter.reach(done)
    assert reports[0] == ("Reading x: 0 kB of 1 MB", 0.0)
    assert reports[-1] == ("Reading x: 1 MB of 1 MB", 1.0)
    assert len(reports) < 100


def test_meter_of_nothing_is_done_at_once():
    reports = []
    Meter("Reading x", 0, lambda *report: reports.append(report)).reach(0)
    assert reports == [("Reading x: 0 kB of 0 kB", 1.0)]
