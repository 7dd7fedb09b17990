"""The page in a real browser: Debian's chromium, and axe-core where there is one (ASR_PARALLEL_AXE: its axe.min.js)."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import made_up
import pytest
from chromium import Page, browser, find_chromium

from asr_parallel.record.files import write_text
from asr_parallel.report.figures import house_style
from asr_parallel.report.page import page as report
from asr_parallel.report.write_report import PAGE, draw

PROGRAM, AXE = find_chromium(), os.environ.get("ASR_PARALLEL_AXE", "")
pytestmark = [
    pytest.mark.skipif(PROGRAM is None, reason="no chromium here (Debian: apt-get install chromium)"),
    pytest.mark.timeout(600),
]
WIDTHS = (1280, 400)
MAKERS = {"comparison": made_up.comparison, "bare": made_up.bare, "hostile": made_up.hostile}
FIRST_COLUMN = "[...document.querySelector('#summary table').tBodies[0].rows].map(row => row.cells[{n}].textContent)"
HEAD = "document.querySelector('#summary table').tHead.rows[0].cells[{n}]"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reports")
    for name, make in MAKERS.items():
        with house_style():  # as write_report, without pictures for other uses
            write_text(folder / name / PAGE, report(make(), draw(make())))
    return folder


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    assert PROGRAM is not None
    with browser(PROGRAM, tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture
def page(shared: Page) -> Page:
    shared.complaints.clear()
    shared.requests.clear()
    shared.media("screen")
    return shared


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", MAKERS)
def test_it_renders_without_a_complaint_and_fits(page: Page, folder: Path, name: str, width: int) -> None:
    path = folder / name / "report.html"
    page.open(path, width)
    assert page.complaints == []
    assert set(page.requests) == {path.as_uri()}
    assert page.run("document.documentElement.scrollWidth") == width
    wide = "[...document.querySelectorAll('body *')].filter(e => !e.closest('.scroll, svg, .hidden, .skip')"
    assert (
        page.run(f"{wide} && e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 99))")
        == []
    )
    figures = 10 + (MAKERS[name]().target is not None)
    assert page.run("document.querySelectorAll('svg').length") == figures


@pytest.mark.parametrize("width", WIDTHS)
def test_it_is_legible(page: Page, folder: Path, width: int) -> None:
    page.open(folder / "comparison" / "report.html", width)
    text = "[...document.querySelectorAll('main *')].filter(e => !e.closest('svg') && e.textContent.trim())"
    assert page.run(f"Math.min(...{text}.map(e => parseFloat(getComputedStyle(e).fontSize)))") >= 12
    shown = "t => parseFloat(getComputedStyle(t).fontSize) * t.getScreenCTM().a"
    upright = "[...document.querySelectorAll('svg text')].filter(t => t.getScreenCTM().b === 0)"
    assert page.run(f"Math.min(...{upright}.map({shown}))") >= 9
    assert page.run("[...document.querySelectorAll('svg')].every(s => s.getBoundingClientRect().width > 340)")
    beyond = (
        "[...document.querySelectorAll('svg')].flatMap(s => [...s.querySelectorAll('text')].filter(t => {"
        " const a = t.getBoundingClientRect(), b = s.getBoundingClientRect();"
        " return a.left < b.left - 2 || a.right > b.right + 2; }).map(t => t.textContent))"
    )
    assert page.run(beyond) == []
    page.screenshot(folder / f"{width}.png")
    assert (folder / f"{width}.png").stat().st_size > 100_000


@pytest.mark.parametrize("width", WIDTHS)
def test_commands_of_a_training_stand_one_below_the_other(page: Page, folder: Path, width: int) -> None:
    page.open(folder / "comparison" / "report.html", width)
    assert page.run("document.querySelectorAll('details[open]').length") == 0
    page.run("document.querySelector('summary').click()")
    cell = made_up.comparison().cells[0]
    assert page.run("document.querySelector('details').innerText").splitlines() == [cell.name, *cell.command_lines]
    code = "[...document.querySelector('details').querySelectorAll('code')]"
    tops, rights = page.run(f"['top', 'right'].map(side => {code}.map(c => c.getBoundingClientRect()[side]))")
    assert len(tops) == 4 and tops == sorted(set(tops)) and max(rights) <= width
    page.run("[...document.querySelectorAll('details')].forEach(d => d.open = true)")
    assert page.run("document.documentElement.scrollWidth") == width
    page.screenshot(folder / f"commands-{width}.png")


def numbers(texts: list[str]) -> list[float]:
    """With what is unknown at the end, as it must stand."""
    known = [float(text) for text in texts if text]
    assert texts == [text for text in texts if text] + [""] * (len(texts) - len(known))
    return known


def test_sorting_by_mouse(page: Page, folder: Path) -> None:
    page.open(folder / "comparison" / "report.html", 1280)
    before = page.run(FIRST_COLUMN.format(n=3))
    box = f"{HEAD.format(n=3)}.querySelector('button')"
    page.run(f"{box}.scrollIntoView({{block: 'center', behavior: 'instant'}})")
    place = page.run(f"(r => [r.left + r.width / 2, r.top + r.height / 2])({box}.getBoundingClientRect())")
    for sign, said in ((1, "ascending"), (-1, "descending")):
        page.click(*place)
        found = numbers(page.run(FIRST_COLUMN.format(n=3)))
        assert found == sorted(found, reverse=sign < 0) and len(found) == 16
        assert page.run(f"{HEAD.format(n=3)}.getAttribute('aria-sort')") == said
        assert said in page.run("document.querySelector('#summary [role=status]').textContent")
    assert sorted(page.run(FIRST_COLUMN.format(n=3))) == sorted(before)
    assert page.run("document.querySelectorAll('[aria-sort]').length") == 1
    assert page.complaints == []


def test_sorting_by_keyboard(page: Page, folder: Path) -> None:
    page.open(folder / "comparison" / "report.html", 1280)
    page.run(f"{HEAD.format(n=0)}.querySelector('button').focus()")
    page.press("Tab", 9)
    assert page.run("document.activeElement.textContent") == "K"
    assert page.run("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.press("Enter", 13, "\r")
    found = numbers(page.run(FIRST_COLUMN.format(n=1)))
    assert found == sorted(found) and found[0] == 1
    page.press(" ", 32, " ")
    assert numbers(page.run(FIRST_COLUMN.format(n=1))) == sorted(found, reverse=True)
    page.press("Tab", 9)
    page.press("Enter", 13, "\r")
    assert page.run(f"[{HEAD.format(n=1)}, {HEAD.format(n=2)}].map(h => h.getAttribute('aria-sort'))") == [
        None,
        "ascending",
    ]


def test_names_are_sorted_as_text_and_stay_text(page: Page, folder: Path) -> None:
    page.open(folder / "hostile" / "report.html", 400)
    page.run(f"{HEAD.format(n=0)}.querySelector('button').click()")
    found = page.run(FIRST_COLUMN.format(n=0))
    assert found[-1] == "one worker" and sum("<script>" in name for name in found) == 2
    assert page.complaints == [] and page.run("document.scripts.length") == 1


def test_print(page: Page, folder: Path) -> None:
    page.open(folder / "hostile" / "report.html", 1280)
    page.media("print")
    assert page.run("getComputedStyle(document.querySelector('nav')).display") == "none"
    assert page.run("getComputedStyle(document.querySelector('.scroll')).overflow") == "visible"
    assert page.run("document.querySelectorAll('details[open]').length") == 0
    page.pdf(folder / "report.pdf")
    assert page.run("document.querySelectorAll('details:not([open])').length") == 0
    assert (folder / "report.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.skipif(not AXE, reason="no axe-core: npm pack axe-core, unpack it, set ASR_PARALLEL_AXE to its axe.min.js")
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", ["comparison", "hostile"])
def test_axe_finds_no_fault(page: Page, folder: Path, name: str, width: int) -> None:
    page.open(folder / name / "report.html", width)
    page.run(f"{Path(AXE).read_text(encoding='utf-8')}; 0")
    fault = "f => [f.id, f.impact, f.nodes[0].html.slice(0, 200)]"
    found: dict[str, Any] = page.run(
        f"axe.run().then(r => ({{bad: r.violations.map({fault}), rules: r.passes.map(p => p.id)}}))"
    )
    assert found["bad"] == []
    assert {"color-contrast", "svg-img-alt", "button-name", "heading-order"} <= set(found["rules"])
