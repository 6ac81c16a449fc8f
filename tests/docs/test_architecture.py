"""What docs/architecture.md says of settings and rooms is so."""

from __future__ import annotations

import re
from pathlib import Path

from datamart.settings import Settings

REPOSITORY = Path(__file__).resolve().parents[2]
TEXT = (REPOSITORY / "docs" / "architecture.md").read_text(encoding="utf-8")


def test_every_setting_is_told_with_its_default() -> None:
    told = dict(re.findall(r"^\| `DATAMART_(\w+)` \| `?([^`|]+?)`? \|", TEXT, re.M))
    known = {name.upper(): field.default for name, field in Settings.model_fields.items()}
    assert told == {name: "unset" if default is None else str(default) for name, default in known.items()}


def test_every_room_is_there() -> None:
    rooms = re.findall(r"(?:^|  )([a-z_/]+/)", TEXT[: TEXT.index("A file, whoever")], re.M)
    assert {"dags/", "include/datamart/", "tests/"} <= set(rooms)
    assert [room for room in rooms if not (REPOSITORY / room).is_dir()] == []


def test_every_module_of_the_way_is_there() -> None:
    table = TEXT[TEXT.index("| step |") :].split("\n\n")[0]
    modules = [name for row in table.splitlines()[2:] for name in re.findall(r"`([^`]+)`", row.split("|")[2])]
    logic = REPOSITORY / "include" / "datamart"
    assert len(modules) >= 10
    assert [name for name in modules if not ((logic / f"{name}.py").is_file() or (logic / name).is_dir())] == []
