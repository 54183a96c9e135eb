package smtpc

import (
	"strconv"
	"strings"
)

// extensions holds what a server offered in its last EHLO (RFC 5321 section 4.1.1.1). The zero
// value is a server that offered nothing, as after HELO.
type extensions struct {
	all map[string]string // keyword in upper case -> parameters

	pipelining, chunking, eightBit, utf8, dsn bool
	startTLS, requireTLS                      bool

	size       bool
	sizeLimit  int64 // 0: none declared (RFC 1870 section 4)
	xforward   attributes
	xclient    attributes
	rcptMax    int // RFC 9422; 0: not declared
	mailMax    int
	domainsMax int
}

// add reads one line of an EHLO reply after the first. It skips keywords in ignore, and malformed
// lines.
func (e *extensions) add(line string, ignore []string) {
	keyword, params, _ := strings.Cut(line, " ")
	keyword = strings.ToUpper(keyword)
	if !isKeyword(keyword) {
		return
	}
	for _, k := range ignore {
		if strings.EqualFold(k, keyword) {
			return
		}
	}
	if e.all == nil {
		e.all = make(map[string]string)
	}
	e.all[keyword] = params
	switch keyword {
	case "PIPELINING":
		e.pipelining = true
	case "CHUNKING":
		e.chunking = true
	case "8BITMIME":
		e.eightBit = true
	case "SMTPUTF8":
		e.utf8 = true
	case "DSN":
		e.dsn = true
	case "STARTTLS":
		e.startTLS = true
	case "REQUIRETLS":
		e.requireTLS = true
	case "SIZE":
		e.size = true
		if n, err := strconv.ParseInt(strings.TrimSpace(params), 10, 64); err == nil && n > 0 {
			e.sizeLimit = n
		}
	case "XFORWARD":
		e.xforward = parseAttributes(params)
	case "XCLIENT":
		e.xclient = parseAttributes(params)
	case "LIMITS":
		e.limits(params)
	}
}

// limits reads the parameters of RFC 9422 section 3. It ignores malformed values.
func (e *extensions) limits(params string) {
	for _, limit := range strings.Fields(params) {
		name, value, _ := strings.Cut(limit, "=")
		n, err := strconv.Atoi(value)
		if err != nil || n < 1 || len(value) > 6 {
			continue
		}
		switch strings.ToUpper(name) {
		case "RCPTMAX":
			e.rcptMax = n
		case "MAILMAX":
			e.mailMax = n
		case "RCPTDOMAINMAX":
			e.domainsMax = n
		}
	}
}

// isKeyword reports whether s is an ehlo-keyword of RFC 5321 section 4.1.1.1, in upper case.
func isKeyword(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if !(c >= 'A' && c <= 'Z' || isDigit(c) || c == '-' && i > 0) {
			return false
		}
	}
	return s != ""
}

// attributes is the set of attributes that a server accepts with XFORWARD or XCLIENT.
type attributes uint16

// The attributes of both commands. XCLIENT's LOGIN is never sent.
const (
	attrName attributes = 1 << iota
	attrAddr
	attrPort
	attrProto
	attrHelo
	attrIdent
	attrSource
	attrDestAddr
	attrDestPort
)

var attributeNames = [...]string{"NAME", "ADDR", "PORT", "PROTO", "HELO", "IDENT", "SOURCE", "DESTADDR", "DESTPORT"}

func parseAttributes(params string) attributes {
	var set attributes
	for _, name := range strings.Fields(params) {
		for i, known := range attributeNames {
			if strings.EqualFold(name, known) {
				set |= 1 << i
			}
		}
	}
	return set
}
