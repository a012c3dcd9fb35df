"""Lightning callbacks: checkpoints that resume exactly, tables, pictures, progress."""
