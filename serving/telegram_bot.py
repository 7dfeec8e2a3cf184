"""A Telegram bot that captions pictures, as a client of the captioning service.

    export STYLECAP_TELEGRAM_TOKEN=...        from @BotFather
    python -m serving.telegram_bot --service http://127.0.0.1:8000

STYLECAP_TOKEN is the service's token, if it wants one; STYLECAP_TELEGRAM_API another server of the Bot API. Ctrl-C and
SIGTERM end it once what is being captioned has been sent.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import re
import signal
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from utils import exit_codes
from utils.errors import first_line
from utils.logging import setup_logging

if TYPE_CHECKING:
    from aiogram import Bot, Dispatcher

    from serving.telegram.service import Service

logger = logging.getLogger(__name__)

TOKEN, SERVICE_TOKEN, API = "STYLECAP_TELEGRAM_TOKEN", "STYLECAP_TOKEN", "STYLECAP_TELEGRAM_API"
LAST_SECONDS = 30.0
"""For what is under way when the bot is told to end."""
GREETING_SECONDS = 5.0
UPDATES = ["message", "callback_query"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the bot until it is told to end.

    Returns:
        Exit code of ``utils.exit_codes``; what is missing or refused is told in one message on standard error.
    """
    options = make_parser().parse_args(arguments)
    setup_logging(None)
    hide_secrets([secret(name) for name in (TOKEN, SERVICE_TOKEN)])
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # until aiogram listens to it
    try:
        return asyncio.run(run(options.service, secret(TOKEN)))
    except KeyboardInterrupt:
        return exit_codes.FINISHED
    except ModuleNotFoundError as error:
        missing = (error.name or str(error)).partition(".")[0]
        message = f"{missing} is not installed: pip install -r requirements-serve.txt"
    except ValueError as error:
        message = first_line(error)
    finally:
        signal.signal(signal.SIGTERM, before)
    sys.stderr.write(f"error: {message}\n")
    return exit_codes.BAD_INPUT


def make_parser() -> argparse.ArgumentParser:
    """Options of the program; secrets are none of them, since other users of a machine see a command line."""
    parser = argparse.ArgumentParser(
        prog="python -m serving.telegram_bot",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--service", default="http://127.0.0.1:8000", metavar="URL", type=_url, help="where the captioning service is"
    )
    return parser


async def run(service_url: str, token: str) -> int:
    """Take messages until a signal comes.

    Raises:
        ModuleNotFoundError: If aiogram is not installed.
        ValueError: If the token is missing or wrong.
    """
    from aiogram.exceptions import TelegramNotFound, TelegramUnauthorizedError

    from serving.telegram.service import Service

    bot = make_bot(token)
    service = Service(service_url, secret(SERVICE_TOKEN) or None)
    try:
        dispatcher, work = make_dispatcher(service)
        await greet(bot)
        logger.info("listening; captions come from %s", service_url)
        await dispatcher.start_polling(bot, allowed_updates=UPDATES, close_bot_session=False)
        await work.end()
    except (TelegramNotFound, TelegramUnauthorizedError) as error:
        raise ValueError(f"{TOKEN}: Telegram does not know this token; @BotFather tells the right one") from error
    finally:
        await service.close()
        await bot.session.close()
    logger.info("ended")
    return exit_codes.FINISHED


async def greet(bot: Bot) -> None:
    """Wait until Telegram has said who the bot is: after a machine has started, its network may come later."""
    from aiogram.exceptions import TelegramNetworkError, TelegramServerError

    while True:
        try:
            await bot.me()
            return
        except (TelegramNetworkError, TelegramServerError):
            logger.warning("Telegram cannot be reached; trying again in %.0f s", GREETING_SECONDS)
            await asyncio.sleep(GREETING_SECONDS)


def make_bot(token: str) -> Bot:
    """The bot of a token, at Telegram or at the server that the environment names.

    Raises:
        ModuleNotFoundError: If aiogram is not installed.
        ValueError: If the token is missing, or looks like none.
    """
    from aiogram import Bot
    from aiogram.client.default import DefaultBotProperties
    from aiogram.client.session.aiohttp import AiohttpSession
    from aiogram.client.telegram import PRODUCTION, TelegramAPIServer
    from aiogram.utils.token import TokenValidationError

    if not token:
        raise ValueError(f"{TOKEN} is not set: give the bot's token, from @BotFather, in that environment variable")
    base = os.environ.get(API)
    session = AiohttpSession(api=TelegramAPIServer.from_base(base) if base else PRODUCTION)
    try:
        return Bot(token, session=session, default=DefaultBotProperties(parse_mode="HTML"))
    except TokenValidationError as error:
        raise ValueError(f"{TOKEN}: is no token; one of @BotFather looks like 123456:ABC-DEF") from error


class Work:
    """Knows which updates are under way, to wait for them at the end."""

    def __init__(self) -> None:
        self._under_way: set[asyncio.Task[Any]] = set()

    async def __call__(self, handler: Any, event: Any, data: dict[str, Any]) -> Any:
        """Let an update through."""
        task = asyncio.current_task()
        assert task is not None
        self._under_way.add(task)
        try:
            return await handler(event, data)
        finally:
            self._under_way.discard(task)

    async def end(self) -> None:
        """Wait for what is under way, but not for ever."""
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=LAST_SECONDS)


def make_dispatcher(service: Service) -> tuple[Dispatcher, Work]:
    """What deals with updates, many at once, so that nobody waits for others."""
    from aiogram import Dispatcher

    from serving.telegram.handlers import Conversation

    dispatcher, work = Dispatcher(), Work()
    dispatcher.update.outer_middleware(work)
    dispatcher.include_router(Conversation(service).router())
    return dispatcher, work


def secret(name: str) -> str:
    """What an environment variable holds, without the line end of the file that it was read from; "" if nothing."""
    return os.environ.get(name, "").strip()


def hide_secrets(secrets: Sequence[str]) -> None:
    """Keep some texts out of all log lines, tracebacks included: an address of the Bot API has the token in it."""
    hidden = [re.escape(secret) for secret in secrets if secret]
    if not hidden:
        return
    pattern = re.compile("|".join(hidden))
    for handler in logging.getLogger().handlers:
        handler.setFormatter(_Hiding(handler.formatter or logging.Formatter(), pattern))


class _Hiding(logging.Formatter):
    def __init__(self, inner: logging.Formatter, pattern: re.Pattern[str]) -> None:
        super().__init__()
        self._inner, self._pattern = inner, pattern

    def format(self, record: logging.LogRecord) -> str:
        return self._pattern.sub("***", self._inner.format(record))


def _url(text: str) -> str:
    if not re.fullmatch(r"https?://[^\s/?#]+[^\s?#]*", text):
        raise argparse.ArgumentTypeError(f"{text}: must be an address such as http://127.0.0.1:8000")
    return text


if __name__ == "__main__":
    sys.exit(main())
