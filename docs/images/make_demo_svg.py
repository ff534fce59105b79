"""
Record the `antichain demo` on PATH in a terminal of its own, and draw what was seen there.

    PATH=.venv/bin:$PATH .venv/bin/python docs/images/make_demo_svg.py

Nothing is edited: every frame is the screen of a real run at that moment, and the last one stays. Viewers that play no
animation show the last one. Needs pyte, which the extra `test` brings.
"""

import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import pyte

COMMAND = ["antichain", "demo"]
OUT = Path(__file__).with_name("demo.svg")
COLUMNS, ROWS = 110, 60
# Seconds between two looks at the screen, and for how long the last one is shown.
EVERY, LAST = 0.4, 20.0
CELL_WIDTH, CELL_HEIGHT, MARGIN, BAR = 8.4, 18, 16, 34
BACKGROUND, FOREGROUND, FAINT = "#16181d", "#d7dae0", "#8b93a1"
COLORS = {"black": "#5c6370", "red": "#f07178", "green": "#98c379", "brown": "#e5c07b", "blue": "#61afef"}
COLORS |= {"magenta": "#c678dd", "cyan": "#56b6c2", "white": "#ffffff", "brightblack": FAINT}


class Look(NamedTuple):
    """How a cell looks, apart from its character."""

    color: str
    bold: bool


class Screen(pyte.Screen):
    """A screen that also knows faint text, which pyte leaves out: it is kept as italics, which nobody uses here."""

    def select_graphic_rendition(self, *attributes: int, **settings: Any) -> None:
        super().select_graphic_rendition(*(3 if each == 2 else each for each in attributes), **settings)
        if 22 in attributes:
            self.cursor.attrs = self.cursor.attrs._replace(italics=False)


Frame = list[list[tuple[str, Look]]]


def record() -> list[tuple[float, Frame]]:
    """Run the command and return what was on its screen, and when."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": str(COLUMNS), "LINES": str(ROWS)}
    for name in ("NO_COLOR", "CI"):
        environment.pop(name, None)
    screen = Screen(COLUMNS, ROWS)
    stream = pyte.ByteStream(screen)
    stream.feed(f"$ {' '.join(COMMAND)}\r\n".encode())
    began, frames = time.monotonic(), []
    with subprocess.Popen(COMMAND, stdin=slave, stdout=slave, stderr=slave, env=environment, close_fds=True) as run:
        os.close(slave)
        while True:
            looked = time.monotonic()
            while (left := looked + EVERY - time.monotonic()) > 0:
                if select.select([master], [], [], left)[0]:
                    try:
                        stream.feed(os.read(master, 65536))
                    except OSError:  # the other side has closed
                        break
            frame = read(screen)
            if not frames or frame != frames[-1][1]:
                frames.append((looked - began, frame))
            if run.poll() is not None and left > 0:
                break
    os.close(master)
    if run.returncode:
        raise SystemExit(f"{' '.join(COMMAND)} ended with {run.returncode}")
    return frames


def read(screen: Screen) -> Frame:
    lines = []
    for row in range(ROWS):
        cells = [screen.buffer[row][column] for column in range(COLUMNS)]
        look = [(cell.data, Look(color_of(cell), cell.bold)) for cell in cells]
        while look and look[-1][0] == " ":
            look.pop()
        lines.append(look)
    while lines and not lines[-1]:
        lines.pop()
    return lines


def color_of(cell: Any) -> str:
    if cell.italics:
        return FAINT
    if cell.fg == "default":
        return FOREGROUND
    return COLORS.get(cell.fg.removeprefix("bright"), f"#{cell.fg}" if len(cell.fg) == 6 else FOREGROUND)


def draw(frames: list[tuple[float, Frame]]) -> str:
    rows = max(len(frame) for _, frame in frames)
    width, height = COLUMNS * CELL_WIDTH + 2 * MARGIN, rows * CELL_HEIGHT + BAR + MARGIN
    total = frames[-1][0] + LAST
    rules = [f"text{{fill:{FOREGROUND};white-space:pre}}.b{{font-weight:bold}}.f{{opacity:0}}"]
    pictures = []
    for number, (at, frame) in enumerate(frames):
        until = frames[number + 1][0] if number + 1 < len(frames) else total
        is_last = number + 1 == len(frames)
        rules.append(keyframes(number, at / total, until / total))
        lines = "".join(line(row, cells) for row, cells in enumerate(frame))
        kind = "l" if is_last else "f"
        pictures.append(f'<g class="{kind}" style="animation:k{number} {total:.1f}s step-end infinite">{lines}</g>')
    dots = "".join(f'<circle cx="{20 + 18 * i}" cy="17" r="5" fill="#3a3f4b"/>' for i in range(3))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" font-size="14" '
        "font-family=\"ui-monospace,'DejaVu Sans Mono',Menlo,Consolas,monospace\">\n"
        f"<title>antichain demo, recorded</title>\n<style>{''.join(rules)}</style>\n"
        f'<rect width="100%" height="100%" rx="8" fill="{BACKGROUND}"/>{dots}\n' + "\n".join(pictures) + "\n</svg>\n"
    )


def keyframes(number: int, start: float, end: float) -> str:
    steps = [(0.0, int(start <= 0)), (start, 1), (end, 0)]
    body = "".join(
        f"{100 * at:.2f}%{{opacity:{shown}}}" for at, shown in steps if at < 1 and (at > 0 or shown or start)
    )
    return f"@keyframes k{number}{{{body}}}"


def line(row: int, cells: list[tuple[str, Look]]) -> str:
    y = BAR + (row + 0.75) * CELL_HEIGHT
    parts, column = [], 0
    for look, run in groupby(cells, key=lambda cell: cell[1]):
        text = "".join(character for character, _ in run)
        if text.strip():
            lead = len(text) - len(text.lstrip())
            shown = text.strip()
            x = MARGIN + (column + lead) * CELL_WIDTH
            style = ' class="b"' if look.bold else ""
            style += f' style="fill:{look.color}"' if look.color != FOREGROUND else ""
            # The length holds the grid together, whatever font is there.
            size = f'textLength="{len(shown) * CELL_WIDTH:.1f}" lengthAdjust="spacingAndGlyphs"'
            parts.append(f'<text x="{x:.1f}" y="{y:.1f}" {size}{style}>{escape(shown, quote=False)}</text>')
        column += len(text)
    return "".join(parts)


if __name__ == "__main__":
    OUT.write_text(draw(record()), encoding="utf-8")
    print(f"{OUT}: {OUT.stat().st_size / 1024:.0f} kB")
