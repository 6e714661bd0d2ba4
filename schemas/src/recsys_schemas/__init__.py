"""Every word of the product, defined once and imported by both programs."""
