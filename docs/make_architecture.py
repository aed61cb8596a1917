"""Writes the picture of rooms and arrows in docs/architecture.md from the imports of the code.

python docs/make_architecture.py
"""

from pathlib import Path

import grimp

PAGE = Path(__file__).parent / "architecture.md"
BEGIN, END = "<!-- picture: made by docs/make_architecture.py -->", "<!-- end of the picture -->"
ROWS = (
    ("cli",),
    ("api", "testing"),
    ("tuner",),
    ("search", "execution", "reporting", "export"),
    ("storage", "training"),
    ("spaces",),
    ("techniques",),
    ("core",),
)
"""Rooms from top to bottom. `errors` and `search_spaces` are left out: everybody uses the one, few the other."""


def picture() -> str:
    """The rooms as a mermaid flowchart; arrows that follow from other arrows are left out."""
    arrows = reduced(imports())
    lines = ["```mermaid", "flowchart TD"]
    for number, row in enumerate(ROWS):
        lines.append(f"    subgraph row{number}[ ]")
        lines += [f"        {room}[{room}]" for room in row]
        lines.append("    end")
    lines += [f"    {room} --> {other}" for room, other in sorted(arrows, key=_place)]
    lines += [f"    style row{number} fill:none,stroke:none" for number in range(len(ROWS))]
    return "\n".join([*lines, "```"])


def imports() -> set[tuple[str, str]]:
    """Pairs of rooms of which the first imports the second."""
    rooms = [room for row in ROWS for room in row]
    graph = grimp.build_graph("autoaccel", exclude_type_checking_imports=True)
    found = set()
    for module in graph.modules:
        for imported in graph.find_modules_directly_imported_by(module):
            pair = (_room(module), _room(imported))
            if pair[0] != pair[1] and set(pair) <= set(rooms):
                found.add(pair)
    return found


def reduced(arrows: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """The arrows without those that a longer way makes superfluous."""

    def reaches(start: str, goal: str, skip: tuple[str, str]) -> bool:
        ahead = [b for a, b in arrows if a == start and (a, b) != skip]
        return goal in ahead or any(reaches(room, goal, skip) for room in ahead)

    return {arrow for arrow in arrows if not reaches(*arrow, skip=arrow)}


def _room(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def _place(arrow: tuple[str, str]) -> tuple[int, int, int, int]:
    def where(room: str) -> tuple[int, int]:
        return next((i, row.index(room)) for i, row in enumerate(ROWS) if room in row)

    return (*where(arrow[0]), *where(arrow[1]))


def page() -> str:
    """The whole page, with the picture of now."""
    text = PAGE.read_text()
    head, rest = text.split(BEGIN)
    return f"{head}{BEGIN}\n{picture()}\n{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    PAGE.write_text(page())
