package pop

import "regexp"

// WithValue returns the text of a config with a key set in the first section of that name.
func WithValue(text, section, name, value string) string {
	header := regexp.MustCompile(`(?m)^\[+` + regexp.QuoteMeta(section) + `\]+\n`)
	at := header.FindStringIndex(text)
	if at == nil {
		return text + "\n[" + section + "]\n" + name + " = " + value + "\n"
	}
	before, body, after := text[:at[1]], text[at[1]:], ""
	if next := regexp.MustCompile(`(?m)^\[`).FindStringIndex(body); next != nil {
		body, after = body[:next[0]], body[next[0]:]
	}
	body = regexp.MustCompile(`(?m)^`+name+` *=.*\n`).ReplaceAllString(body, "")
	return before + name + " = " + value + "\n" + body + after
}
