"""What the bot does with messages and buttons."""

from __future__ import annotations

import asyncio
import html
import io
import logging
from collections.abc import Sequence

import aiohttp
from aiogram import Bot, F, Router
from aiogram.exceptions import TelegramAPIError, TelegramBadRequest, TelegramRetryAfter
from aiogram.filters import Command, CommandObject
from aiogram.types import CallbackQuery, InlineKeyboardMarkup, Message

from serving.telegram.messages import (
    HELP,
    MAX_BYTES,
    Albums,
    Remembered,
    Unfit,
    Wish,
    again_keyboard,
    caption_text,
    in_messages,
    is_addressed,
    picture_of,
    style_keyboard,
    styles_named,
    without_mention,
)
from serving.telegram.service import AT_ONCE, Service, ServiceFault, Styles

logger = logging.getLogger(__name__)

CHAT = 0
"""In place of a message's number: what belongs to the chat."""
NO_STYLES = "off"
SHOWN = 100
"""Characters of what somebody wrote that an answer repeats: no tag may come to stand in two messages."""
LONGEST_WAIT = 30
"""Seconds that an answer waits where the bot has written too much for Telegram."""
GONE = "I have forgotten that picture. Please send it again."
OLD = "The styles have changed. Please send the picture again."


class Conversation:
    """Everything that the bot remembers and does; holds nothing of a chat but its default style and open wishes.

    Args:
        service: That captions.
        albums: Puts albums together.
    """

    def __init__(self, service: Service, albums: Albums | None = None) -> None:
        self.service = service
        self.albums = Albums() if albums is None else albums
        self.defaults: Remembered[str] = Remembered()
        self.wishes: Remembered[Wish] = Remembered()
        self._held = asyncio.Semaphore(AT_ONCE)  # pictures in memory, whatever else waits

    def router(self) -> Router:
        """What takes the updates."""
        router = Router()
        router.message.register(self.help, Command("start", "help"))
        router.message.register(self.list_styles, Command("styles"))
        router.message.register(self.set_default, Command("style"))
        router.message.register(self.read)
        router.callback_query.register(self.press, F.data)
        return router

    async def help(self, message: Message, bot: Bot) -> None:
        """Say what can be done here."""
        if not is_addressed(message, await bot.me()):
            return
        try:
            styles = await self.service.styles()
            example = next((name for name in styles.names if name != styles.neutral), styles.neutral)
        except ServiceFault:
            example = "romantic"
        await answer(message, HELP.format(example=html.escape(example)))

    async def list_styles(self, message: Message, bot: Bot) -> None:
        """Name all styles."""
        if not is_addressed(message, await bot.me()):
            return
        styles = await self._styles_for(message)
        if styles is None:
            return
        named = "\n".join(html.escape(name) for name in styles.names)
        await answer(message, f"{len(styles.names)} styles:\n{named}")

    async def set_default(self, message: Message, bot: Bot, command: CommandObject) -> None:
        """Take a style for all pictures of this chat, or ask for one."""
        me = await bot.me()
        if not is_addressed(message, me):
            return
        wanted = without_mention(command.args, me)
        if wanted.casefold() == NO_STYLES:
            self.defaults.forget(message.chat.id, CHAT)
            await answer(message, "I ask for the style of each picture again.")
            return
        styles = await self._styles_for(message)
        if styles is None:
            return
        found = next((name for name in styles.names if name.casefold() == wanted.casefold()), None)
        if found is not None:
            await answer(message, self._take_default(message.chat.id, found))
            return
        now = self.defaults.get(message.chat.id, CHAT)
        said = f"I know no style <b>{html.escape(wanted[:SHOWN])}</b>. " if wanted else ""
        said += f"The style of this chat is <b>{html.escape(now)}</b>. " if now else ""
        await answer(message, f"{said}Which one shall it be?", style_keyboard(styles, 0, "d"))

    async def _styles_for(self, message: Message) -> Styles | None:
        """The service's styles; where they cannot be had, the chat is told why."""
        try:
            return await self.service.styles()
        except ServiceFault as fault:
            await answer(message, html.escape(str(fault)))
            return None

    async def read(self, message: Message, bot: Bot) -> None:
        """Caption the pictures of a message, or the picture that a text answers."""
        me = await bot.me()
        album = await self.albums.gather(message)
        if not album or not any(is_addressed(one, me) for one in album):
            return
        try:
            files = tuple(file for one in album if (file := picture_of(one)) is not None)
            text = next((one.caption or one.text for one in album if one.caption or one.text), "")
            if not files and message.text and (file := picture_of(message.reply_to_message)):
                files = (file,)
            if not files:
                if message.chat.type == "private":
                    await answer(message, "Send me a picture, please; /help says more.")
                return
            await self._wish(album[0], bot, files, without_mention(text, me))
        except Unfit as unfit:
            await answer(message, html.escape(str(unfit)))

    async def press(self, pressed: CallbackQuery, bot: Bot) -> None:
        """A button of a keyboard."""
        message = pressed.message
        if not isinstance(message, Message):  # too old for Telegram to show it
            await acknowledge(pressed, GONE)
            return
        if pressed.data == "again":
            await self._again(pressed, message, bot)
            return
        purpose, mark, number = (*(pressed.data or "").split(":"), "", "")[:3]
        try:
            styles = await self.service.styles()
        except ServiceFault as fault:
            await acknowledge(pressed, str(fault)[:190])
            return
        if mark != styles.mark or not number.isdecimal() or int(number) >= len(styles.names):
            await acknowledge(pressed, OLD)
        elif purpose.endswith("p"):
            await acknowledge(pressed)
            await change(message, style_keyboard(styles, int(number), purpose[0]))
        elif purpose == "d":
            await acknowledge(pressed)
            await answer(message, self._take_default(message.chat.id, styles.names[int(number)]))
        elif purpose == "s":
            await self._chosen(pressed, message, bot, styles.names[int(number)])

    async def _chosen(self, pressed: CallbackQuery, message: Message, bot: Bot, style: str) -> None:
        """A style was chosen for the pictures that a keyboard answers."""
        wish = self.wishes.get(message.chat.id, message.message_id)
        try:
            # Of a keyboard from before the bot was started again, Telegram itself remembers the picture.
            file = picture_of(message.reply_to_message) if wish is None else None
        except Unfit:
            file = None
        if wish is None and file is None:
            await acknowledge(pressed, GONE)
            return
        await acknowledge(pressed)
        files = wish.files if wish is not None else (file or "",)
        await self._caption(message, bot, Wish(files, (style,)))

    async def _again(self, pressed: CallbackQuery, message: Message, bot: Bot) -> None:
        wish = self.wishes.get(message.chat.id, message.message_id)
        self.wishes.forget(message.chat.id, message.message_id)
        await acknowledge(pressed, GONE if wish is None else None)
        if wish is not None:
            await change(message, None)
            await self._caption(message, bot, wish)

    def _take_default(self, chat: int, style: str) -> str:
        self.defaults.put(chat, CHAT, style)
        return f"From now on I write <b>{html.escape(style)}</b> captions here; /style off asks again."

    async def _wish(self, message: Message, bot: Bot, files: tuple[str, ...], text: str) -> None:
        """Caption pictures in the styles that a text names, in the chat's, or ask for one."""
        try:
            styles = await self.service.styles()
        except ServiceFault as fault:
            await self._fail(message, Wish(files, styles_named(text)), fault)
            return
        wanted = styles_named(text, styles.names)
        default = self.defaults.get(message.chat.id, CHAT)
        if wanted or default:
            await self._caption(message, bot, Wish(files, wanted or (default or "",)))
        else:
            await self._ask_style(message, files, styles, "In which style?")

    async def _ask_style(self, message: Message, files: tuple[str, ...], styles: Styles, said: str) -> None:
        sent = await answer(message, said, style_keyboard(styles, 0, "s"))
        if sent is not None:
            self.wishes.put(message.chat.id, sent.message_id, Wish(files))

    async def _caption(self, message: Message, bot: Bot, wish: Wish) -> None:
        """Write captions of pictures, one picture after another, and send them in one message."""
        try:
            await bot.send_chat_action(message.chat.id, "typing")
        except TelegramAPIError:
            logger.debug("no chat action")
        written: list[list[tuple[str, str]]] = []
        try:
            for file in wish.files:
                async with self._held:
                    written.append(await self.service.caption(await download(bot, file), wish.styles))
        except ServiceFault as fault:
            await self._fail(message, wish, fault)
        except Unfit as unfit:
            await answer(message, html.escape(str(unfit)))
        except (TelegramAPIError, aiohttp.ClientError, OSError) as error:
            logger.warning("a picture cannot be had from Telegram (%s)", type(error).__name__)
            gone = ServiceFault("Telegram does not give me that picture just now.", may_pass=True)
            await self._fail(message, wish, gone)
        else:
            await answer(message, caption_text(written))

    async def _fail(self, message: Message, wish: Wish, fault: ServiceFault) -> None:
        """Say what went wrong, with a way on: the same again, or another style."""
        logger.warning("no captions: %s", fault.code or fault)
        said = html.escape(str(fault))
        if fault.code == "unknown_style":
            try:
                await self._ask_style(message, wish.files, await self.service.styles(), f"{said}\nIn which style?")
            except ServiceFault:
                await answer(message, said)
            return
        sent = await answer(message, said, again_keyboard() if fault.may_pass else None)
        if sent is not None and fault.may_pass:
            self.wishes.put(message.chat.id, sent.message_id, wish)


