"""What may happen to a message on the wire; a task's own end is in ``processes``."""

from __future__ import annotations

from tests.faults.wire import Connection, Fate, Fault


def hang_up(_connection: Connection) -> Fate:
    """The message never arrives; the connection ends."""
    return Fate.END


def reset(connection: Connection) -> Fate:
    """The client's connection breaks in the middle of a body."""
    connection.reset()
    return Fate.END


def stall(connection: Connection) -> Fate:
    """Silence in both directions; the connection stays, and goes on when the proxy is cleared."""
    connection.flowing.clear()
    return Fate.DELIVER


def partition(connection: Connection) -> Fate:
    """Every packet is lost from now on."""
    connection.partition()
    return Fate.SWALLOW


def s3_says(status: int, code: str) -> Fault:
    """S3 answers a request with an error, as AWS words it."""
    body = (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{code}, says the wire.</Message>'
        "<RequestId>0000000000000000</RequestId></Error>"
    )
    answer = (
        f"HTTP/1.1 {status} Error\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}\r\n"
        f"Connection: close\r\n\r\n{body}"
    ).encode()

    def say(connection: Connection) -> Fate:
        connection.client.sendall(answer)
        return Fate.END

    return say
