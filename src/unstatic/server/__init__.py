"""The server: the Videos API, durable: jobs, accounts, storage, workers."""
