"""Write and read a training in one file that one block hash proves."""
