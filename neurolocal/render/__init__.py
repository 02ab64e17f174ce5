"""How results are shown: safe text, figures, windows with shades, terminal consoles and page templates."""
