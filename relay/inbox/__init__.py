"""Messages for participants that cannot be reached from outside: they fetch them, under a lease, and acknowledge."""
