"""The bot between a Bot API and a captioning service, both of this machine."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("aiogram", reason="aiogram is not installed (requirements-serve.txt)")

from aiohttp import web  # comes with aiogram

from serving import telegram_bot
from serving.telegram.messages import Unfit, in_messages, style_keyboard, styles_named
from serving.telegram.service import AT_ONCE, Styles
from tests.serving.telegram.fakes import PICTURE, TOKEN, BotApi, CaptionService

REPOSITORY = Path(__file__).resolve().parents[3]
STYLES = ["neutral", "romantic", "Creative, bold", *(f"style {number}" for number in range(300))]
Scene = Callable[[BotApi, CaptionService], Awaitable[None]]


@pytest.fixture
def play(monkeypatch) -> Callable[[Scene], None]:
    """Runs a scene with the bot between both servers, and ends the bot."""

    def start(scene: Scene, *, service_is_there: bool = True, token: str = TOKEN) -> None:
        async def run() -> None:
            api, captions = BotApi(), CaptionService(STYLES)
            runners = [web.AppRunner(app) for app in (api.app(), captions.app())]
            urls = [await _serve(runner) for runner in runners]
            if not service_is_there:
                await runners[1].cleanup()
            monkeypatch.setenv("STYLECAP_TELEGRAM_API", urls[0])
            monkeypatch.setenv("STYLECAP_TOKEN", "service-secret\n")
            bot = asyncio.create_task(telegram_bot.run(urls[1], token))
            try:
                playing = asyncio.create_task(scene(api, captions))
                done, _ = await asyncio.wait({bot, playing}, return_when=asyncio.FIRST_COMPLETED, timeout=120)
                if bot in done:
                    playing.cancel()
                    bot.result()
                    raise AssertionError("the bot has ended")
                playing.result()
                os.kill(os.getpid(), signal.SIGTERM)  # what aiogram listens to meanwhile
                assert await asyncio.wait_for(bot, 60) == 0
            finally:
                bot.cancel()
                await asyncio.gather(*(runner.cleanup() for runner in runners))

        asyncio.run(run())

    return start


async def _serve(runner: web.AppRunner) -> str:
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert site._server is not None
    return f"http://127.0.0.1:{runner.addresses[0][1]}"


def buttons(sent: dict[str, Any]) -> list[tuple[str, str]]:
    return [(one["text"], one["callback_data"]) for row in sent["reply_markup"]["inline_keyboard"] for one in row]


def as_sent(sent: dict[str, Any], number: int, question: dict[str, Any] | None) -> dict[str, Any]:
    """The bot's message as Telegram shows it with a press of its button."""
    chat = {"id": sent["chat_id"], "type": "private"}
    known = {"message_id": number, "date": 1, "chat": chat, "text": sent["text"]}
    return known | ({} if question is None else {"reply_to_message": question})


def test_photo_with_a_style_gets_its_caption_escaped_and_the_service_its_token(play):
    async def scene(api: BotApi, service: CaptionService) -> None:
        asked = api.photo(caption="romantic")
        (sent,) = await api.wait(1)
        assert sent["text"] == "&lt;a&gt; romantic &amp; cat"
        assert sent["parse_mode"] == "HTML"
        assert sent["reply_parameters"]["message_id"] == asked["message_id"]
        assert service.asked == [(PICTURE, ["romantic"], "Bearer service-secret")]
        api.photo(caption="romantic, style 4")
        sent = (await api.wait(2))[1]
        first, second = sent["text"].split("\n")
        assert first == "<b>romantic</b>: &lt;a&gt; romantic &amp; cat"
        assert second == "<b>style 4</b>: &lt;a&gt; style 4 &amp; cat"
        api.photo(caption="creative, BOLD")  # one style, with a comma in its name
        assert (await api.wait(3))[2]["text"] == "&lt;a&gt; creative, BOLD &amp; cat"

    play(scene)


