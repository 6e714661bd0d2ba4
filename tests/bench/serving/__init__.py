"""The serving API beside what it can be compared with, in one run on the same cores."""
