"""Looks for what is wrong with this machine and this installation, and says what to do about it. Plain Python."""
