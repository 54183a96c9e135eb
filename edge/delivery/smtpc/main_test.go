package smtpc

import (
	"os"
	"testing"

	"anymx/edge/delivery/smtpc/smtptest"
)

func TestMain(m *testing.M) {
	if os.Getenv(sinkEnv) != "" {
		sink()
		return
	}
	os.Exit(smtptest.Run(m))
}
