"""The page of a server: ask, leaderboard, knowledge, in plain HTML with one stylesheet and one script."""
