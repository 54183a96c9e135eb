"""What a program that sends by smtplib does: HOST PORT CA OTHERCA.

Prints one line of JSON for each step, with what smtplib made of the replies.
"""
import email.headerregistry
import email.message
import email.policy
import json
import smtplib
import ssl
import sys

host, port, ca, other_ca = sys.argv[1:]


def tell(step, result):
    print(json.dumps({"step": step, "result": result}), flush=True)


def refusals(refused):
    return {to: "%d %s" % (code, text.decode()) for to, (code, text) in refused.items()}


def letter(subject, policy=email.policy.SMTP):
    m = email.message.EmailMessage(policy=policy)
    m["From"], m["To"], m["Subject"] = "a@example.org", "b@example.net", subject
    m.set_content("Grüße\n.\n..\n.hidden\nx.\n")
    return m


client = smtplib.SMTP(host, int(port), "client.example.org", timeout=120)
client.ehlo()
tell("extensions", sorted(client.esmtp_features))
tell("noop", client.noop()[0])
tell("vrfy", client.verify("b@example.net")[0])

refused = client.sendmail("a@example.org", ["one@example.net", "b@elsewhere.example", "two@example.net"], letter("plain").as_bytes())
tell("some refused", refusals(refused))

try:
    client.sendmail("a@example.org", ["b@elsewhere.example"], letter("x").as_bytes())
except smtplib.SMTPRecipientsRefused as e:
    tell("all refused", refusals(e.recipients))

try:
    client.sendmail("a@example.org", "b@example.net", b"Subject: x\r\n\r\n" + b"0123456789abcdef\r\n" * 200000)
except smtplib.SMTPSenderRefused as e:
    tell("too large", e.smtp_code)

# The connection is still good, and is secured only now.
client.starttls(context=ssl.create_default_context(cafile=ca))
utf8 = letter("Grüße", email.policy.SMTPUTF8)
utf8.replace_header("To", email.headerregistry.Address("", "ü", "example.net"))
client.send_message(utf8, from_addr="отправитель@example.org", to_addrs=["ü@example.net"])
tell("utf8", "sent")
client.sendmail("a@example.org", "dsn@example.net", letter("notify").as_bytes(), ["RET=HDRS", "ENVID=QQ314159"],
                ["NOTIFY=SUCCESS,FAILURE", "ORCPT=rfc822;somebody@example.org"])
tell("dsn", "sent")
tell("quit", client.quit()[0])

client = smtplib.SMTP(host, int(port), "client.example.org", timeout=120)
try:
    client.starttls(context=ssl.create_default_context(cafile=other_ca))
except ssl.SSLCertVerificationError as e:
    tell("certificate", "refused")
client.close()
