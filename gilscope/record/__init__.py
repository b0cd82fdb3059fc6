"""From a process to a spool: begins and ends a recording, and adds what the core cannot know.

With the core and the watch this is the only room that changes the traced process.
"""
