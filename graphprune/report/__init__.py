"""Tables, pages and figures of runs and experiments.

In: a run's folder or documents (:mod:`graphprune.evaluate.archive`), or an experiment's. Out: text
for the terminal, one HTML page without other files, CSV, Markdown and Parquet rows, SVG and PNG.

Read `table`, `page` and `rows` first.
"""
