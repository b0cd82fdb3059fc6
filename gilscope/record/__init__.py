"""From a process to a spool: begins and ends a recording, and adds what the core cannot know.

Besides the core and `gilscope.watching`, only this package changes the traced process.
"""
