"""A lineage to look at: as a tree of text, and as a picture (SVG)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape

from impasto.errors import printable
from impasto.rights.lineage import Lineage, Node

SHORT = 19  # characters of a digest that are shown: sha256: and 12 digits
WIDTH, LINE, GAP_X, GAP_Y, MARGIN = 300, 18, 190, 28, 24
Place = tuple[int, int, int]
"""Left side, top and height of a box."""

COLOURS = {
    "picture": "#7c3aed",
    "model": "#0f766e",
    "adapter": "#b45309",
    "embedding": "#b45309",
    "part": "#475569",
    "corpus": "#be123c",
    "parent": "#475569",
}


def text(lineage: Lineage) -> str:
    """Return the tree of `lineage`; what is in several places is told in full at the first."""
    root = lineage.nodes[lineage.root]
    told: set[str] = set()
    return "\n".join([_head(root), *_under(lineage, lineage.root, "", told)]) + "\n"


def _head(node: Node) -> str:
    digest = f" {node.key[:SHORT]}" if node.key.startswith("sha256:") else ""
    return printable(f"{node.name} ({node.kind}{digest}{'' if node.here else ', not here'})")


def _under(lineage: Lineage, key: str, indent: str, told: set[str]) -> Iterator[str]:
    told.add(key)
    sources = lineage.sources(key)
    facts = lineage.nodes[key].facts
    bar = "│" if sources else " "
    yield from (f"{indent}{bar}  {printable(_shortened(fact, 160))}" for fact in facts)
    for number, edge in enumerate(sources):
        last = number == len(sources) - 1
        again = " (told above)" if edge.source in told and lineage.sources(edge.source) else ""
        yield f"{indent}{'└' if last else '├'}─ {edge.role}: {_head(lineage.nodes[edge.source])}{again}"
        if edge.source not in told:
            yield from _under(lineage, edge.source, indent + ("   " if last else "│  "), told)


def _shortened(line: str, length: int) -> str:
    line = " ".join(line.split())
    return line if len(line) <= length else f"{line[: length - 1]}…"


def svg(lineage: Lineage) -> str:
    """Return a picture of `lineage` as SVG: what was made on the left, what it was made from to the right."""
    columns = _columns(lineage)
    places: dict[str, Place] = {}
    for x, column in enumerate(columns):
        y = MARGIN
        for key in column:
            height = _height(lineage.nodes[key])
            places[key] = (MARGIN + x * (WIDTH + GAP_X), y, height)
            y += height + GAP_Y
    width = 2 * MARGIN + len(columns) * WIDTH + (len(columns) - 1) * GAP_X
    height = max(y + high for _, y, high in places.values()) + MARGIN
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
            'font-family="system-ui, sans-serif" font-size="12">',
            f"<title>{_xml(f'What {lineage.nodes[lineage.root].name} was made from')}</title>",
            '<rect width="100%" height="100%" fill="#ffffff"/>',
            *_arrows(lineage, places),
            *(_box(lineage.nodes[key], *place) for key, place in places.items()),
            "</svg>\n",
        ]
    )


def _columns(lineage: Lineage) -> list[list[str]]:
    """Return the keys of the nodes by how many steps they are from the root, by the longest way."""
    depth = {lineage.root: 0}
    for _ in lineage.nodes:  # a receipt that names its own descendants must not run for ever
        for edge in lineage.edges:
            if edge.made in depth:
                depth[edge.source] = max(depth.get(edge.source, 0), depth[edge.made] + 1)
    depths = {key: min(steps, len(lineage.nodes) - 1) for key, steps in depth.items()}
    used = sorted(set(depths.values()))
    return [[key for key in lineage.nodes if depths.get(key) == steps] for steps in used]


def _height(node: Node) -> int:
    return LINE * (2 + len(_lines(node))) + 8


def _lines(node: Node) -> list[str]:
    """Return the facts of a node in lines that fit its box."""
    return [line for fact in node.facts for line in _wrapped(" ".join(fact.split()), 46)[:3]]


def _wrapped(fact: str, length: int) -> list[str]:
    lines = [""]
    for word in fact.split(" "):
        word = word if len(word) <= length else f"{word[: length - 1]}…"
        if lines[-1] and len(lines[-1]) + 1 + len(word) > length:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


def _box(node: Node, x: int, y: int, height: int) -> str:
    colour, dashes = COLOURS.get(node.kind, "#475569"), "" if node.here else ' stroke-dasharray="5 4"'
    digest = node.key[:SHORT] if node.key.startswith("sha256:") else ""
    lines = [f"{node.kind} {digest}{'' if node.here else ', not here'}".strip(), *_lines(node)]
    texts = "".join(
        f'<text x="{x + 12}" y="{y + 20 + LINE * (number + 1)}" fill="#334155">{_xml(line)}</text>'
        for number, line in enumerate(lines)
    )
    name = _xml(_shortened(node.name, 38))
    return (
        f"<g><title>{_xml(node.key)}</title>"
        f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{height}" rx="8" fill="#f8fafc" stroke="{colour}"{dashes}/>'
        f'<text x="{x + 12}" y="{y + 20}" font-weight="600" font-size="14" fill="{colour}">{name}</text>{texts}</g>'
    )


def _arrows(lineage: Lineage, places: dict[str, Place]) -> Iterator[str]:
    """Yield the arrows; those that come to one box arrive below one another."""
    for key in places:
        arriving = [edge for edge in lineage.edges if edge.source == key]
        for number, edge in enumerate(arriving, 1):
            yield _arrow(edge.role, places[edge.made], places[key], number / (len(arriving) + 1))


def _arrow(role: str, made: Place, source: Place, arrival: float) -> str:
    x1, y1 = made[0] + WIDTH, made[1] + made[2] // 2
    x2, y2 = source[0], source[1] + round(source[2] * arrival)
    middle = (x1 + x2) // 2
    return (
        f'<path d="M{x1} {y1} C{middle} {y1} {middle} {y2} {x2} {y2}" fill="none" stroke="#94a3b8"/>'
        f'<text x="{x2 - 8}" y="{y2 - 6}" text-anchor="end" font-size="11" fill="#475569" stroke="#ffffff" '
        f'stroke-width="3" paint-order="stroke">{_xml(_shortened(role, 30))}</text>'
    )


def _xml(words: str) -> str:
    """Return `words` as XML, without the characters that XML cannot carry."""
    return escape(re.sub(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\ufffd", words))
