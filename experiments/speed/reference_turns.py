"""When the reference pipeline begins and ends what is measured."""

import json
import os
import resource
import statistics
import sys
import time

import torch
from transformers import TrainerCallback


class Turns:
    """Tells figures, one line of JSON a turn, or one line in all when nobody waits for a turn."""

    def __init__(self, wait):
        self.wait = wait
        # What libraries print must not come between the lines.
        self.stream = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)
        self.facts, self.told = {}, []
        self.cpu = time.process_time()

    def ready(self, **facts):
        """Everything is warm."""
        self.facts = facts
        if self.wait:
            self._print(facts)

    def begin(self):
        """Wait for the turn; the end of the input ends the process."""
        if torch.cuda.is_initialized():
            free, memory = torch.cuda.mem_get_info()
            if free < memory / 3:  # what the other sides need meanwhile; to get it again takes time in a turn
                torch.cuda.empty_cache()
        if self.wait and not sys.stdin.readline():
            sys.exit()
        self.cpu = time.process_time()

    def end(self, **figures):
        """The turn is over; how long the processor was at work in it is told, too."""
        figures["cpu"] = time.process_time() - self.cpu
        self.told.append(figures)
        if self.wait:
            self._print(figures)

    def close(self):
        """Medians over the turns, for a reader."""
        if self.told and not self.wait:
            numbers = {
                key: statistics.median(turn[key] for turn in self.told)
                for key, value in self.told[0].items()
                if isinstance(value, int | float)
            }
            self._print({**self.facts, **numbers, "turns": len(self.told)})

    def _print(self, content):
        print(json.dumps(content), file=self.stream, flush=True)


class Clock(TrainerCallback):
    """Turns inside a training: its epochs or its steps. Steps do not hold the time to load."""

    def __init__(self, turns, job):
        self.turns = turns
        self.job = job
        self.pixels = None
        self.taken = []
        self.stepped = 0
        self.waited = 0.0

    def on_epoch_begin(self, args, state, control, **_):
        if self.job["unit"] == "epoch" and state.epoch in (None, 0):
            self._start()

    def on_step_begin(self, args, state, control, **_):
        if self.job["unit"] == "step":
            if self.stepped >= self.job["warm"] and not self.taken:
                self.turns.begin()
            synchronize(self.job["device"])
            self.begun = time.perf_counter()
        else:
            self.waited += time.perf_counter() - self.ended

    def on_substep_end(self, args, state, control, **_):
        self.ended = time.perf_counter()

    def on_step_end(self, args, state, control, **_):
        self.ended = time.perf_counter()
        if self.job["unit"] != "step":
            return
        synchronize(self.job["device"])
        lasted = time.perf_counter() - self.begun
        self.stepped += 1
        if self.stepped < self.job["warm"]:
            return
        if self.stepped == self.job["warm"]:
            self.turns.ready(pixels=self.pixels)
            return
        self.taken.append(lasted)
        if len(self.taken) == self.job["steps"]:
            self.turns.end(seconds=statistics.median(self.taken), **memory(self.job["device"]))
            self.taken = []

    def on_epoch_end(self, args, state, control, **_):
        if self.job["unit"] != "epoch":
            return
        synchronize(self.job["device"])
        lasted = time.perf_counter() - self.begun
        if round(state.epoch) == 1:
            self.turns.ready(pixels=self.pixels, first=lasted)
        else:
            waiting = self.waited / lasted
            self.turns.end(seconds=lasted, waiting=waiting, **memory(self.job["device"]))
        if round(state.epoch) <= self.job["turns"]:
            self.turns.begin()
            self._start()

    def _start(self):
        self.begun = self.ended = time.perf_counter()
        self.waited = 0.0


def synchronize(device):
    """Wait until a GPU has done what it was told."""
    if device != "cpu":
        torch.cuda.synchronize()


def memory(device):
    """Peak megabytes of this process and of its largest worker, and on a GPU."""
    peaks = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    figures = {"memory_mb": sum(peaks) / 1024}
    if device != "cpu":
        figures["gpu_memory_mb"] = torch.cuda.max_memory_allocated() / 2**20
    return figures
