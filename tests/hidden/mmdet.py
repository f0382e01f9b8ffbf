"""In place of mmdet, which classification does without: to import it takes seconds."""

raise ImportError('mmdet is hidden')
