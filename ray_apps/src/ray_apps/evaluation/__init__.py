"""Numbers about models: how users are held out, how lists are judged, and how sure that is."""
