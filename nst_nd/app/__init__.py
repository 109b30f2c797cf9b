"""A page on this machine: drop files, watch jobs run, fetch what they made. One process serves, others compute."""
