package rules

import (
	"os"
	"os/exec"
	"regexp"
	"testing"
)

// Every test that docs/durability.md lists exists.
func TestDurabilityNamesRealTests(t *testing.T) {
	const top = "../../.."
	page, err := os.ReadFile(top + "/docs/durability.md")
	if err != nil {
		t.Fatal(err)
	}
	names := regexp.MustCompile("`((?:Test|Fuzz)[A-Za-z]+)`").FindAllSubmatch(page, -1)
	if len(names) < 20 {
		t.Fatalf("only %d tests are named", len(names))
	}
	for _, name := range names {
		cmd := exec.Command("grep", "-rqs", "--include=*_test.go", "^func "+string(name[1])+"(", top+"/edge", top+"/tests")
		if err := cmd.Run(); err != nil {
			t.Errorf("docs/durability.md names %s, which is not a test", name[1])
		}
	}
}