def test_photo_without_a_style_is_asked_for_one_and_pages_are_turned(play):
    async def scene(api: BotApi, service: CaptionService) -> None:
        asked = api.photo()
        (sent,) = await api.wait(1)
        assert sent["text"] == "In which style?"
        assert service.asked == []
        choices = dict(buttons(sent))
        assert len(choices) == 12 + 3
        keyboard = as_sent(sent, 5, {**asked})
        api.press(choices["▶"], keyboard)
        (turned,) = await api.wait(1, "editMessageReplyMarkup")
        assert [text for text, _ in buttons(turned)][0] == "style 9"
        # The bot remembers nothing of message 5, as after a start anew: Telegram does.
        api.press(choices["romantic"], keyboard)
        assert (await api.wait(2))[1]["text"] == "&lt;a&gt; romantic &amp; cat"
        service.styles = ["neutral", "pirate"]
        api.press(choices["romantic"].replace(":", ":x"), keyboard)
        answers = await api.wait(3, "answerCallbackQuery")
        assert answers[2]["text"] == "The styles have changed. Please send the picture again."

    play(scene)


def test_style_of_a_chat_holds_for_its_pictures_alone(play):
    async def scene(api: BotApi, service: CaptionService) -> None:
        api.send(text="/style ROMANTIC")
        assert "<b>romantic</b> captions here" in (await api.wait(1))[0]["text"]
        api.photo()
        await api.wait(2)
        api.photo(chat=2)
        assert (await api.wait(3))[2]["text"] == "In which style?"
        api.send(text="/style <off-key>")
        unknown = (await api.wait(4))[3]
        assert "I know no style <b>&lt;off-key&gt;</b>. The style of this chat is <b>romantic</b>." in unknown["text"]
        api.press(dict(buttons(unknown))["style 1"], as_sent(unknown, 5, None))
        assert "<b>style 1</b>" in (await api.wait(5))[4]["text"]
        api.send(text="/style off")
        await api.wait(6)
        api.photo()
        assert (await api.wait(7))[6]["text"] == "In which style?"
        assert [styles for _, styles, _ in service.asked] == [["romantic"]]

    play(scene)


def test_documents_albums_and_answers_to_pictures_are_captioned(play):
    async def scene(api: BotApi, service: CaptionService) -> None:
        document = {"file_id": "f1", "file_unique_id": "u", "mime_type": "image/png", "file_size": 99}
        api.send(document=document, caption="romantic")
        await api.wait(1)
        picture = api.photo(caption="romantic", media_group_id="album")
        api.photo(media_group_id="album")
        album = (await api.wait(2))[1]["text"]
        assert album.startswith("<b>Picture 1</b>\n<b>romantic</b>: ")
        assert "<b>Picture 2</b>" in album
        api.send(text="style 2", reply_to_message=picture)
        assert (await api.wait(3))[2]["text"] == "&lt;a&gt; style 2 &amp; cat"
        api.send(document=document | {"file_size": 20_000_001})
        assert "too large: Telegram gives me at most 20 MB" in (await api.wait(4))[3]["text"]
        api.files["f1"] = bytes(20_000_001)  # more than was told
        api.send(document=document, caption="romantic")
        assert "too large" in (await api.wait(5))[4]["text"]
        api.send(document=document | {"mime_type": "application/pdf"})
        assert "Send me a picture" in (await api.wait(6))[5]["text"]
        assert len(service.asked) == 4

    play(scene)


def test_group_is_answered_when_the_bot_is_meant(play):
    async def scene(api: BotApi, service: CaptionService) -> None:
        group: dict[str, Any] = {"chat": -5, "kind": "supergroup"}
        api.photo(caption="romantic", **group)
        api.photo(caption="romantic @cap_bottle", **group)
        api.send(text="/styles", **group)
        api.photo(caption="@Cap_Bot romantic", **group)
        (sent,) = await api.wait(1)
        assert sent["text"] == "&lt;a&gt; romantic &amp; cat"
        mine = {"message_id": 3, "date": 1, "chat": {"id": -5, "type": "supergroup"}, "text": "hello"}
        mine["from"] = {"id": 7, "is_bot": True, "first_name": "Cap"}
        api.photo(caption="style 1", reply_to_message=mine, **group)
        assert (await api.wait(2))[1]["text"] == "&lt;a&gt; style 1 &amp; cat"
        api.send(text="/styles@cap_bot", **group)
        assert (await api.wait(3))[2]["text"].startswith("303 styles:\nneutral\nromantic")
        assert len(service.asked) == 2

    play(scene)


