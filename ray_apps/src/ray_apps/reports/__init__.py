"""A version's card as a page for people: one file, no script, nothing fetched. All text is escaped as the tree is written out."""
