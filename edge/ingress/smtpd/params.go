package smtpd

import (
	"math"
	"slices"
	"strconv"
	"strings"

	"anymx/edge/judge/replies"
	"anymx/edge/mail"
)

// Limits of parameters, in characters (RFC 3461 sections 4.2 and 4.4).
const (
	maxEnvID = 100
	maxORcpt = 500
)

// mailParams are the parameters of MAIL.
type mailParams struct {
	size       int64 // 0: not declared
	body       mail.Body
	utf8       bool
	requireTLS bool
	ret        mail.Return
	envID      string
}

// rcptParams are the parameters of RCPT.
type rcptParams struct {
	notify mail.Notify
	orcpt  string // as mail.Recipient has it
}

// eachParam calls set with each parameter in rest, in upper case, and its value, until it refuses one
// (RFC 5321 section 4.1.2). A parameter that is given twice is refused.
func eachParam(rest string, set func(key, value string) mail.Reply) mail.Reply {
	var seen []string
	for rest = strings.Trim(rest, " "); rest != ""; {
		var word string
		word, rest, _ = strings.Cut(rest, " ")
		rest = strings.TrimLeft(rest, " ")
		key, value, _ := strings.Cut(word, "=")
		key = strings.ToUpper(key)
		if slices.Contains(seen, key) {
			return replies.Twice.With(key)
		}
		seen = append(seen, key)
		if r := set(key, value); r.Code != 0 {
			return r
		}
	}
	return mail.Reply{}
}

// parse sets p by the parameters of MAIL.
func (p *mailParams) parse(rest string) mail.Reply {
	return eachParam(rest, func(key, value string) mail.Reply {
		switch key {
		case "SIZE":
			return p.setSize(value)
		case "BODY":
			switch strings.ToUpper(value) {
			case "7BIT":
			case "8BITMIME":
				p.body = mail.Body8Bit
			case "BINARYMIME":
				return replies.NoBinary.Reply
			default:
				return replies.BadParameter.With("BODY")
			}
		case "SMTPUTF8":
			p.utf8 = true
		case "REQUIRETLS":
			p.requireTLS = true
		case "RET":
			switch strings.ToUpper(value) {
			case "FULL":
				p.ret = mail.ReturnFull
			case "HDRS":
				p.ret = mail.ReturnHeaders
			default:
				return replies.BadParameter.With("RET")
			}
		case "ENVID":
			id, err := mail.DecodeXtext(value)
			if err != nil || id == "" || len(value) > maxEnvID {
				return replies.BadParameter.With("ENVID")
			}
			p.envID = id
		default:
			return replies.NoParameter.With("MAIL", key)
		}
		return mail.Reply{}
	})
}

// setSize sets the declared size: up to 20 digits (RFC 1870 section 6.1).
func (p *mailParams) setSize(value string) mail.Reply {
	if len(value) == 0 || len(value) > 20 || strings.Trim(value, "0123456789") != "" {
		return replies.BadParameter.With("SIZE")
	}
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil {
		n = math.MaxInt64 // larger than any message
	}
	p.size = n
	return mail.Reply{}
}

// parse sets p by the parameters of RCPT.
func (p *rcptParams) parse(rest string) mail.Reply {
	return eachParam(rest, func(key, value string) mail.Reply {
		switch key {
		case "NOTIFY":
			return p.setNotify(value)
		case "ORCPT":
			kind, address, ok := strings.Cut(value, ";")
			decoded, err := mail.DecodeXtext(address)
			if !ok || !isAtom(kind) || err != nil || decoded == "" || len(value) > maxORcpt {
				return replies.BadParameter.With("ORCPT")
			}
			p.orcpt = strings.ToLower(kind) + ";" + decoded
		default:
			return replies.NoParameter.With("RCPT", key)
		}
		return mail.Reply{}
	})
}

// setNotify sets what the sender wants to hear of (RFC 3461 section 4.1).
func (p *rcptParams) setNotify(value string) mail.Reply {
	for word := range strings.SplitSeq(strings.ToUpper(value), ",") {
		switch word {
		case "NEVER":
			p.notify |= mail.NotifyNever
		case "SUCCESS":
			p.notify |= mail.NotifySuccess
		case "FAILURE":
			p.notify |= mail.NotifyFailure
		case "DELAY":
			p.notify |= mail.NotifyDelay
		default:
			return replies.BadParameter.With("NOTIFY")
		}
	}
	if p.notify.Has(mail.NotifyNever) && p.notify != mail.NotifyNever {
		return replies.NeverExcludes.Reply
	}
	return mail.Reply{}
}

// isAtom reports whether s is an atom (RFC 5321 section 4.1.2), as an address type is.
func isAtom(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || strings.IndexByte("()<>[]:;@\\,.\"", c) >= 0 {
			return false
		}
	}
	return s != ""
}
