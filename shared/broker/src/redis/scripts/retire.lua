-- Ends a lease.
if retire(ARGV[1]) > 0 then
  note_change()
end
return 0
