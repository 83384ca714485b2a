"""From names to pixels: find images, decode them in worker processes, group them by size."""
