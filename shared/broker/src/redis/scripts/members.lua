-- All whose lease is running.
forget_expired(now_ms())
return members()
