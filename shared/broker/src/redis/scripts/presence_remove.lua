-- Takes a client out.
leave(ARGV[1])
return 0
