"""One broker link: paho's session with a tap on its byte stream, TLS, will and birth, reconnects."""
