"""The parts of the Telegram bot; ``serving.telegram_bot`` starts it. Needs aiogram, of requirements-serve.txt."""
