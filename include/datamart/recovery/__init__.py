"""Backups and what is made of them: restores, undos, drills, and any moment of a table."""
