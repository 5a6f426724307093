"""One job: made exact, run, and what its row says of where and how; jobs that share work; timing of networks."""
