"""The pages as a browser shows them."""

from pathlib import Path
from typing import Any

import pytest
from tests.browser.conftest import HOSTILE, SCREENSHOTS

NAMES = ("show", "hostile", "compare", "curves", "runs", "list", "diff", "lineage", "guesses")
SCHEMES = ("light", "dark")

OVERFLOWING = """() => {
  const fits = (node) => {
    const box = node.getBoundingClientRect();
    return box.width === 0 || (box.left >= -0.5 && box.right <= innerWidth + 0.5);
  };
  return [...document.querySelectorAll("body *")]
    .filter((node) => !node.closest(".scroll, .skip, caption") && !fits(node))
    .map((node) => node.outerHTML.slice(0, 120));
}"""

CONTRASTS = """() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const channels = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const luminance = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((value) => {
      const share = value / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const ground = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const found = channels(getComputedStyle(at).backgroundColor);
      if (found[3] === 255) return found;
    }
    return [255, 255, 255, 255];
  };
  const contrast = (a, b) => {
    const [low, high] = [luminance(a), luminance(b)].sort((x, y) => x - y);
    return (high + 0.05) / (low + 0.05);
  };
  const texts = [...document.querySelectorAll("body *")].filter(
    (node) => node.checkVisibility() && !["SCRIPT", "title"].includes(node.tagName) &&
      [...node.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim()));
  const told = texts.map((node) => {
    const style = getComputedStyle(node);
    const colour = node instanceof SVGElement ? style.fill : style.color;
    return [contrast(channels(colour), ground(node)), node.textContent.trim().slice(0, 40)];
  });
  const lines = [...document.querySelectorAll("path.line, path.faint")].map((node) =>
    contrast(channels(getComputedStyle(node).stroke), ground(node)));
  return { texts: told.sort((a, b) => a[0] - b[0]).slice(0, 5), lines };
}"""


@pytest.mark.parametrize("name", NAMES)
def test_a_page_asks_for_nothing(look: Any, pages: dict[str, Path], name: str) -> None:
    """A page loads its own file and nothing else, and its script complains of nothing."""
    seen = look(name)
    seen.page.wait_for_load_state("networkidle")
    assert seen.requests == [pages[name].as_uri()]
    assert seen.complaints == []


@pytest.mark.parametrize("name", ["hostile", "compare"])
def test_hostile_text_is_shown_and_does_nothing(look: Any, name: str) -> None:
    """Markup in names and values is text, control characters are visible, nothing of it runs."""
    seen = look(name)
    assert seen.page.evaluate("window.pwned") is None
    assert seen.page.evaluate("document.scripts.length") == 1
    assert seen.page.evaluate("document.images.length") == 0
    text = seen.page.inner_text("body")
    assert HOSTILE.partition("\u202e")[0] in text
    assert "\\u202e\\x1b[31m" in text
    assert "\u202e" not in seen.page.content()


def test_a_page_forbids_what_it_has_not_itself(look: Any) -> None:
    """A script or a picture that got into the page would neither run nor be fetched."""
    seen = look("show")
    seen.page.evaluate(
        """() => {
          const script = document.createElement("script");
          script.textContent = "window.pwned = 1";
          const image = document.createElement("img");
          image.src = "https://example.invalid/pixel.png";
          document.body.append(script, image);
        }"""
    )
    seen.page.wait_for_timeout(200)
    assert seen.page.evaluate("window.pwned") is None
    assert len(seen.complaints) == 2
    assert all("Content Security Policy" in complaint for complaint in seen.complaints)


def test_every_version_is_a_point(look: Any) -> None:
    """The scatter plot has a point for each version; other axes keep them all and their names."""
    page = look("list").page
    points = page.locator(".scatter .points circle")
    assert points.count() == 4
    places = [points.nth(at).get_attribute("cy") for at in range(4)]
    page.get_by_label("Up").select_option("val/loss")
    assert points.count() == 4
    assert [points.nth(at).get_attribute("cy") for at in range(4)] != places
    assert "val/loss" in page.locator(".scatter .plot").get_attribute("aria-label")
    assert page.locator(".parallel path.line").count() == 4


def test_names_of_points_stay_in_the_chart(look: Any) -> None:
    """No name of a point leaves the area between the axes, whichever axes are chosen."""
    page = look("list", width=360).page
    for metric in ("val/accuracy", "val/loss"):
        page.get_by_label("Across").select_option(metric)
        area = page.locator(".scatter .back").bounding_box()
        names = page.locator(".scatter .points text")
        assert names.count() == 4
        for at in range(4):
            name = names.nth(at).bounding_box()
            assert area["x"] <= name["x"]
            assert name["x"] + name["width"] <= area["x"] + area["width"]


def test_every_curve_is_a_path(look: Any) -> None:
    """Train and val lie in one chart, each a line inside its frame, with its best step marked."""
    page = look("curves").page
    assert page.locator("figure.chart").count() == 2
    assert page.locator(".canvas path.line").count() == 3
    assert page.locator(".best-point").count() == 3
    frame = page.locator(".back").first.bounding_box()
    line = page.locator(".canvas path.line").first.bounding_box()
    assert frame["x"] <= line["x"] <= line["x"] + line["width"] <= frame["x"] + frame["width"]
    assert frame["y"] - 1 <= line["y"]
    assert line["height"] > frame["height"] / 2


def test_a_pointer_reads_the_values(look: Any) -> None:
    """Where the pointer is, the values of all curves of the chart stand below it."""
    page = look("curves").page
    frame = page.locator(".back").first.bounding_box()
    page.mouse.move(frame["x"] + frame["width"] * 0.98, frame["y"] + 20)
    assert page.locator(".readout").first.inner_text().startswith("version 4: ")
    assert "val/loss 0.09" in page.locator(".readout").first.inner_text()


