"""The report of a trace: facts once, laid out as text, JSON or HTML."""
