"""python -m bench [name ...] [--rows N] [--runs N] [--quick]: run benchmarks, print their tables, keep all numbers."""

from __future__ import annotations

import argparse
import signal
import sys
import traceback
from collections.abc import Callable, Sequence

from bench import (
    OUT,
    again,
    landing,
    load,
    machine,
    pages,
    peers,
    ranges,
    readers,
    recovery,
    report,
    rest,
    upsert,
    validate,
)
from bench.measure import Result
from bench.options import Bench, prepared

BENCHMARKS: dict[str, Callable[[Bench], Result]] = {
    "load": load.run,
    "upsert": upsert.run,
    "again": again.run,
    "readers": readers.run,
    "validate": validate.run,
    "peers": peers.run,
    "recovery": recovery.run,
    "ranges": ranges.run,
    "landing": landing.run,
    "rest": rest.run,
    "pages": pages.run,
}
WITH_AIRFLOW = {"landing", "rest", "pages"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what was asked for; 1 when any benchmark failed or its results could not be verified."""
    wanted = _arguments(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    failed = []
    with prepared(Bench(wanted.rows, wanted.runs, wanted.quick)) as bench:
        names = wanted.names or list(BENCHMARKS)
        about = machine.about(bench.with_airflow if WITH_AIRFLOW.issuperset(names) else bench.servers)
        print(machine.markdown(about))
        for name in names:
            report.forget(name)
            try:
                result = BENCHMARKS[name](bench)
            except Exception:  # noqa: BLE001 - said loudly, and the others may still be measured
                failed.append(name)
                report.say(f"\nFAILED: {name}\n{traceback.format_exc()}")
                continue
            print(report.save(result, about), flush=True)
    report.say(f"All numbers are in {OUT.relative_to(OUT.parent.parent)}/.")
    if failed:
        report.say(f"FAILED: {', '.join(failed)}")
    return int(bool(failed))


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="Measure this project against peers and limits."
    )
    parser.add_argument("names", nargs="*", metavar="name", help=f"which (default: all): {', '.join(BENCHMARKS)}")
    parser.add_argument("--rows", type=_positive, help="rows of the input (upsert: of the table)")
    parser.add_argument("--runs", type=_positive, help="rounds, in each of which every contender runs once")
    parser.add_argument("--quick", action="store_true", help="few rows and rounds: shows that it works, not how fast")
    found = parser.parse_args(arguments)
    unknown = [name for name in found.names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"no benchmark is called {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    return found


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be positive")
    return number


if __name__ == "__main__":
    sys.exit(main())
