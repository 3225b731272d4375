-- Ends a lease.
retire(ARGV[1])
return 0
