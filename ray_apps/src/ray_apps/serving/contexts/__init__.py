"""What is liked in which context: counted from the events of the last weeks, for strangers who say where they are."""
