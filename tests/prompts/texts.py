"""Prompts that hypothesis makes up: any text, and heaps of what has a meaning."""

from __future__ import annotations

from hypothesis import strategies as st

_MARKS = ["(", ")", "[", "]", ":", "|", "\\", " AND ", " BREAK ", "a", "fox", "0.5", "3", ":1.2)", ":4]", " ", ","]

PROMPTS = st.text(
    st.sampled_from("ab ,\\()[]:|.15<>=\n") | st.characters(exclude_categories=["Cs"]), max_size=60
) | st.lists(st.sampled_from(_MARKS), max_size=60).map("".join)
