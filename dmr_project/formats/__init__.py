"""How admin writes times: as people on call read them, whatever the language."""
