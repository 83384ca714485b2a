"""Result pages: what a search found, as one HTML file with its pictures inside."""
