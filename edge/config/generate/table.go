package main

import (
	"fmt"
	"net/netip"
	"reflect"
	"strings"

	"anymx/edge/config"
)

// The markers in config.md: what is between them is generated.
const (
	begin = "<!-- keys of %s: " + command + " -->\n"
	end   = "<!-- end of keys -->\n"
)

const header = "| key | default | values | change | meaning and consequence |\n| --- | --- | --- | --- | --- |\n"

// fillTables puts the rows of each section between its markers. A section without markers is an error,
// and so is a marker without a section.
func fillTables(page string, file config.Section, docs comments) (string, error) {
	filled := 0
	var fill func(config.Section) error
	fill = func(s config.Section) error {
		if len(s.Keys) > 0 {
			rows, err := table(s, docs)
			if err != nil {
				return err
			}
			mark := fmt.Sprintf(begin, s.Path)
			before, rest, found := strings.Cut(page, mark)
			_, after, closed := strings.Cut(rest, end)
			if !found || !closed {
				return fmt.Errorf("the table of [%s] has no markers; write them:\n%s%s", s.Path, mark, end)
			}
			page = before + mark + rows + end + after
			filled++
		}
		for _, sub := range s.Inside {
			if err := fill(sub); err != nil {
				return err
			}
		}
		return nil
	}
	if err := fill(file); err != nil {
		return "", err
	}
	if marked := strings.Count(page, "<!-- keys of "); marked != filled {
		return "", fmt.Errorf("%d tables are marked, and there are %d sections with keys", marked, filled)
	}
	return page, nil
}

func table(s config.Section, docs comments) (string, error) {
	var b strings.Builder
	b.WriteString("\n" + header)
	for i := range s.Keys {
		k := &s.Keys[i]
		text, err := docs.of(s.Type + "." + k.Field)
		if err != nil {
			return "", err
		}
		byDefault := "`" + k.Default + "`"
		switch {
		case k.Required(), k.Unless != "":
			byDefault = "required"
		case k.Default == "none":
			byDefault = "none"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", k.Name, byDefault, values(k), k.Change, strings.ReplaceAll(text, "|", `\|`))
	}
	b.WriteString("\n")
	return b.String(), nil
}

// values says what a key may be.
func values(k *config.Key) string {
	one := value(k)
	if k.List {
		return "list: " + one
	}
	return one
}

func value(k *config.Key) string {
	switch {
	case k.OneOf != nil:
		return "`\"" + strings.Join(k.OneOf, "\"`, `\"") + "\"`"
	case k.FormatText() != "":
		return k.FormatText()
	}
	switch k.Type {
	case reflect.TypeFor[bool]():
		return "`true`, `false`"
	case reflect.TypeFor[netip.Addr]():
		return "IP address"
	case reflect.TypeFor[netip.Prefix]():
		return "address and length"
	case reflect.TypeFor[config.PublicKey]():
		return "key in base64"
	}
	return limits(k)
}

func limits(k *config.Key) string {
	most := k.Max
	if most == nil && k.Type.Kind() == reflect.Uint16 {
		most = 1<<16 - 1
	}
	if most == nil && k.Type.Kind() == reflect.Uint32 {
		most = 1<<32 - 1
	}
	switch {
	case k.Zero != "":
		return fmt.Sprintf("0, or %v to %v", k.Min, most)
	case k.Above && most != nil:
		return fmt.Sprintf("more than 0, up to %v", most)
	case k.Above:
		return "more than 0"
	case k.Min != nil && most != nil:
		return fmt.Sprintf("%v to %v", k.Min, most)
	case k.Min != nil:
		return fmt.Sprintf("%v or more", k.Min)
	case most != nil:
		return fmt.Sprintf("0 to %v", most)
	}
	return "0 or more"
}
