"""The page: its layout, its own small components, and every sentence a visitor reads."""
