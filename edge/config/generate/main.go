// Command generate writes the tables of docs/config.md and docs/config.schema.json from the structs
// of package config: their fields' tags and doc comments. Run it after every change of them:
//
//	go run ./edge/config/generate
//
// What happens to the data: the structs are described by reflection (config.Describe), their comments
// are read from the source (comments.go), and both become rows between the markers of config.md
// (table.go) and a JSON Schema (schema.go). A test fails while a committed file differs.
package main

import (
	"bytes"
	"errors"
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
	top, err := moduleRoot()
	if err != nil {
		return err
	}
	files, err := outputs(top)
	if err != nil {
		return err
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

// moduleRoot returns the folder of the go.mod file above the working directory.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("no go.mod in the working directory or above it")
		}
		dir = parent
	}
}
