"""The sections of the page, one module per study: `render(runs)` writes its Markdown, `draw(runs)` its picture."""
