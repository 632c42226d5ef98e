"""Long jobs: processes that can be killed, a journal and progress of jobs, atomic writes of files, the terminal."""
