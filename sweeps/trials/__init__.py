"""What is tried, how far it has come, and what is started for it. The lowest room of sweeps."""
