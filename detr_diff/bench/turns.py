"""Taking turns with another process, from the inside of the one that is measured."""

import json
import os
import sys
from time import process_time

import torch


class Turns:
    """Waits for a line on standard input, and tells what was measured in a line of JSON.

    Args:
        wait: False begins at once, and tells nothing but the end of each turn.
    """

    def __init__(self, wait: bool) -> None:
        self.wait = wait
        self._begun = process_time()
        # What libraries print must not come between the lines.
        self._stream = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)

    def ready(self, **facts: object) -> None:
        """Everything is warm."""
        self._tell(facts)

    def begin(self) -> None:
        """Wait for the turn; the end of the input ends the process."""
        if torch.cuda.is_initialized():
            free, memory = torch.cuda.mem_get_info()
            if free < memory / 3:  # what the other sides need meanwhile; to get it again takes time in a turn
                torch.cuda.empty_cache()
        if self.wait and not sys.stdin.readline():
            sys.exit()
        self.restart()

    def restart(self) -> None:
        """What was prepared in the turn so far does not count."""
        self._begun = process_time()

    def end(self, **figures: object) -> None:
        """The turn is over; how long the processor was at work in it is told, too."""
        self._tell({**figures, "cpu": process_time() - self._begun})

    def _tell(self, content: dict[str, object]) -> None:
        print(json.dumps(content), file=self._stream, flush=True)
