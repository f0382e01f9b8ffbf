"""What a program calls; :mod:`.benchmark` needs torch alone."""
