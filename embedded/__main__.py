"""python -m embedded up | down | status | health | env."""

import sys

from embedded import faults, settings

COMMANDS = ("up", "down", "status", "health", "env")


def main(arguments: list[str]) -> int:
    """Run one command. Faults of the user's machine and settings are one sentence each."""
    if len(arguments) != 1 or arguments[0] not in COMMANDS:
        print(f"usage: python -m embedded {' | '.join(COMMANDS)}", file=sys.stderr)
        return 2
    try:
        if arguments[0] == "up":
            from embedded.up import up

            return up(settings.for_start())
        from embedded import clients

        commands = {"down": clients.down, "status": clients.status, "health": clients.health, "env": clients.env}
        return commands[arguments[0]](settings.for_client())
    except faults.REPORTED as error:
        print(faults.sentence(error), file=sys.stderr)
        return faults.exit_code(error)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
