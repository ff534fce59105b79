"""
Draw what a provider that allows 8 calls in flight sees of 400 calls, made in four ways.

    PYTHONPATH=. .venv/bin/python docs/images/make_capacity_svg.py

In virtual time, by bench/capacity.py: the same picture on every machine, and a test sees to it that it is up to date.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from bench.capacity import ADAPTIVE, GATHER, Measured, Strategy, Terms, measure

OUT = Path(__file__).with_name("capacity.svg")
ALLOWED, SEED = 8, 0
WAYS = [
    (GATHER, "all at once"),
    (Strategy(32), "a guess, too high"),
    (Strategy(4), "a guess, too low"),
    (ADAPTIVE, "nobody told it"),
]
WIDTH, LEFT, RIGHT = 860, 44, 20
# Of one panel: its title, the plot, the refusals below it, and air.
TITLE, PLOT, RUG, AIR = 24, 96, 12, 16
HEAD, FOOT = 44, 40
LIGHT = {"card": "#ffffff", "edge": "#d0d7de", "text": "#1f2328", "faint": "#59636e"}
LIGHT |= {"served": "#9ec5f4", "size": "#0a5bc4", "allowed": "#59636e", "refused": "#cf222e"}
DARK = {"card": "#16181d", "edge": "#3a3f4b", "text": "#e6e8ec", "faint": "#a3abb8"}
DARK |= {"served": "#2f5f96", "size": "#79b8ff", "allowed": "#a3abb8", "refused": "#ff7b72"}

Points = Iterable[tuple[float, float]]


def styles() -> str:
    def rules(colors: dict[str, str]) -> str:
        fills = {"t": "text", "f": "faint", "card": "card", "served": "served"}
        strokes = {"card": "edge", "size": "size", "allowed": "allowed", "refused": "refused"}
        told = [f".{name}{{fill:{colors[color]}}}" for name, color in fills.items()]
        return "".join([*told, *(f".{name}{{stroke:{colors[color]}}}" for name, color in strokes.items())])

    lines = ".size,.allowed,.refused{fill:none}.size{stroke-width:2}.allowed{stroke-dasharray:5 4}"
    lines += ".refused{stroke-opacity:.7;stroke-width:1.5}.b{font-weight:bold}"
    return f"{lines}{rules(LIGHT)}@media(prefers-color-scheme:dark){{{rules(DARK)}}}"


def path(points: Points) -> str:
    return "M" + " L".join(f"{x:.1f} {y:.1f}" for x, y in points)


def stairs(steps: Sequence[tuple[float, float]], until: float) -> list[tuple[float, float]]:
    """The corners of a line that stays at each value until the next one."""
    corners = []
    for (start, value), (end, _) in zip(steps, [*steps[1:], (until, 0)], strict=True):
        corners += [(start, value), (end, value)]
    return corners


def means(changes: Sequence[tuple[float, int]], until: float, column: float) -> list[tuple[float, float]]:
    """The mean of a value that changes, for each *column* seconds: what changes thousands of times is not drawn so."""
    steps = [(0.0, 0), *changes]
    sums = [0.0] * (int(until / column) + 1)
    for (start, value), (end, _) in zip(steps, [*steps[1:], (until, 0)], strict=True):
        for number in range(int(start / column), min(len(sums), int(end / column) + 1)):
            low, high = number * column, (number + 1) * column
            sums[number] += value * max(0.0, min(end, high) - max(start, low))
    return [(number * column, total / column) for number, total in enumerate(sums)]


def panel(name: str, remark: str, run: Measured, top: float, seconds: float, most: int) -> str:
    wide = (WIDTH - LEFT - RIGHT) / seconds
    base = top + TITLE + PLOT

    def at(points: Points) -> list[tuple[float, float]]:
        return [(LEFT + time * wide, base - value * PLOT / most) for time, value in points]

    served = at(stairs(means(run.provider.changes, run.seconds, seconds / 400), run.seconds))
    lost = f"{run.lost} lost" if run.lost else "none lost"
    refused = f"{run.refused:,} times 429" if run.refused else "no 429"
    figures = f"({remark}): {run.seconds:.1f} s, {refused}, {lost}"
    parts = [
        f'<text class="t" x="{LEFT}" y="{top + 15:.0f}"><tspan class="b">{name}</tspan>  {figures}</text>',
        f'<path class="served" d="{path([(served[0][0], base), *served, (served[-1][0], base)])} Z"/>',
        f'<path class="allowed" d="{path(at([(0, ALLOWED), (seconds, ALLOWED)]))}"/>',
        f'<text class="f" text-anchor="end" x="{LEFT - 6}" y="{base - ALLOWED * PLOT / most + 4:.1f}">{ALLOWED}</text>',
        f'<text class="f" text-anchor="end" x="{LEFT - 6}" y="{base + 4:.1f}">0</text>',
    ]
    if run.sizes:
        parts.append(f'<path class="size" d="{path(at(stairs(run.sizes, run.seconds)))}"/>')
    if run.provider.refused:
        # One line where several were refused within a third of a pixel.
        places = sorted({round((LEFT + time * wide) * 3) / 3 for time in run.provider.refused})
        rug = "".join(f"M{x:.1f} {base + 3:.1f}v{RUG - 3}" for x in places)
        parts.append(f'<path class="refused" d="{rug}"/>')
    return "\n".join(parts)


def axis(seconds: float, y: float) -> str:
    wide = (WIDTH - LEFT - RIGHT) / seconds
    return "".join(
        f'<text class="f" text-anchor="middle" x="{LEFT + second * wide:.1f}" y="{y:.0f}">{second} s</text>'
        for second in range(0, int(seconds) + 1, 5)
    )


def legend(y: float) -> str:
    entries = [
        (0, f'<rect class="served" x="{LEFT}" y="{y - 10}" width="18" height="10"/>', "calls in flight"),
        (130, f'<path class="size" d="M{LEFT + 130} {y - 4}h18"/>', "size of the limit"),
        (270, f'<path class="allowed" d="M{LEFT + 270} {y - 4}h18"/>', "what the provider allows"),
        (480, f'<path class="refused" d="M{LEFT + 484} {y - 10}v10m4 -10v10m6 -10v10"/>', "429"),
    ]
    return "".join(
        f'{sign}<text class="t" x="{LEFT + left + 24}" y="{y}">{text}</text>' for left, sign, text in entries
    )


def draw() -> str:
    runs = [measure(way, Terms(ALLOWED), SEED) for way, _ in WAYS]
    seconds = max(run.seconds for run in runs)
    most = max(ALLOWED + 2, *(size for run in runs for _, size in run.sizes))
    step = TITLE + PLOT + RUG + AIR
    height = HEAD + len(WAYS) * step + FOOT - AIR
    panels = "\n".join(
        panel(str(way), remark, run, HEAD + number * step, seconds, most)
        for number, ((way, remark), run) in enumerate(zip(WAYS, runs, strict=True))
    )
    calls = runs[0].provider.calls - runs[0].refused + runs[0].lost
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-size="13" '
        "font-family=\"system-ui,-apple-system,'Segoe UI','DejaVu Sans',sans-serif\">\n"
        f"<title>{calls} calls to a provider that allows {ALLOWED} in flight, made in {len(WAYS)} ways</title>\n"
        f"<style>{styles()}</style>\n"
        f'<rect class="card" x=".5" y=".5" width="{WIDTH - 1}" height="{height - 1}" rx="8"/>\n'
        f"{legend(26)}\n{panels}\n{axis(seconds, height - 12)}\n</svg>\n"
    )


if __name__ == "__main__":
    OUT.write_text(draw(), encoding="utf-8")
