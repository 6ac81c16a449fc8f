"""Benchmarks of this project against peers and limits, in ratios: ``python -m bench [name ...]``."""

from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
OUT = REPOSITORY / "bench" / "out"
