"""How products use Impasto: a server with a queue of jobs that outlives it, and the APIs that clients already speak."""
