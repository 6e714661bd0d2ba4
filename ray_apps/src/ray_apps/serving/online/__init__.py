"""What happened since a version was trained: each arm follows the event topics from its card's offsets on."""
