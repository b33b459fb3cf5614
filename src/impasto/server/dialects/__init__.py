"""What clients of other programs say, in our terms: one file a program, and nothing of the network in them."""

from __future__ import annotations
