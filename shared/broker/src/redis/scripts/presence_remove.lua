-- Takes a client out.
leave(ARGV[3])
return 0
