"""The page for everybody: rules of accessibility, narrow screens, dark colours, stillness, the keyboard alone."""

from __future__ import annotations

import pytest

from tests.serving.page.conftest import serving
from tests.serving.page.scripted_model import ScriptedModel
from tests.serving.page.test_page_faults import CAPTIONS, refuses


def faults_by_axe(page) -> list[str]:
    """What axe-core finds, one line a rule with the first element concerned."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    found = axe.Axe().run(page).response["violations"]
    return [f"{rule['id']}: {rule['help']} ({rule['nodes'][0]['html'][:120]})" for rule in found]


def scrolls_sideways(page) -> bool:
    return page.evaluate("document.documentElement.scrollWidth > innerWidth")


def empty(page, write, add):
    page.click("#style-search")


def filled(page, write, add):
    write(page, red="red.png", blue="b" * 60 + ".png")
    page.locator(".keep").first.click()
    page.click("summary")
    page.locator(".edit").nth(1).click()
    page.keyboard.type(" and ")
    page.wait_for_selector(".completions li")


def kept(page, write, add):
    write(page)
    for place in (0, 1):
        page.locator(".keep").nth(place).click()
        page.wait_for_selector(f"#kept-count:text-is('{place + 1}')")
    page.click("#to-kept")
    page.locator("#kept-items [aria-label^=Remove]").first.click()
    page.wait_for_selector("#undo-panel")


def failed(page, write, add):
    page.route(CAPTIONS, refuses(401, "unauthorized", "this needs the service's token"))
    add(page, red="red.png")
    page.set_input_files("#files", [{"name": "notes.txt", "mimeType": "text/plain", "buffer": b"words"}])
    page.click("#write")
    page.wait_for_selector("article[data-state=failed]")


STATES = (empty, filled, kept, failed)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("state", STATES, ids=lambda state: state.__name__)
def test_axe_finds_nothing_and_nothing_is_wider_than_a_phone(open_page, write, add_pictures, artefacts, state, scheme):
    page = open_page(width="phone" if scheme == "dark" else "desk", color_scheme=scheme, reduced_motion="reduce")
    state(page, write, add_pictures)
    page.screenshot(path=artefacts / f"{state.__name__}_{scheme}.png", full_page=True)
    assert faults_by_axe(page) == []
    page.set_viewport_size({"width": 360, "height": 740})
    assert not scrolls_sideways(page)


def test_two_models_fit_a_phone_one_below_the_other(open_page, write, artefacts):
    with serving(ScriptedModel(), ScriptedModel("second")) as url:
        page = open_page(url, width="phone")
        page.select_option("#other-model", "second")
        write(page)
        page.screenshot(path=artefacts / "two_models_phone.png", full_page=True)
        first, second = (page.locator(".cell").nth(place).bounding_box() for place in (0, 1))
        assert second["y"] >= first["y"] + first["height"]
        assert not scrolls_sideways(page)
        assert faults_by_axe(page) == []


def test_colours_follow_the_system_until_the_button_says_otherwise_and_stay(open_page):
    page = open_page(color_scheme="dark")
    background = "getComputedStyle(document.body).backgroundColor"
    assert page.evaluate(background) == "rgb(19, 19, 22)"
    page.click("[aria-label='Use light colours']")
    assert page.evaluate(background) == "rgb(247, 246, 243)"
    page.reload()
    assert page.evaluate(background) == "rgb(247, 246, 243)"
    assert page.get_attribute("#theme", "aria-label") == "Use dark colours"


def test_nothing_moves_where_that_is_not_wanted(open_page, add_pictures):
    page = open_page()
    page.route(CAPTIONS, lambda route: None)
    add_pictures(page, red="red.png")
    page.click("#write")
    page.wait_for_selector("article[data-state=working]")
    animation = "element => getComputedStyle(element).animationName"
    assert page.eval_on_selector(".spinner", animation) == "turn"
    page.emulate_media(reduced_motion="reduce")
    assert page.eval_on_selector(".spinner", animation) == "none"


def test_a_caption_is_written_and_kept_with_the_keyboard_alone(open_page, add_pictures):
    page = open_page()
    add_pictures(page, red="red.png")

    def tab_to(selector: str) -> None:
        for _ in range(40):
            page.keyboard.press("Tab")
            if page.evaluate(f"document.activeElement.matches({selector!r})"):
                return
        pytest.fail(f"Tab never comes to {selector}")

    tab_to("#style-search")
    tab_to("#write")
    page.keyboard.press("Enter")
    page.wait_for_selector("article[data-state=done]")
    assert "4 captions written" in page.inner_text("#announcer")
    tab_to(".keep")
    page.keyboard.press("Space")
    page.wait_for_selector("#kept-count:text-is('1')")
    assert page.evaluate("document.activeElement.getAttribute('aria-pressed')") == "true"
