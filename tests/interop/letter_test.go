package interop

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"anymx/edge/delivery/smtpc/smtptest"
)

// letter is a whole message with CRLF, to which no server has anything to add
// but its trace.
func letter(subject, body string) []byte {
	return []byte("From: <a@example.org>\r\nTo: <b@example.net>\r\nDate: Sat, 21 Nov 2026 22:58:52 +0000\r\n" +
		"Message-ID: <" + strings.Join(strings.Fields(subject), ".") + "@example.org>\r\nSubject: " + subject + "\r\n" +
		"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" + body)
}

// dots are lines that careless software damages.
const dots = "hello\r\n.\r\n..\r\n.hidden\r\n\r\n...\r\nGrüße, 日本語\r\nFrom here on\r\n  \r\nx.\r\n"

// numbered is text of about size octets, each line told from all others.
func numbered(size int) string {
	var b strings.Builder
	b.Grow(size + 100)
	for i := 1; b.Len() < size; i++ {
		fmt.Fprintf(&b, "%09d ABCDEFGHIJKLMNOPQRSTUVWXYZ abcdefghijklmnopqrstuvwxyz\r\n", i)
	}
	return b.String()
}

// certificate is one of a throw-away authority, as PEM files.
type certificate struct {
	cert, key string
	roots     *x509.CertPool // that verify it; so does cert as a file
}

func newCertificate(t testing.TB, names ...string) certificate {
	t.Helper()
	dir := folder(t)
	pair, roots := smtptest.Certificate(names...)
	c := certificate{cert: filepath.Join(dir, "cert.pem"), key: filepath.Join(dir, "key.pem"), roots: roots}
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{
		c.cert: {Type: "CERTIFICATE", Bytes: pair.Certificate[0]},
		c.key:  {Type: "PRIVATE KEY", Bytes: key},
	} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// ingress are the keys of [ingress] that show the certificate.
func (c certificate) ingress() string {
	return fmt.Sprintf("tls_cert = %q\ntls_key = %q\n", c.cert, c.key)
}
