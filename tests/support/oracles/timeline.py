"""The slow and obvious twin of `gilscope.viztracer`: every event a timeline must hold, in plain loops.

Tables are lists of dicts, times nanoseconds, lanes numbers counted from the trace's first one.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from gilscope.tables.stored import Tables
from gilscope.units import duration
from gilscope.viztracer import FIRST_TID
from tests.support.drawn import timelines

Row = dict[str, Any]
PER_TRACE = 1 << 20


@dataclass
class Stretch:
    """The part of a trace that is shown, in nanoseconds since its beginning."""

    start: int
    end: int

    def touches(self, start: int, end: int) -> bool:
        """Tell whether a span shares time with this; what has no length may stand at an edge."""
        if start == end:
            return self.start <= start <= self.end
        return start < self.end and end > self.start

    def cut(self, time: int) -> int:
        return min(max(time, self.start), self.end)


class Twin:
    """What a timeline must hold, from a recording and a stretch of it."""

    def __init__(self, recording: Tables, start: int, end: int) -> None:
        def table(name: str) -> list[Row]:
            return recording.table(name).to_pylist()

        self.pid = recording.metadata["pid"]
        self.zero = recording.metadata["start_monotonic_ns"]
        self.first_tid = FIRST_TID + recording.metadata.get("trace_number", 0) % 3000 * PER_TRACE
        self.stretch = Stretch(start, end)
        self.threads = {row["thread"]: row for row in table("threads")}
        self.intervals = self._inside(table("intervals"))
        self.handoffs = table("handoffs")
        self.switch_intervals = table("switch_intervals")
        self.samples = table("samples")
        self.sites = table("sites")
        marks = table("marks")
        self.marks = [m for m in marks if m["duration_ns"] is None and start <= m["start_ns"] <= end]
        self.regions = self._inside([m for m in marks if m["duration_ns"] is not None])
        self._stack_regions()
        self._place_lanes()

    def _inside(self, rows: list[Row]) -> list[Row]:
        """Return the rows that share time with the stretch, with start and end cut to it."""
        out = []
        for row in rows:
            start, end = row["start_ns"], row["start_ns"] + row["duration_ns"]
            if self.stretch.touches(start, end):
                cut = {"start": self.stretch.cut(start), "end": self.stretch.cut(end)}
                out.append(row | cut | {"was_cut": cut != {"start": start, "end": end}})
        return out

    def _stack_regions(self) -> None:
        """Put each region on the lowest of its thread's lanes on which it crosses no other."""
        placed: list[Row] = []
        for region in sorted(self.regions, key=lambda r: (r["start"], -r["end"])):
            region["sublane"] = 0
            while any(
                other["thread"] == region["thread"]
                and other["sublane"] == region["sublane"]
                and other["start"] <= region["start"] < other["end"] < region["end"]
                for other in placed
            ):
                region["sublane"] += 1
            placed.append(region)

    def _place_lanes(self) -> None:
        """Say which lanes there are: of each GIL its holder, then its threads, each before its regions."""
        at = {(i["interpreter"], i["thread"]) for i in self.intervals}
        seen = {thread for _, thread in at}
        for thread in {*self.threads, *(r["thread"] for r in self.regions)} - seen:
            at.add((self.threads.get(thread, {}).get("interpreter") or 0, thread))
        self.gils = sorted({gil for gil, _ in at}) or [0]
        self.lanes: list[tuple[Any, str]] = []
        self.home: dict[int, Any] = {}
        for gil in self.gils:
            self.lanes.append((("holder", gil), f"{self._gil_name(gil)} holder"))
            for thread in sorted(thread for g, thread in at if g == gil):
                self.lanes.append((("thread", gil, thread), f"{self._gil_name(gil)} {self._title(thread)}"))
                if thread in self.home:
                    continue
                self.home[thread] = ("thread", gil, thread)
                sublanes = {r["sublane"] for r in self.regions if r["thread"] == thread}
                for sublane in sorted(sublanes):
                    self.lanes.append((("regions", thread, sublane), f"regions {self._title(thread)}"))
        self.tid = {lane: self.first_tid + i for i, (lane, _) in enumerate(self.lanes)}

    def _gil_name(self, gil: int) -> str:
        return f"GIL {gil}" if len(self.gils) > 1 else "GIL"

    def label(self, thread: int) -> str:
        return shown(self.threads.get(thread, {}).get("name") or "thread")

    def _title(self, thread: int) -> str:
        native_id = self.threads.get(thread, {}).get("native_id")
        return self.label(thread) if native_id is None else f"{self.label(thread)} ({native_id})"

    def events(self, *, arrows: bool = True) -> list[Row]:
        """Return all events but those that name the process and the lanes."""
        out = self.slices() + self.held() + self.region_slices() + self.waiters() + self.held_share()
        out += self.drop_requests() + self.mark_instants() + self.changes() + self.losses()
        return out + (self.arrows() if arrows else [])

    def names(self) -> dict[int, str]:
        """Return the names of lanes by their tids."""
        return {self.tid[lane]: name for lane, name in self.lanes}

    def _slice(self, lane: Any, start: int, end: int, name: str, args: Row, category: str = "gil") -> Row:
        return self._event("X", lane, start, name, args) | {"cat": category, "dur": end - start}

    def _instant(self, lane: Any, time: int, name: str, args: Row) -> Row:
        return self._event("i", lane, time, name, args) | {"cat": "gil", "s": "t"}

    def _event(self, ph: str, lane: Any, time: int, name: str, args: Row) -> Row:
        tid = self.pid if lane is None else self.tid[lane]
        return {"ph": ph, "pid": self.pid, "tid": tid, "ts": self.zero + time, "name": name, "args": args}

    def slices(self) -> list[Row]:
        out = []
        for i in self.intervals:
            args, name = {"thread": i["thread"]}, i["state"]
            if i["site"] is not None and i["site"] < len(self.sites):
                site = self.sites[i["site"]]
                place = {"function": shown(site["function"]), "file": site["file"], "line": site["line"]}
                args |= {k: shown(v) if k == "file" else v for k, v in place.items() if v is not None}
                name = slice_name(shown(site["function"])) if name == "run" else name
            taken = self._acquired(i)
            let_go = self._released(i)
            if i["release"] is not None:
                args["release"] = i["release"]
            if taken is not None:
                args["from"] = self.label(taken["from_thread"])
            if i["state"] == "wait" and taken is not None:
                args |= self._how(taken)
            if let_go is not None:
                args["to"] = self.label(let_go["to_thread"])
                args |= {k: v for k, v in self._how(let_go).items() if k in ("response_ns", "gap_ns")}
                args["waiters"] = let_go["waiters"]
            lane = ("thread", i["interpreter"], i["thread"])
            out.append(self._slice(lane, i["start"], i["end"], name, args, i["state"]))
        return out

    def _how(self, h: Row) -> Row:
        """Return what is known of how a hand-off came about."""
        known: Row = {}
        if h["forced"] is not None:
            known["release"] = "forced" if h["forced"] else "voluntary"
        if h["drop_request_ns"] is not None:
            known["response_ns"] = h["release_ns"] - h["drop_request_ns"]
            if h["request_ns"] is not None:
                known["patience_ns"] = h["drop_request_ns"] - h["request_ns"]
        if h["gap_ns"] is not None:
            known["gap_ns"] = h["gap_ns"]
        return known

    def _acquired(self, i: Row) -> Row | None:
        """Return the hand-off that gave an interval's thread the GIL, the first one of an instant."""
        time = i["start"] if i["state"] == "run" else i["end"]
        for h in self.handoffs:
            if (h["interpreter"], h["to_thread"], h["acquire_ns"]) == (i["interpreter"], i["thread"], time):
                return h
        return None

    def _released(self, i: Row) -> Row | None:
        """Return the hand-off that took the GIL from the thread of a run."""
        thread = (i["interpreter"], i["thread"], i["end"])
        for h in self.handoffs:
            if i["state"] == "run" and (h["interpreter"], h["from_thread"], h["release_ns"]) == thread:
                return h
        return None

    def held(self) -> list[Row]:
        out = []
        for i in self.intervals:
            if i["state"] == "run":
                args = {"thread": i["thread"]} | ({"release": i["release"]} if i["release"] else {})
                name = slice_name(self.label(i["thread"]))
                out.append(self._slice(("holder", i["interpreter"]), i["start"], i["end"], name, args))
        return out

    def region_slices(self) -> list[Row]:
        out = []
        for r in self.regions:
            name = slice_name(shown(r["name"] or "(unnamed)"))
            lane = ("regions", r["thread"], r["sublane"])
            whole = r["complete"] and not r["was_cut"]
            out.append(self._slice(lane, r["start"], r["end"], name, {"complete": whole}))
        return out

    def mark_instants(self) -> list[Row]:
        home = {m["thread"]: self.home.get(m["thread"], ("holder", self.gils[0])) for m in self.marks}
        return [
            self._instant(home[m["thread"]], m["start_ns"], shown(m["name"] or "(unnamed)"), {"mark": True})
            for m in self.marks
        ]

    def waiters(self) -> list[Row]:
        out = []
        for gil in self.gils:
            waits = [i for i in self.intervals if i["state"] == "wait" and i["interpreter"] == gil]
            for time in sorted({w["start"] for w in waits} | {w["end"] for w in waits}):
                count = sum(w["start"] <= time < w["end"] for w in waits)
                out.append(self._event("C", None, time, self._gil_name(gil), {"waiters": count}))
        return out

    def held_share(self) -> list[Row]:
        out = []
        begin, length = self.stretch.start, self.stretch.end - self.stretch.start
        n = max(min(length // 100_000, 1000), 1)
        edges = [round(k * (length / n) + begin) for k in range(n)] + [self.stretch.end]
        for gil in self.gils:
            runs = [i for i in self.intervals if i["state"] == "run" and i["interpreter"] == gil]
            for a, b in pairwise(edges):
                held = sum(max(min(r["end"], b) - max(r["start"], a), 0) for r in runs)
                share = round(100 * held / max(b - a, 1))
                out.append(self._event("C", None, a, self._gil_name(gil), {"held %": share}))
        return out

    def arrows(self) -> list[Row]:
        """Return arrows, both ends in one: from a run that lasted to the next thread's."""
        out = []
        runs = [i for i in self.intervals if i["state"] == "run" and i["end"] > i["start"]]
        for h in self.handoffs:
            left = [r for r in runs if self._released(r) is h]
            got = [r for r in runs if self._acquired(r) is h]
            for a, b in zip(left, got, strict=False):
                ends = (a["end"] - 1, min(b["start"] + 1, b["end"] - 1))
                tids = [self.tid["thread", r["interpreter"], r["thread"]] for r in (a, b)]
                out.append(timelines.arrow(self.pid, tids, [self.zero + t for t in ends]))
        return out

    def drop_requests(self) -> list[Row]:
        out = []
        for h in self.handoffs:
            time = h["drop_request_ns"]
            if time is not None and self.stretch.start <= time <= self.stretch.end:
                lane = ("thread", h["interpreter"], h["to_thread"])
                out.append(self._instant(lane, time, "drop request", {"asks": self.label(h["from_thread"])}))
        return out

    def changes(self) -> list[Row]:
        out = []
        for row in self.switch_intervals[1:]:
            if self.stretch.start <= row["time_ns"] <= self.stretch.end:
                args = {"source": row["source"], "before": duration(row["previous_ns"])}
                if row["file"] is not None:
                    args["caller"] = f"{shown(row['file'])}:{row['line']}"
                lane = self.home.get(row["thread"], ("holder", self.gils[0]))
                name = f"switch interval {duration(row['interval_ns'])}"
                out.append(self._instant(lane, row["time_ns"], name, args))
        return out

    def losses(self) -> list[Row]:
        out, before = [], 0
        for sample in self.samples:
            begin, before = before, sample["time_ns"]
            if not sample["dropped"] or begin > self.stretch.end or before < self.stretch.start:
                continue
            args = {"transitions": sample["dropped"], "for": duration(before - begin)}
            time = max(begin, self.stretch.start)
            out.append(self._instant(("holder", self.gils[0]), time, "transitions lost", args))
        return out


def shown(name: str) -> str:
    """Return a name as the viewer can show it: control characters as their pictures."""
    return "".join("␡" if c == "\x7f" else chr(0x2400 + ord(c)) if c < " " else c for c in name)


def slice_name(name: str) -> str:
    """Return a name that VizTracer does not take for a function's: nothing follows a colon directly."""
    return name.replace(":", ":\u200b") if "(" in name else name
