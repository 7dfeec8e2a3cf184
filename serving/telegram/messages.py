"""What the bot understands of messages, and the keyboards and texts that it answers with."""

from __future__ import annotations

import asyncio
import html
import re
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from aiogram.types import InlineKeyboardButton, InlineKeyboardMarkup, Message, User

from serving.telegram.service import Styles

MAX_BYTES = 20_000_000
"""Of a picture; Telegram gives bots no larger file."""
MAX_TEXT = 4000
"""Characters of a message; Telegram takes 4096."""
MAX_STYLES = 8
"""Named beside one picture."""
COLUMNS, ROWS = 2, 6
PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".heic", ".avif")
HELP = (
    "Send me a picture, and I describe it in the style that you like.\n\n"
    "• A picture with a style as its text, such as <code>{example}</code>: captions in that style; several are "
    "divided by commas.\n"
    "• A picture without a text: I ask for the style.\n"
    "• A style as the answer to a picture works too.\n\n"
    "/styles lists the styles.\n"
    "/style NAME is the style of all pictures of this chat that name none; /style off asks again.\n"
    "In a group, mention me, or answer one of my messages."
)
T = TypeVar("T")


class Remembered(Generic[T]):
    """What belongs to chats and messages, as long as the newest ``most`` are not others; gone when the bot ends."""

    def __init__(self, most: int = 10_000) -> None:
        self._held: OrderedDict[tuple[int, int], T] = OrderedDict()
        self._most = most

    def put(self, chat: int, message: int, value: T) -> None:
        """Keep something for a message of a chat, or for the chat itself, whose message is 0."""
        self._held[chat, message] = value
        self._held.move_to_end((chat, message))
        if len(self._held) > self._most:
            self._held.popitem(last=False)

    def get(self, chat: int, message: int) -> T | None:
        """What was kept; None if there is nothing any more."""
        return self._held.get((chat, message))

    def forget(self, chat: int, message: int) -> None:
        """Keep it no longer."""
        self._held.pop((chat, message), None)


@dataclass(frozen=True)
class Wish:
    """Pictures that somebody wants captions of."""

    files: tuple[str, ...]
    """As Telegram names them."""
    styles: tuple[str, ...] = ()


class Unfit(Exception):
    """A file that no captions can be made of, and why."""


def picture_of(message: Message | None) -> str | None:
    """The picture of a message; None if it has none.

    Raises:
        Unfit: If it is too large.
    """
    if message is None:
        return None
    if message.photo:
        fitting = [size for size in message.photo if (size.file_size or 0) <= MAX_BYTES]
        if fitting:
            return max(fitting, key=lambda size: size.width * size.height).file_id
        raise Unfit(_too_large())
    document = message.document
    if document is None or not _is_picture(document.mime_type, document.file_name):
        return None
    if (document.file_size or 0) > MAX_BYTES:
        raise Unfit(_too_large())
    return document.file_id


def styles_named(text: str | None, known: Sequence[str] = ()) -> tuple[str, ...]:
    """Styles that a text names: all of it if that is a style, else its parts between commas.

    Raises:
        Unfit: If there are too many.
    """
    whole = " ".join((text or "").split())
    if whole.casefold() in {style.casefold() for style in known}:
        return (whole,)
    parts = [part.strip() for part in whole.split(",")]
    styles = tuple(dict.fromkeys(part for part in parts if part))
    if len(styles) > MAX_STYLES:
        raise Unfit(f"Please name at most {MAX_STYLES} styles at once.")
    return styles


def is_addressed(message: Message, me: User) -> bool:
    """Whether a message is meant for the bot: in a group only if it is named there or answered."""
    if message.chat.type == "private":
        return True
    answered = message.reply_to_message
    if answered is not None and answered.from_user is not None and answered.from_user.id == me.id:
        return True
    return _mention(me).search(message.text or message.caption or "") is not None


def without_mention(text: str | None, me: User) -> str:
    """A text without the bot's name."""
    return _mention(me).sub(" ", text or "").strip()


