"""Submissions to the leaderboard: made from a comparison, and verified."""
