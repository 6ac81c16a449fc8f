"""python -m embedded up | down | status | health | env."""

import sys

from embedded.errors import StackError
from embedded.settings import from_environment

COMMANDS = ("up", "down", "status", "health", "env")


def main(arguments: list[str]) -> int:
    """Run one command; errors of the user's making are one sentence."""
    if len(arguments) != 1 or arguments[0] not in COMMANDS:
        print(f"usage: python -m embedded {' | '.join(COMMANDS)}", file=sys.stderr)
        return 2
    try:
        settings = from_environment()
        if arguments[0] == "up":
            from embedded.up import up

            return up(settings)
        from embedded import clients

        commands = {"down": clients.down, "status": clients.status, "health": clients.health, "env": clients.env}
        return commands[arguments[0]](settings)
    except StackError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
