package config

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// format is the form of a key's value beyond its type.
type format struct {
	check func(value any) error // completes the sentence "KEY: ..."
	// Text says what is written, for the documentation.
	text string
	// Pattern is a regular expression of all that check accepts, and perhaps of more; "": any text.
	pattern string
}

// formats are what the tag format names.
var formats = map[string]format{
	"name":       {ofText(checkWord), "name", `^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)?$`},
	"hostname":   {ofText(quoted(checkHostname)), "host name", `^[A-Za-z0-9.-]{1,253}$`},
	"domain":     {ofText(quoted(checkDomain)), "domain", `^(\*\.)?[A-Za-z0-9.-]{1,253}$`},
	"recipients": {ofText(checkRecipients), "`\"any\"`, or `\"file:\"` and an absolute path", `^(any|file:/.*[^/])$`},
	"path":       {ofText(checkPath), "absolute path", `^(/.*[^/])?$`},
	"socket":     {ofText(checkSocket), "absolute path, at most 107 bytes", `^(/.{0,105}[^/])?$`},
	"secret":     {ofText(checkSecret), "absolute path or `\"credential:NAME\"`", `^(/.*[^/]|credential:[A-Za-z0-9._-]{1,255})?$`},
	"interface":  {ofText(checkInterface), "device name, at most 15 bytes", `^[^ /:]{0,15}$`},
	"listen":     {ofText(checkListen), "IP address and port", `^(.*:[0-9]{1,5})?$`},
	"endpoint":   {ofText(checkEndpoint), "host and port", `^(.+:[0-9]{1,5})?$`},
	"community":  {ofText(checkCommunity), "community", `^[0-9]{1,10}:[0-9]{1,10}(:[0-9]{1,10})?$`},
	"network":    {checkNetwork, "network", ""},
	"router_id":  {checkRouterID, "IPv4 address", `^[0-9.]+$`},
	"asn":        {checkASN, "AS number", ""},
}

// Pattern returns a regular expression that every text of the key's format matches, "" if there is
// none.
func (k *Key) Pattern() string { return formats[k.Format].pattern }

// FormatText says what the key's format is, in Markdown; "" if it has none.
func (k *Key) FormatText() string { return formats[k.Format].text }

func ofText(check func(string) error) func(any) error {
	return func(value any) error { return check(value.(string)) }
}

// quoted puts the value in front of what check says of it.
func quoted(check func(string) error) func(string) error {
	return func(s string) error {
		if err := check(s); err != nil {
			return fmt.Errorf("%s %w", quote(s), err)
		}
		return nil
	}
}

func checkListen(s string) error {
	_, err := parseListen(s)
	return err
}

func checkEndpoint(s string) error {
	_, err := parseEndpoint(s)
	return err
}

// checkRecipients checks where the recipients of a domain are named.
func checkRecipients(s string) error {
	file, ok := strings.CutPrefix(s, RecipientsFile)
	if !ok && s != RecipientsAny {
		return fmt.Errorf(`%s is unknown; write "any" or "file:/path/of/a/list"`, quote(s))
	}
	if !ok {
		return nil
	}
	if err := checkPath(file); err != nil {
		return fmt.Errorf("the path after %q %w", RecipientsFile, err)
	}
	return nil
}

// checkNetwork checks that a prefix is there and has no bits set after its length.
func checkNetwork(value any) error {
	switch p := value.(netip.Prefix); {
	case !p.IsValid():
		return errors.New("missing: write a network")
	case p != p.Masked():
		return fmt.Errorf("%s has bits set after its length; write %s", p, p.Masked())
	}
	return nil
}

func checkRouterID(value any) error {
	if a := value.(netip.Addr); !a.Is4() || a.IsUnspecified() {
		return fmt.Errorf("%s cannot be a router id; write an IPv4 address", a)
	}
	return nil
}

// checkASN refuses what cannot be the number of an autonomous system: the last of 16 and of 32 bits
// (RFC 7300) and AS_TRANS (RFC 6793). 0 (RFC 7607) counts as missing.
func checkASN(value any) error {
	switch asn := value.(uint32); asn {
	case 23456, 65535, 4294967295:
		return fmt.Errorf("%d is reserved and cannot be the number of an autonomous system", asn)
	}
	return nil
}
