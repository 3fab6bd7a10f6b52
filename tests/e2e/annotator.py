"""A person at Label Studio's labelling screen, in Chromium."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from playwright.sync_api import Locator, Page, expect

Pixel = tuple[float, float]
"""A place on the photograph: x to the right, y down, in its own pixels."""

POINT_LABEL, BOX_LABEL = "1", "2"
"""Hotkeys of the labels, which follow the order of label_config/image.xml."""


class Annotator:
    """The steps of an annotator, each waited for until the screen shows what came of it.

    page:        an open page of the browser.
    url:         Label Studio.
    screenshots: folder that takes a numbered picture of each step.
    """

    def __init__(self, page: Page, url: str, screenshots: Path):
        self.page, self.url, self.screenshots = page, url, screenshots
        self._taken = 0
        self._size: tuple[int, int] = (0, 0)
        self._points = False

    def log_in(self, email: str, password: str) -> None:
        self.page.goto(f"{self.url}/user/login")
        self.page.fill("input[name=email]", email)
        self.page.fill("input[name=password]", password)
        self.page.click("button[type=submit]")
        self.page.wait_for_url(lambda url: "/user/login" not in url, wait_until="domcontentloaded")

    def open(self, project: int, task: int, width: int, height: int) -> None:
        """Open a task whose photograph has `width` x `height` pixels."""
        self._size = (width, height)
        self.page.goto(f"{self.url}/projects/{project}/data?task={task}")
        expect(self._picture()).to_be_visible(timeout=60_000)
        self.screenshot("task")

    def switch_on_auto_annotation(self) -> None:
        self.page.get_by_text("Auto-Annotation", exact=True).click()
        expect(self._smart_tool()).to_be_visible()

    def choose_smart_point(self) -> None:
        self._smart_tool().click()

    def choose_smart_box(self) -> None:
        self._smart_tool().hover()
        self.page.get_by_label("rectangle-tool", exact=True).click()

    def take_up_smart_point(self) -> None:
        """Have the smart point at hand. Label Studio keeps it for other photographs; pressed again it is the box."""
        if not self._points:
            self.switch_on_auto_annotation()
            self.choose_smart_point()
            self._points = True
        expect(self._smart_tool()).to_be_visible()

    def click(self, at: Pixel, *, negative: bool = False) -> dict[str, Any]:
        """Click with the smart point, with Alt held if `negative`, and wait for the suggestion, which is returned."""
        self.page.keyboard.press(POINT_LABEL)
        with self.page.expect_response(_is_an_answer) as answer:
            if negative:
                self.page.keyboard.down("Alt")
            self.page.mouse.click(*self._on_screen(at))
            if negative:
                self.page.keyboard.up("Alt")
        self._see_suggestion(answer.value.status)
        return answer.value.json()["data"]

    def draw_box(self, corner: Pixel, opposite: Pixel) -> None:
        """Draw with the smart box, and wait for the suggestion."""
        self.page.keyboard.press(BOX_LABEL)
        with self.page.expect_response(_is_an_answer) as answer:
            self._drag([corner, opposite])
        self._see_suggestion(answer.value.status)

    def select_open_click(self) -> None:
        """Select the newest drawing, whose suggestion is not accepted yet."""
        self._regions().last.click()
        expect(self._blank("category")).to_be_visible()

    def say(self, field: str, text: str) -> None:
        """Fill in an empty field of the selected drawing, and wait for the new suggestion."""
        blank = self._blank(field)
        blank.fill(text)
        with self.page.expect_response(_is_an_answer) as answer:
            blank.press("Shift+Enter" if blank.evaluate("it => it.tagName") == "TEXTAREA" else "Enter")
        self._see_suggestion(answer.value.status)

    def accept(self) -> None:
        self.page.get_by_test_id("bottombar-accept-suggestions-button").click()
        expect(self.page.get_by_test_id("bottombar-accept-suggestions-button")).to_be_hidden()

    def reject(self) -> None:
        self.page.get_by_test_id("bottombar-reject-suggestions-button").click()
        expect(self.page.get_by_test_id("bottombar-accept-suggestions-button")).to_be_hidden()

    def select_region(self, index: int) -> None:
        """Select a region in the list, counted from 0, unless it is selected."""
        if self._words("category").count() == 0:
            self._regions().nth(index).click()
        expect(self._words("category").first).to_be_visible()

    def deselect(self) -> None:
        self.page.keyboard.press("u")
        expect(self._words("category")).to_have_count(0)

    def region_count(self) -> int:
        return self._regions().count()

    def read(self, field: str) -> str:
        """What a field of the selected region says."""
        return self._words(field).first.inner_text().strip()

    def rewrite(self, field: str, text: str) -> None:
        """Put `text` in place of what a field of the selected region says."""
        shown = self.page.get_by_test_id("htx-textbox-view").filter(has=self._words(field))
        shown.hover()
        shown.get_by_label("Edit Region").click()
        self.page.locator(f"[data-testid=htx-textbox-input][name^='{field}:']").fill(text)
        self.page.get_by_test_id("htx-textbox-save").click()
        expect(self._words(field).first).to_have_text(text)

    def paint(self, stroke: Sequence[Pixel]) -> None:
        """Mend the selected region with the brush."""
        self.page.get_by_label("brush-tool", exact=True).click()
        self._drag(stroke)

    def submit(self) -> None:
        with self.page.expect_response(lambda r: r.request.method == "POST" and "/annotations" in r.url) as answer:
            self.page.get_by_label("Submit current annotation").click()
        assert answer.value.status == 201, answer.value.text()

    def start_training(self, project: int) -> None:
        """Press *Start Training* where Label Studio has it: in the menu of the project's model."""
        self.page.goto(f"{self.url}/projects/{project}/settings/ml")
        self.page.get_by_label("Machine learning model options").click()
        self.page.get_by_text("Start Training", exact=True).click()
        self.screenshot("start_training")
        with self.page.expect_response(lambda r: r.request.method == "POST" and "/train" in r.url) as answer:
            self.page.get_by_role("button", name="Start Training").click()
        assert answer.value.status == 200, answer.value.text()
        expect(self.page.get_by_text("Request Sent!")).to_be_visible()
        self.screenshot("training_asked_for")

    def screenshot(self, name: str) -> None:
        self._taken += 1
        self.page.screenshot(path=self.screenshots / f"{self._taken:02d}_{name}.png")

    def _see_suggestion(self, status: int) -> None:
        assert status == 200, f"Label Studio answered the smart tool with {status}"
        expect(self.page.get_by_test_id("bottombar-accept-suggestions-button")).to_be_visible()

    def _picture(self) -> Locator:
        """The photograph. Label Studio zooms it a little beyond its frame, whose corners are then not the picture's."""
        return self.page.locator("img[src^=blob]").first

    def _smart_tool(self) -> Locator:
        return self.page.locator(".lsf-tool_smart:not([aria-label])")

    def _regions(self) -> Locator:
        return self.page.locator(".lsf-outliner-item")

    def _words(self, field: str) -> Locator:
        """The shown words of a field; those of regions that are not selected stay in the page, hidden."""
        return self.page.locator(f"[data-testid=htx-textbox-content][name^='{field}:']").filter(visible=True)

    def _blank(self, field: str) -> Locator:
        """Where a field that says nothing yet is filled in."""
        return self.page.locator(f"[data-testid=textarea-input][name='{field}']").filter(visible=True)

    def _on_screen(self, at: Pixel) -> Pixel:
        box = self._picture().bounding_box()
        assert box is not None, "the photograph is not on the screen"
        width, height = self._size
        return box["x"] + at[0] * box["width"] / width, box["y"] + at[1] * box["height"] / height

    def _drag(self, path: Sequence[Pixel]) -> None:
        mouse = self.page.mouse
        mouse.move(*self._on_screen(path[0]))
        mouse.down()
        for place in path[1:]:
            mouse.move(*self._on_screen(place), steps=8)
        mouse.up()


def _is_an_answer(response: object) -> bool:
    return "interactive-annotating" in getattr(response, "url", "")
