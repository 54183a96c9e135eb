package main

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/netip"
	"reflect"

	"anymx/edge/config"
)

// object is a JSON object; its keys are written in the order of the alphabet.
type object map[string]any

// The text of sizes, durations and keys, as package config reads them.
const (
	sizePattern     = `^\s*[0-9]+\s*(([KMGTkmgt][Ii]?)?[Bb])?\s*$`
	durationPattern = `^\s*(0|[0-9]+d([0-9.]+(ns|us|µs|ms|s|m|h))*|([0-9.]+(ns|us|µs|ms|s|m|h))+)\s*$`
	keyPattern      = `^[A-Za-z0-9+/]{43}=$`
)

// schemaOf returns the JSON Schema of the file. It accepts every valid file, and refuses what can be
// seen without knowing how keys depend on each other.
func schemaOf(file config.Section, docs comments) ([]byte, error) {
	s, err := section(file, docs)
	if err != nil {
		return nil, err
	}
	s["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	s["title"] = "anymx.toml"
	s["description"] = "The config file of an anymx node."
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	err = e.Encode(s)
	return b.Bytes(), err
}

func section(s config.Section, docs comments) (object, error) {
	text, err := docs.of(s.Type)
	if err != nil {
		return nil, err
	}
	properties, required := object{}, []string{}
	for i := range s.Keys {
		k := &s.Keys[i]
		text, err := docs.of(s.Type + "." + k.Field)
		if err != nil {
			return nil, err
		}
		properties[k.Name] = key(k, text)
		if k.Required() {
			required = append(required, k.Name)
		}
	}
	for _, sub := range s.Inside {
		inside, err := section(sub, docs)
		if err != nil {
			return nil, err
		}
		if _, must := inside["required"]; must && !sub.Optional && !sub.Repeated || sub.Missing != "" {
			required = append(required, sub.Name)
		}
		if sub.Repeated {
			inside = object{"type": "array", "items": inside, "description": inside["description"]}
			if sub.Missing != "" {
				inside["minItems"] = 1
			}
		}
		if sub.Grouped {
			inside["additionalProperties"] = group(inside)
		}
		properties[sub.Name] = inside
	}
	o := object{"type": "object", "description": text, "properties": properties, "additionalProperties": false}
	if len(required) > 0 {
		o["required"] = required
	}
	return o, nil
}

// group returns the schema of a section's groups: its keys, whose defaults are what the section says.
func group(of object) object {
	properties := object{}
	for name, key := range of["properties"].(object) {
		inherited := maps.Clone(key.(object))
		delete(inherited, "default")
		properties[name] = inherited
	}
	o := maps.Clone(of)
	o["properties"] = properties
	return o
}

func key(k *config.Key, text string) object {
	o := element(k)
	if k.List {
		o = object{"type": "array", "items": o}
		if k.Missing != "" && k.Unless == "" {
			o["minItems"] = 1
		}
	}
	o["description"] = text + " A change takes effect at " + k.Change + "."
	if !k.Required() && k.Default != "none" {
		o["default"] = json.RawMessage(k.Default) // TOML writes these as JSON does
	}
	return o
}

func element(k *config.Key) object {
	switch k.Type {
	case reflect.TypeFor[config.Size]():
		return bounded(k, object{"type": []string{"integer", "string"}, "pattern": sizePattern})
	case reflect.TypeFor[config.Duration]():
		o := object{"type": "string", "pattern": durationPattern}
		if k.Zero != "" || k.Min == nil { // 0 may be written without quotes
			o = object{"type": []string{"integer", "string"}, "pattern": durationPattern, "minimum": 0, "maximum": 0}
		}
		return o
	case reflect.TypeFor[config.PublicKey]():
		return object{"type": "string", "pattern": keyPattern}
	case reflect.TypeFor[netip.Addr](), reflect.TypeFor[netip.Prefix]():
		return patterned(k, object{"type": "string"})
	}
	switch k.Type.Kind() {
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.Float64:
		return bounded(k, object{"type": "number"})
	case reflect.String:
		return patterned(k, object{"type": "string"})
	}
	return bounded(k, object{"type": "integer"})
}

func patterned(k *config.Key, o object) object {
	if k.OneOf != nil {
		o["enum"] = k.OneOf
	}
	if p := k.Pattern(); p != "" {
		o["pattern"] = p
	}
	return o
}

// bounded adds the limits of a number. A key whose 0 is allowed below them has 0 as its minimum.
func bounded(k *config.Key, o object) object {
	o["minimum"] = 0
	switch {
	case k.Above:
		delete(o, "minimum")
		o["exclusiveMinimum"] = number(k.Min)
	case k.Zero != "":
		o["anyOf"] = []object{{"const": 0}, {"minimum": number(k.Min)}}
	case k.Min != nil:
		o["minimum"] = number(k.Min)
	}
	switch {
	case k.Max != nil:
		o["maximum"] = number(k.Max)
	case k.Type.Kind() == reflect.Int:
		o["maximum"] = 1<<31 - 1
	case k.Type.Kind() == reflect.Uint16:
		o["maximum"] = 1<<16 - 1
	case k.Type.Kind() == reflect.Uint32:
		o["maximum"] = 1<<32 - 1
	}
	return o
}

// number writes a size as a number of bytes; others are numbers as they are.
func number(v any) any {
	if s, ok := v.(config.Size); ok {
		return int64(s)
	}
	return v
}
