"""The report in a real headless Chromium (Debian's package): light, dark, and as wide as a phone.

Each picture is kept in .build/report, to be looked at by eye. What a picture can tell by itself is asserted: the page
fits without scrolling sideways, follows the colour scheme, no text runs out of its box, and something was drawn.
"""

import re
import shutil
import struct
import subprocess
import zlib
from collections.abc import Sequence
from pathlib import Path

import pytest

from lakebound.operate.report import page
from tests.support.report_figures import FULL

PICTURES = Path(__file__).parents[2] / ".build" / "report"
BACKGROUND = {"light": (246, 247, 249), "dark": (17, 21, 27)}
PHONE, DESK = 390, 1280

PROBE = """<script>
onload = () => {
  const root = document.documentElement;
  const out = [...document.querySelectorAll("section *, .flow *")].filter(
    one => !one.closest("svg") && one.scrollWidth > one.clientWidth + 1 && getComputedStyle(one).display != "inline");
  const told = [root.scrollWidth <= innerWidth, innerWidth, root.scrollHeight, out.length];
  parent.postMessage(told.join("|"), "*");
};
</script>"""


def chromium(profile: Path, *more: str, dark: bool = False, size: tuple[int, int] = (1400, 1000)) -> str:
    program = shutil.which("chromium")
    assert program, "apt-get install chromium (requirements/setup.sh soak does it as root)"
    command = [program, "--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files"]
    command += ["--hide-scrollbars", f"--user-data-dir={profile}", f"--window-size={size[0]},{size[1]}"]
    command += ["--virtual-time-budget=3000", *more]
    if dark:
        command.append("--blink-settings=preferredColorScheme=0")
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=True).stdout


def framed(folder: Path, width: int, height: int, html: str) -> Path:
    """A page that shows the report in a frame of that width: Chromium's own window is never below 500 px.

    What the report measures of itself becomes the outer page's title.
    """
    (folder / "page.html").write_text(html.replace("</body>", PROBE + "</body>"))
    outer = folder / "framed.html"
    outer.write_text(
        '<body style="margin:0"><script>onmessage = told => { document.title = told.data; };</script>'
        f'<iframe src="page.html" style="width:{width}px;height:{height}px;border:0;display:block"></iframe>'
    )
    return outer


def measure(folder: Path, width: int, *, dark: bool, html: str) -> tuple[bool, int, int, int]:
    """(fits, its width, its height, elements whose text runs out of them), as the page finds them itself."""
    outer = framed(folder, width, 900, html)
    shown = chromium(folder / "profile", "--dump-dom", f"file://{outer}", dark=dark)
    found = re.search(r"<title>(\w+)\|(\d+)\|(\d+)\|(\d+)</title>", shown)
    assert found, shown[:500]
    return found[1] == "true", int(found[2]), int(found[3]), int(found[4])


def pixels(picture: Path) -> tuple[tuple[int, ...], set[bytes]]:
    """The first pixel of a PNG, which every filter of the format leaves as it is, and its different filtered lines."""
    body = picture.read_bytes()
    width, depth, kind = struct.unpack(">I4xBB", body[16:26])
    assert (body[:8], depth, kind in (2, 6)) == (b"\x89PNG\r\n\x1a\n", 8, True)
    data, place = b"", 8
    while place < len(body):
        length, name = struct.unpack(">I4s", body[place : place + 8])
        data += body[place + 8 : place + 8 + length] if name == b"IDAT" else b""
        place += 12 + length
    step = width * (3 if kind == 2 else 4) + 1
    raw = zlib.decompress(data)
    return tuple(raw[1:4]), {raw[at : at + step] for at in range(0, len(raw), step)}


@pytest.mark.soak
@pytest.mark.parametrize("width", [PHONE, DESK])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_report_is_readable(tmp_path: Path, width: int, scheme: str) -> None:
    html, dark = page(FULL), scheme == "dark"
    fits, shown_width, height, overflowing = measure(tmp_path, width, dark=dark, html=html)
    assert (fits, shown_width, overflowing) == (True, width, 0)
    PICTURES.mkdir(parents=True, exist_ok=True)
    picture = PICTURES / f"{scheme}-{width}.png"
    outer = framed(tmp_path, width, height, html)
    size = (max(width, 500), height)
    chromium(tmp_path / "profile", f"--screenshot={picture}", f"file://{outer}", dark=dark, size=size)
    corner, lines = pixels(picture)
    assert corner == BACKGROUND[scheme]
    assert len(lines) > 300, "a blank page has few different lines"


@pytest.mark.soak
@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        (("<footer>", '<footer><p style="width:60rem">wide</p>'), "fits"),
        (("<h2>Findings</h2>", '<h2 style="width:3rem;white-space:nowrap">A title that is long</h2>'), "overflowing"),
    ],
)
def test_a_page_that_does_not_fit_is_seen(tmp_path: Path, change: Sequence[str], wrong: str) -> None:
    html = page(FULL)
    assert change[0] in html
    fits, _, _, overflowing = measure(tmp_path, PHONE, dark=False, html=html.replace(*change))
    assert (not fits) if wrong == "fits" else overflowing > 0
