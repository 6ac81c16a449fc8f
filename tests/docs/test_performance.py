"""The picture of the scaling is the one that the table in docs/performance.md asks for."""

from __future__ import annotations

from bench.picture import DOCS, PICTURE, drawn, measured

TEXT = (DOCS / "performance.md").read_text(encoding="utf-8")


def test_the_picture_is_drawn_from_the_table() -> None:
    assert PICTURE.read_text(encoding="utf-8") == drawn(measured(TEXT))


def test_the_table_has_all_sizes() -> None:
    assert {name: len(points) for name, points in measured(TEXT).items()} == {"ours": 4, "psql \\copy": 4}
