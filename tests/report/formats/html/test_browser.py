"""Pages in a browser: they render, say nothing on the console, ask nobody for anything, and can be
used with a keyboard and a screen reader.

Chromium is started from the system (Debian's package `chromium`); where CI=true it must be there.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch as th
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import BrowserContext, Page, sync_playwright

from tests.archives import sb3_members, zip_of
from tests.conftest import Run
from tests.replay_buffers import of_kind
from tests.runs import Runs

pytestmark = pytest.mark.slow

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
HOSTILE = (
    "<script>document.title='taken'</script>",
    "\"><img src=http://127.0.0.1:9 onerror=document.title='taken'>",
    "</style></svg><svg onload=document.title='taken'>",
)
WIDTHS = (360, 1280, 1920)
SCHEMES = ("light", "dark")

Show = Callable[..., Page]


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrowserContext]:
    """A browser with a profile of its own, which is empty."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        assert os.environ.get("CI") != "true", "there is no Chromium"
        pytest.skip("there is no Chromium (apt-get install chromium)")
    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            tmp_path_factory.mktemp("profile"),
            executable_path=browser,
            headless=True,
            args=ARGUMENTS,
        )
        yield context
        context.close()


@pytest.fixture
def show(context: BrowserContext, run: Run, tmp_path: Path) -> Iterator[Show]:
    """Writes the page of a command and opens it; fails for what goes to the console or leaves."""
    page = context.new_page()
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    file = tmp_path / "page.html"

    def open_page(*command: object, width: int = 1280, scheme: Any = "light") -> Page:
        if command:
            outcome = run(*command, "--format", "html", "--output", file, "--fail-on", "never")
            assert (outcome.code, outcome.err) == (0, "")
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme=scheme)
        page.goto(file.as_uri())
        return page

    yield open_page
    page.close()
    assert said == []
    assert {*asked} == {file.as_uri()}


def refuse_violations(page: Page) -> None:
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


def test_a_page_renders_with_its_own_style(show: Show, broken: Path) -> None:
    page = show("scan", broken)
    assert page.locator("h1").inner_text().startswith("28 of 64 bias tensors are 100 % zero")
    assert page.title() == f"critical: {broken} · sacdoctor"
    colour = "getComputedStyle(document.querySelector('h1')).color"
    light = page.evaluate(colour)
    assert show(scheme="dark").evaluate(colour) != light


def test_a_click_on_a_layer_shows_its_findings(show: Show, broken: Path) -> None:
    page = show("scan", broken)
    tile = page.locator("details.tile", has=page.get_by_text("v8_shared_lstm", exact=True))
    finding = tile.get_by_text("not-in-optimizer", exact=False).first
    assert not finding.is_visible()
    tile.locator("summary").click()
    assert finding.is_visible()
    assert tile.locator("svg.histogram").count() == 4
    assert tile.locator("svg.histogram").first.is_visible()


def test_the_keyboard_opens_a_layer(show: Show, broken: Path) -> None:
    page = show("scan", broken)
    tile = page.locator("details.tile").first
    tile.locator("summary").focus()
    page.keyboard.press("Enter")
    assert tile.locator(".panel").is_visible()
    page.keyboard.press("Enter")
    assert not tile.locator(".panel").is_visible()


def test_the_name_of_a_tensor_in_a_finding_leads_to_its_layer(show: Show, broken: Path) -> None:
    page = show("scan", broken)
    finding = page.locator("article", has=page.get_by_text("dead-bias")).first
    finding.locator("summary").click()
    link = finding.locator("a").first
    panel = page.locator(link.get_attribute("href") or "")
    assert not panel.is_visible()
    link.click()
    assert panel.is_visible()


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_stays_text(show: Show, tmp_path: Path, name: str) -> None:
    state = {f"{name}.weight": th.ones(4, 4), f"{name}.bias": th.zeros(4)}
    path = tmp_path / f"{name.replace('/', '_')}.zip"
    path.write_bytes(zip_of(sb3_members(state, {"policy_class": name, "num_timesteps": 5})))
    page = show("scan", path)
    assert "taken" not in page.title().removeprefix(f"critical: {path}")
    assert page.locator("script, img, svg[onload], [onerror]").count() == 0
    assert page.locator(".layer", has_text=name).count() == 1
    assert page.locator("h1").is_visible()


def test_nothing_is_wider_than_the_screen(show: Show, runs: Runs) -> None:
    page = show("checkup", runs("crash"))
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        kinds = {kind: page.locator(f"svg.{kind}").is_visible() for kind in ("wide", "narrow")}
        assert kinds == {"wide": width > 640, "narrow": width <= 640}


@pytest.mark.parametrize("verb", ["checkup", "history"])
def test_the_page_of_a_run_is_accessible(show: Show, runs: Runs, verb: str) -> None:
    command: tuple[object, ...] = (verb, runs("late layers"))
    for scheme in SCHEMES:
        for width in WIDTHS:
            page = show(*command, width=width, scheme=scheme)
            command = ()  # the same page again
            for summary in page.locator("details:not(.tile) > summary").all():
                summary.click()
            refuse_violations(page)


def test_the_page_of_a_scan_is_accessible(show: Show, broken: Path) -> None:
    command: tuple[object, ...] = ("scan", broken)
    for scheme in SCHEMES:
        for width in WIDTHS:
            page = show(*command, width=width, scheme=scheme)
            command = ()
            page.locator("details.tile.critical > summary").first.click()
            refuse_violations(page)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_page_of_several_scans_is_accessible(
    show: Show, broken: Path, healthy: Path, scheme: str
) -> None:
    another = broken.with_name("sac_two_head_broken.zip")
    refuse_violations(show("scan", healthy, broken, another, scheme=scheme))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_page_of_a_difference_is_accessible(
    show: Show, run: Run, broken: Path, healthy: Path, tmp_path: Path, scheme: str
) -> None:
    outcome = run("diff", broken, healthy, "--format", "html")
    (tmp_path / "page.html").write_text(outcome.out, encoding="utf-8")
    page = show(scheme=scheme, width=360)
    for summary in page.locator("summary").all():
        summary.click()
    refuse_violations(page)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_page_of_a_probe_is_accessible(show: Show, tmp_path: Path, scheme: str) -> None:
    of_kind("plain").save(tmp_path)
    refuse_violations(show("probe", tmp_path / "model.zip", scheme=scheme, width=360))


def test_it_prints_dark_pages_in_light(show: Show, runs: Runs) -> None:
    page = show("checkup", runs("crash"), scheme="dark")
    page.emulate_media(media="print", color_scheme="dark")
    ink = page.evaluate("getComputedStyle(document.body).getPropertyValue('--ink')")
    assert ink.strip() == "#22272b"
    assert page.locator("svg.wide").is_visible()
