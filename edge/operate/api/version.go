package api

import (
	"runtime"
	"runtime/debug"
	"sync"
)

// Version says what a program was built from.
type Version struct {
	Version string `json:"version"`          // "v1.2.3", or "devel" outside a release
	Commit  string `json:"commit,omitempty"` // twelve characters; with "+changes" if the working tree had any
	Go      string `json:"go"`
}

// String returns "v1.2.3 (0123456789ab, go1.26.0)".
func (v Version) String() string {
	if v.Commit == "" {
		return v.Version + " (" + v.Go + ")"
	}
	return v.Version + " (" + v.Commit + ", " + v.Go + ")"
}

// release is the version, set by the build of a release (-ldflags "-X
// anymx/edge/operate/api.release=v1.2.3"). "": the toolchain's own stamp is used.
var release string

// ThisVersion returns the version of the running program. All programs of a node are built from the
// same source tree.
var ThisVersion = sync.OnceValue(func() Version {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = &debug.BuildInfo{}
	}
	return versionOf(release, info)
})

// versionOf reads the toolchain's stamp.
func versionOf(release string, info *debug.BuildInfo) Version {
	v := Version{Version: release, Go: info.GoVersion}
	if v.Version == "" {
		v.Version = info.Main.Version
	}
	if v.Version == "" || v.Version == "(devel)" {
		v.Version = "devel"
	}
	if v.Go == "" {
		v.Go = runtime.Version()
	}
	var changes bool
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			v.Commit = s.Value[:min(12, len(s.Value))]
		case "vcs.modified":
			changes = s.Value == "true"
		}
	}
	if changes && v.Commit != "" {
		v.Commit += "+changes"
	}
	return v
}
