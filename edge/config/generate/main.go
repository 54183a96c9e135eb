// Command generate writes the tables of docs/config.md and docs/config.schema.json from the structs
// of package config: their fields' tags and doc comments. Run it at the top of the
// tree after every change of them:
//
//	go run ./edge/config/generate
//
// What happens to the data: the structs are described by reflection (config.Describe), their comments
// are read from the source (comments.go), and both become rows between the markers of config.md
// (table.go) and a JSON Schema (schema.go). A test fails while a committed file differs.
package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"

	"anymx/edge/config"
)

// command is what brings the files up to date.
const command = "go run ./edge/config/generate"

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

func run() error {
	files, err := outputs(".")
	if err != nil {
		return fmt.Errorf("%w; run it at the top of the tree", err)
	}
	for path, data := range files {
		if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, data) {
			continue
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			return err
		}
		fmt.Println("wrote", path)
	}
	return nil
}

// outputs returns what the generated files should be, by path.
func outputs(top string) (map[string][]byte, error) {
	docs, err := readComments(filepath.Join(top, "edge", "config"))
	if err != nil {
		return nil, err
	}
	file := config.Describe()
	page := filepath.Join(top, "docs", "config.md")
	text, err := os.ReadFile(page)
	if err != nil {
		return nil, err
	}
	filled, err := fillTables(string(text), file, docs)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", page, err)
	}
	schema, err := schemaOf(file, docs)
	if err != nil {
		return nil, err
	}
	return map[string][]byte{page: []byte(filled), filepath.Join(top, "docs", "config.schema.json"): schema}, nil
}
