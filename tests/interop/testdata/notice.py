"""Reads a delivery status notification on standard input as a mail program
does, and prints what it finds as one line of JSON."""
import email
import email.policy
import json
import sys

raw = sys.stdin.buffer.read()
message = email.message_from_bytes(raw, policy=email.policy.default)
defects = [str(d) for part in message.walk() for d in part.defects]
text, status, returned = message.get_payload()
print(json.dumps({
    "ascii": raw.isascii(),
    "defects": defects + [str(d) for value in message.values() for d in value.defects],
    "longest": max(len(line) for line in raw.splitlines()),
    "type": message.get_content_type(),
    "to": str(message["To"]),
    "subject": str(message["Subject"]),
    "text": " ".join(text.get_content().split()),
    "status": [{name: str(value) for name, value in part.items()} for part in status.get_payload()],
    "returned type": returned.get_content_type(),
    # A whole message is parsed already; a header is text in an encoding.
    "returned": "" if returned.is_multipart() else returned.get_payload(decode=True).decode("latin-1"),
}))
