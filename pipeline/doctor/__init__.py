"""The machine's doctor: ``installation`` loads the standard library alone, so that it can say what is not installed."""
