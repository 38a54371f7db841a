"""The public pages by which somebody joins, under /join/: for people without an account, in Estonian and English."""
