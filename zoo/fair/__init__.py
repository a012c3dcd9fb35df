"""Parts of fair recommendation: splitting content, user-user structure, filters, adversaries, attackers."""
