"""The leaderboard: runs that anybody can repeat, and tables that say where a paper is not reached."""