def style_keyboard(styles: Styles, page: int, purpose: str) -> InlineKeyboardMarkup:
    """A page of the styles, with buttons to the pages beside it.

    Args:
        styles: All of them.
        page: From 0; one that is not there is the nearest.
        purpose: "s" for the picture that the keyboard answers, "d" for the chat's default.
    """
    size = COLUMNS * ROWS
    pages = max(1, -(-len(styles.names) // size))
    page = min(max(page, 0), pages - 1)
    shown = [*enumerate(styles.names)][page * size : (page + 1) * size]
    buttons = [
        InlineKeyboardButton(text=name[:60], callback_data=f"{purpose}:{styles.mark}:{number}")
        for number, name in shown
    ]
    rows = [buttons[start : start + COLUMNS] for start in range(0, len(buttons), COLUMNS)]
    if pages > 1:
        around = [(page - 1) % pages, page, (page + 1) % pages]
        labels = ["◀", f"{page + 1} / {pages}", "▶"]
        rows.append(
            [
                InlineKeyboardButton(text=label, callback_data=f"{purpose}p:{styles.mark}:{number}")
                for label, number in zip(labels, around, strict=True)
            ]
        )
    return InlineKeyboardMarkup(inline_keyboard=rows)


def again_keyboard() -> InlineKeyboardMarkup:
    """One button that asks for the same once more."""
    return InlineKeyboardMarkup(inline_keyboard=[[InlineKeyboardButton(text="Try again", callback_data="again")]])


def caption_text(captions: Sequence[Sequence[tuple[str, str]]]) -> str:
    """Captions as HTML: by picture, then by style; a single caption stands alone."""
    if len(captions) == 1 and len(captions[0]) == 1:
        return html.escape(captions[0][0][1]) or "<i>an empty caption</i>"
    blocks = []
    for number, pairs in enumerate(captions, start=1):
        head = [f"<b>Picture {number}</b>"] if len(captions) > 1 else []
        lines = [f"<b>{html.escape(style)}</b>: {html.escape(text) or '<i>empty</i>'}" for style, text in pairs]
        blocks.append("\n".join([*head, *lines]))
    return "\n\n".join(blocks)


def in_messages(text: str) -> list[str]:
    """A text in pieces that Telegram takes, divided between lines, or words of a long one."""
    pieces: list[str] = []
    while len(text) > MAX_TEXT:
        at = max(text.rfind("\n", 0, MAX_TEXT), 0) or max(text.rfind(" ", 0, MAX_TEXT), 0) or MAX_TEXT
        pieces.append(text[:at])
        text = text[at:].lstrip()
    return [*pieces, text]


class Albums:
    """Puts the pictures of an album together, which come as messages of their own, one after another.

    Args:
        patience: Seconds without another picture after which an album is complete.
    """

    def __init__(self, patience: float = 0.7) -> None:
        self._patience = patience
        self._open: dict[tuple[int, str], list[Message]] = {}

    async def gather(self, message: Message) -> list[Message]:
        """All messages of an album to the first of them that comes, nothing to the others; a picture alone as it is."""
        if message.media_group_id is None:
            return [message]
        key = (message.chat.id, message.media_group_id)
        if key in self._open:
            self._open[key].append(message)
            return []
        self._open[key] = [message]
        count = 0
        while count != len(self._open[key]):
            count = len(self._open[key])
            await asyncio.sleep(self._patience)
        return sorted(self._open.pop(key), key=lambda one: one.message_id)


def _is_picture(kind: str | None, name: str | None) -> bool:
    return (
        (kind or "").startswith("image/")
        and "svg" not in (kind or "")
        or (name or "").lower().endswith(PICTURE_SUFFIXES)
    )


def _too_large() -> str:
    return f"This file is too large: Telegram gives me at most {MAX_BYTES // 1_000_000} MB. Send it as a photo instead."


def _mention(me: User) -> re.Pattern[str]:
    # Behind a command it stands without a space: /styles@name.
    return re.compile(rf"(?:^/\w+|(?<!\w))@{re.escape(me.username or '')}(?!\w)", re.IGNORECASE)
