"""Check the grammar of sql/ with sqlfluff: common statements in both dialects, the others in their own."""

import subprocess
import sys

from embedded.settings import REPOSITORY

DIALECTS = {"common": ("postgres", "redshift"), "postgres": ("postgres",), "redshift": ("redshift",)}


def main() -> int:
    """Return 0 when every statement parses in each dialect it is meant for."""
    failed = False
    for folder, dialects in DIALECTS.items():
        path = REPOSITORY / "sql" / folder
        if not any(path.rglob("*.sql")):
            continue
        for dialect in dialects:
            command = [sys.executable, "-m", "sqlfluff", "lint", "--dialect", dialect, str(path)]
            failed |= subprocess.run(command, check=False, cwd=REPOSITORY).returncode != 0
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
