-- All whose lease is running.
if forget_expired(now_ms()) > 0 then
  note_change()
end
return members()
