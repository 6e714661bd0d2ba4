"""What people say of themselves and shops of their items, live: two compacted topics that each replica follows from their beginning."""
