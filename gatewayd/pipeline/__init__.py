"""The pure core: from messages to publications, one step per module, in travelling order."""
