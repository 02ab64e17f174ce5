"""How anything is shown: hostile text made visible, shaded windows, terminal consoles, page templates, figures."""
