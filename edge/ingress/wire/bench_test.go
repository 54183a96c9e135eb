package wire

import (
	"strings"
	"testing"
)

// BenchmarkMessageScan measures framing alone: finding line ends, dots and faults.
func BenchmarkMessageScan(b *testing.B) {
	line := strings.Repeat("0123456789abcdef ", 5)[:76] + "\r\n"
	for name, buf := range map[string]string{
		"lines of 76": strings.Repeat(line, middleBuffer/len(line)),
		"lines of 2":  strings.Repeat("a\r\n", middleBuffer/3),
		"dots":        strings.Repeat("..\r\n", middleBuffer/4),
	} {
		b.Run(name, func(b *testing.B) {
			in := []byte(buf)
			b.SetBytes(int64(len(in)))
			b.ReportAllocs()
			for b.Loop() {
				m := framing{dotted: true, maxLine: 1000}
				for rest := in; len(rest) > 0; {
					_, used, _, err := m.next(rest)
					if err != nil {
						b.Fatal(err)
					}
					rest = rest[used:]
				}
			}
		})
	}
}