def test_busy_service_is_asked_again_and_a_failed_one_when_somebody_wishes(play):
    async def scene(api: BotApi, service: CaptionService) -> None:
        service.refusals = [(429, "busy", "queue is full")] * 2
        api.photo(caption="romantic")
        assert (await api.wait(1))[0]["text"] == "&lt;a&gt; romantic &amp; cat"
        assert len(service.asked) == 3
        service.refusals = [(503, "draining", "the service is about to end")]
        asked = api.photo(caption="romantic")
        failed = (await api.wait(2))[1]
        assert failed["text"] == "The captioning service has no answer just now. Please try again in a moment."
        assert buttons(failed) == [("Try again", "again")]
        api.press("again", as_sent(failed, api.numbers[1], asked))
        assert (await api.wait(3))[2]["text"] == "&lt;a&gt; romantic &amp; cat"
        service.refusals = [(415, "not_a_picture", "x")]
        api.photo(caption="romantic")
        broken = (await api.wait(4))[3]
        assert broken["text"].startswith("I cannot read this picture")
        assert "reply_markup" not in broken
        service.refusals = [(422, "unknown_style", "style <x>: unknown; near: romantic")]
        api.photo(caption="<x>")
        unknown = (await api.wait(5))[4]
        assert unknown["text"] == "style &lt;x&gt;: unknown; near: romantic\nIn which style?"
        assert len(buttons(unknown)) == 15

    play(scene)


def test_service_that_is_down_is_told_and_nothing_ends(play, caplog):
    async def scene(api: BotApi, service: CaptionService) -> None:
        api.photo(caption="romantic")
        assert "cannot be reached just now" in (await api.wait(1))[0]["text"]
        api.send(text="/help")
        assert "<code>romantic</code>" in (await api.wait(2))[1]["text"]

    play(scene, service_is_there=False)
    assert "SECRET" not in caplog.text


def test_one_who_waits_does_not_make_others_wait(play):
    async def scene(api: BotApi, service: CaptionService) -> None:
        service.slow, api.files["f1"] = asyncio.Event(), b"slow"
        api.photo(chat=1, caption="romantic")
        async with asyncio.timeout(60):
            while not service.asked:
                await asyncio.sleep(0.01)
        api.files["f1"] = PICTURE
        api.photo(chat=2, caption="romantic")
        assert (await api.wait(1))[0]["chat_id"] == 2
        service.slow.set()
        assert (await api.wait(2))[1]["chat_id"] == 1

    play(scene)


def test_token_that_telegram_does_not_know_is_told(play):
    async def scene(api: BotApi, service: CaptionService) -> None:
        await asyncio.sleep(60)

    with pytest.raises(ValueError, match="STYLECAP_TELEGRAM_TOKEN: Telegram does not know this token"):
        play(scene, token="123456:wrong")


def test_token_of_the_wrong_form_is_told_like_an_unknown_one(play):
    async def scene(api: BotApi, service: CaptionService) -> None:
        api.refused["getMe"] = [(404, "Not Found")]
        await asyncio.sleep(60)

    with pytest.raises(ValueError, match="Telegram does not know this token"):
        play(scene)


def test_telegram_that_is_down_at_the_start_is_asked_again(play, monkeypatch):
    monkeypatch.setattr(telegram_bot, "GREETING_SECONDS", 0)

    async def scene(api: BotApi, service: CaptionService) -> None:
        api.refused["getMe"] = [(502, "Bad Gateway")]
        api.photo(caption="romantic")
        await api.wait(1)
        assert not api.refused["getMe"]

    play(scene)


def test_no_more_pictures_are_fetched_than_are_captioned_at_once(play):
    async def scene(api: BotApi, service: CaptionService) -> None:
        service.slow, api.files["f1"] = asyncio.Event(), b"slow"
        for chat in range(AT_ONCE + 3):
            api.photo(chat=chat + 1, caption="romantic")
        async with asyncio.timeout(60):
            while len(service.asked) < AT_ONCE:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)
        assert len(api.said("getFile")) == AT_ONCE
        service.slow.set()
        await api.wait(AT_ONCE + 3)

    play(scene)


