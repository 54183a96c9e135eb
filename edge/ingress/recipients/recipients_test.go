package recipients

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"anymx/edge/config"
)

// A list that can't be read defers the mail of its domain, unless there was one before it.
func TestRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "recipients")
	c := &config.Config{Domains: []config.Domain{
		{Name: "any.example"}, {Name: "listed.example", Recipients: config.RecipientsFile + path},
	}}
	var lists Lists
	read := func(problem string) bool {
		t.Helper()
		domains, problems := lists.Read(c)
		if err := problems["listed.example"]; (err == nil) != (problem == "") || err != nil && !strings.Contains(err.Error(), problem) || len(problems) > 1 {
			t.Errorf("problems %v, want %q", problems, problem)
		}
		if _, ok := domains.Lookup("any.example"); !ok {
			t.Error("the other domain is missing")
		}
		r, ok := domains.Lookup("listed.example")
		return ok && r.Has("user1")
	}
	if err := Check(c, func(string) bool { return false }); err == nil || !strings.HasPrefix(err.Error(), "domain[1].recipients: ") {
		t.Errorf("%v", err)
	}
	if err := Check(c, func(string) bool { return true }); err != nil {
		t.Error(err)
	}
	if read("mail for the domain is deferred") {
		t.Error("a recipient without a list")
	}
	if err := os.WriteFile(path, []byte("user1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if !read("") {
		t.Error("the list is not read")
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if !read("the list before it stays in force") {
		t.Error("the list before it is gone")
	}
	if files := Files(c); len(files) != 1 || files[0] != path {
		t.Errorf("%q", files)
	}
}
