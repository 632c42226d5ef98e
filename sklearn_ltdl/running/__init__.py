"""Long work: jobs in processes that can be killed, their journal and progress, files written whole, the terminal."""
