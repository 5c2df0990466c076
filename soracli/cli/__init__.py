"""The command line: arguments in, text out. No torch import at the top of any file here."""