def test_the_keyboard_is_enough(look: Any) -> None:
    """Tab meets the skip link first; arrows read curves; Enter sorts a table and says so."""
    page = look("curves").page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("location.hash") == "#content"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "canvas"
    page.keyboard.press("ArrowRight")
    assert page.locator(".readout").first.inner_text().startswith("version 1: ")
    page.keyboard.press("End")
    assert page.locator(".readout").first.inner_text().startswith("version 4: ")


def test_a_table_is_sorted_by_its_numbers(look: Any) -> None:
    """A header's button sorts up, then down, and the header says which."""
    page = look("list").page
    head = page.get_by_role("columnheader", name="val/accuracy")
    head.get_by_role("button").focus()
    page.keyboard.press("Enter")
    first = page.locator("table.sortable tbody tr th").first
    assert (head.get_attribute("aria-sort"), first.inner_text()) == ("ascending", "digits@1")
    page.keyboard.press("Enter")
    assert (head.get_attribute("aria-sort"), first.inner_text()) == ("descending", "digits@4")


def test_points_are_reached_by_arrows(look: Any) -> None:
    """Arrow keys go from point to point of the scatter plot and say what each is."""
    page = look("list").page
    page.locator(".scatter").focus()
    page.keyboard.press("End")
    readout = page.locator("figure:has(.scatter) .readout")
    last = readout.inner_text()
    page.keyboard.press("ArrowLeft")
    assert "digits@" in last
    assert readout.inner_text() != last


def test_a_lineage_is_drawn_without_overlaps(look: Any) -> None:
    """Every version is a box, every parent a line; no box lies on another or under its children."""
    page = look("lineage").page
    nodes = page.locator(".lineage .node")
    boxes = [nodes.nth(at).bounding_box() for at in range(nodes.count())]
    assert len(boxes) == 10
    assert page.locator(".lineage .edge").count() == 10
    assert page.locator(".lineage .chosen").count() == 1
    for at, box in enumerate(boxes):
        for other in boxes[at + 1 :]:
            beside = box["x"] + box["width"], other["x"] + other["width"]
            below = box["y"] + box["height"], other["y"] + other["height"]
            apart = beside[0] <= other["x"] or beside[1] <= box["x"]
            assert apart or below[0] <= other["y"] or below[1] <= box["y"]


def test_a_diff_has_a_row_for_each_tensor(look: Any) -> None:
    """Each model compared has its tensors, what was added and removed stands out in colour."""
    page = look("diff").page
    assert page.locator("table:has(caption:text-is('tensors'))").count() == 3
    first = page.locator("table:has(caption:text-is('tensors'))").first
    assert first.locator("tbody tr").count() == 8
    assert first.locator(".spread").count() == 8


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_everything_can_be_read(look: Any, name: str, scheme: str) -> None:
    """Text has a contrast of at least 4.5 and lines of at least 3, in light and in dark."""
    told = look(name, scheme=scheme).page.evaluate(CONTRASTS)
    assert told["texts"]
    assert told["texts"][0][0] >= 4.5, told["texts"]
    assert min(told["lines"], default=3) >= 3


def test_dark_is_another_colour(look: Any) -> None:
    """The reader's scheme decides, and the button turns it around."""
    colour = "getComputedStyle(document.body).backgroundColor"
    light, dark = (look("show", scheme=scheme).page for scheme in SCHEMES)
    before = light.evaluate(colour)
    assert before != dark.evaluate(colour)
    light.get_by_role("button", name="Dark colours").click()
    assert light.evaluate(colour) == dark.evaluate(colour)
    light.get_by_role("button", name="Light colours").click()
    assert light.evaluate(colour) == before


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("width", [380, 1600])
def test_nothing_runs_over_the_edge(look: Any, name: str, width: int) -> None:
    """A page is as wide as its window; what is wider scrolls in a frame of its own."""
    page = look(name, width=width).page
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(OVERFLOWING) == []


@pytest.mark.parametrize("name", NAMES)
def test_a_page_needs_no_script(look: Any, name: str) -> None:
    """Without its script everything is there but the buttons and what they do."""
    page = look(name, script=False).page
    assert page.locator("button:visible").count() == 0
    assert page.locator("h1").inner_text()
    drawn = page.locator("path.line, .points circle, .spread path, .node rect").count()
    assert drawn > 0


@pytest.mark.parametrize("name", NAMES)
def test_screen_readers_find_their_way(look: Any, name: str) -> None:
    """Headers have their scope, pictures and frames a label, sections a heading, ids are unique."""
    page = look(name).page
    assert page.locator("th:not([scope])").count() == 0
    assert (
        page.locator("svg[role=img]:not([aria-label]), [role=region]:not([aria-label])").count()
        == 0
    )
    assert page.locator("table:not(:has(caption))").count() == 0
    assert page.locator("h1").count() == 1
    assert page.locator("section:not(:has(h2))").count() == 0
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map((node) => node.id)")
    assert len(ids) == len(set(ids))


def test_paper_shows_no_controls(look: Any) -> None:
    """Printed, a page is light, without navigation, and nothing is cut off by a frame."""
    page = look("list", scheme="dark").page
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not page.locator("nav").is_visible()
    assert not page.locator(".controls").is_visible()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("width", [380, 1280])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_pictures_are_kept(look: Any, name: str, width: int, scheme: str) -> None:
    """A screenshot of each page goes to build/screenshots, for people to look at."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    path = SCREENSHOTS / f"{name}-{width}-{scheme}.png"
    look(name, width=width, scheme=scheme).page.screenshot(path=path, full_page=True)
    assert path.read_bytes().startswith(b"\x89PNG")
