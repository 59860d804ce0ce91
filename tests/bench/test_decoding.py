from __future__ import annotations

from sapiens_demo.bench.decoding import example_heatmaps, measure_decoding


def test_every_channel_has_a_peak() -> None:
    maps = example_heatmaps((5, 40, 30))
    assert maps.shape == (5, 40, 30) and maps.dtype == "float32"
    assert (maps.max((1, 2)) > 0.25).all() and (maps.min((1, 2)) >= 0).all()


def test_both_ways_find_the_same() -> None:
    row = measure_decoding(0.0, (6, 48, 40))
    assert row.largest_difference < 1e-3
    assert min(row.ms, row.loop_speedup, row.argmax_share) > 0
