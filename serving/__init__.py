"""A trained folder as a service: REST, a page in the browser, a bot, a view of runs. Needs requirements-serve.txt.

Stands above everything that captions and records, and below commands.
"""
