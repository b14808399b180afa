"""What holds the process together: logs, signals, the service manager, and the threads' life and death."""
