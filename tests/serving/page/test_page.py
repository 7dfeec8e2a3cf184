"""The page in a real browser: from a picture to captions, changed, kept, saved and shared."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from PIL import Image

from preprocessors.formats.rows import Source
from preprocessors.formats.table import FORMATS
from tests.serving.page.conftest import serving
from tests.serving.page.scripted_model import COLOURS, ScriptedModel, picture_of

HUNDREDS = (
    "neutral",
    *(f"Mood {number}" for number in range(210)),
    "Mellow (Soothing, Sweet)",
    "Crème",
    "Old-fashioned",
)


def captions_of(page, card=0):
    return page.locator("article").nth(card).locator(".caption").all_inner_texts()


def chosen_styles(page):
    return page.locator("#chips li").all_inner_texts()


def saved(page, button):
    with page.expect_download() as download:
        page.click(button)
    return download.value


def test_page_without_pictures_says_what_to_do_and_asks_for_one(open_page):
    page = open_page()
    assert page.locator("#steps li").count() == 3
    assert page.inner_text("#plan") == "Add a picture first."
    page.press("#write", "Enter")
    assert page.locator("article").count() == 0


def test_pictures_are_captioned_in_every_chosen_style_with_the_time_taken(open_page, write):
    page = open_page()
    cards = write(page, red="a.png", blue="b.png")
    assert captions_of(page, 0) == [
        f"{style} words of first on red" for style in ("neutral", "romantic", "pirate", "robot")
    ]
    assert captions_of(page, 1)[0] == "neutral words of first on blue"
    words, seconds = cards.nth(0).locator(".status").inner_text().removesuffix(" s").split(" · ")
    assert words == "4 captions"
    assert float(seconds) >= 0
    assert page.inner_text("#plan") == "All of this is written."


def test_another_style_is_asked_for_alone_and_an_edit_stays(open_page, write, model):
    page = open_page()
    page.click("#chips li:has-text('robot') button")
    write(page)
    page.locator(".edit").first.click()
    page.keyboard.type("!")
    page.keyboard.press("Escape") if page.locator(".completions li").count() else None
    page.keyboard.press("Enter")
    before = len(model.asked)
    page.fill("#style-search", "rob")
    page.keyboard.press("Enter")
    page.click("#write")
    page.locator(".style:nth-child(4) .caption").wait_for()
    assert captions_of(page)[0].startswith("neutral words of first on red!")
    assert captions_of(page)[3] == "robot words of first on red"
    assert len(model.asked) == before + 1


def test_options_reach_the_model(open_page, write, model):
    page = open_page()
    page.click("summary")
    page.fill("#num", "2")
    page.fill("#guidance", "1.5")
    page.fill("#prefix", "oh my love ")
    write(page)
    asked = model.asked[-1]
    assert (asked.num, asked.guidance, asked.prefix, asked.sampling) == (2, 1.5, "oh my love", "beam")
    assert captions_of(page)[:2] == [
        "oh my love neutral words of first on red",
        "oh my love neutral words of first on red number 2",
    ]
    page.check("input[value=multinomial]")
    page.click("#write")
    page.locator("article[data-state=done] .caption").first.wait_for()
    page.wait_for_selector("#running", state="hidden")
    assert model.asked[-1].sampling == "multinomial"
    assert model.asked[-1].seed != asked.seed


def test_more_captions_than_beams_are_refused_at_the_field(open_page, add_pictures):
    page = open_page()
    add_pictures(page, red="red.png")
    page.click("summary")
    page.fill("#num", "5")
    page.click("#write")
    assert "4 beams give at most 4 captions" in page.eval_on_selector("#num", "field => field.validationMessage")
    assert page.locator("article[data-state=new]").count() == 1


def test_styles_are_found_among_hundreds_by_keyboard(open_page):
    with serving(ScriptedModel(styles=HUNDREDS, aliases={"Retro": "Old-fashioned"})) as url:
        page = open_page(url)
        assert chosen_styles(page) == []
        found = {}
        for typed in ("soo", "creme", "retro", "mood 20"):
            page.fill("#style-search", typed)
            found[typed] = page.locator("#style-list [role=option]").all_inner_texts()
            page.keyboard.press("Enter")
        assert found["soo"] == ["Mellow (Soothing, Sweet)"]
        assert found["creme"] == ["Crème"]
        assert found["retro"] == ["Old-fashioned"]
        assert found["mood 20"] == ["Mood 20", *(f"Mood {number}" for number in range(200, 210))]
        assert chosen_styles(page) == ["Mellow (Soothing, Sweet)", "Crème", "Old-fashioned", "Mood 20"]
        page.fill("#style-search", "")
        page.keyboard.press("Backspace")
        assert chosen_styles(page)[-1] == "Old-fashioned"
        page.keyboard.press("ArrowDown")
        active = page.get_attribute("#style-search", "aria-activedescendant")
        assert page.inner_text(f"#{active}") == "Mood 20"  # the latest one comes first
        page.keyboard.press("Escape")
        assert page.get_attribute("#style-search", "aria-expanded") == "false"
        page.fill("#style-search", "nobody")
        assert page.inner_text("#style-note") == "No style is called that here."


def test_all_of_hundreds_are_written_though_a_request_takes_few(open_page, write):
    with serving(ScriptedModel(styles=HUNDREDS[:40])) as url:
        page = open_page(url)
        page.click("#styles-all")
        write(page)
        assert len(captions_of(page)) == 40


def test_two_styles_at_once_are_offered_in_the_models_order(open_page, write):
    page = open_page()
    page.click("#styles-none")
    page.fill("#style-search", "pirate+romantic")
    page.keyboard.press("Enter")
    assert chosen_styles(page) == ["romantic+pirate"]
    write(page)
    assert captions_of(page) == ["romantic+pirate words of first on red"]


def test_a_caption_is_edited_with_completion_by_keyboard(open_page, write):
    page = open_page()
    write(page)
    page.locator(".edit").nth(1).focus()
    page.keyboard.press("Enter")
    field = page.locator(".editor textarea")
    field.fill("oh my ")
    page.wait_for_selector(".completions li")
    assert page.locator(".completions li").all_inner_texts() == ["love", "moon"]
    assert "Tab takes “love”" in page.inner_text("#announcer")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Tab")
    assert field.input_value() == "oh my moon"
    page.wait_for_selector(".completions li:text-is('of romantic')")
    page.keyboard.press("ArrowRight")
    assert field.input_value() == "oh my moon and so on"
    page.wait_for_selector(".completions li")
    page.keyboard.press("Escape")
    assert page.locator(".completions li").count() == 0
    page.keyboard.type(" half")
    page.wait_for_selector(".completions li:text-is('half-typed')")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert captions_of(page)[1].startswith("oh my moon and so on half-typed")
    assert page.locator(".mark").all_inner_texts() == ["edited"]
    assert (
        page.evaluate("document.activeElement.getAttribute('aria-label')") == "Edit “oh my moon and so on half-typed”"
    )


def test_who_edits_while_other_captions_come_stays_in_the_field(open_page, write, add_pictures):
    page, held = open_page(), []
    write(page)
    page.route("**/v1/captions", lambda route: held.append(route))
    add_pictures(page, blue="blue.png")
    with page.expect_request("**/v1/captions"):
        page.click("#write")
    page.locator(".edit").first.click()
    page.fill(".editor textarea", "a red")
    held[0].continue_()
    page.wait_for_selector("#results article:nth-child(2)[data-state=done]")
    page.keyboard.type(" dress")
    page.keyboard.press("Enter")
    assert captions_of(page)[0].startswith("a red dress")


def test_escape_leaves_a_caption_as_it_was_and_an_empty_one_is_refused(open_page, write):
    page = open_page()
    write(page)
    page.locator(".edit").first.click()
    page.fill(".editor textarea", " ")
    page.keyboard.press("Enter")
    assert "needs a word" in page.inner_text(".editor .foot")
    page.keyboard.press("Escape") if page.locator(".completions li").count() else None
    page.keyboard.press("Escape")
    assert captions_of(page)[0] == "neutral words of first on red"


def test_kept_captions_survive_a_reload_and_are_read_as_our_jsonl(open_page, write, tmp_path: Path):
    page = open_page()
    page.click("summary")
    page.fill("#num", "2")
    write(page, red="a photo.png", blue="größe 😀.png")
    for place in (0, 1, 2, 8):
        page.locator(".keep").nth(place).click()
        page.wait_for_selector(f"#kept-count:text-is('{[1, 2, 3, 0, 0, 0, 0, 0, 4][place]}')")
    page.reload()
    page.click("#to-kept")
    assert page.inner_text("#kept-summary") == "4 captions of 2 pictures"
    download = saved(page, "#kept-save")
    assert download.suggested_filename == "captions.jsonl"
    download.save_as(tmp_path / "train.jsonl")
    rows = [*FORMATS["jsonl"].open_rows(Source(tmp_path / "train.jsonl", None, "train", ""))]
    first = "words of first on red"
    assert [(row.image, dict(row.captions)) for row in rows] == [
        ("a photo.png", {"neutral": (f"neutral {first}", f"neutral {first} number 2")}),
        ("a photo.png", {"romantic": (f"romantic {first}",)}),
        ("größe 😀.png", {"neutral": ("neutral words of first on blue",)}),
    ]


def test_a_kept_caption_is_changed_removed_and_brought_back(open_page, write):
    page = open_page()
    write(page)
    page.locator(".keep").first.click()
    page.wait_for_selector("#kept-count:text-is('1')")
    page.click("#to-kept")
    page.click("#kept-items [aria-label^=Edit]")
    page.fill(".editor textarea", "better words")
    page.keyboard.press("Enter")
    assert page.locator("#kept-items .caption").all_inner_texts() == ["better words"]
    page.click("#kept-items [aria-label^=Remove]")
    assert page.is_visible("#kept-empty")
    page.click("#undo")
    assert page.locator("#kept-items .caption").all_inner_texts() == ["better words"]


def test_another_picture_of_the_same_name_is_not_kept_under_it(open_page, write, add_pictures):
    page = open_page()
    write(page)
    page.locator(".keep").first.click()
    page.wait_for_selector("#kept-count:text-is('1')")
    write(page, blue="red.png")
    page.locator("article").nth(1).locator(".keep").first.click()
    assert "another picture called red.png" in page.locator("article").nth(1).locator(".fault").inner_text()
    assert page.inner_text("#kept-count") == "1"


def test_a_full_browser_refuses_to_keep_and_says_what_to_do(open_page, write):
    page = open_page()
    write(page)
    page.evaluate(
        """for (let size = 5_300_000; size > 0; size -= 10_000) {
            try { localStorage.setItem("other", "x".repeat(size)); break; } catch {}
        }"""
    )
    page.evaluate("for (let n = 0; n < 5000; n += 1) try { localStorage.setItem(`o${n}`, 'x') } catch { break }")
    page.locator(".keep").first.click()
    assert "Save the list, clear it, and go on" in page.locator("article .fault").inner_text()
    assert page.inner_text("#kept-count") == "0"


def test_two_models_stand_side_by_side_and_what_one_lacks_is_said(open_page, write):
    with serving(ScriptedModel(), ScriptedModel("second", ("neutral", "robot", "poet"))) as url:
        page = open_page(url)
        page.select_option("#other-model", "second")
        page.wait_for_selector("#styles-all:has-text('All 5')")
        page.click("#styles-none")
        for style in ("romantic", "robot"):
            page.fill("#style-search", style)
            page.keyboard.press("Enter")
        write(page)
        cells = [cell.replace("\n\n", "\n").split("\n") for cell in page.locator(".cell").all_inner_texts()]
        assert cells == [
            ["first", "romantic words of first on red"],
            ["second", "not trained in this style"],
            ["first", "robot words of first on red"],
            ["second", "robot words of second on red"],
        ]
        left, right = (page.locator(".cell").nth(place).bounding_box() for place in (2, 3))
        assert left["y"] == right["y"]
        assert left["x"] + left["width"] <= right["x"]


def test_a_picture_is_shared_as_png_and_json(open_page, write, tmp_path: Path):
    page = open_page()
    write(page, blue="the sea.jpg")
    card = saved(page, "[aria-label='Share the sea.jpg as PNG']")
    assert card.suggested_filename == "the sea.png"
    card.save_as(tmp_path / "card.png")
    with Image.open(tmp_path / "card.png") as image:
        assert image.getpixel((image.width // 2, 200))[:3] == COLOURS["blue"]
        assert image.getpixel((4, 4))[:3] == (255, 255, 255)
        words = image.convert("L").crop((60, image.height - 700, image.width - 60, image.height))
        assert sum(words.histogram()[:90]) > 2000  # dark pixels: the captions
    about = json.loads(Path(saved(page, "[aria-label='Share the sea.jpg as JSON']").path()).read_text(encoding="utf-8"))
    assert about["image"] == "the sea.jpg"
    assert [caption["text"] for caption in about["captions"]] == captions_of(page)
    assert about["captions"][0] == {
        **{"text": "neutral words of first on blue", "log_prob": -1.5, "cut": False},
        **{"style": "neutral", "model": "first"},
    }


@pytest.mark.parametrize("way", ["drop", "paste"])
def test_pictures_are_dropped_and_pasted(open_page, way):
    page = open_page()
    page.evaluate(
        """([way, bytes]) => {
            const data = new DataTransfer();
            data.items.add(new File([new Uint8Array(bytes)], "image.png", {type: "image/png"}));
            const event = way === "drop"
                ? new DragEvent("drop", {dataTransfer: data, bubbles: true, cancelable: true})
                : new ClipboardEvent("paste", {clipboardData: data, bubbles: true});
            document.body.dispatchEvent(event);
        }""",
        [way, [*picture_of("green")]],
    )
    name = page.locator("article .file").inner_text()
    assert name == "image.png" if way == "drop" else name.startswith("pasted-")
    assert page.eval_on_selector("article img", "image => image.decode().then(() => image.naturalWidth)") == 48


def test_what_is_no_picture_is_left_out_and_named(open_page, add_pictures):
    page = open_page()
    page.set_input_files(
        "#files",
        [
            {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"words"},
            {"name": "red.png", "mimeType": "image/png", "buffer": picture_of("red")},
        ],
    )
    page.locator("article").wait_for()
    assert "notes.txt is no picture" in page.inner_text("#left-out")
    add_pictures(page, blue="blue.png")
    assert not page.is_visible("#left-out")
    assert page.locator("article .file").all_inner_texts() == ["red.png", "blue.png"]


def test_names_styles_and_captions_with_markup_stay_words(open_page, write):
    evil = "<img src=x onerror=alert(1)>"
    with serving(ScriptedModel("first", ("neutral", evil))) as url:
        page = open_page(url)
        page.on("dialog", lambda dialog: pytest.fail(f"a script ran: {dialog.message}"))
        write(page, red=f"{evil}.png")
        assert captions_of(page)[1] == f"{evil} words of first on red"
        page.locator(".keep").nth(1).click()
        page.wait_for_selector("#kept-count:text-is('1')")
        page.click("#style-search")
        page.click("#to-kept")
        assert page.locator("#kept-items .file").inner_text() == f"{evil}.png"
        assert page.locator("img[src=x], img[onerror]").count() == 0


def test_page_is_served_under_a_policy_that_lets_in_nothing_else(open_page, address):
    page = open_page()
    policy = page.request.get(address).headers["content-security-policy"]
    rules = dict(rule.split(None, 1) for rule in policy.split("; ") if " " in rule.strip())
    assert rules["default-src"] == "'self'"
    assert not any("unsafe" in rule for rule in rules.values())
    own = page.request.get(address).text()
    assert not re.findall(r"\sstyle=|\son\w+=|<style|<script(?![^>]*src=)|https?://", own)
