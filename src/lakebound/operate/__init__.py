"""What operators do: status, doctor, verify, repair, redrive, trace, replay, cost, report."""
