"""Several runs at once: tables for a terminal, a comparison of two, a leaderboard. Imported by pipeline."""