def test_forged_buttons_and_long_names_are_answered(play):
    async def scene(api: BotApi, service: CaptionService) -> None:
        question = api.photo()
        asked = (await api.wait(1))[0]
        mark = asked["reply_markup"]["inline_keyboard"][0][0]["callback_data"].split(":")[1]
        api.press(f"s:{mark}:²", as_sent(asked, api.numbers[0], question))
        assert (await api.wait(1, "answerCallbackQuery"))[0]["text"].startswith("The styles have changed")
        api.send(text="/style " + "<" * 3000)
        (said,) = (await api.wait(2))[1:]
        assert said["text"].count("<b>") == said["text"].count("</b>") == 1

    play(scene)


def test_secret_with_a_line_end_is_in_no_log_line(monkeypatch, capsys):
    async def run(service: str, token: str) -> int:
        logging.getLogger("serving").warning("at %s and %s", token, "service-secret")
        return 0

    monkeypatch.setattr(telegram_bot, "run", run)
    monkeypatch.setenv("STYLECAP_TELEGRAM_TOKEN", f"{TOKEN}\n")
    monkeypatch.setenv("STYLECAP_TOKEN", "service-secret\n")
    before = logging.getLogger().handlers[:]
    try:
        assert telegram_bot.main([]) == 0
    finally:
        for handler in set(logging.getLogger().handlers) - set(before):
            logging.getLogger().removeHandler(handler)
    assert "at *** and ***" in capsys.readouterr().err


@pytest.mark.parametrize(("token", "said"), [("", "is not set"), ("no token", "is no token")])
def test_main_token_missing_or_wrong_exits_with_2(token, said, monkeypatch, capsys):
    monkeypatch.setenv("STYLECAP_TELEGRAM_TOKEN", token)
    assert telegram_bot.main([]) == 2
    assert f"STYLECAP_TELEGRAM_TOKEN {said}" in capsys.readouterr().err.replace(":", "", 2)


def test_main_without_aiogram_says_what_to_install():
    code = "import sys; sys.modules['aiogram'] = None; from serving.telegram_bot import main; sys.exit(main([]))"
    environment = {**os.environ, "STYLECAP_TELEGRAM_TOKEN": TOKEN}
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, env=environment, capture_output=True, text=True)
    assert done.returncode == 2
    assert "aiogram is not installed: pip install -r requirements-serve.txt" in done.stderr
    assert "Traceback" not in done.stderr


def test_secrets_are_in_no_log_line_nor_traceback(capsys):
    from utils.logging import setup_logging

    before = logging.getLogger().handlers[:]
    setup_logging(None)
    try:
        telegram_bot.hide_secrets([TOKEN, ""])
        try:
            raise ValueError(f"http://x/bot{TOKEN}/getMe")
        except ValueError:
            logging.getLogger("serving").exception("at %s", TOKEN)
    finally:
        for handler in set(logging.getLogger().handlers) - set(before):
            logging.getLogger().removeHandler(handler)
    said = capsys.readouterr().err
    assert "Traceback" in said
    assert "at ***" in said
    assert "SECRET" not in said


def test_buttons_of_hundreds_of_long_names_are_no_longer_than_telegram_takes():
    styles = Styles(tuple("ü" * 90 + str(number) for number in range(999)), "neutral")
    for page in (0, 40, 10**6):
        for row in style_keyboard(styles, page, "s").inline_keyboard:
            assert all(len((one.callback_data or "").encode()) <= 64 for one in row)
    assert style_keyboard(Styles(("a",), "a"), 3, "d").inline_keyboard[0][0].callback_data.startswith("d:")
    assert Styles(("a", "b"), "a").mark != Styles(("b", "a"), "a").mark


def test_styles_named_are_divided_by_commas_unless_one_has_a_comma():
    assert styles_named(" romantic ,  pirate+robot,, romantic ") == ("romantic", "pirate+robot")
    assert styles_named("Creative,  BOLD", ["creative, bold"]) == ("Creative, BOLD",)
    assert styles_named("  ") == styles_named(None) == ()
    with pytest.raises(Unfit, match="at most 8 styles"):
        styles_named(",".join("abcdefghi"))


def test_long_text_is_divided_between_lines():
    lines = [f"style {number}" for number in range(900)]
    pieces = in_messages("\n".join(lines))
    assert max(map(len, pieces)) <= 4000
    assert "\n".join(pieces).split("\n") == lines
    assert "".join(in_messages("x" * 9000)) == "x" * 9000
