package words

import (
	"slices"
	"testing"

	"anymx/edge/operate/api"
)

// The addresses of core groups are in the same table as those of the default core, after the name of
// their group.
func TestCoreText(t *testing.T) {
	core := []api.CoreStatus{
		{Address: "10.77.0.1:2525", Health: api.Up, Connections: 1, Limit: 16, Delivered: 1000},
		{Group: "archive", Address: "10.77.0.9:24", Health: api.Down, LastError: "refused"},
	}
	want := []string{
		"10.77.0.1:2525        up       1 connection of 16, 1,000 delivered",
		"archive 10.77.0.9:24  down     0 connections, 0 delivered",
		"                      refused",
	}
	var got []string
	for _, line := range coreText(core, textNow) {
		got = append(got, line.Text)
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}
