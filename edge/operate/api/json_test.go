package api

import (
	"encoding/json"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"anymx/tests/kit"
)

var update = flag.Bool("update", false, "write testdata/json.txt")

// contract lists the types that cross a socket as JSON. TestContractIsWhole compares it with the
// source.
var contract = []any{
	Change{}, Changed{}, Refusal{}, ClockStatus{}, DrainRequest{}, DrainStatus{}, StepStatus{}, Error{},
	MachineStatus{}, MachineSlot{}, MachineOperation{}, MachineUpdate{}, MachineProgress{}, PowerRequest{},
	ProvisionRequest{}, Provisioned{}, NetworkStatus{}, NetworkItem{}, TunnelStatus{}, TunnelPeer{},
	QueueItem{}, QueuePage{}, QueueDetail{}, ClientDetail{}, RecipientDetail{}, QueueQuery{}, SelfTest{},
	SelfTestListener{}, ShieldStatus{}, ShieldInterface{}, ShieldPressure{}, ShieldVerdict{}, ShieldTop{},
	ShieldNoisy{}, ShieldOpener{}, ShieldEntry{}, ShieldLists{}, ShieldUnlist{}, ShieldUnlisted{},
	ShieldMode{}, DesiredState{}, SpeakerStatus{}, SpeakerHealth{}, HealthCheck{}, SpeakerPeer{},
	AdvertisedRoute{}, SpoolReport{}, SpoolAside{}, SpoolMessage{}, SpoolExport{}, Status{}, Degradation{},
	Readiness{}, SessionsStatus{}, SpoolStatus{}, QueueStatus{}, PauseStatus{}, CoreStatus{}, ProbeStatus{},
	QueueSummary{}, SummaryRow{},
	TLSStatus{}, ConfigStatus{}, Reloaded{}, Version{}, Neighbour[SpeakerStatus]{}, Neighbour[NetworkStatus]{},
}

// A change of a JSON name or type shows in the diff of testdata/json.txt; -update writes it.
func TestJSONNames(t *testing.T) {
	var lines []string
	for _, value := range contract {
		of := reflect.TypeOf(value)
		lines = append(lines, jsonFields(of)...)
	}
	slices.Sort(lines)
	got := strings.Join(lines, "\n") + "\n"
	kit.Golden(t, "testdata/json.txt", got, *update)
}

// jsonFields returns "Type json_name GoType" for each field of the type that appears in JSON.
func jsonFields(of reflect.Type) []string {
	name := of.Name()
	name, _, _ = strings.Cut(name, "[anymx")
	var lines []string
	for f := range of.Fields() {
		tag := f.Tag.Get("json")
		switch {
		case f.Anonymous && tag == "":
			lines = append(lines, fmt.Sprintf("%s (%s)", name, f.Type))
		case f.IsExported() && tag != "-":
			lines = append(lines, fmt.Sprintf("%s %s %s", name, tag, f.Type))
		}
	}
	return lines
}

// Each exported struct with a JSON tag is in contract, and durations name their unit.
func TestContractIsWhole(t *testing.T) {
	known := map[string]bool{}
	for _, value := range contract {
		name, _, _ := strings.Cut(reflect.TypeOf(value).Name(), "[")
		known[name] = true
	}
	files, err := filepath.Glob("*.go")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		checkContract(t, file, known)
	}
}

func checkContract(t *testing.T, file *ast.File, known map[string]bool) {
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.TypeSpec)
		if !ok {
			return true
		}
		s, ok := spec.Type.(*ast.StructType)
		if !ok || !spec.Name.IsExported() {
			return true
		}
		for _, f := range s.Fields.List {
			if f.Tag == nil {
				continue
			}
			if !known[spec.Name.Name] {
				t.Errorf("%s has JSON names and is not in contract", spec.Name)
				return true
			}
			kind, _ := f.Type.(*ast.Ident)
			name, _, _ := strings.Cut(reflect.StructTag(strings.Trim(f.Tag.Value, "`")).Get("json"), ",")
			if isSeconds := kind != nil && kind.Name == "Seconds"; isSeconds != strings.HasSuffix(name, "_seconds") {
				t.Errorf("%s.%s: a duration is Seconds, and its name ends in _seconds", spec.Name, name)
			}
		}
		return true
	})
}

// A client reads the same status that the server wrote.
func TestStatusSurvivesJSON(t *testing.T) {
	in := StepStatus{Step: StepFlush, Limit: Seconds(5e9), Note: "1 message left"}
	text, err := json.Marshal(in)
	if err != nil || !strings.Contains(string(text), `"limit_seconds":5.000`) {
		t.Fatalf("%s, %v", text, err)
	}
	var out StepStatus
	if err := json.Unmarshal(text, &out); err != nil || out != in {
		t.Errorf("%+v, %v", out, err)
	}
}
