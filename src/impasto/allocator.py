"""Memory that stays when it is freed: what glibc's allocator has to be told for networks on the CPU.

A network asks for the same large blocks at every step. glibc gets each block above 32 MB from the system and gives it
back at once, and trims its heap whenever the top is free; the system then fills the very same pages with zeros again,
thousands of times a second: a tenth to a quarter of the time that Glyph's training steps took.

Source: mallopt(3), parameters M_MMAP_MAX, M_TRIM_THRESHOLD, M_TOP_PAD.
"""

from __future__ import annotations

import ctypes
import platform

TRIM_THRESHOLD, TOP_PAD, MMAP_MAX = -1, -2, -4
NEVER = -1  # as a threshold
STRIDE = 64 << 20  # bytes that the heap grows by


def keep_freed() -> bool:
    """Let freed memory stay with this process, for the blocks to come. The process never shrinks again.

    For programs that compute and end, or compute all the time; a library does not decide this for its caller.

    Returns:
        Whether the allocator is one that can be told so.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    allocator = ctypes.CDLL(None)
    said = {MMAP_MAX: 0, TRIM_THRESHOLD: NEVER, TOP_PAD: STRIDE}
    return all(allocator.mallopt(what, value) == 1 for what, value in said.items())
