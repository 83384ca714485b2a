"""Learning from another model: its answers to the same views of the same images, asked once and kept."""
