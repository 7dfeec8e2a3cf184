"""How a sweep stands: the live table and the leaderboard. Imports trials."""
