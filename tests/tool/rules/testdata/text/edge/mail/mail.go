// Package mail was written in /work/main and in /home/someone/src.
package mail

const frame = "https://example.net/work/plan and frame/work/plan are not folders of a machine"
