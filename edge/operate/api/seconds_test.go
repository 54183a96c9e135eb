package api

import (
	"encoding/json"
	"testing"
	"time"
)

func TestSecondsInJSON(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0:                                   "0.000",
		1234567 * time.Microsecond:          "1.235",
		2 * time.Millisecond:                "0.002",
		5 * time.Minute:                     "300.000",
		-1500 * time.Millisecond:            "-1.500",
		10*365*24*time.Hour + 7*time.Second: "315360007.000",
		40 * 365 * 24 * time.Hour:           "1261440000.000",
		-290 * 365 * 24 * time.Hour:         "-9145440000.000",
	} {
		text, err := json.Marshal(Seconds(d))
		if err != nil || string(text) != want {
			t.Errorf("%s: %s, %v; want %s", d, text, err, want)
		}
		var back Seconds
		if err := json.Unmarshal(text, &back); err != nil || back.Duration() != d.Round(time.Millisecond) {
			t.Errorf("%s comes back as %s, %v", text, back, err)
		}
	}
	for _, bad := range []string{`"3"`, "true", "[]", "1e300", "-1e300"} {
		var s Seconds
		if err := json.Unmarshal([]byte(bad), &s); err == nil {
			t.Errorf("%s is read as %s", bad, s)
		}
	}
}

func TestZeroSecondsCanBeOmitted(t *testing.T) {
	text, err := json.Marshal(struct {
		Left Seconds `json:"left_seconds,omitempty"`
	}{})
	if err != nil || string(text) != "{}" {
		t.Errorf("%s, %v", text, err)
	}
}
