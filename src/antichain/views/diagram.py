"""
A run as a diagram in Mermaid or in DOT (Graphviz). What is drawn is decided in `folding`; here it is only written.

Ids and errors are foreign text: in a diagram they are never anything but text.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from antichain.printable import printable
from antichain.views.figures import Run, snapshot
from antichain.views.folding import Box, Picture, draw, title_of

__all__ = ["to_dot", "to_mermaid"]

# What Mermaid draws unless its page is told otherwise: no more than 500 edges, no more than 50,000 characters of text.
MERMAID_EDGES: Final = 450
MERMAID_CHARACTERS: Final = 50_000
DOT_EDGES: Final = 2_000


class Look(NamedTuple):
    """
    Say how a node in some state looks.
    """

    fill: str
    line: str
    is_dashed: bool = False


LOOKS: Final = {
    "succeeded": Look("#dcf2e3", "#2f8f57"),
    "failed": Look("#ffd6d1", "#c92a2a"),
    "skipped": Look("#eeeeee", "#868e96", is_dashed=True),
    "cancelled": Look("#fdebc8", "#b07a10", is_dashed=True),
    "running": Look("#d7e8fb", "#2b6cb0"),
    "backing off": Look("#e8dcf7", "#7a4fb5"),
    "ready": Look("#ffffff", "#2b6cb0", is_dashed=True),
    "pending": Look("#ffffff", "#868e96"),
}
TEXT: Final = "#1b1b1b"


# What is written as it is in a label of Mermaid, beside letters and digits.
PLAIN: Final = " ,.·…_-/()[]"
# What Mermaid takes for a line end, a formula, the name of an icon and its own marks for codes, after it has read the
# codes: a character that is not seen keeps the two parts from each other.
JOINER: Final = "\u2060"
APART: Final = re.compile(r"\\(?=n)|\$(?=\$)|:(?=fa-)|ﬂ(?=°)|¶(?=ß)")

# -- Mermaid


def to_mermaid(record: Run, *, max_nodes: int = 120) -> str:
    """
    Draw a run as a Mermaid flowchart, as it is shown by many sites and editors that show Markdown.

    Nodes that are alike are folded into one box until there are at most *max_nodes* boxes, and no more edges and text
    than Mermaid takes; the title says so. What the run waited for has thick lines.

    Args:
        record: a `RunResult`, or what was folded from the events of a run.
        max_nodes: boxes at most.
    """
    run = snapshot(record)
    room = max_nodes
    while True:
        picture = draw(run, room, MERMAID_EDGES)
        text = "\n".join(_mermaid(picture, title_of(run, picture))) + "\n"
        if len(text) <= MERMAID_CHARACTERS or room <= 1:
            return text
        room = min(room, picture.box_count) * 2 // 3


def _mermaid(picture: Picture, title: str) -> Iterator[str]:
    yield "---"
    yield f"title: {_yaml_text(title)}"
    yield "---"
    yield "flowchart LR"
    for box in picture.boxes:
        yield from _mermaid_box(box, "  ")
    for (source, box), number in picture.edges.items():
        arrow = "==>" if (source, box) in picture.critical_edges else "-->"
        count = f'|"{number:,} edges"|' if number > 1 else ""
        yield f"  n{source.number} {arrow}{count} n{box.number}"
    yield from _mermaid_classes(picture)


def _mermaid_box(box: Box, indent: str) -> Iterator[str]:
    if not box.inside:
        shape = '[["{}"]]' if box.is_folded else '["{}"]'
        yield f"{indent}n{box.number}{shape.format(_mermaid_text(box.lines()))}"
        return
    # On one line: what is inside would hide the second.
    yield f'{indent}subgraph n{box.number}["{_mermaid_text([" · ".join(box.lines())])}"]'
    yield f"{indent}  direction LR"
    for each in box.inside:
        yield from _mermaid_box(each, indent + "  ")
    yield f"{indent}end"


def _mermaid_classes(picture: Picture) -> Iterator[str]:
    by_state: dict[str, list[str]] = {}
    critical, around = [], []
    for box in picture.everything():
        by_state.setdefault(box.state, []).append(f"n{box.number}")
        if box.is_critical:
            critical.append(f"n{box.number}")
        if box.inside:
            around.append(f"n{box.number}")
    for state, names in by_state.items():
        look = LOOKS.get(state, LOOKS["pending"])
        dashes = ",stroke-dasharray:4 3" if look.is_dashed else ""
        name = state.replace(" ", "-")
        yield f"  classDef {name} fill:{look.fill},stroke:{look.line},color:{TEXT}{dashes}"
        yield f"  class {','.join(names)} {name}"
    if critical:
        yield "  classDef critical stroke-width:3px"
        yield f"  class {','.join(critical)} critical"
    if around:
        yield "  classDef around fill-opacity:0.35"
        yield f"  class {','.join(around)} around"


def _mermaid_text(lines: Iterable[str]) -> str:
    """
    Write lines as a label: all that could be anything but text as the codes that stand for characters.

    Quotes, comments, directives, HTML, Markdown and entities all begin with something that is coded here. What Mermaid
    still reads once the codes are characters again is kept apart by a character that is not seen.
    """
    return "<br/>".join(_mermaid_line(printable(line, None)) for line in lines)


def _mermaid_line(line: str) -> str:
    text = "".join(c if c.isalnum() or c in PLAIN else f"#{ord(c)};" for c in _apart(line))
    # A line with these words sets the direction, wherever in it they are.
    return text.replace("direction", "#100;irection")


def _apart(text: str) -> str:
    return APART.sub(lambda found: found[0] + JOINER, text)


def _yaml_text(text: str) -> str:
    """
    Write the title as a quoted text of YAML, which Mermaid reads before anything else.

    It is cleaned as if it were HTML and then shown as it is: what looks like a tag would be lost.
    """
    shown = _apart(printable(text, None).replace("<", "\u2039").replace(">", "\u203a"))
    return '"' + "".join(map(_yaml_character, shown)) + '"'


def _yaml_character(character: str) -> str:
    return character if character.isalnum() or character in " ,.·…" else f"\\U{ord(character):08x}"


# -- DOT


def to_dot(record: Run, *, max_nodes: int = 400) -> str:
    """
    Draw a run in the language of Graphviz: `dot -Tsvg` makes a picture of it.

    Args:
        record: a `RunResult`, or what was folded from the events of a run.
        max_nodes: boxes at most; nodes that are alike are folded into one until there are no more, and the title says
            so. What the run waited for has thick lines.
    """
    run = snapshot(record)
    picture = draw(run, max_nodes, DOT_EDGES)
    return "\n".join(_dot(picture, title_of(run, picture))) + "\n"


def _dot(picture: Picture, title: str) -> Iterator[str]:
    font = 'fontname="Helvetica,Arial,sans-serif"'
    yield "digraph run {"
    yield "  graph [rankdir=LR, compound=true, labelloc=t, ranksep=0.6, nodesep=0.25]"
    yield f"  graph [label={_dot_text([title])}, {font}]"
    yield f'  node [shape=box, style="rounded,filled", margin="0.14,0.08", fontsize=11, fontcolor="{TEXT}", {font}]'
    yield f'  edge [color="#5c6670", arrowsize=0.7, fontsize=9, fontcolor="#5c6670", {font}]'
    for box in picture.boxes:
        yield from _dot_box(box, "  ")
    for (source, box), number in picture.edges.items():
        yield _dot_edge(source, box, number, (source, box) in picture.critical_edges)
    yield "}"


def _dot_box(box: Box, indent: str) -> Iterator[str]:
    look = LOOKS.get(box.state, LOOKS["pending"])
    style = f"rounded,{'dashed,' * look.is_dashed}filled"
    width = "3" if box.is_critical else "1"
    common = f'style="{style}", color="{look.line}", penwidth={width}'
    tooltip = _dot_text([node.id for node in box.nodes[:1]])
    if not box.inside:
        # A second outline: there is more in it.
        folded = ", peripheries=2" if box.is_folded else ""
        label = _dot_text(box.lines())
        yield f'{indent}n{box.number} [label={label}, {common}, fillcolor="{look.fill}", tooltip={tooltip}{folded}]'
        return
    yield f"{indent}subgraph cluster_n{box.number} {{"
    yield f'{indent}  graph [label={_dot_text(box.lines())}, {common}, fillcolor="{look.fill}55", tooltip={tooltip}]'
    for each in box.inside:
        yield from _dot_box(each, indent + "  ")
    yield f"{indent}}}"


def _dot_edge(source: Box, box: Box, number: int, is_critical: bool) -> str:
    # An edge of DOT joins nodes: one of those within stands for what is around it, where the edge is cut off.
    tail, head = source, box
    while tail.inside:
        tail = tail.inside[-1]
    while head.inside:
        head = head.inside[0]
    options = [f"ltail=cluster_n{source.number}"] if source.inside else []
    options += [f"lhead=cluster_n{box.number}"] if box.inside else []
    options += [f'label="{number:,} edges"'] if number > 1 else []
    options += ["penwidth=3"] if is_critical else []
    return f"  n{tail.number} -> n{head.number}" + (f" [{', '.join(options)}]" if options else "")


def _dot_text(lines: Iterable[str]) -> str:
    """
    Write lines as a quoted text: nothing in it is an escape or an HTML entity of DOT but the line ends.
    """
    shown = (printable(line, None).replace("&", "&amp;").replace("\\", "\\\\") for line in lines)
    return '"' + "\\n".join(line.replace('"', "&quot;") for line in shown) + '"'