async def answer(message: Message, text: str, keyboard: InlineKeyboardMarkup | None = None) -> Message | None:
    """Answer a message with HTML; the last piece of a long text has the keyboard. None if Telegram does not take it."""
    sent, pieces = None, in_messages(text)
    for number, piece in enumerate(pieces, start=1):
        markup = keyboard if number == len(pieces) else None
        reply = message.reply(piece, reply_markup=markup, allow_sending_without_reply=True)
        try:
            try:
                sent = await reply
            except TelegramRetryAfter as full:
                await asyncio.sleep(min(full.retry_after, LONGEST_WAIT))
                sent = await reply
        except TelegramAPIError as error:  # somebody has blocked the bot, or it may not write there
            logger.warning("an answer was not taken (%s)", type(error).__name__)
            return None
    return sent


async def acknowledge(pressed: CallbackQuery, text: str | None = None) -> None:
    """Take the waiting off a button; one that was pressed long ago has lost it already."""
    try:
        await pressed.answer(text)
    except TelegramAPIError as error:
        logger.debug("a button is not waited for (%s)", type(error).__name__)


async def change(message: Message, keyboard: InlineKeyboardMarkup | None) -> None:
    """Put another keyboard in the place of a message's."""
    try:
        await message.edit_reply_markup(reply_markup=keyboard)
    except TelegramBadRequest:  # the same page once more
        logger.debug("the keyboard is as it was")


async def download(bot: Bot, file: str) -> bytes:
    """The bytes of a file.

    Raises:
        Unfit: If it is too large.
        TelegramAPIError: If Telegram does not give it.
    """
    found = await bot.get_file(file)
    buffer = _Limited()
    await bot.download_file(found.file_path or "", destination=buffer)
    return buffer.getvalue()


class _Limited(io.BytesIO):
    """Takes no more than a picture may have, whatever size was told before."""

    def write(self, data: Sequence[int] | bytes) -> int:  # type: ignore[override]
        if self.tell() + len(data) > MAX_BYTES:
            raise Unfit(f"This file is too large: at most {MAX_BYTES // 1_000_000} MB, please.")
        return super().write(bytes(data))
