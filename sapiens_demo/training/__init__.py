"""People made by computer, and the training of the Mini models on them. The app never imports this."""
