"""Undo what a single flipped bit did to a line of a log: its checksum tells which bit it was.

Any two texts of up to 11 kB that are one to three bits apart have different CRC-32. So a bit that makes a line
whole when it is turned is the one that had flipped.
"""

from __future__ import annotations

from autoaccel.storage.log import is_whole, parsed

END = b"\n"


def mended(data: bytes) -> tuple[bytes, int]:
    """Return the bytes of a log with flipped bits turned back, and the number of places.

    Args:
        data: The bytes of a log. Lines that are damaged in another way are returned as they are.
    """
    *lines, torn = data.split(END)
    done: list[bytes] = []
    count = 0
    for line in lines:
        # The end of a line may have become another byte, and a byte the end of a line.
        broken = done[-1] if done and not is_whole(done[-1]) else None
        if is_whole(line):
            done.append(line)
        elif (found := _turned(line)) is not None:
            done += found
            count += 1
        elif broken is not None and (whole := _joined(broken, line)) is not None:
            done[-1] = whole
            count += 1
        else:
            done.append(line)
    return END.join([*done, torn]), count


def _turned(line: bytes) -> list[bytes] | None:
    """Return the line, or the two lines, that this one was; None if it was not one bit."""
    text = bytearray(line)
    for place in range(len(text)):
        for bit in range(8):
            text[place] ^= 1 << bit
            if text[place] == END[0]:
                pieces = bytes(text).split(END)
                if all(map(is_whole, pieces)):
                    return pieces
            elif is_whole(text) and _is_entry(bytes(text)):
                return [bytes(text)]
            text[place] ^= 1 << bit
    return None


def _joined(one: bytes, other: bytes) -> bytes | None:
    candidates = (one + bytes([END[0] ^ (1 << bit)]) + other for bit in range(8))
    return next((line for line in candidates if is_whole(line)), None)


def _is_entry(line: bytes) -> bool:
    try:
        parsed(line)
    except ValueError:
        return False
    return True
