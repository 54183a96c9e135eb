package mail

import "strings"

// AuthMethod is a method of RFC 8601 section 2.7.
type AuthMethod string

// Methods.
const (
	MethodSPF   AuthMethod = "spf"
	MethodDKIM  AuthMethod = "dkim"
	MethodDMARC AuthMethod = "dmarc"
	MethodIPRev AuthMethod = "iprev"
	MethodAuth  AuthMethod = "auth"
)

// AuthVerdict is what a method found (RFC 8601 section 2.7). The RFC of each method says which
// verdicts it may give.
type AuthVerdict string

// Verdicts.
const (
	AuthNone      AuthVerdict = "none"
	AuthPass      AuthVerdict = "pass"
	AuthFail      AuthVerdict = "fail"
	AuthSoftFail  AuthVerdict = "softfail"
	AuthNeutral   AuthVerdict = "neutral"
	AuthPolicy    AuthVerdict = "policy"
	AuthTempError AuthVerdict = "temperror"
	AuthPermError AuthVerdict = "permerror"
)

// AuthResult is the verdict of one method on one message.
type AuthResult struct {
	Method  AuthMethod  // empty: the result is left out
	Verdict AuthVerdict // empty: AuthNone
	Reason  string      // for human readers; "" if none
	Props   []AuthProp  // what the verdict is based on
}

// AuthProp is one property, such as header.d=example.net.
type AuthProp struct {
	Type  string // "smtp", "header", "body" or "policy"
	Name  string // "mailfrom", "d", "from", "iprev" ...
	Value string // empty: the property is left out
}

// maxAuthText bounds each reason and value, in bytes, so that no line reaches the 998 of RFC 5322.
const maxAuthText = 400

// AppendAuthenticationResults appends the header field of RFC 8601 for the authentication service
// server, folded to one result per line. Without a result it says "none". Values are untrusted:
// anything other than a token or an address is quoted, and no value can end its line. Text outside
// ASCII is kept only if utf8ok (RFC 8616).
func AppendAuthenticationResults(b []byte, server string, utf8ok bool, results []AuthResult) []byte {
	b = append(b, "Authentication-Results: "...)
	b = append(b, server...)
	empty := true
	for i := range results {
		r := &results[i]
		if r.Method == "" {
			continue
		}
		empty = false
		b = appendAuthResult(append(b, ";\r\n\t"...), r, utf8ok)
	}
	if empty {
		b = append(b, "; none"...)
	}
	return append(b, "\r\n"...)
}

func appendAuthResult(b []byte, r *AuthResult, utf8ok bool) []byte {
	start := len(b)
	b = appendToken(b, string(r.Method), "-", false)
	b = append(b, '=')
	verdict := r.Verdict
	if verdict == "" {
		verdict = AuthNone
	}
	b = appendToken(b, string(verdict), "-", false)
	if r.Reason != "" {
		b, start = foldAuth(b, start, len(r.Reason)+len(`reason=""`))
		b = append(b, "reason="...)
		b = appendQuoted(b, clean(cut(r.Reason, maxAuthText), utf8ok))
	}
	for _, p := range r.Props {
		if p.Value == "" {
			continue
		}
		b, start = foldAuth(b, start, len(p.Type)+len(p.Name)+len(p.Value)+len(`.=""`))
		b = appendToken(b, p.Type, "-", false)
		b = append(b, '.')
		b = appendToken(b, p.Name, "-", false)
		b = append(b, '=')
		b = appendAuthValue(b, clean(cut(p.Value, maxAuthText), utf8ok))
	}
	return b
}

// foldAuth appends a space or a fold before the next n bytes of a line that began at start. It
// returns the start of the current line.
func foldAuth(b []byte, start, n int) ([]byte, int) {
	if len(b)-start+n+len("\t ") > foldAt {
		b = append(b, "\r\n\t  "...)
		return b, len(b) - len("  ")
	}
	return append(b, ' '), start
}

// appendAuthValue appends the pvalue of RFC 8601: a token (RFC 2045 section 5.1),
// [local-part]@domain, or a quoted-string.
func appendAuthValue(b []byte, v string) []byte {
	if isAuthToken(v) {
		return append(b, v...)
	}
	if local, domain, ok := strings.Cut(v, "@"); ok && isDomain(domain) && (local == "" || isDotString(local)) {
		return append(b, v...)
	}
	return appendQuoted(b, v)
}

func isAuthToken(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c <= ' ' || c >= 0x7f || strings.IndexByte(`()<>@,;:\"/[]?=`, c) >= 0 {
			return false
		}
	}
	return s != ""
}
